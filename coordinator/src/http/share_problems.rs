//! What can go wrong with shares, as clients are told.

use api::problem::ProblemKind;

use super::problem::{Problem, limited};
use crate::accounts::auth::AuthError;
use crate::shares::ShareError;

impl From<ShareError> for Problem {
    fn from(error: ShareError) -> Self {
        match error {
            ShareError::NotFound => Self::not_found("share: the link is wrong, or was taken back"),
            ShareError::NoTarget => Self::not_found("file, or key of the bucket, to share"),
            ShareError::TooMany { limit } => Self::new(
                ProblemKind::TooManyShares,
                format!(
                    "An account has at most {limit} shares. End one that nobody needs any more."
                ),
            )
            .with(limited(limit)),
            ShareError::IdTaken => Self::new(
                ProblemKind::ShareIdTaken,
                "There is another share of this id, or one that was asked for otherwise. Take 16 other bytes of chance.",
            ),
            ShareError::Ended => Self::new(
                ProblemKind::ShareEnded,
                "This link gives nothing any more: its time is up, it has been used as often as it may, or what it led \
                 to is gone. Ask whoever sent it.",
            ),
            ShareError::PasswordRequired => Self::new(
                ProblemKind::SharePasswordRequired,
                "This share has a password. POST it to `unlock`, and show the token of its answer in `Share-Token`, or \
                 the cookie.",
            ),
            ShareError::WrongPassword => Self::new(
                ProblemKind::SharePasswordRequired,
                "The password is wrong. Five may be tried in a minute.",
            ),
            ShareError::NoContent => {
                Self::not_found("content: this share shows copies and proofs alone")
            }
            ShareError::Password(error) => AuthError::from(error).into(),
            ShareError::Object(error) => error.into(),
            ShareError::Download(error) => error.into(),
            ShareError::Database(error) => error.into(),
            ShareError::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}
