//! The coordinator: takes files over HTTP, seals and places their chunks, and commands the fleet.
//!
//! `{http, p2p, workers} -> app -> {domain, db}`. See docs/ARCHITECTURE.md for a walk through it.

pub mod app;
pub mod broken_pipe;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod health_check;
pub mod http;
pub mod keys;
pub mod log;
pub mod metrics;
pub mod p2p;
pub mod serve;
pub mod workers;
