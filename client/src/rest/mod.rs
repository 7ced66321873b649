//! The coordinator's HTTP API, a request a call: nothing is repeated, and nothing asked of another coordinator. Paths and
//! bodies are those of [`api`].
//!
//! What tests, the demonstration and the benchmarks use, who want to see what fails; and what [`crate::Client`] stands on.

mod buckets;
mod error;
mod files;
mod session;

pub use error::ApiError;
pub use files::chunk_of;
pub use session::{Credentials, Endpoint, Session};
