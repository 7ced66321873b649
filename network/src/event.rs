//! What the event loop tells the rest of the program.

use std::time::Duration;

use bytes::Bytes;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use proto::{Frame, Malformed, Message, ProtocolSpec, Rpc};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// News about peers. A reader must not await a call inside its loop over these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// The first connection to a peer stands.
    Connected { peer: PeerId, addr: Multiaddr },
    /// The last connection to a peer is gone.
    Disconnected {
        peer: PeerId,
        reason: DisconnectReason,
    },
    /// A connection stands, the first or a further one; told before [`Self::Connected`].
    ConnectionOpened {
        peer: PeerId,
        connection: ConnectionId,
        addr: Multiaddr,
        /// By us.
        dialled: bool,
    },
    /// A connection is gone; told before [`Self::Disconnected`].
    ConnectionClosed {
        peer: PeerId,
        connection: ConnectionId,
    },
    /// A dial to this peer came to nothing.
    DialFailed { peer: PeerId, error: String },
    /// A ping came back.
    Ping { peer: PeerId, rtt: Duration },
    /// Somebody, perhaps the peer itself, says that it can be reached there.
    Discovered {
        peer: PeerId,
        addrs: Vec<Multiaddr>,
        source: AddrSource,
    },
    /// What the peer says that it runs, `name/version`.
    Identified { peer: PeerId, agent: String },
}

/// Where an address comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddrSource {
    /// The peer itself, over a connection that proved its identity.
    Itself,
    /// The local network.
    Mdns,
    /// Another peer, on a walk through the Kademlia table.
    Kademlia,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DisconnectReason {
    /// Either side closed it in an orderly way.
    Closed,
    /// The connection broke.
    Error(String),
}

/// A request from a peer. Dropping it closes the stream without an answer.
#[derive(Debug)]
pub struct InboundRequest {
    pub peer: PeerId,
    pub protocol: ProtocolSpec,
    payload: Bytes,
    channel: oneshot::Sender<Answer>,
    answers: TaskTracker,
}

/// An answer, which has left when the token is dropped.
pub(crate) type Answer = (Frame, TaskTrackerToken);

impl InboundRequest {
    pub(crate) fn new(
        peer: PeerId,
        protocol: ProtocolSpec,
        request: Frame,
        channel: oneshot::Sender<Answer>,
        answers: TaskTracker,
    ) -> Self {
        Self {
            peer,
            protocol,
            payload: request.head,
            channel,
            answers,
        }
    }

    /// The request as a message of the protocol it came by.
    pub fn decode<R: Rpc>(&mut self) -> Result<R::Request, Malformed> {
        debug_assert_eq!(R::PROTOCOL.name, self.protocol.name);
        R::Request::from_bytes(std::mem::take(&mut self.payload))
    }

    /// Bytes of the request's message, as long as it has not been decoded.
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Hands the answer to the connection. A peer that is gone by now does not hear it.
    pub async fn respond<R: Rpc>(self, response: R::Response) {
        debug_assert_eq!(R::PROTOCOL.name, self.protocol.name);
        let answer = (response.into_frame(), self.answers.token());
        if self.channel.send(answer).is_err() {
            tracing::debug!(protocol = %self.protocol, "an answer came too late: its stream is gone");
        }
    }
}
