//! Pings: how long a round trip takes, and whether a peer that says nothing else is there.
//!
//! On the wire it is libp2p's `/ipfs/ping/1.0.0`. libp2p's own behaviour asks on a timer of each connection,
//! whatever else flows, and so also the thousand idle nodes of a coordinator that are heard through their
//! heartbeats anyway. Here one schedule for all connections leaves alone whoever has been heard. Failures are not counted: silence is the peer policy's to judge.
//! Whoever wants to know whether a peer is there at this very moment has it pinged out of turn.

mod handler;
mod schedule;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use self::handler::{Ask, Handler, Payload};
use self::schedule::Schedule;
use crate::config::PingConfig;
use crate::exchange::Signs;

/// Turns that lie this close together, in parts of the interval, are taken in one wake-up.
const TOGETHER: u32 = 64;

/// A ping came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    pub(crate) rtt: Duration,
}

pub(crate) struct Behaviour {
    config: PingConfig,
    schedule: Schedule,
    timer: Pin<Box<Sleep>>,
    measured: VecDeque<Event>,
    /// To be pinged now, whoever's turn it is.
    asked: VecDeque<(PeerId, oneshot::Sender<Duration>)>,
    signs: Arc<Signs>,
    random: StdRng,
}

impl Behaviour {
    /// `signs` are those other than pongs.
    pub(crate) fn new(config: PingConfig, signs: Arc<Signs>, random: StdRng) -> Self {
        Self {
            config,
            schedule: Schedule::new(config.interval),
            timer: Box::pin(sleep_until(Instant::now())),
            measured: VecDeque::new(),
            asked: VecDeque::new(),
            signs,
            random,
        }
    }

    /// Pings a peer now. The asker hears nothing of one that is not connected, or does not answer.
    pub(crate) fn ask(&mut self, peer: PeerId, asker: oneshot::Sender<Duration>) {
        self.asked.push_back((peer, asker));
    }

    fn watch(&mut self, peer: PeerId, connection: ConnectionId) -> Handler {
        self.schedule.add(peer, connection, Instant::now());
        Handler::new(self.config.timeout)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.watch(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.watch(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.schedule.remove(closed.connection_id),
            // Behaviours that stand behind this one may yet refuse a connection.
            FromSwarm::ListenFailure(failure) => self.schedule.remove(failure.connection_id),
            FromSwarm::DialFailure(failure) => self.schedule.remove(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        _: ConnectionId,
        rtt: THandlerOutEvent<Self>,
    ) {
        self.measured.push_back(Event { peer, rtt });
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.measured.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        if let Some((peer_id, asker)) = self.asked.pop_front() {
            // Of several connections the one over which the peer was heard last.
            let heard = self.signs.connection(&peer_id);
            let heard = heard.filter(|connection| self.schedule.watches(*connection));
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: heard.map_or(NotifyHandler::Any, NotifyHandler::One),
                event: Ask {
                    payload: Payload(self.random.random()),
                    asker: Some(asker),
                },
            });
        }
        loop {
            let now = Instant::now();
            let due = self.schedule.take_due(now, |peer, connection| {
                self.signs.last_over(peer, connection)
            });
            if let Some((peer_id, connection)) = due {
                return Poll::Ready(ToSwarm::NotifyHandler {
                    peer_id,
                    handler: NotifyHandler::One(connection),
                    event: Ask {
                        payload: Payload(self.random.random()),
                        asker: None,
                    },
                });
            }
            // A connection that is added later comes with another poll.
            let Some(next) = self.schedule.next() else {
                return Poll::Pending;
            };
            let latest = next.max(now + self.config.interval / TOGETHER);
            if !(next..=latest).contains(&self.timer.deadline()) {
                self.timer.as_mut().reset(latest);
            }
            ready!(self.timer.as_mut().poll(context));
        }
    }
}
