//! `/admin/peers`: the peer network as this coordinator sees it.

use std::sync::Arc;
use std::time::Duration;

use api::paths;
use api::peers::{Peer, Peers, RoundTrip};
use axum::extract::State;
use network::PeerView;

use super::authorization::Admin;
use super::extract::Json;
use crate::fleet::Nodes;
use crate::fleet::peers::PeerNetwork;

fn view(nodes: &Nodes, peer: PeerView) -> Peer {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fine = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let member = nodes.fleet.member_of_peer(&peer.peer);
    Peer {
        peer_id: peer.peer.to_string(),
        node_id: member.map(|member| member.node_id),
        state: peer.state.name().to_owned(),
        responsive: peer.responsive,
        addr: peer.addr.map(|addr| addr.to_string()),
        connections: peer.connections,
        connected_ms: peer.connected_for.map(ms),
        last_seen_ms: peer.silent_for.map(ms),
        rtt_ms: peer.rtt.map(|rtt| RoundTrip {
            last: fine(rtt.last),
            lowest: fine(rtt.lowest),
            smoothed: fine(rtt.smoothed),
        }),
        missed_pings: peer.missed_pings,
        dial_failures: peer.dial_failures,
        next_dial_ms: peer.next_dial_in.map(ms),
        last_error: peer.last_error,
        software: peer.agent,
    }
}

/// The peers of this coordinator, connected or remembered. For admins.
#[utoipa::path(get, path = paths::PEERS, tag = "nodes", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = Peers), (status = 403, description = "The caller is no admin")))]
pub(super) async fn list(
    State(nodes): State<Arc<Nodes>>,
    State(peers): State<PeerNetwork>,
    _: Admin,
) -> Json<Peers> {
    let views = peers.observer.view().await;
    let items = views.into_iter().map(|peer| view(&nodes, peer)).collect();
    Json(Peers { items })
}
