//! `/admin/peers`: the peer network as this coordinator sees it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use network::PeerView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::extract::{Admin, Json};
use crate::app::App;

/// A peer. Times are milliseconds before now, or from now on.
#[derive(Serialize, ToSchema)]
#[schema(as = Peer)]
pub struct View {
    peer_id: String,
    /// Of the node, while it is online.
    node_id: Option<Uuid>,
    /// connected, disconnected or failed
    #[schema(example = "connected")]
    state: &'static str,
    /// `false` for a connected peer that has been silent for too long.
    responsive: bool,
    addr: Option<String>,
    connections: usize,
    connected_ms: Option<u64>,
    last_seen_ms: Option<u64>,
    rtt_ms: Option<Rtt>,
    /// Ping intervals in a row in which nothing came.
    missed_pings: u32,
    dial_failures: u32,
    next_dial_ms: Option<u64>,
    last_error: Option<String>,
    software: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RoundTrip)]
pub struct Rtt {
    last: f64,
    lowest: f64,
    smoothed: f64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Peers)]
pub struct Peers {
    items: Vec<View>,
}

fn view(app: &App, peer: PeerView) -> View {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fine = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let member = app.fleet.member_of_peer(&peer.peer);
    View {
        peer_id: peer.peer.to_string(),
        node_id: member.map(|member| member.node_id.as_uuid()),
        state: peer.state.name(),
        responsive: peer.responsive,
        addr: peer.addr.map(|addr| addr.to_string()),
        connections: peer.connections,
        connected_ms: peer.connected_for.map(ms),
        last_seen_ms: peer.silent_for.map(ms),
        rtt_ms: peer.rtt.map(|rtt| Rtt {
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
#[utoipa::path(get, path = "/admin/peers", tag = "nodes", security(("bearer" = [])), responses(
    (status = 200, body = Peers), (status = 403, description = "The caller is no admin")))]
pub async fn list(State(app): State<Arc<App>>, _: Admin) -> Json<Peers> {
    let views = app.peers.observer.view().await;
    let items = views.into_iter().map(|peer| view(&app, peer)).collect();
    Json(Peers { items })
}
