//! What the rest of the program asks of the event loop.

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId};

use super::{NetworkService, root_cause, same_place};
use crate::event::NetworkEvent;
use crate::handle::Command;

impl NetworkService {
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::Call { peer, call } => {
                if !self.swarm.behaviour_mut().exchange.call(peer, call) {
                    self.handle.note_lost(&peer);
                }
            }
            Command::Ping { peer, asker } => self.swarm.behaviour_mut().ping.ask(peer, asker),
            Command::Dial { peer, addrs } => self.dial(peer, addrs),
            Command::Disconnect { peer } => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Close { connection } => {
                self.swarm.close_connection(connection);
            }
            Command::FindPeer { peer } => self.find_peer(peer),
            Command::AddAddrs { peer, addrs } => self.add_addrs(peer, &addrs),
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::Shutdown => {}
        }
    }

    fn dial(&mut self, peer: PeerId, addrs: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .addresses(addrs.clone())
            .extend_addresses_through_behaviour()
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(peer, (connection, addrs));
            }
            Err(DialError::DialPeerConditionFalse(_)) => {
                // Somebody else's dial, whose failure will not be told; its success will.
                if !self.swarm.is_connected(&peer) && !self.dials.contains_key(&peer) {
                    let error = "it is being dialled already".to_owned();
                    self.tell(NetworkEvent::DialFailed { peer, error });
                }
            }
            Err(error) => self.tell(NetworkEvent::DialFailed {
                peer,
                error: root_cause(&error),
            }),
        }
    }

    /// libp2p gives up a dial once anyone answers at one of its addresses, even the wrong peer. An
    /// address that now belongs to another must not hide those that are still right.
    pub(super) fn handle_failed_dial(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        error: &DialError,
    ) {
        let ours = self.dials.get(&peer);
        if ours.is_none_or(|(ours, _)| *ours != connection) {
            tracing::debug!(%peer, error = root_cause(error), "a walk met a peer that cannot be reached");
            return;
        }
        let (_, mut rest) = self.dials.remove(&peer).unwrap_or((connection, Vec::new()));
        if let DialError::WrongPeerId { address, .. } = error {
            let tried = rest.len();
            rest.retain(|addr| !same_place(addr, address));
            if (1..tried).contains(&rest.len()) {
                return self.dial(peer, rest);
            }
        }
        self.tell(NetworkEvent::DialFailed {
            peer,
            error: root_cause(error),
        });
    }
}
