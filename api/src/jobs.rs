//! `GET /admin/jobs`: the background work of one coordinator. For admins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A background job: what it last did, and what waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    pub name: String,
    /// idle, running or waiting
    #[cfg_attr(feature = "openapi", schema(example = "idle"))]
    pub state: String,
    /// What has to come first, while it is waiting.
    pub waits_for: Option<String>,
    /// The pause between two steps that find nothing to do.
    pub every_ms: u64,
    /// Steps that were begun since the coordinator started.
    pub runs: u64,
    /// Steps that ended in an error, a panic or a timeout.
    pub failures: u64,
    /// When a step last began.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// When a step last ended, well or not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub ended_at: Option<Timestamp>,
    /// How long that step took.
    pub duration_ms: Option<u64>,
    /// Kept when later steps succeed: `at` tells how old it is.
    pub last_error: Option<JobError>,
    /// How much waits to be done; null where the job cannot tell.
    pub backlog: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Jobs {
    pub items: Vec<Job>,
}
