//! The only SQL on the repair queue, scans, reconciliation, drains and restores.

pub mod drains;
pub mod inventory;
pub mod reconcile;
pub mod repair;
pub mod restore;
