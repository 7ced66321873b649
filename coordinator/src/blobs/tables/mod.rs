//! The only SQL on chunks, replicas, purges and brakes.

pub mod brakes;
pub mod chunks;
pub mod purges;
