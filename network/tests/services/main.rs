//! The peer layer as programs use it: real services that talk over loopback sockets, on ports that
//! the system chooses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod admission;
mod bare_channel;
mod calls;
mod channels;
mod connections;
mod discovery;
mod endurance;
mod fleets;
mod hostile_peers;
mod lifecycle;
mod own_network;
mod pings;
mod raw_peer;
mod roles;
mod router;
mod support;
