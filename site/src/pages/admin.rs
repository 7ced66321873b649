//! For administrators, as far as the API goes: the background work of this coordinator, its peers, what waits for repair.

use api::jobs::{Job, Jobs};
use api::paths;
use api::peers::{Peer, Peers};
use api::summary::Summary;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use look::{Tile, ago, count, duration, tile};
use maud::{Markup, html};

use super::Owner;
use crate::Site;
use crate::asking::{Asker, Refused};
use crate::signed_in::SignedIn;

pub(super) async fn page(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let jobs: Jobs = owner.asker.get(paths::JOBS).await?;
    let peers: Peers = owner.asker.get(paths::PEERS).await?;
    let summary: Summary = owner.asker.get(paths::NETWORK_SUMMARY).await?;
    let now = (site.now)();
    let failing = jobs.items.iter().filter(|job| is_failing(job)).count();
    let connected = peers
        .items
        .iter()
        .filter(|peer| peer.state == "connected")
        .count();
    let repair = &summary.repair;
    let content = html! {
        h1 { "Administration" }
        dl.tiles {
            (tile(&Tile { name: "Jobs that fail", value: count(failing as u64), note: html! { "of " (jobs.items.len()) ", by their last step" } }))
            (tile(&Tile { name: "Peers connected", value: count(connected as u64), note: html! { "of " (peers.items.len()) " that this coordinator knows" } }))
            (tile(&Tile { name: "Chunks under repair", value: count(repair.chunks), note: html! {
                @match (repair.fewest_healthy, repair.oldest_since) {
                    (Some(fewest), Some(since)) => { "fewest healthy copies: " (fewest) "; the first since " (ago(since, now)) }
                    _ => "none waits"
                }
            } }))
        }
        section.card aria-labelledby="jobs" { h2 #jobs { "Background work of this coordinator" } div.scroll { (job_table(&jobs.items, now)) } }
        section.card aria-labelledby="peers" { h2 #peers { "Peers" } div.scroll { (peer_table(&peers.items)) } }
        section.card aria-labelledby="rest" {
            h2 #rest { "On the host" }
            p { "Accounts, take-downs, the ledger and its verification, reconciling and restoring are commands of the coordinator's host: "
                code { "coordinator admin" } ", " code { "coordinator ledger" } ", " code { "coordinator restore" } "." }
        }
    };
    Ok(owner.page("/admin", "Administration", content))
}

/// Its last step ended in an error: the error is no older than that step.
fn is_failing(job: &Job) -> bool {
    let error = job.last_error.as_ref().map(|error| error.at);
    error.is_some_and(|at| job.started_at.is_none_or(|started| at >= started))
}

fn job_table(jobs: &[Job], now: Timestamp) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Job" } th scope="col" { "State" } th.sum scope="col" { "Backlog" } th scope="col" { "Last step" } th.sum scope="col" { "Failures" } th scope="col" { "Last error" } } }
            tbody {
                @for job in jobs {
                    tr {
                        td { (job.name) }
                        td data-name="State" {
                            @if is_failing(job) { span.badge.ill { "fails" } }
                            @else if let Some(what) = &job.waits_for { span.badge.odd { "waits for " (what) } }
                            @else { (job.state) }
                        }
                        td.sum data-name="Backlog" { @match job.backlog { Some(backlog) => (count(backlog)), None => "–" } }
                        td data-name="Last step" {
                            @match job.ended_at { Some(at) => (ago(at, now)), None => "–" }
                            @if let Some(ms) = job.duration_ms { ", " (ms) " ms" }
                        }
                        td.sum data-name="Failures" { (count(job.failures)) " of " (count(job.runs)) }
                        td data-name="Last error" { @match &job.last_error { Some(error) => { (ago(error.at, now)) ": " (error.text) } None => "–" } }
                    }
                }
            }
        }
    }
}

fn peer_table(peers: &[Peer]) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Peer" } th scope="col" { "State" } th.sum scope="col" { "Round trip" } th scope="col" { "Silent for" } th scope="col" { "Software" } th scope="col" { "Last error" } } }
            tbody.rows {
                @for peer in peers {
                    tr {
                        td {
                            @match peer.node_id {
                                Some(id) => a href=(format!("/nodes/{id}")) { code { (look::short(&id.to_string())) } },
                                None => code { (peer.peer_id) }
                            }
                        }
                        td data-name="State" {
                            @if peer.state == "connected" && peer.responsive { span.badge.good { "connected" } }
                            @else { span.badge.ill { (peer.state) @if !peer.responsive { ", silent" } } }
                        }
                        td.sum data-name="Round trip" { @match peer.rtt_ms { Some(rtt) => { (format!("{:.1}", rtt.smoothed)) " ms" } None => "–" } }
                        td data-name="Silent for" { @match peer.last_seen_ms { Some(ms) => (duration(ms / 1000)), None => "–" } }
                        td data-name="Software" { bdi { (peer.software.as_deref().unwrap_or("–")) } }
                        td data-name="Last error" { bdi { (peer.last_error.as_deref().unwrap_or("–")) } }
                    }
                }
            }
        }
    }
}
