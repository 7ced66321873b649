//! The only SQL on earnings, days, payouts and penalties.

pub mod destinations;
pub mod disputes;
pub mod earnings;
pub mod ledger_history;
pub mod payouts;
pub mod penalties;
pub mod pending;
pub mod purchases;
pub mod settlement;
pub mod terms;
