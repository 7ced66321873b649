//! Why a request did not do what it was asked to.

use reqwest::{Response, StatusCode};
use serde::Deserialize;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The coordinator's answer, from its problem document (RFC 9457).
    #[error("{status}: {title}{}{detail}", if .detail.is_empty() { "" } else { ": " })]
    Refused {
        status: StatusCode,
        kind: String,
        title: String,
        detail: String,
    },
    /// No answer, or one that was cut.
    #[error("no answer from the coordinator: {}", innermost(.0))]
    Transport(#[from] reqwest::Error),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
}

impl ApiError {
    /// A connection that the server closed just when it was used again. Asking again is right for
    /// requests that change nothing.
    pub(crate) fn is_closed_connection(&self) -> bool {
        matches!(self, Self::Transport(error) if error.is_request() && !error.is_timeout() && !error.is_connect())
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
    let problem: Problem = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
    Err(ApiError::Refused {
        status,
        kind: problem.kind,
        title: problem.title,
        detail: problem.detail,
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
