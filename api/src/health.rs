//! `/health` and `/readyz`: whether the coordinator can serve. `/livez` has no body.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `unavailable` when the database does not answer.
    pub status: String,
    pub version: String,
    pub database: bool,
    pub nodes_online: usize,
}
