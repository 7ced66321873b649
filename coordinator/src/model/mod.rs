//! The nouns: ids, names, amounts of time and space, states. Pure: no I/O, no SQL, no clock, no chance of their own.

pub mod chunk;
pub mod chunking;
pub mod day;
pub mod file;
pub mod ids;
pub mod money;
pub mod names;
pub mod node;
pub mod node_state;
pub mod scheme;
pub mod upload;
pub mod user;
