//! A request on its way out, and what becomes of it.

use bytes::Bytes;
use proto::{Frame, Malformed, ProtocolSpec};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) protocol: ProtocolSpec,
    pub(crate) frame: Frame,
    /// Dropped when the connection is lost.
    pub(crate) reply: oneshot::Sender<Result<Bytes, CallError>>,
    /// Given back when the exchange has ended, whether or not anyone waits for its answer.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the peer is not connected")]
    NotConnected,
    #[error("the peer does not serve this protocol to us")]
    Unsupported,
    #[error("no answer in time")]
    Timeout,
    #[error("the connection was lost before the answer came")]
    ConnectionLost,
    #[error("the exchange failed: {0}")]
    Io(String),
    #[error("the answer is not usable: {0}")]
    Malformed(#[from] Malformed),
    #[error("the network service has stopped")]
    Stopped,
}

impl CallError {
    /// Whether the peer may have done what it was asked. Every request is idempotent, so asking
    /// again is safe; what must not be done is to take it for undone.
    pub fn outcome_unknown(&self) -> bool {
        !matches!(self, Self::NotConnected | Self::Unsupported)
    }
}
