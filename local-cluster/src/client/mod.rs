//! The coordinator's HTTP API as tests, the demonstration and the benchmark use it. Paths and bodies are those
//! of [`api`].

mod error;
mod files;
mod session;

pub use error::ApiError;
pub use files::chunk_of;
pub use session::{Client, Session};
