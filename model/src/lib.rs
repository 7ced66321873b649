//! The nouns: ids, names, amounts of time and space, states. Pure: no I/O, no SQL, no clock, no chance of their own.
//!
//! ```
//! use model::scheme::Scheme;
//!
//! let three_copies = Scheme::copies(3);
//! assert_eq!(three_copies.stored_bytes(1_000), 3_000);
//! assert_eq!((three_copies.needed(), three_copies.safe()), (1, 2));
//! ```

pub mod bucket_rules;
pub mod chunk;
pub mod chunking;
pub mod day;
pub mod file;
pub mod ids;
pub mod money;
pub mod names;
pub mod node;
pub mod node_state;
pub mod objects;
pub mod payment;
pub mod scheme;
pub mod security;
pub mod sharing;
pub mod storage_class;
pub mod terms;
pub mod upload;
pub mod user;
