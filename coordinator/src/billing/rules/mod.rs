//! What things cost and earn, as pure functions.

pub mod allowance;
pub mod file_meter;
pub mod node_pay;
