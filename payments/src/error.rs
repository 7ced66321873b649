//! Why a provider did not do what it was asked for, and why a webhook is not believed.

/// What decides is what may have been done: only after [`ProviderError::Refused`] it is certain that nothing was.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It said no, and nothing was done.
    #[error("the payment provider refused: {reason}")]
    Refused { reason: String },
    /// It may have been done. Ask again, under the same key.
    #[error("the payment provider did not answer")]
    Unanswered(#[source] reqwest::Error),
    /// It has trouble of its own, or is asked too often. Ask again later, under the same key.
    #[error("the payment provider cannot do it now ({status}): {reason}")]
    Passing { status: u16, reason: String },
    /// Nothing comes of it until the operator has mended something: a key that is no longer good, an empty balance.
    #[error("the payment provider does not let the operator do it ({status}): {reason}")]
    Operator { status: u16, reason: String },
    /// It may have been done.
    #[error("the payment provider answers what is not documented: {what}")]
    Unexpected {
        what: String,
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The settings name something that cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl ProviderError {
    /// Whether the same question may be answered in a moment.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Passing { .. })
    }

    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::Unexpected {
            what: what.into(),
            source: None,
        }
    }
}

/// Why a webhook is not believed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("this provider sends no webhooks")]
    NotServed,
    #[error("it is not signed")]
    Unsigned,
    #[error("its signature cannot be read")]
    BadHeader,
    #[error("it is signed with another secret, or was altered")]
    Forged,
    #[error("it was signed {seconds} s ago, and 300 are let pass; is the clock right?")]
    TooOld { seconds: i64 },
    #[error("its body is no event")]
    BadBody(#[source] serde_json::Error),
}
