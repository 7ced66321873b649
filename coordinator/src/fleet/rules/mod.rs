//! Placement, reputation, uptime and the guard against mass failure, as pure functions.

pub mod fleet_guard;
pub mod placement;
pub mod reputation;
pub mod uptime;
