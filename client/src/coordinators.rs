//! The coordinators of a network, as one that answers: what fails at one for the moment is asked of the next, again and
//! again for a while.
//!
//! Only what may be repeated comes here: reads, chunks, and what has an `Idempotency-Key`. Rejected: asking several at
//! once and taking the first answer. It would double the load just when there is too much of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::sleep;

use crate::config::ClientConfig;
use crate::rest::{Endpoint, Session};
use crate::{ApiError, Error};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Coordinators {
    /// One at least.
    sessions: Vec<Session>,
    /// The one that is asked; counts on and on.
    current: AtomicUsize,
    repeats: usize,
}

impl Coordinators {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let mut sessions: Vec<Session> = Vec::new();
        for url in &config.urls {
            let endpoint = Endpoint::new(base_of(url)?)?;
            sessions.push(match sessions.first() {
                Some(first) => first.at(endpoint),
                None => endpoint.session(config.credentials.clone()),
            });
        }
        match sessions.is_empty() {
            true => Err(Error::unusable(
                "a client needs the address of a coordinator",
            )),
            false => Ok(Self {
                sessions,
                current: AtomicUsize::new(0),
                repeats: config.repeats,
            }),
        }
    }

    pub(crate) fn current(&self) -> &Session {
        &self.sessions[self.current.load(Ordering::Relaxed) % self.sessions.len()]
    }

    /// What a request answers, at whichever coordinator, sooner or later.
    pub(crate) async fn ask<T, F>(&self, request: impl Fn(Session) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_max_times(self.repeats)
            .with_jitter();
        let mut pauses = pauses.build();
        let mut others = self.sessions.len() - 1;
        let mut renewed = false;
        loop {
            let (at, asked) = (self.current.load(Ordering::Relaxed), Instant::now());
            let session = self.sessions[at % self.sessions.len()].clone();
            let error = match request(session.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if is_unauthorized(&error) && !renewed && session.renew(asked).await {
                renewed = true;
                continue;
            }
            if !error.is_passing() {
                return Err(error);
            }
            if error.is_away() {
                // Who was asked meanwhile by others stays the one who is asked.
                let next = at.wrapping_add(1);
                let _ =
                    self.current
                        .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
                if others > 0 {
                    others -= 1;
                    continue;
                }
            }
            match pauses.next() {
                Some(pause) => sleep(error.retry_after().unwrap_or(pause)).await,
                None => return Err(error),
            }
        }
    }
}

fn is_unauthorized(error: &Error) -> bool {
    matches!(error, Error::Api(ApiError::Refused { status, .. }) if status.as_u16() == 401)
}

/// Without a slash at its end, nor the path of the API.
fn base_of(url: &str) -> Result<String, Error> {
    let base = url.trim_end_matches('/');
    let base = base.strip_suffix("/api/v1").unwrap_or(base);
    match reqwest::Url::parse(base) {
        Ok(parsed) if ["http", "https"].contains(&parsed.scheme()) => Ok(base.to_owned()),
        _ => Err(Error::unusable(format!(
            "{url} is not the address of a coordinator, like https://storage.example.com"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_the_path_of_the_api() {
        for url in [
            "http://a:1",
            "http://a:1/",
            "http://a:1/api/v1",
            "http://a:1/api/v1/",
        ] {
            assert_eq!(base_of(url).unwrap(), "http://a:1");
        }
        for wrong in ["", "a:1", "ftp://a", "http://"] {
            assert!(base_of(wrong).is_err(), "{wrong}");
        }
    }
}
