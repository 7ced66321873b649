//! What is learnt of addresses: of peers, and our own.

use libp2p::{Multiaddr, PeerId, autonat, identify, kad, mdns, upnp};

use super::NetworkService;
use crate::addrs::without_peer;
use crate::event::{AddrSource, NetworkEvent};
use crate::status::{KademliaStatus, NetworkStatus, Probe, Upnp};

/// A peer that claims more addresses than this is not believed in the rest.
const MAX_ADDRS_OF_PEER: usize = 8;
const MAX_PROBES: usize = 16;
/// What other people's programs may write into our log and our views.
const MAX_AGENT_CHARS: usize = 64;

impl NetworkService {
    pub(super) fn find_peer(&mut self, peer: PeerId) {
        if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
            // Old addresses would be tried first, and a peer that fails once is not met again on the
            // same walk, though others know better.
            kademlia.remove_peer(&peer);
            kademlia.get_closest_peers(peer);
        }
    }

    pub(super) fn add_addrs(&mut self, peer: PeerId, addrs: &[Multiaddr]) {
        if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
            for addr in addrs.iter().take(MAX_ADDRS_OF_PEER) {
                kademlia.add_address(&peer, addr.clone());
            }
        }
    }

    pub(super) fn handle_identify_event(&mut self, event: identify::Event) {
        let identify::Event::Received {
            peer_id: peer,
            info,
            ..
        } = event
        else {
            return;
        };
        let printable = info.agent_version.chars().filter(|c| !c.is_control());
        let agent = printable.take(MAX_AGENT_CHARS).collect();
        self.tell(NetworkEvent::Identified { peer, agent });
        let addrs: Vec<Multiaddr> = info
            .listen_addrs
            .into_iter()
            .take(MAX_ADDRS_OF_PEER)
            .map(without_peer)
            .collect();
        // Only who serves walks belongs into the table.
        let kademlia = self.swarm.behaviour_mut().kademlia.as_mut();
        if kademlia.is_some_and(|kademlia| {
            let names = kademlia.protocol_names();
            info.protocols.iter().any(|name| names.contains(name))
        }) {
            self.add_addrs(peer, &addrs);
        }
        self.discovered(peer, addrs, AddrSource::Itself);
    }

    pub(super) fn handle_kademlia_event(&mut self, event: kad::Event) {
        let kad::Event::OutboundQueryProgressed { result, .. } = event else {
            return;
        };
        let met = match result {
            kad::QueryResult::GetClosestPeers(Ok(met)) => met.peers,
            kad::QueryResult::GetClosestPeers(Err(kad::GetClosestPeersError::Timeout {
                peers,
                ..
            })) => peers,
            _ => return,
        };
        for peer in met {
            let addrs = peer.addrs.into_iter();
            let addrs = addrs.filter(|addr| self.hearsay.may_be_dialled(addr));
            let addrs = addrs.take(MAX_ADDRS_OF_PEER).map(without_peer).collect();
            self.discovered(peer.peer_id, addrs, AddrSource::Kademlia);
        }
    }

    pub(super) fn handle_mdns_event(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else {
            return;
        };
        for (peer, addr) in found {
            let addr = without_peer(addr);
            self.add_addrs(peer, std::slice::from_ref(&addr));
            self.discovered(peer, vec![addr], AddrSource::Mdns);
        }
    }

    fn discovered(&mut self, peer: PeerId, addrs: Vec<Multiaddr>, source: AddrSource) {
        if !addrs.is_empty() && peer != *self.swarm.local_peer_id() {
            self.tell(NetworkEvent::Discovered {
                peer,
                addrs,
                source,
            });
        }
    }

    pub(super) fn note_probe(&mut self, event: autonat::v2::client::Event) {
        let outcome = event.result.map_err(|error| error.to_string());
        self.probes.retain(|probe| probe.addr != event.tested_addr);
        if self.probes.len() == MAX_PROBES {
            self.probes.remove(0);
        }
        self.probes.push(Probe {
            addr: event.tested_addr,
            outcome,
        });
    }

    pub(super) fn note_upnp(&mut self, event: upnp::Event) {
        self.upnp = match event {
            upnp::Event::NewExternalAddr { .. } => Upnp::Forwarded,
            upnp::Event::ExpiredExternalAddr { .. } => Upnp::Unknown,
            upnp::Event::GatewayNotFound => Upnp::NoGateway,
            upnp::Event::NonRoutableGateway => Upnp::GatewayNotPublic,
        };
        tracing::info!(outcome = ?self.upnp, "asked the router to forward our port");
    }

    pub(super) fn status(&mut self) -> NetworkStatus {
        let counters = self.swarm.network_info();
        let kademlia = self.swarm.behaviour_mut().kademlia.as_mut();
        let kademlia = kademlia.map(|kademlia| KademliaStatus {
            serves: kademlia.mode() == kad::Mode::Server,
            peers: kademlia.kbuckets().map(|bucket| bucket.num_entries()).sum(),
        });
        NetworkStatus {
            listen_addrs: self.swarm.listeners().cloned().collect(),
            external_addrs: self.swarm.external_addresses().cloned().collect(),
            connections: counters.connection_counters().num_established(),
            probes: self.probes.clone(),
            upnp: self.upnp,
            kademlia,
        }
    }
}
