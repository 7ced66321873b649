//! How much at a time, and how fast: requests in flight, memory of all transfers together, bytes a second.

mod limiter;
mod turns;
mod watch;

pub(crate) use limiter::Limiter;
pub(crate) use turns::{MOST, Turns};
pub(crate) use watch::Watch;
