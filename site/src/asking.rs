//! How pages ask the API: through its router, in this process, as the one whose page it is.

use std::net::SocketAddr;

use api::problem::{Problem, ProblemKind};
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use crate::Site;
use crate::frame::problem_page;
use crate::signed_in::to_sign_in;

/// No answer that a page shows is larger.
const LARGEST: usize = 8 * 1024 * 1024;

const IDEMPOTENCY_KEY: &str = api::headers::IDEMPOTENCY_KEY;

/// What says who asks, and from where: the rest of a browser's request is about a page.
const PASSED_ON: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::USER_AGENT,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

/// Whoever asks for a page.
pub(crate) struct Asker {
    site: Site,
    headers: HeaderMap,
    connected: Option<ConnectInfo<SocketAddr>>,
    /// The page that was asked for, to come back to.
    here: String,
    reads: bool,
}

impl FromRequestParts<Site> for Asker {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, site: &Site) -> Result<Self, Self::Rejection> {
        let mut headers = HeaderMap::new();
        for name in PASSED_ON {
            for value in parts.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(Self {
            site: site.clone(),
            headers,
            connected: parts.extensions.get().copied(),
            here: parts.uri.to_string(),
            reads: parts.method.is_safe(),
        })
    }
}

/// Why there is no page: what the API says.
#[derive(Debug)]
pub(crate) struct Refused {
    pub problem: Box<Problem>,
    /// Where to go back to, once signed in.
    back: Option<String>,
}

impl Refused {
    pub(crate) fn is(&self, kind: ProblemKind) -> bool {
        self.problem.kind() == Some(kind)
    }

    /// In words for who reads a page.
    pub(crate) fn words(&self) -> &str {
        match self.problem.kind() {
            Some(ProblemKind::WrongCredentials) => "Address or password is wrong.",
            Some(ProblemKind::WrongCode) => {
                "The code is wrong, or was used before. Wait for the next one."
            }
            Some(ProblemKind::BadChallenge) => "That took too long. Sign in again.",
            Some(ProblemKind::AddressTaken) => "There is an account with this address already.",
            Some(ProblemKind::AdminsOnly) => "This page is for the network's administrators.",
            Some(ProblemKind::SecondFactorDemanded) => {
                "Administrators of this network need a second factor: set one up under Security."
            }
            Some(ProblemKind::NotFound) => "It is not there, or it is not yours.",
            Some(ProblemKind::InsufficientCredits) => {
                "There are not enough credits for this. Buy some in the overview."
            }
            _ if self.problem.detail.is_empty() => &self.problem.title,
            _ => &self.problem.detail,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        if let Some(back) = &self.back
            && self.is(ProblemKind::Unauthorized)
        {
            return to_sign_in(back);
        }
        problem_page(&self.problem, self.words())
    }
}

impl Asker {
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Refused> {
        self.ask(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Refused> {
        let body = serde_json::to_vec(body).map_err(|_| self.unusable())?;
        self.ask(Method::POST, path, Body::from(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Refused> {
        self.ask(Method::DELETE, path, Body::empty()).await
    }

    pub(crate) async fn delete_with(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), Refused> {
        let body = serde_json::to_vec(body).map_err(|_| self.unusable())?;
        self.ask(Method::DELETE, path, Body::from(body)).await
    }

    /// What is asked now is done once, however often it is asked.
    pub(crate) fn under_key(mut self, key: &str) -> Self {
        if let Ok(key) = HeaderValue::from_str(key) {
            self.headers.insert(IDEMPOTENCY_KEY, key);
        }
        self
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Refused> {
        let answer = self.answer(method, path, body).await?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, LARGEST).collect().await;
        let body = body.map_err(|_| self.unusable())?.to_bytes();
        if !parts.status.is_success() {
            let problem = Problem::of_answer(parts.status.as_u16(), &body);
            return Err(self.refused(problem));
        }
        // Where there is no content, what is asked for is `()`.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| {
            tracing::error!(%error, path, "an answer of the API is not what its page expects");
            self.unusable()
        })
    }

    /// As it comes, whatever it is.
    pub(crate) async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response, Refused> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| self.unusable())?;
        *request.headers_mut() = self.headers.clone();
        if let Some(connected) = self.connected {
            request.extensions_mut().insert(connected);
        }
        let Ok(answer) = self.site.api.clone().oneshot(request).await;
        Ok(answer)
    }

    fn unusable(&self) -> Refused {
        self.refused(Problem::new(
            ProblemKind::Internal,
            "This page could not be made. Try again.",
        ))
    }

    fn refused(&self, problem: Problem) -> Refused {
        let status = StatusCode::from_u16(problem.status);
        if status.is_ok_and(|status| status.is_server_error()) {
            tracing::debug!(kind = ?problem.kind(), "the API refuses a page");
        }
        Refused {
            problem: Box::new(problem),
            back: self.reads.then(|| self.here.clone()),
        }
    }
}
