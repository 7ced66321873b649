//! From network events to use-cases and back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use network::{InboundRequest, Multiaddr, PeerEvent, Peers, multiaddr};
use proto::{Heartbeat, Hello, PeerId, Protocol};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::app::{App, nodes};
use crate::domain::node::NetworkPrefix;

/// Requests of nodes that are worked on at one time; more wait in the network's queue.
const AT_ONE_TIME: usize = 64;

/// Where peers are connected from.
#[derive(Debug, Clone, Default)]
struct Addresses(Arc<RwLock<HashMap<PeerId, IpAddr>>>);

impl Addresses {
    fn prefix(&self, peer: &PeerId) -> Option<NetworkPrefix> {
        let addresses = self.0.read().unwrap_or_else(PoisonError::into_inner);
        addresses.get(peer).copied().and_then(NetworkPrefix::of)
    }

    fn set(&self, peer: PeerId, addr: &Multiaddr) {
        let ip = addr.iter().find_map(|part| match part {
            multiaddr::Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
            multiaddr::Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
            _ => None,
        });
        let mut addresses = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match ip {
            Some(ip) => addresses.insert(peer, ip),
            None => addresses.remove(&peer),
        };
    }

    fn forget(&self, peer: &PeerId) {
        let mut addresses = self.0.write().unwrap_or_else(PoisonError::into_inner);
        addresses.remove(peer);
    }
}

/// Serves nodes until the network stops.
pub async fn serve(app: Arc<App>, mut peers: Peers, requests: mpsc::Receiver<InboundRequest>) {
    let addresses = Addresses::default();
    let serving = tokio::spawn(serve_requests(
        Arc::clone(&app),
        addresses.clone(),
        requests,
    ));
    while let Some(event) = peers.next_event().await {
        match event {
            PeerEvent::Connected { peer, addr } => addresses.set(peer, &addr),
            PeerEvent::Disconnected { peer, reason } => {
                addresses.forget(&peer);
                if let Some(member) = app.fleet.member_of_peer(&peer) {
                    tracing::info!(node_id = %member.node_id, %peer, ?reason, "a node is offline");
                }
                app.fleet.remove_peer(&peer);
            }
            PeerEvent::Ping { peer, rtt } => {
                if let Some(member) = app.fleet.member_of_peer(&peer) {
                    member.note_ping(rtt);
                }
            }
        }
    }
    if let Err(error) = serving.await {
        tracing::error!(%error, "serving nodes ended badly");
    }
}

async fn serve_requests(
    app: Arc<App>,
    addresses: Addresses,
    mut requests: mpsc::Receiver<InboundRequest>,
) {
    let (slots, tasks) = (Arc::new(Semaphore::new(AT_ONE_TIME)), TaskTracker::new());
    while let Some(request) = requests.recv().await {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            break;
        };
        let (app, prefix) = (Arc::clone(&app), addresses.prefix(&request.peer));
        tasks.spawn(async move {
            answer(&app, prefix, request).await;
            drop(slot);
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// A request that cannot be answered is dropped: its sender sees the stream end and asks again.
async fn answer(app: &App, prefix: Option<NetworkPrefix>, mut request: InboundRequest) {
    let (peer, protocol) = (request.peer, request.protocol);
    let refused = match protocol {
        Protocol::Hello => match request.decode::<Hello>() {
            Ok(report) => match nodes::hello(app, peer, prefix, report).await {
                Ok(answer) => {
                    if let Some(reason) = &answer.rejection {
                        tracing::info!(%peer, reason, "refused a node");
                    }
                    return request.respond::<Hello>(answer).await;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        Protocol::Heartbeat => match request.decode::<Heartbeat>() {
            Ok(report) => match nodes::heartbeat(app, peer, prefix, report).await {
                Ok(Some(answer)) => return request.respond::<Heartbeat>(answer).await,
                Ok(None) => "the peer is not a registered node".to_owned(),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
        other => format!("{other:?} is not served by coordinators"),
    };
    tracing::warn!(%peer, ?protocol, reason = refused, "left a node's request unanswered");
}
