//! The only SQL on files and uploads.

pub mod allowances;
pub mod digests;
pub mod files;
pub mod owners;
pub mod single_chunk;
pub mod tus;
pub mod uploads;
