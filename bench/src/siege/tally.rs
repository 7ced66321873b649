//! What an attack got for its trouble.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use local_cluster::client::ApiError;

/// Answers, and how often each came. All copies count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<String, u64>,
    broken: Option<String>,
}

impl Tally {
    pub(super) fn note(&self, answer: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.answers.entry(answer.into()).or_default() += 1;
    }

    pub(super) fn note_outcome<T>(&self, what: &str, outcome: &Result<T, ApiError>) {
        let answer = match outcome {
            Ok(_) => "accepted".to_owned(),
            Err(error) => match error.status() {
                Some(status) => status.as_u16().to_string(),
                None => "no answer".to_owned(),
            },
        };
        self.note(format!("{what} {answer}"));
    }

    /// The attack has reached what it must never reach.
    pub(super) fn broken(&self, what: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.broken = Some(what.into());
    }

    pub(super) fn answers(&self) -> BTreeMap<String, u64> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.answers.clone()
    }

    pub(super) fn what_broke(&self) -> Option<String> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.broken.clone()
    }
}
