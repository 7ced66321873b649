//! `/auth`: accounts and tokens.
//!
//! What carries a password or a token has no `Debug`, so that none gets into a log by chance.

use proto::MicroCredits;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::passkeys::PasskeyAnswer;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    #[cfg_attr(feature = "openapi", schema(example = "test@example.com"))]
    pub email: String,
    /// As many characters as the network asks for (`auth.password_min_length`), 1024 at most.
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
    /// As many characters as the network asks for, 1024 at most.
    pub new_password: String,
}

/// Whoever has forgotten his password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    pub email: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    /// From the letter, or from an administrator.
    pub token: String,
    /// As many characters as the network asks for, 1024 at most.
    pub new_password: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddressToken {
    /// From the letter.
    pub token: String,
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
    /// What `DELETE auth/me` would take for good: all of the above, less what files will have used by then. Coordinators of
    /// the release before do not say it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub forfeited_by_deletion_microcredits: MicroCredits,
}

/// What an account stores, and what keeping it as it is costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Files, objects of buckets among them.
    pub files: u64,
    /// Of their content, each counted once.
    pub bytes: u64,
    /// What a month of all of them comes to, at the prices that they were sold at.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub month_microcredits: MicroCredits,
}

/// The account is deleted by this, for good: password or passkey once more, so that nobody does it with a token that he has
/// found.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DeleteAccount {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<PasskeyAnswer>,
}
