//! How stored bytes are served, by whichever route: conditions, one range, and headers under which nothing of them runs.

use std::ops::Range;

use api::problem::ProblemKind;
use axum::body::Body;
use axum::response::Response;
use gateway::inert;
use gateway::ranges::{self, Requested};
use http::header::{self, HeaderMap, HeaderName};
use http::{HeaderValue, Method, StatusCode};

use super::conditions::{self, Validators, Verdict};
use super::digests;
use super::problem::Problem;

/// Stored bytes that somebody asks for.
pub(super) struct Served<'a> {
    pub size: u64,
    pub content_type: &'a str,
    pub disposition: String,
    pub sha256: Option<&'a [u8; 32]>,
    pub validators: Validators,
}

/// What of them is asked for.
pub(super) enum Asked {
    /// 304: whoever asks has it.
    Nothing,
    Whole,
    Part(Range<u64>),
}

impl Asked {
    /// Which bytes are to be sent.
    pub(super) fn bytes(&self, method: &Method, size: u64) -> Range<u64> {
        match self {
            _ if *method == Method::HEAD => 0..0,
            Self::Nothing => 0..0,
            Self::Whole => 0..size,
            Self::Part(range) => range.clone(),
        }
    }
}

impl Served<'_> {
    pub(super) fn asked(&self, method: &Method, headers: &HeaderMap) -> Result<Asked, Problem> {
        match self.validators.evaluate(method, headers) {
            Verdict::Proceed => {}
            Verdict::NotModified => return Ok(Asked::Nothing),
            Verdict::Failed => return Err(conditions::failed()),
        }
        // Ranges are defined for GET alone.
        let range = headers
            .get(header::RANGE)
            .filter(|_| *method == Method::GET && self.validators.range_applies(headers));
        let size = self.size;
        match range.map(|range| ranges::requested(range, size)) {
            None | Some(Requested::Whole) => Ok(Asked::Whole),
            Some(Requested::Part(range)) => Ok(Asked::Part(range)),
            Some(Requested::Unsatisfiable) => {
                let detail = format!("The file has {size} bytes; the range lies outside of it.");
                let mut problem = Problem::new(ProblemKind::RangeNotSatisfiable, detail);
                problem
                    .headers
                    .push((header::CONTENT_RANGE, format!("bytes */{size}")));
                Err(problem)
            }
        }
    }

    pub(super) fn answer(&self, asked: &Asked, body: Body) -> Result<Response, Problem> {
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::ETAG, value(&self.validators.etag)?);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_TYPE, value(self.content_type)?);
        headers.insert(header::CONTENT_DISPOSITION, value(&self.disposition)?);
        if let Some(sha256) = self.sha256 {
            let digest = value(&digests::repr_digest(sha256))?;
            headers.insert(HeaderName::from_static(api::headers::REPR_DIGEST), digest);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, inert::NOSNIFF);
        headers.insert(header::CONTENT_SECURITY_POLICY, inert::POLICY);
        let private = HeaderValue::from_static("private, no-cache");
        headers.insert(header::CACHE_CONTROL, private);
        let modified = value(&self.validators.last_modified())?;
        headers.insert(header::LAST_MODIFIED, modified);
        let (status, length) = match asked {
            Asked::Nothing => (StatusCode::NOT_MODIFIED, None),
            Asked::Whole => (StatusCode::OK, Some(self.size)),
            Asked::Part(range) => {
                let told = format!("bytes {}-{}/{}", range.start, range.end - 1, self.size);
                headers.insert(header::CONTENT_RANGE, value(&told)?);
                (StatusCode::PARTIAL_CONTENT, Some(range.end - range.start))
            }
        };
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.status_mut() = status;
        Ok(response)
    }
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(Problem::internal)
}
