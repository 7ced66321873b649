//! `/auth`: accounts and tokens.
//!
//! What carries a password or a token has no `Debug`, so that none gets into a log by chance.

use proto::MicroCredits;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    #[cfg_attr(feature = "openapi", schema(example = "test@example.com"))]
    pub email: String,
    /// 7 to 1024 characters.
    #[cfg_attr(feature = "openapi", schema(example = "test123"))]
    pub password: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    pub user_id: Uuid,
    pub email: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Tokens {
    /// Goes into `Authorization: Bearer …`.
    pub access_token: String,
    #[cfg_attr(feature = "openapi", schema(example = "Bearer"))]
    pub token_type: String,
    /// Seconds.
    #[cfg_attr(feature = "openapi", schema(example = 900))]
    pub expires_in: u64,
    /// Good for one `auth/refresh`.
    pub refresh_token: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshToken {
    pub refresh_token: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    pub current_password: String,
    /// 7 to 1024 characters.
    pub new_password: String,
}

/// An account and its credits. 1 credit = 1,000,000 micro-credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Me {
    pub user_id: Uuid,
    pub email: String,
    pub role: String,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available_microcredits: MicroCredits,
    /// For uploads under way.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub held_microcredits: MicroCredits,
    /// Paid in advance for stored files.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub escrow_microcredits: MicroCredits,
}
