//! What the books read of the settlement's days.

pub mod days;
