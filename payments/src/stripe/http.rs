//! Questions to Stripe: forms in, JSON out, an `Idempotency-Key` on whatever makes something.
//!
//! A question is asked up to three times, each time under the same key and with the same content, and then it is for the
//! caller to ask again later. Which errors are final is decided by [`refusal`].

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::objects;
use crate::ProviderError;

/// The version of the API whose objects are read here; Stripe serves each for ever.
const VERSION: &str = "2024-06-20";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Three of them, and the pauses, fit into the time of one request of a client.
const TIMEOUT: Duration = Duration::from_secs(6);
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Of the provider's words that are passed on.
const MAX_REASON_CHARS: usize = 300;

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(2)
}

/// One call of the API.
pub(super) struct Question {
    method: Method,
    path: String,
    form: Vec<(String, String)>,
    key: Option<String>,
}

impl Question {
    pub(super) fn get(path: &str) -> Self {
        Self::new(Method::GET, path, None)
    }

    pub(super) fn post(path: &str, key: &str) -> Self {
        Self::new(Method::POST, path, Some(key.to_owned()))
    }

    /// What may be made twice.
    pub(super) fn post_anew(path: &str) -> Self {
        Self::new(Method::POST, path, None)
    }

    fn new(method: Method, path: &str, key: Option<String>) -> Self {
        Self {
            method,
            path: path.to_owned(),
            form: Vec::new(),
            key,
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.form.push((name.to_owned(), value.into()));
        self
    }
}

pub(super) struct Http {
    client: Client,
    base: Url,
    authorization: HeaderValue,
}

impl Http {
    pub(super) fn new(api_url: &str, secret_key: &str) -> Result<Self, ProviderError> {
        let settings = |what: &str| ProviderError::Settings(what.to_owned());
        let base: Url = api_url
            .parse()
            .map_err(|_| settings("stripe.api_url is no URL"))?;
        let is_near = matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if base.scheme() != "https" && !is_near {
            return Err(settings(
                "stripe.api_url must begin with https://: the secret key goes there",
            ));
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {secret_key}"))
            .map_err(|_| settings("stripe.secret_key_file: it holds what no key has in it"))?;
        authorization.set_sensitive(true);
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("fsn-coordinator/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ProviderError::Unanswered)?;
        Ok(Self {
            client,
            base,
            authorization,
        })
    }

    /// One object by its name. That it is not there is no refusal: the name came from Stripe.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        name: &str,
    ) -> Result<T, ProviderError> {
        let question = Question::get(&objects::path(path, name)?);
        self.ask(&question).await.map_err(|error| match error {
            ProviderError::Refused { reason } => {
                ProviderError::unexpected(format!("{name}: {reason}"))
            }
            error => error,
        })
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> Result<T, ProviderError> {
        let once = || self.ask_once(question);
        let body = once
            .retry(pauses())
            .when(ProviderError::may_pass)
            .notify(|error, pause| {
                tracing::debug!(path = question.path, %error, ?pause, "asking the payment provider again");
            })
            .await?;
        serde_json::from_slice(&body).map_err(|source| ProviderError::Unexpected {
            what: format!("to {}", question.path),
            source: Some(source),
        })
    }

    async fn ask_once(&self, question: &Question) -> Result<Vec<u8>, ProviderError> {
        let url = self
            .base
            .join(&question.path)
            .map_err(|_| ProviderError::unexpected(format!("the path {}", question.path)))?;
        let mut request = self
            .client
            .request(question.method.clone(), url)
            .header(AUTHORIZATION, self.authorization.clone())
            .header("Stripe-Version", VERSION);
        if let Some(key) = &question.key {
            request = request.header("Idempotency-Key", key);
        }
        let request = match question.method {
            Method::GET => request.query(&question.form),
            _ => request.form(&question.form),
        };
        let unanswered = |error: reqwest::Error| ProviderError::Unanswered(error.without_url());
        let mut response = request.send().await.map_err(unanswered)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unanswered)? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                return Err(ProviderError::unexpected("more than it says anywhere"));
            }
            body.extend_from_slice(&piece);
        }
        match status.is_success() {
            true => Ok(body),
            false => Err(refusal(status, &body)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Envelope {
    error: Said,
}

#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// What an answer other than success means (<https://docs.stripe.com/api/errors>). Only what Stripe itself says in its own
/// form is final; a page of a proxy is not.
fn refusal(status: StatusCode, body: &[u8]) -> ProviderError {
    let said = serde_json::from_slice::<Envelope>(body).ok();
    let said = said.map(|envelope| envelope.error);
    let reason = said.as_ref().and_then(|said| said.message.as_deref());
    let reason: String = match reason {
        Some(reason) => reason.chars().take(MAX_REASON_CHARS).collect(),
        None => "it did not say why".to_owned(),
    };
    let code = said.as_ref().and_then(|said| said.code.as_deref());
    let kind = said.as_ref().map(|said| said.kind.as_str());
    let status = status.as_u16();
    match (status, kind, code) {
        // 409 is a question that runs at this moment, or one about an object that is locked.
        (409 | 429 | 500.., ..) | (_, _, Some("rate_limit" | "lock_timeout")) => {
            ProviderError::Passing { status, reason }
        }
        (401 | 403, ..) | (_, _, Some("balance_insufficient" | "api_key_expired")) => {
            ProviderError::Operator { status, reason }
        }
        // The key was used for something else: nobody knows what was done under it.
        (_, Some("idempotency_error"), _) => ProviderError::unexpected(reason),
        (400..=404, Some("card_error" | "invalid_request_error"), _) => {
            ProviderError::Refused { reason }
        }
        _ => ProviderError::unexpected(format!("status {status}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> ProviderError {
        refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn only_what_stripe_itself_refuses_is_final() {
        let declined = r#"{"error":{"type":"card_error","code":"card_declined","message":"Your card was declined."}}"#;
        assert!(
            matches!(of(402, declined), ProviderError::Refused { reason } if reason == "Your card was declined.")
        );
        let missing = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","message":"No such destination"}}"#;
        assert!(matches!(of(400, missing), ProviderError::Refused { .. }));
        for page in ["<html>Bad request</html>", "", "{}", r#"{"error":{}}"#] {
            assert!(
                matches!(of(400, page), ProviderError::Unexpected { .. }),
                "{page}"
            );
        }
    }

    #[test]
    fn what_may_have_been_done_is_never_called_refused() {
        let reused = r#"{"error":{"type":"idempotency_error","message":"Keys for idempotent requests can only be used with the same parameters"}}"#;
        assert!(matches!(of(400, reused), ProviderError::Unexpected { .. }));
        for status in [409, 429, 500, 502, 503] {
            assert!(
                of(status, "").may_pass(),
                "{status}: it is asked again under the same key"
            );
        }
    }

    #[test]
    fn what_the_operator_has_to_mend_waits_for_him() {
        let empty = r#"{"error":{"type":"invalid_request_error","code":"balance_insufficient","message":"You have insufficient available funds"}}"#;
        for (status, body) in [(400, empty), (401, "{}"), (403, "{}")] {
            assert!(
                matches!(of(status, body), ProviderError::Operator { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn the_secret_key_goes_nowhere_without_encryption() {
        for url in ["http://api.stripe.com", "ftp://127.0.0.1.example", "stripe"] {
            assert!(Http::new(url, "sk_test_1").is_err(), "{url}");
        }
        Http::new("https://api.stripe.com", "sk_test_1").unwrap();
        Http::new("http://127.0.0.1:12111", "sk_test_1").unwrap();
        assert!(Http::new("https://api.stripe.com", "sk\n").is_err());
    }
}
