//! The only SQL on the repair queue, scans, reconciliation, drains, undos and restores.

pub mod drains;
pub mod inventory;
pub mod purge_undos;
pub mod reconcile;
pub mod repair;
pub mod restore;
