//! The only SQL on chunks, replicas and purges.

pub mod chunks;
pub mod purges;
