//! What the swarm tells, turned into what the policy has to know.

use std::time::Duration;

use libp2p::swarm::{ConnectionError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

use super::{NetworkService, root_cause};
use crate::admission::RefusalReason;
use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::event::{DisconnectReason, NetworkEvent};
use crate::ping;

type Event = SwarmEvent<<Behaviour as libp2p::swarm::NetworkBehaviour>::ToSwarm>;

impl NetworkService {
    pub(super) fn handle_swarm_event(&mut self, event: Event) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id: peer,
                connection_id: connection,
                endpoint,
                num_established,
                ..
            } => {
                let (addr, dialled) = (endpoint.get_remote_address(), endpoint.is_dialer());
                tracing::debug!(%peer, %addr, dialled, "connected");
                if dialled {
                    self.dials.remove(&peer);
                }
                self.tell(NetworkEvent::ConnectionOpened {
                    peer,
                    connection,
                    addr: addr.clone(),
                    dialled,
                });
                self.handle.note_connections(peer, num_established.get());
                if num_established.get() == 1 {
                    let addr = addr.clone();
                    self.tell(NetworkEvent::Connected { peer, addr });
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id: peer,
                connection_id: connection,
                num_established,
                cause,
                ..
            } => {
                self.tell(NetworkEvent::ConnectionClosed { peer, connection });
                match num_established {
                    0 => self.note_loss(peer, cause.as_ref()),
                    left => self.handle.note_connections(peer, left),
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id: Some(peer),
                error,
            } => self.handle_failed_dial(connection_id, peer, &error),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                peer_id,
                ..
            } => self.note_refusal(&send_back_addr, &error, peer_id),
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening for peers");
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::error!(?addresses, ?reason, "a listener for peers has closed");
            }
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "peers can reach this program here");
            }
            SwarmEvent::ExternalAddrExpired { address } => {
                tracing::warn!(%address, "peers cannot reach this program here any more");
            }
            _ => {}
        }
    }

    fn handle_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Ping(ping::Event { peer, rtt }) => {
                // A measurement nobody has room for is not worth keeping.
                if self.backlog.is_empty() {
                    let _ = self.events.try_send(NetworkEvent::Ping { peer, rtt });
                }
            }
            BehaviourEvent::Identify(event) => self.handle_identify_event(event),
            BehaviourEvent::Kademlia(event) => self.handle_kademlia_event(event),
            BehaviourEvent::Mdns(event) => self.handle_mdns_event(event),
            BehaviourEvent::Autonat(event) => self.note_probe(event),
            BehaviourEvent::DialBack(event) => {
                tracing::debug!(client = %event.client, addr = %event.tested_addr, result = ?event.result, "tried to reach a peer");
            }
            BehaviourEvent::Upnp(event) => self.note_upnp(event),
            BehaviourEvent::Exchange(never) => match never {},
            BehaviourEvent::Admission(never) => match never {},
            BehaviourEvent::Limits(never) => match never {},
            BehaviourEvent::Memory(never) => match never {},
        }
    }

    fn note_loss(&mut self, peer: PeerId, cause: Option<&ConnectionError>) {
        self.handle.note_lost(&peer);
        let reason = cause.map_or(DisconnectReason::Closed, |error| {
            DisconnectReason::Error(root_cause(error))
        });
        tracing::debug!(%peer, ?reason, "disconnected");
        self.tell(NetworkEvent::Disconnected { peer, reason });
    }

    fn note_refusal(&mut self, from: &Multiaddr, error: &ListenError, peer: Option<PeerId>) {
        let reason = RefusalReason::of(error, peer.as_ref());
        self.handle.refusals().count(reason);
        if let Some(unsaid) = self.refusal_log.may_speak(Instant::now()) {
            let error = root_cause(error);
            tracing::info!(addr = %from, reason = reason.name(), error, unsaid, "refused a connection");
        }
    }
}

/// Lets a few lines a second into the log, and counts the others: whoever is refused can come again
/// as often as he likes.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    second: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

const LINES_PER_SECOND: u32 = 5;

impl RefusalLog {
    /// How many lines were left out since the last one, if another may be written.
    fn may_speak(&mut self, now: Instant) -> Option<u64> {
        let same = self
            .second
            .is_some_and(|second| now.duration_since(second) < Duration::from_secs(1));
        if !same {
            self.second = Some(now);
            self.lines = 0;
        }
        if self.lines == LINES_PER_SECOND {
            self.unsaid += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_fill_no_log() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        let said = (0..1000).filter_map(|_| log.may_speak(start)).count();
        assert_eq!(said, LINES_PER_SECOND as usize);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            log.may_speak(later),
            Some(1000 - u64::from(LINES_PER_SECOND))
        );
        assert_eq!(log.may_speak(later), Some(0));
    }
}
