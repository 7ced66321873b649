//! The rules: pure functions and types. No I/O, no SQL, no clock, no randomness of their own.

pub mod allowance;
pub mod audit;
pub mod chunking;
pub mod day;
pub mod drain;
pub mod evidence;
pub mod file_meter;
pub mod fleet_guard;
pub mod ids;
pub mod inventory;
pub mod ledger;
pub mod money;
pub mod names;
pub mod node;
pub mod node_pay;
pub mod placement;
pub mod proofs;
pub mod repair;
pub mod reputation;
pub mod sealing;
pub mod uptime;
