//! The only SQL on nodes, their state, presence and uptime.

pub mod awaiting_restore;
pub mod counts;
pub mod groups;
pub mod node_status;
pub mod nodes;
pub mod operators;
pub mod presence;
pub mod uptime;
