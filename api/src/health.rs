//! `/health` and `/readyz`: whether the coordinator can serve. `/livez` has no body.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `unavailable` when the database does not answer.
    pub status: String,
    pub version: String,
    pub database: bool,
    /// How far the database's clock is ahead of the coordinator's, while it is more than five minutes (or less than minus
    /// five): until they agree nothing expires, and nobody is charged, paid or disqualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clocks_apart_seconds: Option<i64>,
    pub nodes_online: usize,
    /// Who moves the money: stripe, or mock, with which none does. Left out where nothing can be bought or paid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "mock"))]
    pub payments: Option<String>,
}
