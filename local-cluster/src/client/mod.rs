//! The coordinator's HTTP API as tests, the demonstration and the benchmark use it.

mod error;
mod files;
mod session;

pub use error::ApiError;
pub use files::{ChunkReceipt, FileInfo, UploadPlan, UploadStatus};
pub use session::{Client, Page, Session};
