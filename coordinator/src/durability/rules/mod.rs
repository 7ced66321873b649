//! What a chunk needs, what a drain costs, how an inventory differs, as pure functions.

pub mod drain;
pub mod inventory;
pub mod repair;
