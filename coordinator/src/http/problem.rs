//! Errors as clients see them: which kind of [`api::problem`] each error of the use cases is, what happened,
//! and the next thing to do.
//!
//! A [`Problem`] travels in the response's extensions; the outermost middleware writes it out, where
//! the request's id and path are known.

use api::problem::{Members, ProblemKind};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::rate_limit::{self, TooManyRequests};
use crate::accounts::access_tokens::TokenError;
use crate::billing::charges::ChargeError;
use crate::blobs::ClassUnavailable;
use crate::database::commit_retry::{is_passing, is_refused};
use crate::files::delete::DeleteError;
use crate::files::download::DownloadError;
use crate::files::upload::UploadError;
use crate::fleet::node_tokens::NodeTokenError;
use crate::fleet::registration::RegisterError;
use ledger::{PostError, TableError};
use model::names::InvalidText;
use rules::allowance::FileLimit;
use rules::placement::PlacementError;

#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub status: StatusCode,
    kind: ProblemKind,
    detail: String,
    members: Box<Members>,
    pub headers: Vec<(http::HeaderName, String)>,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(kind.status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind,
            detail: detail.into(),
            members: Box::default(),
            headers: Vec::new(),
        }
    }

    /// What programs need to know besides.
    pub(super) fn with(mut self, members: Members) -> Self {
        self.members = Box::new(members);
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.headers
            .push((http::header::RETRY_AFTER, seconds.to_string()));
        self
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("There is no such {what}."))
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::InvalidRequest, detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(ProblemKind::Unauthorized, detail);
        problem
            .headers
            .push((http::header::WWW_AUTHENTICATE, "Bearer".to_owned()));
        problem
    }

    /// Logged in full, told in short.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(
            ProblemKind::Internal,
            "Something went wrong here. Try again; if it goes on, give the operator the request id.",
        )
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(name, _)| name == http::header::RETRY_AFTER)?;
        value.parse().ok()
    }

    pub(super) fn document(&self, instance: &str, request_id: &str) -> api::problem::Problem {
        api::problem::Problem {
            status: self.status.as_u16(),
            instance: instance.to_owned(),
            request_id: request_id.to_owned(),
            members: Members::clone(&self.members),
            ..api::problem::Problem::new(self.kind, self.detail.as_str())
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<TableError> for Problem {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Database(error) => error.into(),
            error @ TableError::Corrupt { .. } => Self::internal(error),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::of_database(&error)
    }
}

impl Problem {
    fn of_database(error: &sqlx::Error) -> Self {
        let is_closed = matches!(error, sqlx::Error::PoolClosed);
        // Class 53: the server is short of something.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let is_short = code.is_some_and(|code| code.starts_with("53"));
        if is_closed || is_short || is_passing(error) {
            tracing::warn!(%error, "the database is not available");
            return Self::database_away();
        }
        Self::internal(error)
    }
}

impl Problem {
    fn database_away() -> Self {
        Self::new(
            ProblemKind::DatabaseUnavailable,
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

pub(super) fn limited(limit: u64) -> Members {
    Members {
        limit: Some(limit),
        ..Members::default()
    }
}

pub(super) fn capitalised(text: &str) -> String {
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
            ProblemKind::TooManyRequests,
            format!("Too many attempts. Try again in {seconds} s."),
        )
        .retry_after(seconds);
        problem.headers.extend(rate_limit::headers(&error, seconds));
        problem
    }
}

pub(super) fn key_reused() -> Problem {
    Problem::new(
        ProblemKind::IdempotencyKeyReused,
        "This Idempotency-Key was used for a different request. Use a fresh one for each request.",
    )
}

impl From<PlacementError> for Problem {
    fn from(error: PlacementError) -> Self {
        match error {
            PlacementError::TooFewNodes { needed, eligible } => Self::new(
                ProblemKind::TooFewNodes,
                format!(
                    "{needed} more storage nodes are needed for this and {eligible} can be used \
                     now. Nothing was stored with fewer copies; try again when more are online."
                ),
            )
            .retry_after(10),
            PlacementError::TooLittleSpace { needed, eligible } => Self::new(
                ProblemKind::InsufficientStorage,
                format!(
                    "{needed} storage nodes with room are needed for this and {eligible} have it. \
                     Nothing was charged; try a smaller file, or again when there is more room."
                ),
            ),
        }
    }
}

impl From<ClassUnavailable> for Problem {
    fn from(error: ClassUnavailable) -> Self {
        let detail = match error {
            ClassUnavailable::TooFewDomains(few) => format!(
                "Class {} needs {} storage nodes of different failure domains, and {} are online. Nothing was charged; \
                 store the file in another class, or try again when there are more.",
                few.class, few.needed, few.domains
            ),
            older @ ClassUnavailable::OlderCoordinator(_) => {
                format!(
                    "{}. Try again when it has been upgraded.",
                    capitalised(&older.to_string())
                )
            }
        };
        Self::new(ProblemKind::ClassUnavailable, detail).retry_after(60)
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::NotFound => Self::not_found("upload"),
            UploadError::Closed => Self::new(
                ProblemKind::UploadClosed,
                "This upload is completed or was given up; it takes no more chunks.",
            ),
            UploadError::Expired(at) => Self::new(
                ProblemKind::UploadExpired,
                format!("This upload expired at {at}. Begin again with files/upload/initiate."),
            ),
            UploadError::KeyReused => key_reused(),
            UploadError::InProgress => Self::new(
                ProblemKind::UploadInProgress,
                "This upload is still under way. Try again when it has ended.",
            )
            .retry_after(5),
            UploadError::TooLarge { limit_bytes } => Self::new(
                ProblemKind::FileTooLarge,
                format!("A file may have at most {limit_bytes} bytes here."),
            )
            .with(Members {
                limit_bytes: Some(limit_bytes),
                ..Members::default()
            }),
            UploadError::TooManyFiles(FileLimit { files, on_trial }) => Self::new(
                ProblemKind::TooManyFiles,
                match on_trial {
                    false => format!("An account may have at most {files} files. Delete some first."),
                    true => format!(
                        "An account that has not bought credits yet may have at most {files} files. Delete \
                         some, or buy with POST /api/v1/auth/credits/purchase."
                    ),
                },
            )
            .with(limited(files)),
            UploadError::TooManyUploads { limit } => Self::new(
                ProblemKind::TooManyUploads,
                format!(
                    "An account that has not bought credits yet may have at most {limit} uploads open. \
                     Complete some or give them up, or buy with POST /api/v1/auth/credits/purchase."
                ),
            )
            .with(limited(limit)),
            UploadError::TooManyResends { limit } => Self::new(
                ProblemKind::TooManyResends,
                format!(
                    "Chunks of this upload were sent again with other content {limit} times. Complete it \
                     as it is, or give it up and begin anew."
                ),
            )
            .with(limited(limit)),
            UploadError::TooManyOpen { limit } => Self::new(
                ProblemKind::TooManyRequests,
                format!(
                    "An account may have at most {limit} uploads under way. Complete some, or give them up with DELETE \
                     /api/v1/files/upload/<id>."
                ),
            )
            .with(limited(limit.into()))
            .retry_after(60),
            UploadError::PaymentRequired { cost, available } => {
                let missing = cost.checked_sub(available).unwrap_or(cost);
                Self::new(
                    ProblemKind::InsufficientCredits,
                    format!(
                        "This needs {cost} credits and {available} are available: {missing} are \
                         missing. Buy more with POST /api/v1/auth/credits/purchase."
                    ),
                )
                .with(Members {
                    needed_microcredits: Some(cost),
                    available_microcredits: Some(available),
                    missing_microcredits: Some(missing),
                    ..Members::default()
                })
            }
            UploadError::IndexOutOfRange { index, chunk_count } => Self::new(
                ProblemKind::ChunkOutOfRange,
                format!(
                    "The file has {chunk_count} chunks, numbered from 0; there is no chunk {index}."
                ),
            )
            .with(Members {
                chunk_count: Some(chunk_count),
                ..Members::default()
            }),
            UploadError::WrongLength {
                index,
                expected,
                received,
            } => Self::new(
                ProblemKind::WrongChunkLength,
                format!("Chunk {index} has exactly {expected} bytes; {received} were sent."),
            )
            .with(Members {
                expected_bytes: Some(expected.into()),
                ..Members::default()
            }),
            UploadError::TooManyAtOnce { limit, next } => Self::invalid(format!(
                "A body brings at most {limit} chunks. These are stored; go on with first={next}."
            )),
            UploadError::ChunksMissing { count, first } => Self::new(
                ProblemKind::ChunksMissing,
                format!(
                    "{count} chunks have not been sent yet, or have lost a copy since. Send them, then \
                     complete again."
                ),
            )
            .with(Members {
                missing: Some(first),
                missing_count: Some(count),
                ..Members::default()
            }),
            UploadError::CopiesLost { .. } => Self::new(
                ProblemKind::CopiesLost,
                format!("{}. Send it again.", capitalised(&error.to_string())),
            )
            .retry_after(5),
            UploadError::Placement(error) => error.into(),
            UploadError::Class(error) => error.into(),
            UploadError::Refused(refusal) => refusal.into(),
            UploadError::BrokeOff(_) => Self::invalid(capitalised(&format!("{error}."))),
            UploadError::TooSlow => Self::new(
                ProblemKind::Timeout,
                "The body came too slowly: 64 KiB are waited for in the first 5 s, then more and more, up to 32 KiB \
                 a second. Send it again over a faster line, or less at one time.",
            ),
            UploadError::Stopping => Self::new(
                ProblemKind::Stopping,
                "The coordinator is stopping. Try again in a few seconds.",
            )
            .retry_after(5),
            UploadError::Database(error) => error.into(),
            UploadError::NotWritten(error) if is_refused(&error) => {
                tracing::warn!(%error, "the database refuses a file");
                Self::invalid(
                    "The database cannot take this file as it is, and nothing was charged. Send it under another \
                     name or type; if that is refused, too, give the operator the request id.",
                )
            }
            UploadError::NotWritten(error) => Self::of_database(&error),
            UploadError::DigestMismatch { algorithm } => Self::new(
                ProblemKind::DigestMismatch,
                format!(
                    "The bytes are not those that the {algorithm} was taken of, and were not stored. Send them again."
                ),
            ),
            UploadError::DigestPending => Self::new(
                ProblemKind::DigestPending,
                "The file is still being read back, to be compared with its digest. Complete again to go on.",
            )
            .retry_after(1),
            UploadError::ReadBack(error) => error.into(),
            UploadError::Internal(error) => Self::internal(format!("{error:#}")),
        }
    }
}

impl From<DownloadError> for Problem {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::NotFound => Self::not_found("file"),
            DownloadError::Unreadable { index } => Self::new(
                ProblemKind::Unreadable,
                format!("No copy of chunk {index} can be read right now. Try again later."),
            )
            .retry_after(30),
            DownloadError::Database(error) => error.into(),
            error @ DownloadError::Stalled => Self::internal(error),
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

impl From<NodeTokenError> for Problem {
    fn from(error: NodeTokenError) -> Self {
        let detail = capitalised(&format!("{error}."));
        match error {
            NodeTokenError::NoRight => Self::new(
                ProblemKind::MayNotAddNodes,
                format!(
                    "{detail} Ask the network's operator: `coordinator admin user allow-nodes ADDRESS COUNT` gives the right."
                ),
            ),
            NodeTokenError::TooManyNodes { limit } => Self::new(
                ProblemKind::TooManyNodes,
                format!("{detail} Let a token expire or a node leave, or ask the network's operator for more."),
            )
            .with(limited(limit.into())),
            NodeTokenError::TooManyWaiting => Self::new(
                ProblemKind::TooManyRequests,
                format!("{detail} Use those first; they expire after 7 days."),
            )
            .retry_after(3600),
            NodeTokenError::Database(error) => error.into(),
        }
    }
}

impl From<RegisterError> for Problem {
    fn from(error: RegisterError) -> Self {
        let detail = capitalised(&format!("{error}."));
        match error {
            RegisterError::BadNonce => Self::new(ProblemKind::BadNonce, detail),
            RegisterError::BadSignature | RegisterError::OldForm => {
                Self::new(ProblemKind::BadSignature, detail)
            }
            RegisterError::TokenRequired => Self::new(
                ProblemKind::NodeTokenRequired,
                format!(
                    "{detail} Ask the network's operator for one, or for the right to make your own with POST \
                     /api/v1/nodes/tokens, and pass it as --token."
                ),
            ),
            RegisterError::BadToken => Self::new(ProblemKind::BadNodeToken, detail),
            RegisterError::NotAllowed => Self::new(ProblemKind::NodeNotAllowed, detail),
            RegisterError::Disqualified(_) => Self::new(ProblemKind::NodeDisqualified, detail),
            RegisterError::Database(error) => error.into(),
        }
    }
}
