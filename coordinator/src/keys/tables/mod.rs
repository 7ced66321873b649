//! The only SQL on keys, wrapped data keys and the network document.

pub mod data_keys;
pub mod keys;
pub mod network;
