//! The coordinator of a federated storage network: takes files over HTTP, seals and places their chunks, commands the
//! fleet of storage nodes, has them prove what they hold, pays for what is proven and repairs what is lost.
//!
//! It is sorted by concern, and each concern stands on a floor: it may use those below it and none above.
//! [`security`] < [`keys`] < [`bookkeeping`] < [`accounts`] < [`fleet`] < [`blobs`] < [`billing`] < [`files`]
//! < [`objects`] < [`shares`] < [`closing`] < [`proofs`] < [`durability`] < the faces [`http`], [`p2p`] and [`cli`]. A concern is a folder: `mod.rs` has a struct
//! of just what it works with, `tables` the only SQL on its tables, `jobs` its background work. What happens below is
//! told upwards as [`facts`]. [`compose`] puts it all together. The nouns are in the crate [`model`], what is decided
//! without any I/O in [`rules`].
//!
//! The program is `coordinator serve`; the library is there for its tests and benchmarks.
//!
//! ```
//! let settings = coordinator::config::Config::template();
//! assert!(settings.contains("[database]"));
//! ```
//!
//! docs/ARCHITECTURE.md walks through one upload, one audit, one repair.

pub mod accounts;
pub mod billing;
pub mod blobs;
pub mod bookkeeping;
pub mod cli;
pub mod closing;
pub mod compose;
pub mod database;
pub mod durability;
pub mod facts;
pub mod files;
pub mod fleet;
pub mod http;
pub mod keys;
pub mod local_request;
pub mod measuring;
pub mod metrics;
pub mod objects;
pub mod p2p;
pub mod proofs;
pub mod security;
pub mod serve;
pub mod shares;

pub use settings as config;
