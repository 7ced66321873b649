//! Why incoming connections were refused, and how often.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use libp2p::memory_connection_limits::MemoryUsageLimitExceeded;
use libp2p::swarm::ListenError;
use libp2p::{PeerId, TransportError, connection_limits};

use super::behaviour::AddressLimit;
use super::handshake::Stranger;
use super::pending::GaveWay;

/// Why an incoming connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The peer has proven who it is and may not connect.
    Stranger,
    TooManyFromAddress,
    TooManyOfPeer,
    TooMany,
    /// Its handshake was under way when newer connections came, and gave way to them.
    GaveWay,
    Memory,
    /// The handshake failed or took too long.
    Handshake,
}

impl RefusalReason {
    pub const ALL: [Self; 7] = [
        Self::Stranger,
        Self::TooManyFromAddress,
        Self::TooManyOfPeer,
        Self::TooMany,
        Self::GaveWay,
        Self::Memory,
        Self::Handshake,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::TooManyFromAddress => "address_limit",
            Self::TooManyOfPeer => "peer_limit",
            Self::TooMany => "connection_limit",
            Self::GaveWay => "pending_limit",
            Self::Memory => "memory_limit",
            Self::Handshake => "handshake",
        }
    }

    pub(crate) fn of(error: &ListenError, peer: Option<&PeerId>) -> Self {
        match error {
            ListenError::Denied { cause } => {
                if cause.downcast_ref::<AddressLimit>().is_some() {
                    Self::TooManyFromAddress
                } else if cause.downcast_ref::<MemoryUsageLimitExceeded>().is_some() {
                    Self::Memory
                } else if cause
                    .downcast_ref::<connection_limits::Exceeded>()
                    .is_some()
                    && peer.is_some()
                {
                    Self::TooManyOfPeer
                } else {
                    Self::TooMany
                }
            }
            ListenError::Transport(TransportError::Other(error)) if is::<Stranger>(error) => {
                Self::Stranger
            }
            ListenError::Transport(TransportError::Other(error)) if is::<GaveWay>(error) => {
                Self::GaveWay
            }
            _ => Self::Handshake,
        }
    }
}

fn is<E: std::error::Error + 'static>(error: &io::Error) -> bool {
    let mut error = error;
    while let Some(inner) = error.get_ref() {
        if inner.is::<E>() {
            return true;
        }
        match inner.downcast_ref::<io::Error>() {
            Some(inner) => error = inner,
            None => return false,
        }
    }
    false
}

/// How many connections were refused since the start, by reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; RefusalReason::ALL.len()]);

impl Refusals {
    pub fn of(&self, reason: RefusalReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, reason: RefusalReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}
