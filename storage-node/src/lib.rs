//! A storage node: keeps blobs for the coordinators of one network, durably, and serves them to no
//! one else.
//!
//! The program is all that is public: what the operator types, and what comes of it.
//!
//! ```
//! use clap::Parser;
//! use storage_node::Cli;
//!
//! let typed = ["storage-node", "--set", "node.capacity=500GB", "start"];
//! assert!(Cli::try_parse_from(typed).is_ok()); // `storage_node::run` would run the node now
//! ```
//!
//! | room | what for |
//! |---|---|
//! | `node` | a running node: starts and stops all the others, and is the only one that knows them all |
//! | `agent` | what the node does for its coordinators: serves requests, proves, reports losses |
//! | `membership` | belonging to a network: registration, the network document, heartbeats |
//! | `peers` | who may connect, and what is known of others |
//! | `admin` | the HTTP API for the node's operator |
//! | `cli` | what the operator types, a file for each command |
//! | `served` | what the node has done for its coordinators, counted |
//! | `volume` | the data directory: whose it is, who has it open, the identity in it |
//! | `config` | the settings |
//!
//! The blobs themselves are in the crate `blobstore`. Arrows point down only: `cli` → `node` → `admin`, `agent` →
//! `membership` → `peers`, `volume` → `config`.

#![warn(unreachable_pub)]

mod admin;
mod agent;
mod cli;
mod config;
mod membership;
mod node;
mod peers;
mod served;
mod volume;

pub use cli::{Cli, run};
