//! The only SQL on audits, their results and receipts.

pub mod audit_results;
pub mod audit_schedule;
pub mod receipts;
pub mod shown_orders;
