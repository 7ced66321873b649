//! The HTTP contract between a coordinator and whoever asks it: [paths], [headers], the
//! bodies of requests and answers, and every [kind of problem](problem::ProblemKind).
//!
//! Each stands here once. The coordinator serves it and describes it (feature `openapi`), storage nodes, the
//! client and the test harness ask by it. Bodies serialize and deserialize; a module has the name of what it
//! is about, and a type that of its schema in the API's description. Ids and amounts are the newtypes of
//! [`proto`] wherever their JSON is the same. docs/api.md tells the API as a story.
//!
//! Compatibility: answers may gain members at any time, so clients pass over what they do not know;
//! words like a node's `state` are text, because there may be new ones. Requests are as strict as the
//! coordinator is.
//!
//! No HTTP library is chosen here, and there is no client: a crate that had one would bring it to the
//! coordinator, too.
//!
//! ```
//! use api::auth::Credentials;
//! use api::files::File;
//! use api::page::Page;
//! use api::problem::{Problem, ProblemKind};
//!
//! // POST paths::LOGIN with
//! let body = serde_json::to_string(&Credentials {
//!     email: "test@example.com".to_owned(),
//!     password: "test123".to_owned(),
//! })?;
//! assert_eq!(body, r#"{"email":"test@example.com","password":"test123"}"#);
//!
//! // GET paths::FILES answers
//! let answer = r#"{"items": [{
//!     "file_id": "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6", "filename": "test.txt", "size_bytes": 1024,
//!     "content_type": "text/plain", "chunk_size_bytes": 4194304, "chunk_count": 1, "state": "ready",
//!     "created_at": "2026-11-21T12:00:00Z", "paid_until": "2026-12-21T12:00:00Z", "grace_since": null
//! }], "next_cursor": null}"#;
//! let files: Page<File> = serde_json::from_str(answer)?;
//! assert_eq!(
//!     api::paths::file_download(files.items[0].file_id),
//!     "/api/v1/files/01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6/download"
//! );
//!
//! // or, with the status 402,
//! let answer = r#"{"type": "urn:fsn:problem:insufficient-credits", "title": "Insufficient credits",
//!     "status": 402, "detail": "This needs 375 credits and 100 are available: 275 are missing.",
//!     "instance": "/api/v1/files/upload/initiate", "request_id": "0198",
//!     "missing_microcredits": 275000000}"#;
//! let problem = Problem::of_answer(402, answer.as_bytes());
//! assert_eq!(problem.kind(), Some(ProblemKind::InsufficientCredits));
//! assert_eq!(problem.members.missing_microcredits.map(|missing| missing.get()), Some(275_000_000));
//! # Ok::<(), serde_json::Error>(())
//! ```

#![warn(unreachable_pub)]

pub mod access_keys;
pub mod auth;
pub mod buckets;
pub mod classes;
pub mod credits;
pub mod drain;
pub mod durability;
pub mod earnings;
pub mod evidence;
pub mod files;
pub mod headers;
pub mod health;
pub mod jobs;
pub mod network;
pub mod node_proofs;
pub mod nodes;
pub mod page;
pub mod passkeys;
pub mod paths;
pub mod peers;
pub mod problem;
pub mod second_factor;
pub mod security_events;
pub mod sessions;
pub mod shares;
pub mod summary;
pub mod uploads;
