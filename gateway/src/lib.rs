//! Objects as foreign programs ask for them: S3, over any [`ObjectStore`].
//!
//! What is of the protocol is here: how requests are signed and what a signature stands for, checksums, entity tags,
//! conditions, lists and their tokens, and the words for errors. The store keeps buckets and objects, and knows nothing of
//! S3. The crate `s3s` reads and writes the HTTP messages. Besides, what the REST API says of objects ([`said`]), what all
//! faces that serve stored bytes have in common ([`inert`], [`ranges`], [`validators`]), and the headers of [`tus`].
//!
//! ```
//! use gateway::etag::of_parts;
//!
//! // The MD5 of the parts' MD5s, and how many they are.
//! assert_eq!(of_parts([[0; 16]].iter()), "4ae71336e44bf9bf79d2752e234818a5-1");
//! ```

#![warn(unreachable_pub)]

pub mod checked_body;
pub mod checksum;
pub mod conditions;
mod cors;
pub mod etag;
pub mod inert;
pub mod ranges;
pub mod s3;
pub mod said;
pub mod store;
pub mod tus;
pub mod validators;

pub use s3::{S3Gateway, S3Settings};
pub use store::ObjectStore;
