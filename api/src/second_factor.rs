//! `/auth/second-factor`: apps that show codes, and recovery codes.
//!
//! What carries a secret has no `Debug`, so that none gets into a log by chance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the account has of second factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondFactor {
    /// Since when logins are asked for a code; `null` when they are not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub totp_since: Option<Timestamp>,
    pub recovery_codes_left: u32,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    pub password: String,
}

/// What an app has to know. Shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolment {
    /// In Base32, to be typed in.
    pub secret: String,
    /// `otpauth://totp/…`, to be shown as a QR code.
    pub uri: String,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Six digits, as the app shows them.
    #[cfg_attr(feature = "openapi", schema(example = "287082"))]
    pub code: String,
}

/// Each lets its owner in once in the place of a code. Shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryCodes {
    pub recovery_codes: Vec<String>,
}

/// What whoever changes a second factor shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Proven {
    pub password: String,
    /// Of the app, or a recovery code.
    pub code: String,
}

/// The second half of a login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginCode {
    /// From the answer to the first.
    pub challenge: String,
    /// Of the app, or a recovery code.
    pub code: String,
}
