//! The peer layer as programs use it: real services that talk over loopback sockets, on ports that
//! the system chooses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod admission;
mod calls;
mod channels;
mod connections;
mod endurance;
mod fleets;
mod hostile_peers;
mod lifecycle;
mod raw_peer;
mod support;
