//! The SQL of shares.

pub mod shares;
pub mod visitors;
