//! How the rest of the program talks to the event loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use proto::{Lane, Message, Rpc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::admission::Refusals;
use crate::exchange::{Call, CallError, Signs};
use crate::status::NetworkStatus;
use crate::transport::Handshakes;

#[derive(Debug)]
pub(crate) enum Command {
    Call {
        peer: PeerId,
        call: Call,
    },
    Ping {
        peer: PeerId,
        asker: oneshot::Sender<Duration>,
    },
    Dial {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
    },
    Disconnect {
        peer: PeerId,
    },
    Close {
        connection: ConnectionId,
    },
    FindPeer {
        peer: PeerId,
    },
    AddAddrs {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
    },
    Status {
        reply: oneshot::Sender<NetworkStatus>,
    },
    Shutdown,
}

/// What became of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinged {
    Answered(Duration),
    /// Not connected, or not in time.
    Silent,
    /// This process had no time to ask.
    Unasked,
}

/// Cheap to clone; every method queues a command for the event loop.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    local_peer_id: PeerId,
    commands: mpsc::Sender<Command>,
    refusals: Arc<Refusals>,
    slots: Arc<CallSlots>,
    handshakes: Arc<Handshakes>,
    signs: Arc<Signs>,
    /// How many connections there are with each peer that has any.
    connected: Arc<RwLock<HashMap<PeerId, u32>>>,
}

impl NetworkHandle {
    pub(crate) fn new(
        local_peer_id: PeerId,
        commands: mpsc::Sender<Command>,
        data_calls_per_peer: usize,
        handshakes: Arc<Handshakes>,
    ) -> Self {
        Self {
            local_peer_id,
            commands,
            refusals: Arc::default(),
            slots: Arc::new(CallSlots {
                data_per_peer: data_calls_per_peer,
                lanes: Mutex::default(),
            }),
            handshakes,
            signs: Arc::default(),
            connected: Arc::default(),
        }
    }

    pub fn local_peer_id(&self) -> PeerId {
        self.local_peer_id
    }

    /// Whether there is a connection right now. Events tell of what was: requests that came over a new connection
    /// can overtake the news that an earlier one is gone.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.connections(peer) > 0
    }

    /// How many connections there are right now. More than one when another is about to take the place of an older one, or
    /// when somebody else has the same identity.
    pub fn connections(&self, peer: &PeerId) -> u32 {
        let connected = self.connected.read();
        let connected = connected.unwrap_or_else(PoisonError::into_inner);
        connected.get(peer).copied().unwrap_or_default()
    }

    /// Sends a request to a connected peer and waits for its response.
    ///
    /// Dropping the future gives up the answer, not the request: the peer may still act on it.
    pub async fn call<R: Rpc>(
        &self,
        peer: PeerId,
        request: R::Request,
    ) -> Result<R::Response, CallError> {
        let slot = self.slots.admit(peer, R::PROTOCOL.lane).await?;
        let (reply, answer) = oneshot::channel();
        let call = Call {
            protocol: R::PROTOCOL,
            frame: request.into_frame(),
            reply,
            slot,
        };
        let command = Command::Call { peer, call };
        self.commands
            .send(command)
            .await
            .map_err(|_| CallError::Stopped)?;
        let outcome = answer.await.unwrap_or(Err(CallError::ConnectionLost));
        // What ends with the service is not the peer's failure.
        let frame = outcome.map_err(|error| match self.commands.is_closed() {
            true => CallError::Stopped,
            false => error,
        })?;
        Ok(R::Response::from_bytes(frame)?)
    }

    /// Pings a peer now, and waits for its pong for so long.
    pub async fn ping(&self, peer: PeerId, within: Duration) -> Pinged {
        if !self.is_connected(&peer) {
            return Pinged::Silent;
        }
        let (asker, answer) = oneshot::channel();
        match self.commands.try_send(Command::Ping { peer, asker }) {
            Ok(()) => match tokio::time::timeout(within, answer).await {
                Ok(Ok(elapsed)) if elapsed <= within => Pinged::Answered(elapsed),
                _ => Pinged::Silent,
            },
            Err(_) => Pinged::Unasked,
        }
    }

    /// Tries the addresses in turn; the outcome comes as an event.
    pub async fn dial(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let _ = self.commands.send(Command::Dial { peer, addrs }).await;
    }

    /// Closes every connection to the peer.
    pub async fn disconnect(&self, peer: PeerId) {
        let _ = self.commands.send(Command::Disconnect { peer }).await;
    }

    /// Closes one connection; others to the same peer stay.
    pub async fn close(&self, connection: ConnectionId) {
        let _ = self.commands.send(Command::Close { connection }).await;
    }

    /// Walks through the Kademlia table towards a peer. Addresses that are met come as events.
    pub async fn find_peer(&self, peer: PeerId) {
        let _ = self.commands.send(Command::FindPeer { peer }).await;
    }

    /// Where walks may begin.
    pub async fn add_addrs(&self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let _ = self.commands.send(Command::AddAddrs { peer, addrs }).await;
    }

    /// The addresses that are listened on right now, without the `/p2p/…` part.
    pub async fn listen_addrs(&self) -> Vec<Multiaddr> {
        self.status().await.listen_addrs
    }

    /// Empty once the event loop has ended.
    pub async fn status(&self) -> NetworkStatus {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Status { reply }).await;
        answer.await.unwrap_or_default()
    }

    /// Connections that were refused since the start.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// How the connections so far were secured.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// Ends the event loop; connections are closed.
    pub async fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown).await;
    }

    pub(crate) fn signs(&self) -> &Arc<Signs> {
        &self.signs
    }

    /// `connections` are not none: [`Self::note_lost`].
    pub(crate) fn note_connections(&self, peer: PeerId, connections: u32) {
        let connected = self.connected.write();
        connected
            .unwrap_or_else(PoisonError::into_inner)
            .insert(peer, connections);
    }

    pub(crate) fn note_lost(&self, peer: &PeerId) {
        let connected = self.connected.write();
        connected
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
        self.slots.forget(peer);
    }
}

/// Exchanges under way at one time with one peer in the control lane. A connection takes
/// [`INBOUND_STREAMS`](crate::exchange::INBOUND_STREAMS) of one protocol; what comes beyond fails.
const CONTROL_CALLS_PER_PEER: usize = 32;

/// Lets a set number of exchanges per peer and lane run at a time. Entries live while a peer is
/// connected or calls to it are waiting.
#[derive(Debug)]
struct CallSlots {
    data_per_peer: usize,
    lanes: Mutex<HashMap<(PeerId, Lane), Arc<Semaphore>>>,
}

impl CallSlots {
    async fn admit(&self, peer: PeerId, lane: Lane) -> Result<OwnedSemaphorePermit, CallError> {
        let slots = match lane {
            Lane::Control => CONTROL_CALLS_PER_PEER,
            Lane::Data => self.data_per_peer,
        };
        let semaphore = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = lanes.entry((peer, lane));
            Arc::clone(entry.or_insert_with(|| Arc::new(Semaphore::new(slots))))
        };
        // The semaphore is closed when the peer goes: those who wait learn it at once.
        semaphore
            .acquire_owned()
            .await
            .map_err(|_| CallError::NotConnected)
    }

    fn forget(&self, peer: &PeerId) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in [Lane::Control, Lane::Data] {
            if let Some(semaphore) = lanes.remove(&(*peer, lane)) {
                semaphore.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use proto::{
        BlobId, Heartbeat, HeartbeatReport, NodeActivity, RequestId, Retrieve, RetrieveRequest,
    };

    use super::*;

    /// A handle with one data slot per peer, and the commands that an event loop would get.
    fn handle() -> (NetworkHandle, mpsc::Receiver<Command>) {
        let (sender, commands) = mpsc::channel(64);
        let handshakes = Arc::default();
        let handle = NetworkHandle::new(PeerId::random(), sender, 1, handshakes);
        (handle, commands)
    }

    fn request() -> RetrieveRequest {
        RetrieveRequest {
            blob_id: BlobId::of(b"blob"),
            request_id: RequestId::NONE,
        }
    }

    fn report() -> HeartbeatReport {
        HeartbeatReport {
            capacity_bytes: 0,
            used_bytes: 0,
            free_bytes: 0,
            blob_count: 0,
            activity: NodeActivity::Running,
            deferred: proto::DeferredPurges::NONE,
        }
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_keeps_its_place_until_its_exchange_ends() {
        let (handle, mut commands) = handle();
        let peer = PeerId::random();
        let mut given_up = Box::pin(handle.call::<Retrieve>(peer, request()));
        assert!(poll!(&mut given_up).is_pending());
        drop(given_up);
        let under_way = commands.try_recv().unwrap();

        let mut next = Box::pin(handle.call::<Retrieve>(peer, request()));
        assert!(poll!(&mut next).is_pending());
        assert!(commands.try_recv().is_err());

        drop(under_way);
        assert!(poll!(&mut next).is_pending());
        assert!(matches!(commands.try_recv(), Ok(Command::Call { .. })));
    }

    #[tokio::test]
    async fn a_lane_that_is_full_holds_up_neither_the_other_lane_nor_another_peer() {
        let (handle, mut commands) = handle();
        let peer = PeerId::random();
        let mut first = Box::pin(handle.call::<Retrieve>(peer, request()));
        let mut waiting = Box::pin(handle.call::<Retrieve>(peer, request()));
        let mut heartbeat = Box::pin(handle.call::<Heartbeat>(peer, report()));
        let mut elsewhere = Box::pin(handle.call::<Retrieve>(PeerId::random(), request()));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut waiting).is_pending());
        assert!(poll!(&mut heartbeat).is_pending());
        assert!(poll!(&mut elsewhere).is_pending());
        let mut queued = std::iter::from_fn(|| commands.try_recv().ok());
        assert_eq!(queued.by_ref().count(), 3);
    }

    #[tokio::test]
    async fn whoever_waits_for_a_peer_that_goes_learns_it_at_once_and_nothing_is_kept() {
        let (handle, _commands) = handle();
        let peer = PeerId::random();
        let mut first = Box::pin(handle.call::<Retrieve>(peer, request()));
        let mut waiting = Box::pin(handle.call::<Retrieve>(peer, request()));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut waiting).is_pending());
        handle.note_lost(&peer);
        assert_eq!(waiting.await, Err(CallError::NotConnected));
        assert!(handle.slots.lanes.lock().unwrap().is_empty());
    }
}
