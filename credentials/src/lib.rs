//! What somebody shows to be let in, and what that lets him do. Pure: no I/O; time and chance are arguments.
//!
//! - [`access_key`]: ids and secrets of access keys, how they are shown in a request, and where they may be used from.
//! - [`scope`]: what a key may do.
//! - [`wanted`]: what somebody wants a new key to be, checked.
//! - [`password`]: which passwords are taken; [`totp`] and [`recovery`]: second factors; [`secrets`]: tokens that are kept hashed.
//! - [`share`]: what opens a share, and the token of whoever was let in.
//! - [`known`]: what a coordinator may go by for a moment without asking its database again.
//!
//! ```
//! use credentials::access_key::{AccessKey, Presented};
//! use credentials::scope::{Scope, Scopes};
//!
//! // Made once, of 32 bytes of chance. The secret is shown, and only its hash is kept.
//! let key = AccessKey::from_seed(&[7; 32]);
//! let kept = key.secret.hash();
//!
//! // `Authorization: Basic base64(id:secret)`
//! let shown = Presented::basic("RlNOQUJDREVGR0hJSktMTU5PUFE6ZnNua19ub3QgdGhpcw==")?;
//! assert_eq!(shown.id.as_str(), "FSNABCDEFGHIJKLMNOPQ");
//! assert!(!kept.matches(&shown.secret));
//! assert!(kept.matches(&key.secret));
//!
//! let scopes = Scopes::named(["read", "list"])?;
//! assert!(scopes.contains(Scope::Read) && !scopes.contains(Scope::Delete));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(unreachable_pub, missing_docs)]

pub mod access_key;
pub mod known;
pub mod password;
pub mod recovery;
pub mod scope;
pub mod secrets;
pub mod share;
pub mod totp;
pub mod wanted;
