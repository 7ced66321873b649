//! What to ask, how to judge an answer and what follows, as pure functions.

pub mod audit;
pub mod judging;
