//! The program itself: run as an operator runs it, against a coordinator's side of HTTP and libp2p.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod admin;
mod coordinator;
mod deletion;
mod drain;
mod first_start;
mod instances;
mod operator;
mod peers;
mod program;
mod proving;
mod refusals;
mod registration;
mod serving;
