//! A client of a federated storage network: stores files and objects, sealed before they leave the machine, and gets them
//! back, checked before a byte is handed out.
//!
//! - [`Client`] is a user at a network of one or several coordinators. What fails for the moment is asked again, there or
//!   elsewhere; what breaks off is taken up; transfers share one budget of memory, requests and bytes a second.
//! - [`Bucket`] has objects by name: sealed, the names as well as the bytes, unless it was made otherwise.
//! - [`FileMap`] is what gets a file back that has no name.
//! - [`rest`] is the HTTP API as it is, a request a call.
//!
//! Invariants: nothing of a sealed content is handed out before it was opened and checked; what is stored is all of what
//! the source was, or nothing; a transfer holds no more memory for a longer file.
//!
//! Rejected: keys that come of the content (convergent encryption). Coordinators seal each copy anew, so that nothing
//! would be stored once for two, and whoever has a file could see who else has it.
//!
//! ```no_run
//! use client::rest::Credentials;
//! use client::{Client, ClientConfig};
//!
//! # async fn example() -> Result<(), client::Error> {
//! let key = Credentials::AccessKey { id: "FSN…".to_owned(), secret: "…".to_owned() };
//! let client = Client::new(ClientConfig::new("https://storage.example.com", key))?;
//! let map = client.store_bytes("what nobody else reads").await?;
//! assert_eq!(client.get_bytes(&map).await?, "what nobody else reads");
//! # Ok(())
//! # }
//! ```

#![warn(unreachable_pub)]

mod bucket;
mod client;
mod config;
mod coordinators;
mod core;
mod download;
mod error;
mod file_map;
mod layout;
mod pace;
mod progress;
pub mod rest;
mod upload;

pub use crate::bucket::{Bucket, Entry, Input, PutOptions, Reader};
pub use crate::client::Client;
pub use crate::config::ClientConfig;
pub use crate::error::Error;
pub use crate::file_map::FileMap;
pub use crate::progress::OnProgress;
pub use crate::rest::ApiError;
pub use uuid::Uuid;
