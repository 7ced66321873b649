//! The only SQL on audits, their results, receipts and what owners are shown.

pub mod audit_results;
pub mod audit_schedule;
pub mod follow_ups;
pub mod kept_failures;
pub mod openings;
pub mod receipts;
pub mod shown_orders;
