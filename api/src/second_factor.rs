//! `/auth/second-factor`: apps that show codes, and recovery codes. Passkeys are in [`crate::passkeys`].
//!
//! What carries a secret has no `Debug`, so that none gets into a log by chance.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::passkeys::PasskeyAnswer;

/// What the account has of second factors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SecondFactor {
    /// Since when logins are asked for a code; `null` when they are not.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub totp_since: Option<Timestamp>,
    pub recovery_codes_left: u32,
    /// How many passkeys there are (`auth/passkeys`); with any, logins by password are asked for a second factor, too.
    #[serde(default)]
    pub passkeys: u32,
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

/// What whoever changes what lets people in shows once more: the password, and a code where the account has a second factor;
/// or a passkey, which is both.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Proven {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Of the app, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<PasskeyAnswer>,
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
