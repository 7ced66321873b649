//! A storage node: keeps blobs for the coordinators of one network, durably, and serves them to no
//! one else.
//!
//! `{agent, prover, link, losses, membership} -> state -> store`; `node` starts and stops them all, `cli` is what the
//! operator types, `admin` what the operator's tools ask.

pub mod admin;
pub mod agent;
pub mod broken_pipe;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator_api;
pub mod identity;
pub mod ledger_days;
pub mod link;
pub mod logging;
pub mod losses;
pub mod membership;
pub mod node;
pub mod peers;
pub mod private_file;
pub mod prover;
pub mod registration;
pub mod signals;
pub mod state;
pub mod store;
pub mod volume;
