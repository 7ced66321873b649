//! The only SQL on audits, their results and receipts.

pub mod audit_results;
pub mod audit_schedule;
pub mod follow_ups;
pub mod receipts;
