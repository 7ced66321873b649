//! Exchanges: one request and one response on a stream of their own, in all protocols.
//!
//! A request goes from the task of its connection straight to whoever takes requests, and the answer straight
//! back; an answer that comes in goes straight to its caller. The event loop only learns which connections there are
//! and hands out calls: a heartbeat does not wake it, nor anybody else who has nothing to do with it.
//!
//! Rejected: libp2p's request-response, one behaviour for each protocol so that a stream offers one name and not
//! all. Each exchange went through the event loop three times, and each turn of a connection's
//! task and of the event loop asked eight behaviours.

mod handler;
mod protocols;
mod signs;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use proto::{Frame, Lane, Protocol, Side};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use self::handler::Handler;
use crate::event::InboundRequest;
use crate::handle::CallError;

pub(crate) use self::signs::Signs;

/// Requests that one connection may have open with us at one time, per protocol.
pub(crate) const INBOUND_STREAMS: usize = 64;

const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
const DATA_TIMEOUT: Duration = Duration::from_secs(60);

/// How long either side's part of an exchange may take.
fn patience(protocol: Protocol) -> Duration {
    match protocol.lane() {
        Lane::Control => CONTROL_TIMEOUT,
        Lane::Data => DATA_TIMEOUT,
    }
}

/// A request on its way out.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) protocol: Protocol,
    pub(crate) frame: Frame,
    /// Dropped when the connection is lost.
    pub(crate) reply: oneshot::Sender<Result<Bytes, CallError>>,
    /// Given back when the exchange has ended, whether or not anyone waits for its answer.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// What the connections' tasks share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) side: Side,
    pub(crate) requests: mpsc::Sender<InboundRequest>,
    /// Answers that were given and have not left yet.
    pub(crate) answers: TaskTracker,
    pub(crate) signs: Arc<Signs>,
}

pub(crate) struct Behaviour {
    shared: Shared,
    /// In the order in which they were opened.
    connections: HashMap<PeerId, Vec<ConnectionId>>,
    /// As many as there are slots for calls.
    calls: VecDeque<(PeerId, ConnectionId, Call)>,
}

impl Behaviour {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared,
            connections: HashMap::new(),
            calls: VecDeque::new(),
        }
    }

    /// Over the newest connection: an older one is about to be closed, or dead and not known to be. Whether there is
    /// one.
    pub(crate) fn call(&mut self, peer: PeerId, call: Call) -> bool {
        let newest = self.connections.get(&peer).and_then(|open| open.last());
        match newest {
            Some(connection) => self.calls.push_back((peer, *connection, call)),
            None => drop(call.reply.send(Err(CallError::NotConnected))),
        }
        newest.is_some()
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Handler {
        Handler::new(peer, connection, self.shared.clone())
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(opened) => {
                let open = self.connections.entry(opened.peer_id).or_default();
                open.push(opened.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(open) = self.connections.get_mut(&closed.peer_id) {
                    open.retain(|connection| *connection != closed.connection_id);
                    if open.is_empty() {
                        self.connections.remove(&closed.peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        never: THandlerOutEvent<Self>,
    ) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // A call that is added later comes with another poll.
        match self.calls.pop_front() {
            Some((peer_id, connection, event)) => Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event,
            }),
            None => Poll::Pending,
        }
    }
}
