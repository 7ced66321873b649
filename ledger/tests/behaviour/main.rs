//! The ledger against a Postgres of its own for each test, through the crate's public face.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::large_futures,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod history;
mod kinds;
mod posting;
mod support;
