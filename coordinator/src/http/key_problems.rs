//! Errors of sessions and access keys as clients see them.

use api::problem::ProblemKind;
use credentials::access_key::AddressesError;
use credentials::scope::ScopesError;
use credentials::wanted::WantedError;

use super::problem::{Problem, capitalised, limited};
use crate::accounts::access_keys::AccessKeyError;
use crate::accounts::key_login::KeyRefused;
use crate::accounts::principal::NotAllowed;
use crate::accounts::sessions::SessionRefused;

impl From<NotAllowed> for Problem {
    fn from(error: NotAllowed) -> Self {
        Self::new(
            ProblemKind::NotForThisKey,
            capitalised(&format!("{error}.")),
        )
    }
}

impl From<KeyRefused> for Problem {
    fn from(error: KeyRefused) -> Self {
        let detail = capitalised(&format!("{error}."));
        match error {
            KeyRefused::Unknown | KeyRefused::Expired => Self::unauthorized(detail),
            KeyRefused::NotFromHere(_) | KeyRefused::SignsNothing => {
                Self::new(ProblemKind::NotForThisKey, detail)
            }
            KeyRefused::Suspended(_) => Self::new(ProblemKind::AccountSuspended, detail),
            KeyRefused::Database(error) => error.into(),
            KeyRefused::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}

impl From<SessionRefused> for Problem {
    fn from(error: SessionRefused) -> Self {
        let detail = capitalised(&format!("{error}."));
        match error {
            SessionRefused::Ended => Self::unauthorized(detail),
            SessionRefused::Suspended(_) => Self::new(ProblemKind::AccountSuspended, detail),
            SessionRefused::Database(error) => error.into(),
        }
    }
}

impl From<AccessKeyError> for Problem {
    fn from(error: AccessKeyError) -> Self {
        let detail = capitalised(&format!("{error}."));
        match error {
            AccessKeyError::TooMany { limit } => Self::new(
                ProblemKind::TooManyAccessKeys,
                format!("{detail} Revoke one with DELETE /api/v1/access-keys/<id>."),
            )
            .with(limited(limit.into())),
            AccessKeyError::OtherRequest => Self::new(ProblemKind::IdempotencyKeyReused, detail),
            AccessKeyError::NotShownAgain(_) => Self::new(
                ProblemKind::IdempotencyKeyReused,
                format!("{detail} Revoke it, and make another under a fresh Idempotency-Key."),
            ),
            AccessKeyError::NotFound => Self::not_found("access key"),
            AccessKeyError::Database(error) => error.into(),
            AccessKeyError::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}

/// What cannot be used of a request, in its own words.
macro_rules! invalid {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::invalid(capitalised(&format!("{error}.")))
            }
        }
    )*};
}

invalid!(ScopesError, AddressesError, WantedError);
