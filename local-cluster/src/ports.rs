//! Ports that stay free while their owner is down.
//!
//! Rejected: port 0, which takes one of the range that outgoing connections use. While a killed
//! program is away its port could then be taken by anybody's connection, even by the very connection
//! that somebody tries to make to it (a TCP self-connect).

use std::net::TcpListener;

use anyhow::{Context, Result};
use rand::{Rng, RngExt};

/// Below what Linux, by default, gives to outgoing connections (32768 and above).
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 100;

pub(crate) fn free_port(random: &mut impl Rng) -> Result<u16> {
    (0..ATTEMPTS)
        .map(|_| random.random_range(RANGE))
        .find(|port| is_free(*port))
        .with_context(|| format!("no free port found in {RANGE:?}"))
}

pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
