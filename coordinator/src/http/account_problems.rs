//! What goes wrong with whole accounts, as clients see it.

use api::problem::{Members, ProblemKind};

use credentials::password::WeakPassword;

use super::problem::{Problem, capitalised};
use crate::accounts::auth::AuthError;
use crate::accounts::passwords::PasswordError;
use crate::closing::close::CloseError;

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::AddressTaken => Self::new(
                ProblemKind::AddressTaken,
                "An account with this e-mail address exists. Log in, or use another address.",
            ),
            AuthError::WrongCredentials => Self::new(
                ProblemKind::WrongCredentials,
                "The e-mail address or the password is wrong.",
            ),
            AuthError::BadRefreshToken => Self::new(
                ProblemKind::BadRefreshToken,
                "The refresh token is unknown, used or expired. Log in again.",
            ),
            AuthError::SecondFactorRequired(challenge) => Self::new(
                ProblemKind::SecondFactorRequired,
                "The password is right. Send the code that your app shows, or a recovery code, with `challenge` to POST \
                 /api/v1/auth/login/second-factor.",
            )
            .with(Members {
                challenge: Some(challenge.token.to_string()),
                expires_in: Some(challenge.good_for.as_secs()),
                ..Members::default()
            }),
            AuthError::BadChallenge => Self::new(
                ProblemKind::BadChallenge,
                "This login has expired, or has had too many wrong codes. Log in again.",
            ),
            AuthError::WrongCode => Self::new(
                ProblemKind::WrongCode,
                "The code is wrong, or was used before. Send the one that your app shows now, or a recovery code.",
            ),
            AuthError::TooManyCodes => Self::new(
                ProblemKind::TooManyRequests,
                "This account has had too many wrong codes. Try again in 15 minutes, or with a recovery code.",
            )
            .retry_after(900),
            AuthError::HasSecondFactor => Self::new(
                ProblemKind::HasSecondFactor,
                "The account has a second factor already. Remove that first: DELETE /api/v1/auth/second-factor/totp.",
            ),
            AuthError::NoSecondFactor => Self::new(
                ProblemKind::NoSecondFactor,
                "The account has no second factor. POST /api/v1/auth/second-factor/totp begins one.",
            ),
            AuthError::SecondFactorDemanded => Self::new(
                ProblemKind::SecondFactorDemanded,
                "Administrators of this network need a second factor. POST /api/v1/auth/second-factor/totp begins one.",
            ),
            AuthError::NoSite(error) => Self::new(
                ProblemKind::PasskeysNotConfigured,
                capitalised(&format!("{error}. The network's operator has to set it.")),
            ),
            error @ (AuthError::BadPasskey(_) | AuthError::PasskeyName) => Self::invalid(told(error)),
            error @ (AuthError::WrongPasskey(_) | AuthError::UnknownPasskey) => {
                Self::new(ProblemKind::WrongPasskey, told(error))
            }
            AuthError::TooManyPasskeys { limit } => Self::new(
                ProblemKind::TooManyPasskeys,
                format!("The account has {limit} passkeys, as many as it may. Remove some."),
            )
            .with(Members {
                limit: Some(limit.into()),
                ..Members::default()
            }),
            AuthError::LastWayIn => Self::new(
                ProblemKind::LastWayIn,
                "Without it nobody could enter the account any more. Add another passkey first, or set a password by letter: \
                 POST /api/v1/auth/password/reset/request.",
            ),
            AuthError::Secret(error) => Self::internal(format!("{error:#}")),
            AuthError::BadToken => Self::new(
                ProblemKind::BadToken,
                "This token is unknown, used or expired. Ask for another one.",
            ),
            AuthError::AddressNotVerified => Self::new(
                ProblemKind::AddressNotVerified,
                "This network takes files only from accounts whose address is verified. Open the link in the letter that was \
                 sent to it; POST /api/v1/auth/verify/request sends another one.",
            ),
            AuthError::NoLetter(error) => Self::new(
                ProblemKind::NoMail,
                capitalised(&format!(
                    "{error}. Ask the network's operator: `coordinator admin user reset-link ADDRESS` makes a link for another password."
                )),
            ),
            AuthError::TooManyAccounts { limit } => Self::new(
                ProblemKind::TooManyRequests,
                format!(
                    "From this network {limit} accounts have been opened today. Try again tomorrow, or from elsewhere."
                ),
            )
            .retry_after(3600),
            AuthError::Suspended(reason) => Self::new(
                ProblemKind::AccountSuspended,
                format!("The account is suspended: {reason}. Its files are kept; ask the network's operator."),
            ),
            AuthError::Password(PasswordError::Busy) => Self::new(
                ProblemKind::TooManyRequests,
                "Too many passwords wait to be checked. Try again in a few seconds.",
            )
            .retry_after(5),
            AuthError::Password(PasswordError::Weak(weak)) => {
                let kind = match weak {
                    WeakPassword::Common => ProblemKind::WeakPassword,
                    _ => ProblemKind::InvalidRequest,
                };
                Self::new(kind, capitalised(&format!("{weak}.")))
            }
            AuthError::Database(error) => error.into(),
            error @ (AuthError::Password(PasswordError::Failed(_)) | AuthError::Signing(_)) => {
                Self::internal(error)
            }
        }
    }
}

/// With what lies behind it.
fn told(error: AuthError) -> String {
    capitalised(&format!("{:#}.", anyhow::Error::from(error)))
}

impl From<CloseError> for Problem {
    fn from(error: CloseError) -> Self {
        match error {
            CloseError::HasNodes { nodes } => Self::new(
                ProblemKind::HasNodes,
                format!(
                    "{nodes} nodes of this account have not left the network, and keep files of others. Nothing was done. \
                     Drain them (`storage-node drain`) and have their pay paid out, then delete the account again."
                ),
            )
            .with(Members {
                nodes: Some(nodes),
                ..Members::default()
            }),
            CloseError::Auth(error) => error.into(),
            CloseError::Database(error) => error.into(),
            error @ (CloseError::Closed
            | CloseError::Ending(_)
            | CloseError::Objects(_)
            | CloseError::Credits(_)) => {
                Self::internal(format!("{:#}", anyhow::Error::from(error)))
            }
        }
    }
}
