//! `/auth/events`: what was done with an account, and tried.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Kinds and outcomes are words, and there may be new ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecurityEvent {
    /// Of those that are counted, the first.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(example = "login"))]
    pub kind: String,
    /// `done` or `refused`.
    #[cfg_attr(feature = "openapi", schema(example = "done"))]
    pub outcome: String,
    /// A session, an access key, a command line; null: somebody who had shown nothing yet.
    pub actor: Option<String>,
    /// Of failures that were too many to be told apart: null.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
    /// What it was done to: a file, a key, a node.
    pub subject: Option<String>,
    pub request_id: Option<String>,
    /// How often, within a minute.
    pub count: u64,
}
