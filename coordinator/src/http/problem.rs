//! Errors as clients see them: RFC 9457 `application/problem+json` with a stable `type`, what
//! happened, and the next thing to do.
//!
//! A [`Problem`] travels in the response's extensions; the outermost middleware writes it out, where
//! the request's id and path are known.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rate_limit::TooManyRequests;
use crate::app::access_tokens::TokenError;
use crate::app::auth::AuthError;
use crate::app::credits::PurchaseError;
use crate::app::download::DownloadError;
use crate::app::files::DeleteError;
use crate::app::nodes::RegisterError;
use crate::app::payouts::PayoutError;
use crate::app::persist::is_passing;
use crate::app::storage_charges::ChargeError;
use crate::app::upload::UploadError;
use crate::db::ledger::PostError;
use crate::domain::names::InvalidText;
use crate::domain::placement::PlacementError;

#[derive(Debug, Clone)]
pub struct Problem {
    pub status: StatusCode,
    /// The last part of `type`: `urn:fsn:problem:<slug>`.
    slug: &'static str,
    detail: String,
    members: Map<String, Value>,
    pub headers: Vec<(http::HeaderName, String)>,
}

impl Problem {
    pub fn new(status: StatusCode, slug: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            slug,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// A further member, for programs.
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.members.insert(name.to_owned(), json!(value));
        self
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers
            .push((http::header::RETRY_AFTER, seconds.to_string()));
        self
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            format!("There is no such {what}."),
        )
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", detail)
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        problem
            .headers
            .push((http::header::WWW_AUTHENTICATE, "Bearer".to_owned()));
        problem
    }

    /// Logged in full, told in short.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong here. Try again; if it goes on, give the operator the request id.",
        )
    }

    pub fn document(&self, instance: &str, request_id: &str) -> Value {
        let mut document = self.members.clone();
        document.insert(
            "type".into(),
            json!(format!("urn:fsn:problem:{}", self.slug)),
        );
        document.insert("title".into(), json!(title(self.slug)));
        document.insert("status".into(), json!(self.status.as_u16()));
        document.insert("detail".into(), json!(self.detail));
        document.insert("instance".into(), json!(instance));
        document.insert("request_id".into(), json!(request_id));
        Value::Object(document)
    }
}

/// A slug as a sentence's beginning: `not-found` → `Not found`.
fn title(slug: &str) -> String {
    let text = slug.replace('-', " ");
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let is_closed = matches!(error, sqlx::Error::PoolClosed);
        // Class 53: the server is short of something.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let is_short = code.is_some_and(|code| code.starts_with("53"));
        if is_closed || is_short || is_passing(&error) {
            tracing::warn!(%error, "the database is not available");
            return Self::database_away();
        }
        Self::internal(error)
    }
}

impl Problem {
    fn database_away() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database-unavailable",
            "The coordinator's database does not answer right now. Try again in a few seconds.",
        )
        .retry_after(5)
    }
}

impl From<InvalidText> for Problem {
    fn from(error: InvalidText) -> Self {
        let mut detail = error.to_string();
        detail.push('.');
        Self::invalid(capitalised(&detail))
    }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::unauthorized(capitalised(&format!("{error}.")))
    }
}

impl From<TooManyRequests> for Problem {
    fn from(error: TooManyRequests) -> Self {
        let seconds = error.retry_after.as_secs() + 1;
        let mut problem = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            format!("Too many attempts. Try again in {seconds} s."),
        )
        .retry_after(seconds);
        problem.headers.extend(error.headers(seconds));
        problem
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::AddressTaken => Self::new(
                StatusCode::CONFLICT,
                "address-taken",
                "An account with this e-mail address exists. Log in, or use another address.",
            ),
            AuthError::WrongCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                "wrong-credentials",
                "The e-mail address or the password is wrong.",
            ),
            AuthError::BadRefreshToken => Self::new(
                StatusCode::UNAUTHORIZED,
                "bad-refresh-token",
                "The refresh token is unknown, used or expired. Log in again.",
            ),
            AuthError::Database(error) => error.into(),
            error @ (AuthError::Password(_) | AuthError::Signing(_)) => Self::internal(error),
        }
    }
}

impl From<PurchaseError> for Problem {
    fn from(error: PurchaseError) -> Self {
        match error {
            PurchaseError::KeyReused => key_reused(),
            PurchaseError::Refused(refused) => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "payment-refused",
                refused.to_string(),
            ),
            error @ PurchaseError::SoldOut => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "credits-sold-out",
                capitalised(&format!("{error}. Nothing was charged.")),
            ),
            PurchaseError::TooLarge(error) => Self::invalid(capitalised(&format!("{error}."))),
            PurchaseError::Ledger(crate::db::ledger::PostError::Database(error))
            | PurchaseError::Database(error) => error.into(),
            error @ PurchaseError::Ledger(_) => Self::internal(error),
        }
    }
}

impl From<PayoutError> for Problem {
    fn from(error: PayoutError) -> Self {
        match error {
            PayoutError::KeyReused => key_reused(),
            PayoutError::Nothing | PayoutError::TooMuch { .. } => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "nothing-to-pay-out",
                capitalised(&format!(
                    "{error}. GET /api/v1/balance tells what is available; what is held comes later."
                )),
            ),
            PayoutError::Ledger(PostError::Database(error)) | PayoutError::Database(error) => {
                error.into()
            }
            error @ PayoutError::Ledger(_) => Self::internal(error),
        }
    }
}

fn key_reused() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "This Idempotency-Key was used for a different request. Use a fresh one for each request.",
    )
}

impl From<PlacementError> for Problem {
    fn from(error: PlacementError) -> Self {
        match error {
            PlacementError::TooFewNodes { needed, eligible } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-few-nodes",
                format!(
                    "{needed} more storage nodes are needed for this and {eligible} can be used \
                     now. Nothing was stored with fewer copies; try again when more are online."
                ),
            )
            .retry_after(10),
            PlacementError::TooLittleSpace { needed, eligible } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "insufficient-storage",
                format!(
                    "{needed} storage nodes with room are needed for this and {eligible} have it. \
                     Nothing was charged; try a smaller file, or again when there is more room."
                ),
            ),
        }
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        use StatusCode as S;
        match error {
            UploadError::NotFound => Self::not_found("upload"),
            UploadError::Closed => Self::new(
                S::CONFLICT,
                "upload-closed",
                "This upload is completed or was given up; it takes no more chunks.",
            ),
            UploadError::Expired(at) => Self::new(
                S::GONE,
                "upload-expired",
                format!("This upload expired at {at}. Begin again with files/upload/initiate."),
            ),
            UploadError::KeyReused => key_reused(),
            UploadError::InProgress => Self::new(
                S::CONFLICT,
                "upload-in-progress",
                "This upload is still under way. Try again when it has ended.",
            )
            .retry_after(5),
            UploadError::TooLarge { limit_bytes } => Self::new(
                S::PAYLOAD_TOO_LARGE,
                "file-too-large",
                format!("A file may have at most {limit_bytes} bytes here."),
            )
            .with("limit_bytes", limit_bytes),
            UploadError::TooManyFiles { limit } => Self::new(
                S::FORBIDDEN,
                "too-many-files",
                format!("An account may have at most {limit} files. Delete some first."),
            )
            .with("limit", limit),
            UploadError::PaymentRequired { cost, available } => {
                let missing = cost.checked_sub(available).unwrap_or(cost);
                Self::new(
                    S::PAYMENT_REQUIRED,
                    "insufficient-credits",
                    format!(
                        "This needs {cost} credits and {available} are available: {missing} are \
                         missing. Buy more with POST /api/v1/auth/credits/purchase."
                    ),
                )
                .with("needed_microcredits", cost)
                .with("available_microcredits", available)
                .with("missing_microcredits", missing)
            }
            UploadError::IndexOutOfRange { index, chunk_count } => Self::new(
                S::UNPROCESSABLE_ENTITY,
                "chunk-out-of-range",
                format!(
                    "The file has {chunk_count} chunks, numbered from 0; there is no chunk {index}."
                ),
            )
            .with("chunk_count", chunk_count),
            UploadError::WrongLength {
                index,
                expected,
                received,
            } => Self::new(
                S::UNPROCESSABLE_ENTITY,
                "wrong-chunk-length",
                format!("Chunk {index} has exactly {expected} bytes; {received} were sent."),
            )
            .with("expected_bytes", expected),
            UploadError::ChunksMissing { count, first } => Self::new(
                S::CONFLICT,
                "chunks-missing",
                format!(
                    "{count} chunks have not been sent yet, or have lost a copy since. Send them, then \
                     complete again."
                ),
            )
            .with("missing", first)
            .with("missing_count", count),
            UploadError::CopiesLost { .. } => Self::new(
                S::SERVICE_UNAVAILABLE,
                "copies-lost",
                format!("{}. Send it again.", capitalised(&error.to_string())),
            )
            .retry_after(5),
            UploadError::Placement(error) => error.into(),
            UploadError::Body(error) => Self::invalid(capitalised(&format!("{error}."))),
            UploadError::TooSlow => Self::new(
                S::REQUEST_TIMEOUT,
                "timeout",
                "The chunk did not come in time. Send it again, over a faster line or in a smaller \
                 number at one time.",
            ),
            UploadError::Stopping => Self::new(
                S::SERVICE_UNAVAILABLE,
                "stopping",
                "The coordinator is stopping. Try again in a few seconds.",
            )
            .retry_after(5),
            UploadError::Database(error) => error.into(),
            UploadError::Internal(text) => Self::internal(text),
        }
    }
}

impl From<DownloadError> for Problem {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::NotFound => Self::not_found("file"),
            DownloadError::Unreadable { index } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unreadable",
                format!("No copy of chunk {index} can be read right now. Try again later."),
            )
            .retry_after(30),
            DownloadError::Database(error) => error.into(),
            DownloadError::Internal(text) => Self::internal(text),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => Self::not_found("file"),
            DeleteError::Database(error)
            | DeleteError::Charge(
                ChargeError::Database(error) | ChargeError::Ledger(PostError::Database(error)),
            ) => error.into(),
            DeleteError::Charge(error) => Self::internal(error),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        use StatusCode as S;
        let detail = capitalised(&format!("{error}."));
        match error {
            RegisterError::BadNonce => Self::new(S::UNPROCESSABLE_ENTITY, "bad-nonce", detail),
            RegisterError::BadSignature => {
                Self::new(S::UNPROCESSABLE_ENTITY, "bad-signature", detail)
            }
            RegisterError::TokenRequired => Self::new(
                S::FORBIDDEN,
                "node-token-required",
                format!("{detail} Get one from POST /api/v1/nodes/tokens and pass it as --token."),
            ),
            RegisterError::BadToken => Self::new(S::FORBIDDEN, "bad-node-token", detail),
            RegisterError::NotAllowed => Self::new(S::FORBIDDEN, "node-not-allowed", detail),
            RegisterError::Disqualified(_) => Self::new(S::FORBIDDEN, "node-disqualified", detail),
            RegisterError::Database(error) => error.into(),
        }
    }
}
