//! Why a request did not do what it was asked to.

use std::time::Duration;

use api::problem::{Problem, ProblemKind};
use reqwest::{Response, StatusCode, header};

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The coordinator's answer.
    #[error("{status}: {}{}{}", problem.title, if problem.detail.is_empty() { "" } else { ": " }, problem.detail)]
    Refused {
        status: StatusCode,
        problem: Box<Problem>,
        /// When to ask again, if it says so.
        retry_after: Option<Duration>,
    },
    /// No answer, or one that was cut.
    #[error("no answer from the coordinator: {}", innermost(.0))]
    Transport(#[from] reqwest::Error),
}

impl ApiError {
    /// A connection that the server closed just when it was used again. Asking again is right for
    /// requests that change nothing.
    pub(crate) fn is_closed_connection(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_request() && !error.is_timeout() && !error.is_connect())
    }

    pub fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Refused { problem, .. } => problem.kind(),
            Self::Transport(_) => None,
        }
    }

    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Transport(_) => None,
        }
    }
}

/// Passes an answer of success on and turns any other one into an error.
pub(crate) async fn checked(response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    let problem = Problem::of_answer(status.as_u16(), &response.bytes().await?);
    Err(ApiError::Refused {
        status,
        problem: Box::new(problem),
        retry_after: retry_after.map(Duration::from_secs),
    })
}

/// The reason at the end of the chain: reqwest's own text says only that it failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut error: &dyn std::error::Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
