//! The house as docs/ARCHITECTURE.md describes it, held against the code: which crate and which concern may use which,
//! where SQL stands, and that nothing goes round in circles. It reads the sources and runs nothing of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod circles;
mod concerns;
mod crates;
mod deploy;
mod files;
mod source;
