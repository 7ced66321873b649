//! How the rest of the program talks to the event loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use libp2p::request_response::ResponseChannel;
use libp2p::{Multiaddr, PeerId};
use proto::{Frame, Lane, Malformed, Message, Protocol, Rpc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

#[derive(Debug)]
pub(crate) enum Command {
    Call {
        peer: PeerId,
        protocol: Protocol,
        frame: Frame,
        reply: oneshot::Sender<Result<Bytes, CallError>>,
    },
    Respond {
        protocol: Protocol,
        channel: ResponseChannel<Frame>,
        frame: Frame,
    },
    Dial {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
    },
    Disconnect {
        peer: PeerId,
    },
    ListenAddrs {
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    Shutdown,
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

/// Cheap to clone; every method queues a command for the event loop.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    local_peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    data_calls: Arc<DataCalls>,
}

impl NetworkHandle {
    pub(crate) fn new(
        local_peer_id: PeerId,
        commands: mpsc::Sender<Command>,
        data_calls_per_peer: usize,
    ) -> Self {
        Self {
            local_peer_id,
            commands,
            data_calls: Arc::new(DataCalls {
                per_peer: data_calls_per_peer,
                peers: Mutex::default(),
            }),
        }
    }

    pub fn local_peer_id(&self) -> PeerId {
        self.local_peer_id
    }

    /// Sends a request to a connected peer and waits for its response.
    ///
    /// Dropping the future gives up the answer, not the request: the peer may still act on it.
    pub async fn call<R: Rpc>(
        &self,
        peer: PeerId,
        request: R::Request,
    ) -> Result<R::Response, CallError> {
        let _permit = match R::PROTOCOL.lane() {
            Lane::Control => None,
            Lane::Data => Some(self.data_calls.admit(peer).await?),
        };
        let (reply, answer) = oneshot::channel();
        let command = Command::Call {
            peer,
            protocol: R::PROTOCOL,
            frame: request.into_frame(),
            reply,
        };
        let stopped = |_| CallError::Stopped;
        self.commands
            .send(command)
            .await
            .map_err(|_| CallError::Stopped)?;
        Ok(R::Response::from_bytes(answer.await.map_err(stopped)??)?)
    }

    /// Tries the addresses in turn; the outcome comes as an event.
    pub async fn dial(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let _ = self.commands.send(Command::Dial { peer, addrs }).await;
    }

    /// Closes every connection to the peer.
    pub async fn disconnect(&self, peer: PeerId) {
        let _ = self.commands.send(Command::Disconnect { peer }).await;
    }

    /// The addresses that are listened on right now, without the `/p2p/…` part.
    pub async fn listen_addrs(&self) -> Vec<Multiaddr> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::ListenAddrs { reply }).await;
        answer.await.unwrap_or_default()
    }

    /// Ends the event loop; connections are closed.
    pub async fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown).await;
    }

    pub(crate) fn forget_peer(&self, peer: &PeerId) {
        self.data_calls.forget(peer);
    }
}

/// Lets a set number of data exchanges per peer run at a time. Entries live while a peer is
/// connected or calls to it are waiting.
#[derive(Debug)]
struct DataCalls {
    per_peer: usize,
    peers: Mutex<HashMap<PeerId, Arc<Semaphore>>>,
}

impl DataCalls {
    async fn admit(&self, peer: PeerId) -> Result<OwnedSemaphorePermit, CallError> {
        let semaphore = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = peers.entry(peer);
            Arc::clone(entry.or_insert_with(|| Arc::new(Semaphore::new(self.per_peer))))
        };
        // The semaphore is closed when the peer goes: those who wait learn it at once.
        semaphore
            .acquire_owned()
            .await
            .map_err(|_| CallError::NotConnected)
    }

    fn forget(&self, peer: &PeerId) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = peers.remove(peer) {
            semaphore.close();
        }
    }
}
