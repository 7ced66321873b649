//! The coordinator's books: which accounts there are, what lies on them, and how credits move. The ledger itself is a
//! crate and knows neither users nor nodes.

pub mod balances;
pub mod chart;
pub mod posting;
pub mod tables;
