//! The nodes of the network, for everybody; and for its operator what one earns.

use api::drain::{DrainPlan, DrainView};
use api::earnings::Earnings;
use api::nodes::{Node, NodeDetail};
use api::page::Page;
use api::paths;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use look::{Bar, ago, bars, bytes, count, credits, duration, meter, percent};
use maud::{Markup, html};
use proto::NodeId;
use serde::Deserialize;

use super::{answer, query_of, visitor};
use crate::Site;
use crate::asking::{Asker, Refused};
use crate::signed_in::Came;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    cursor: String,
}

pub(super) async fn list(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    Query(shown): Query<Shown>,
) -> Result<Response, Refused> {
    let query = query_of(&[("limit", "100"), ("cursor", &shown.cursor)]);
    let nodes: Page<Node> = asker.get(&format!("{}{query}", paths::NODES)).await?;
    let now = (site.now)();
    let content = html! {
        h1 { "Nodes" }
        section.card {
            @if nodes.items.is_empty() { p { "No node has joined yet." } }
            @else { (table(&nodes.items, now)) }
            @if let Some(cursor) = &nodes.next_cursor { p { a href=(query_of(&[("cursor", cursor)])) { "More nodes" } } }
        }
    };
    Ok(answer(visitor(&came, "/nodes", "Nodes", content)).into_response())
}

pub(super) fn table(nodes: &[Node], now: Timestamp) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Name" } th scope="col" { "State" } th scope="col" { "Region" } th.sum scope="col" { "Holds" } th.sum scope="col" { "Of" } th.sum scope="col" { "Score" } th.sum scope="col" { "Uptime" } th scope="col" { "Heard of" } } }
            tbody.rows {
                @for node in nodes {
                    tr {
                        td { a href=(format!("/nodes/{}", node.node_id)) { bdi { (node.name) } } }
                        td data-name="State" { (state(node)) }
                        td data-name="Region" { bdi { (node.region.as_deref().unwrap_or("–")) } }
                        td.sum data-name="Holds" { (bytes(node.used_bytes)) }
                        td.sum data-name="Of" { (bytes(node.capacity_bytes)) }
                        td.sum data-name="Score" { (percent(node.score_ppm)) }
                        td.sum data-name="Uptime" { @match node.uptime_ppm { Some(ppm) => (percent(ppm)), None => "–" } }
                        td data-name="Heard of" { @match node.last_seen_at { Some(at) => (ago(at, now)), None => "never" } }
                    }
                }
            }
        }
    }
}

fn state(node: &Node) -> Markup {
    let class = match node.state.as_str() {
        "active" => "badge good",
        "suspended" | "disqualified" => "badge ill",
        _ => "badge",
    };
    html! {
        span class=(class) { (node.state) }
        @if !node.online { " " span.badge.odd { "away" } }
        @if node.on_hold { " " span.badge.odd { "on hold" } }
    }
}

pub(super) async fn one(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    Path(id): Path<NodeId>,
) -> Result<Response, Refused> {
    let detail: NodeDetail = asker.get(&paths::node(id)).await?;
    let operators = match came.has_cookie {
        true => operators_part(&asker, id, (site.now)()).await,
        false => None,
    };
    let (node, now) = (&detail.node, (site.now)());
    let used = node.used_bytes as f64 / node.capacity_bytes.max(1) as f64;
    let content = html! {
        p { a href="/nodes" { "← Nodes" } }
        h1 { bdi { (node.name) } }
        div.grid.two {
            section.card aria-label="Standing" {
                dl.facts {
                    (look::fact("State", html! { (state(node)) @if !node.state_reason.is_empty() { " " span.quiet dir="auto" { (node.state_reason) } } }))
                    (look::fact("Since", ago(node.state_since, now)))
                    @if let Some(reason) = &node.hold_reason { (look::fact("On hold", html! { (reason) })) }
                    (look::fact("Region", html! { bdi { (node.region.as_deref().unwrap_or("–")) } }))
                    (look::fact("Score", percent(node.score_ppm)))
                    (look::fact("Uptime", html! { @match node.uptime_ppm { Some(ppm) => { (percent(ppm)) " on the last settled day" } None => "no day is settled yet" } }))
                }
            }
            section.card aria-label="Disk" {
                (meter(&format!("{} of {} in use", bytes(node.used_bytes), bytes(node.capacity_bytes)), used))
                dl.facts {
                    (look::fact("Holds", html! { (bytes(node.used_bytes)) " of " (bytes(node.capacity_bytes)) }))
                    (look::fact("Copies", count(node.blob_count)))
                    (look::fact("Heard of", html! { @match node.last_seen_at { Some(at) => (ago(at, now)), None => "never" } }))
                    (look::fact("Peer", html! { code { (node.peer_id) } }))
                }
            }
        }
        @if let Some(part) = operators { (part) }
        section.card aria-labelledby="history" {
            h2 #history { "History" }
            @if detail.state_history.is_empty() { p.quiet { "Its state has not changed since it joined." } }
            @else {
                ul {
                    @for change in &detail.state_history {
                        li { (look::moment(change.at)) ": " (change.from) " → " strong { (change.to) } " " span.quiet dir="auto" { (change.reason) } }
                    }
                }
            }
        }
    };
    Ok(answer(visitor(&came, "/nodes", &node.name, content)).into_response())
}

/// What the API tells the node's operator, and nobody else.
async fn operators_part(asker: &Asker, id: NodeId, now: Timestamp) -> Option<Markup> {
    let path = format!("{}?limit=30", paths::node_earnings(id));
    let earnings: Earnings = asker.get(&path).await.ok()?;
    let plan: Option<DrainPlan> = asker.get(&paths::node_drain_plan(id)).await.ok();
    let drain: Option<DrainView> = asker.get(&paths::node_drain(id)).await.ok();
    let pending = &earnings.pending;
    let days: Vec<Bar> = earnings
        .days
        .iter()
        .rev()
        .map(|day| Bar {
            value: day.net_microcredits.get(),
            title: format!("{}: {} credits", day.day, credits(day.net_microcredits)),
        })
        .collect();
    Some(html! {
        section.card aria-labelledby="pay" {
            h2 #pay { "What it earns" }
            p { "Since " (ago(pending.since, now)) ": " strong { (credits(pending.earned_microcredits)) " credits" } " for " (bytes(pending.bytes.unsigned_abs())) ", uptime " (percent(pending.uptime_ppm)) ", penalties " (credits(pending.penalties_microcredits)) "." }
            @if days.is_empty() { p.quiet { "No day is settled yet." } } @else { (bars("Net credits of each settled day", &days)) }
        }
        section.card aria-labelledby="leaving" {
            h2 #leaving { "Leaving" }
            @if let Some(drain) = drain {
                p { "A drain: " strong { (drain.state) } ", " (count(drain.blobs_left)) " copies (" (bytes(drain.bytes_left)) ") left." }
            } @else if let Some(plan) = plan {
                p { "To leave in order, " (count(plan.blobs)) " copies (" (bytes(plan.bytes)) ") would move to " (plan.eligible_nodes) " nodes"
                    @if let Some(seconds) = plan.estimated_seconds { ", in about " (duration(seconds)) } ". "
                    @if let Some(obstacle) = &plan.obstacle { span.badge.ill { "not now" } " " (obstacle) }
                    @else { (credits(plan.returned_microcredits)) " credits that are held back would be paid." } }
                p.quiet { "It is begun on the node: " code { "storage-node drain" } ", or on its own page." }
            }
        }
    })
}
