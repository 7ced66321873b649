//! The only SQL on the security log.

pub mod events;
