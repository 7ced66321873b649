//! The only SQL on keys, wrapped data keys and secrets, and the network document.

pub mod data_keys;
pub mod keys;
pub mod network;
pub mod secrets;
