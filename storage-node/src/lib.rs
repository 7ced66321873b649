//! A storage node: keeps blobs for the coordinators of one network, durably, and serves them to no
//! one else.

pub mod clock;
pub mod config;
pub mod coordinator_api;
pub mod identity;
pub mod logging;
pub mod private_file;
pub mod store;
pub mod volume;
