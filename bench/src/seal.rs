//! `bench seal`: the crate `aes-gcm`, which seals chunks, beside aws-lc, in turn in one process.
//!
//! All of it is `sealing::comparison`, where both libraries are at hand; without a build of the whole network:
//! `cargo run --release -p fsn-sealing --example seal_speed --features comparison`.

use anyhow::Result;
use sealing::comparison::Comparison;

pub(crate) fn run(rounds: usize) -> Result<Comparison> {
    Ok(Comparison::run(rounds)?)
}
