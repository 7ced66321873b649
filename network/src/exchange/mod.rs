//! Exchanges: one request and one response on a stream of their own, in all protocols.
//!
//! A request goes from the task of its connection straight to whoever takes requests, and the answer straight
//! back; an answer that comes in goes straight to its caller. The event loop only learns which connections there are
//! and hands out calls: a heartbeat does not wake it, nor anybody else who has nothing to do with it.
//!
//! Rejected: libp2p's request-response, one behaviour for each protocol so that a stream offers one name and not
//! all. Each exchange went through the event loop three times, and each turn of a connection's
//! task and of the event loop asked eight behaviours.

mod call;
mod handler;
mod protocols;
mod signs;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use proto::ProtocolSpec;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use self::handler::Handler;
use crate::admission::{Admission, Admitted};
use crate::event::InboundRequest;

pub(crate) use self::call::Call;
pub use self::call::CallError;
pub(crate) use self::signs::Signs;

/// Requests that one connection may have open with us at one time, per protocol of the control lane.
pub(crate) const INBOUND_STREAMS: usize = 64;

/// The same for the data lane, all of its protocols together: its frames are large. Four times what a caller here
/// has under way (`data_calls_per_peer`), for a call that was given up may still be worked on.
const INBOUND_DATA_STREAMS: usize = 32;

/// What the connections' tasks share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// What we serve, whoever asks.
    pub(crate) served: Arc<[ProtocolSpec]>,
    pub(crate) answers_only: bool,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) admitted: Arc<Admitted>,
    pub(crate) requests: mpsc::Sender<InboundRequest>,
    /// Answers that were given and have not left yet.
    pub(crate) answers: TaskTracker,
    pub(crate) signs: Arc<Signs>,
}

/// A connection, as far as calls are concerned.
#[derive(Debug, Clone, Copy)]
struct Open {
    id: ConnectionId,
    /// Not opened by a side that only answers: that one dials back to find out whether the other can be reached, and
    /// hangs up again.
    lasting: bool,
}

pub(crate) struct Behaviour {
    shared: Shared,
    /// In the order in which they were opened.
    connections: HashMap<PeerId, Vec<Open>>,
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

    /// Whether there is a connection to call over.
    pub(crate) fn call(&mut self, peer: PeerId, call: Call) -> bool {
        let chosen = self.connection(&peer);
        match chosen {
            Some(connection) => self.calls.push_back((peer, connection, call)),
            None => drop(call.reply.send(Err(CallError::NotConnected))),
        }
        chosen.is_some()
    }

    /// The newest that lasts: an older one is about to be closed, or dead and not known to be.
    fn connection(&self, peer: &PeerId) -> Option<ConnectionId> {
        let open = self.connections.get(peer)?;
        let lasting = open.iter().rfind(|connection| connection.lasting);
        lasting.or(open.last()).map(|connection| connection.id)
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
                let lasting = match self.shared.answers_only {
                    true => opened.endpoint.is_listener(),
                    false => opened.endpoint.is_dialer(),
                };
                let open = self.connections.entry(opened.peer_id).or_default();
                open.push(Open {
                    id: opened.connection_id,
                    lasting,
                });
            }
            FromSwarm::ConnectionClosed(closed) => {
                if let Some(open) = self.connections.get_mut(&closed.peer_id) {
                    open.retain(|connection| connection.id != closed.connection_id);
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

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
    use proto::Roles;

    use super::*;
    use crate::admission::Everyone;

    fn behaviour(answers_only: bool) -> Behaviour {
        Behaviour::new(Shared {
            served: Arc::new([]),
            answers_only,
            admission: Arc::new(Everyone(Roles::NONE)),
            admitted: Arc::default(),
            requests: mpsc::channel(1).0,
            answers: TaskTracker::new(),
            signs: Arc::default(),
        })
    }

    fn endpoint(dialled: bool) -> ConnectedPoint {
        let address = Multiaddr::empty();
        match dialled {
            true => ConnectedPoint::Dialer {
                address,
                role_override: Endpoint::Dialer,
                port_use: PortUse::Reuse,
            },
            false => ConnectedPoint::Listener {
                local_addr: address.clone(),
                send_back_addr: address,
            },
        }
    }

    #[test]
    fn calls_go_over_the_newest_connection_that_is_no_probe_of_who_only_answers() {
        for answers_only in [true, false] {
            let (mut behaviour, peer) = (behaviour(answers_only), PeerId::random());
            let lasting = !answers_only; // as dialled by us
            for (number, dialled) in [(1, !lasting), (2, lasting), (3, lasting), (4, !lasting)] {
                behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    peer_id: peer,
                    connection_id: ConnectionId::new_unchecked(number),
                    endpoint: &endpoint(dialled),
                    failed_addresses: &[],
                    other_established: number - 1,
                }));
            }
            let mut close = |number, dialled| {
                let chosen = behaviour.connection(&peer);
                behaviour.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                    peer_id: peer,
                    connection_id: ConnectionId::new_unchecked(number),
                    endpoint: &endpoint(dialled),
                    cause: None,
                    remaining_established: 0,
                }));
                chosen
            };
            let chosen = [
                close(3, lasting),
                close(2, lasting),
                close(4, !lasting),
                close(1, !lasting),
            ];
            assert_eq!(
                chosen,
                [3, 2, 4, 1].map(|n| Some(ConnectionId::new_unchecked(n)))
            );
            assert_eq!(behaviour.connection(&peer), None);
        }
    }
}
