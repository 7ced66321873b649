//! `/`: the node's page, for its operator: am I fine, how full am I, what do I earn and why, what was proven, what next.
//!
//! It has no script, shows what `/status` and the coordinator tell, and reads free as they do. What changes something asks for
//! the token in its form: a page elsewhere does not know it, so it can send none of these forms.

use std::fmt::Write;

use api::drain::DrainPlan;
use api::earnings::{Earnings, EarningsDay, PayoutView};
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use look::{
    Bar, Frame, Tile, ago, bars, bytes, count, credits, duration, fact, meter, moment, notice,
    percent, tile,
};
use maud::{Markup, Render, html};
use serde::Deserialize;

use super::figures::Figures;
use super::status::Activity;
use super::{Admin, NodeStatus, Problem, refused};
use crate::membership::{DRAINED, DRAINING};

/// No script at all.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

/// A node this full should be given more room, or be content.
const NEARLY_FULL: f64 = 0.95;

/// A coordinator that has said nothing for longer may be gone.
const SILENT: SignedDuration = SignedDuration::from_mins(5);

#[derive(Deserialize)]
pub(super) struct Token {
    token: String,
}

pub(super) async fn style() -> Response {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        look::STYLE,
    )
        .into_response()
}

pub(super) async fn show(State(admin): State<Admin>) -> Result<Response, Problem> {
    render(&admin, None).await
}

pub(super) async fn leave(
    State(admin): State<Admin>,
    Form(typed): Form<Token>,
) -> Result<Response, Problem> {
    if !admin.operator.is_token(typed.token.trim()) {
        return render(
            &admin,
            Some(notice(true, "That is not the token. Nothing was changed.")),
        )
        .await;
    }
    let told = match admin.begin_drain().await {
        Ok(_) => notice(
            false,
            "The node leaves the network in order. Let it run until all is moved.",
        ),
        Err(problem) => notice(true, &problem.detail),
    };
    admin.said.forget().await;
    render(&admin, Some(told)).await
}

pub(super) async fn stay(
    State(admin): State<Admin>,
    Form(typed): Form<Token>,
) -> Result<Response, Problem> {
    if !admin.operator.is_token(typed.token.trim()) {
        return render(
            &admin,
            Some(notice(true, "That is not the token. Nothing was changed.")),
        )
        .await;
    }
    let operator = &admin.operator;
    let told = match operator.api.cancel_drain(&operator.credentials).await {
        Ok(_) => notice(
            false,
            "The drain is called off: the node goes on with what it still has.",
        ),
        Err(error) => notice(true, &refused(error).detail),
    };
    admin.said.forget().await;
    render(&admin, Some(told)).await
}

async fn render(admin: &Admin, told: Option<Markup>) -> Result<Response, Problem> {
    let status = NodeStatus::of(&admin.node).await;
    let status = status.map_err(Problem::internal)?;
    let said = admin.said.figures(&admin.operator).await;
    let now = admin.node.clock.now();
    let frame = Frame {
        title: "Node",
        brand: &status.name,
        style: "/style.css",
        scripts: &[],
        entries: &[],
        here: "",
        aside: html! { a.button.plain.small href="/" { "Look again" } },
        content: content(&status, &said, now, told),
        foot: html! {
            a href="/status" { "status" } a href="/peers" { "peers" } a href="/metrics" { "metrics" }
            span { (status.software) }
        },
    };
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ];
    Ok((HEADERS, frame.render().into_string()).into_response())
}

fn content(status: &NodeStatus, said: &Figures, now: Timestamp, told: Option<Markup>) -> Markup {
    let quota = &status.quota;
    let full = quota.used_bytes as f64 / quota.capacity_bytes.max(1) as f64;
    let worries = worries(status, said, now);
    html! {
        h1 { bdi { (status.name) } }
        @if let Some(told) = told { (told) }
        @if worries.is_empty() { (notice(false, "All is well: the disk works, and a coordinator has accepted this node.")) }
        @for worry in &worries { (notice(true, worry)) }
        dl.tiles {
            (tile(&Tile { name: "Full", value: format!("{:.0} %", full * 100.0), note: html! {
                (meter(&format!("{} of {} in use", bytes(quota.used_bytes), bytes(quota.capacity_bytes)), full))
                (bytes(quota.used_bytes)) " of " (bytes(quota.capacity_bytes))
            } }))
            (tile(&Tile { name: "Copies held", value: count(status.catalogue.live.blobs), note: html! { (bytes(status.catalogue.live.bytes)) } }))
            @if let Some(earnings) = &said.earnings { (pay_tile(earnings, now)) }
            @if let Some(standing) = &said.standing {
                (tile(&Tile { name: "Score", value: percent(standing.node.score_ppm), note: html! { "state: " (standing.node.state) } }))
                (tile(&Tile { name: "Uptime", value: standing.node.uptime_ppm.map_or_else(|| "–".to_owned(), percent), note: html! { "on the last settled day" } }))
            }
        }
        @if said.standing.is_none() { (notice(true, "The coordinator does not answer: pay, score and proofs are not shown.")) }
        @if let Some(earnings) = &said.earnings { (pay(earnings, &said.payouts)) }
        div.grid.two {
            section.card aria-labelledby="proofs" { h2 #proofs { "Last proofs" } (proofs(said, now)) }
            section.card aria-labelledby="disk" { h2 #disk { "Disk and network" } (facts(status, now)) }
        }
        section.card aria-labelledby="leaving" { h2 #leaving { "Leaving the network" } (leaving(said)) }
    }
}

/// What an operator should look at, the worst first.
fn worries(status: &NodeStatus, said: &Figures, now: Timestamp) -> Vec<String> {
    let mut worries = Vec::new();
    if let Some(fault) = &status.fault {
        worries.push(format!(
            "The disk refuses writes: {fault}. Look at the disk, then start the node again."
        ));
    }
    if !status.ledger.contradictions.is_empty() {
        worries.push("The network's ledger was rewritten: what this node has kept contradicts it. See storage-node doctor.".to_owned());
    }
    let coordinators = || status.coordinators.values();
    if !coordinators().any(|one| one.connected) {
        worries.push(
            "No coordinator is connected. Check the network, and storage-node doctor.".to_owned(),
        );
    } else if !coordinators().any(|one| one.accepted) {
        let why = coordinators().find_map(|one| one.rejection.as_deref());
        worries.push(format!(
            "No coordinator accepts this node: {}.",
            why.unwrap_or("it has not said why")
        ));
    }
    let heard = coordinators().filter_map(|one| one.last_heartbeat_at).max();
    if heard.is_some_and(|at| now.duration_since(at) > SILENT) {
        worries.push("No heartbeat was answered for more than five minutes.".to_owned());
    }
    if let Some(standing) = &said.standing {
        let node = &standing.node;
        if matches!(node.state.as_str(), "suspended" | "disqualified") {
            worries.push(format!(
                "The network has {} this node: {}",
                node.state, node.state_reason
            ));
        } else if let Some(reason) = &node.hold_reason {
            worries.push(format!("It gets nothing new for now: {reason}"));
        }
    }
    if status.catalogue.corrupt.blobs + status.catalogue.lost.blobs > 0 {
        worries.push(format!(
            "{} blobs are damaged and {} are gone. Look at the disk (SMART): this costs pay and score.",
            status.catalogue.corrupt.blobs, status.catalogue.lost.blobs
        ));
    }
    if status.deferred.held.blobs > 0 {
        worries.push(format!(
            "Coordinators ordered more to be deleted than this node removes in a day: {} blobs were put off. Ask the network's \
             administrator whether that is meant.",
            status.deferred.held.blobs
        ));
    }
    let quota = &status.quota;
    if quota.used_bytes as f64 > NEARLY_FULL * quota.capacity_bytes as f64 {
        worries.push(
            "It is nearly full. With more room (node.capacity) it would earn more.".to_owned(),
        );
    }
    if status.activity == Activity::ReadOnly && status.fault.is_none() {
        worries.push("It takes nothing new.".to_owned());
    }
    worries
}

fn pay_tile(earnings: &Earnings, now: Timestamp) -> Markup {
    let pending = &earnings.pending;
    tile(&Tile {
        name: "Earned, not settled",
        value: credits(pending.earned_microcredits),
        note: html! { "credits since " (ago(pending.since, now)) ", penalties " (credits(pending.penalties_microcredits)) },
    })
}

fn pay(earnings: &Earnings, payouts: &[PayoutView]) -> Markup {
    let drawn: Vec<Bar> = earnings
        .days
        .iter()
        .rev()
        .map(|day| Bar {
            value: day.net_microcredits.get(),
            title: format!("{}: {} credits", day.day, credits(day.net_microcredits)),
        })
        .collect();
    html! {
        section.card aria-labelledby="pay" {
            h2 #pay { "What it earns, and why" }
            @if earnings.days.is_empty() { p.quiet { "No day is settled yet: the first is, after its end (UTC)." } }
            @else {
                (bars("Net credits of each settled day", &drawn))
                table.cards {
                    thead { tr { th scope="col" { "Day" } th.sum scope="col" { "Gross" } th.sum scope="col" { "Uptime" } th scope="col" { "Penalties" } th.sum scope="col" { "Net" } th.sum scope="col" { "Held back" } } }
                    tbody { @for day in &earnings.days { (pay_row(day)) } }
                }
            }
            @if !payouts.is_empty() {
                h3 { "Paid out" }
                ul { @for payout in payouts {
                    li { @if let Some(at) = payout.created_at { (moment(at)) ": " } (credits(payout.amount_microcredits)) " credits, " (payout.state)
                        @if let Some(reason) = &payout.reason { " " span.quiet { (reason) } } }
                } }
            }
        }
    }
}

fn pay_row(day: &EarningsDay) -> Markup {
    html! {
        tr {
            td { (day.day) }
            td.sum data-name="Gross" { (credits(day.gross_microcredits)) }
            td.sum data-name="Uptime" { (percent(day.uptime_ppm)) }
            td data-name="Penalties" {
                @if day.penalties.is_empty() { "none" }
                @else {
                    details {
                        summary { (credits(day.penalties_microcredits)) " (" (day.penalties.len()) ")" }
                        ul { @for penalty in &day.penalties {
                            li { (penalty.kind.replace('_', " ")) ", " (credits(penalty.amount_microcredits)) ": " code { (cause(&penalty.cause)) } }
                        } }
                    }
                }
            }
            td.sum.minus[day.net_microcredits.is_negative()] data-name="Net" { (credits(day.net_microcredits)) }
            td.sum data-name="Held back" { (credits(day.held_microcredits)) }
        }
    }
}

/// Members of a cause in one line.
fn cause(cause: &serde_json::Value) -> String {
    let Some(members) = cause.as_object() else {
        return cause.to_string();
    };
    let mut text = String::new();
    for (name, value) in members {
        let separator = if text.is_empty() { "" } else { ", " };
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let _ = write!(text, "{separator}{name} {value}"); // into a String: nothing fails
    }
    text
}

fn proofs(said: &Figures, now: Timestamp) -> Markup {
    html! {
        @if said.proofs.is_empty() { p.quiet { "None yet: the first challenges come when it holds something." } }
        @else {
            table.cards {
                thead { tr { th scope="col" { "When" } th.sum scope="col" { "Passed" } th.sum scope="col" { "Failed" } th.sum scope="col" { "Missed" } th.sum scope="col" { "Busy" } } }
                tbody {
                    @for proof in &said.proofs {
                        tr {
                            td { (ago(proof.at, now)) }
                            td.sum data-name="Passed" { (proof.passed) }
                            td.sum.minus[proof.failed > 0] data-name="Failed" { (proof.failed) }
                            td.sum.minus[proof.missed > 0] data-name="Missed" { (proof.missed) }
                            td.sum data-name="Busy" { (proof.busy) }
                        }
                    }
                }
            }
        }
    }
}

fn facts(status: &NodeStatus, now: Timestamp) -> Markup {
    let (quota, scrub) = (&status.quota, &status.scrub);
    html! {
        dl.facts {
            (fact("Running", html! { "since " (ago(status.started_at, now)) }))
            (fact("Disk", html! { (bytes(quota.disk_free_bytes)) " free of " (bytes(quota.disk_total_bytes)) }))
            (fact("In the trash", html! { (bytes(status.catalogue.trashed.bytes)) }))
            (fact("Scrub", html! { (bytes(scrub.bytes_read)) " read since the start, " (scrub.corrupt) " damaged, " (scrub.lost) " gone" }))
            (fact("Ledger", html! { (status.ledger.days_kept) " days kept" @if let Some(day) = &status.ledger.last_day { ", the last " (day) } }))
            @for (peer, one) in &status.coordinators {
                (fact("Coordinator", html! {
                    @if one.accepted { span.badge.good { "accepted" } } @else if one.connected { span.badge.odd { "connected" } } @else { span.badge.ill { "away" } }
                    " " code title=(peer) { (look::short(peer)) "…" }
                    @if let Some(at) = one.last_heartbeat_at { ", heard of " (ago(at, now)) }
                }))
            }
            (fact("Node", html! { code { (status.node_id) } }))
            (fact("Network", html! { code { (look::short(&status.network_id)) "…" } }))
        }
    }
}

fn leaving(said: &Figures) -> Markup {
    let drain = said.drain.as_ref();
    let state = drain.map(|drain| drain.state.as_str());
    html! {
        @if let (Some(DRAINING | DRAINED), Some(drain)) = (state, drain) {
            @let moved = drain.bytes.saturating_sub(drain.bytes_left) as f64 / drain.bytes.max(1) as f64;
            (meter("What has been moved", moved))
            p { strong { (drain.state) } ": " (count(drain.blobs_left)) " of " (count(drain.blobs)) " copies left (" (bytes(drain.bytes_left)) ")"
                @if let Some(seconds) = drain.estimated_seconds { ", about " (duration(seconds)) } ". Begun " (moment(drain.started_at)) "." }
            p { "Available " (credits(drain.available_microcredits)) ", still held back " (credits(drain.held_microcredits)) " credits." }
            @if state == Some(DRAINING) { (token_form("/stay", "Call it off", false)) }
            @else { p { "It may be switched off." } }
        } @else {
            p { "A node that just stops forfeits what is held back of its pay. One that leaves in order has its copies moved first, and is paid all." }
            @match &said.plan {
                Some(plan) => (plan_part(plan)),
                None => p.quiet { "What it would mean now the coordinator does not say." }
            }
        }
    }
}

fn plan_part(plan: &DrainPlan) -> Markup {
    html! {
        dl.facts {
            (fact("To move", html! { (count(plan.blobs)) " copies, " (bytes(plan.bytes)) }))
            (fact("Where to", html! { (plan.eligible_nodes) " nodes with " (bytes(plan.free_bytes)) " of room" }))
            (fact("Takes", html! { @match plan.estimated_seconds { Some(seconds) => { "about " (duration(seconds)) } None => "not known yet" } }))
            (fact("Comes back", html! { (credits(plan.returned_microcredits)) " credits" }))
            @if let Some(obstacle) = &plan.obstacle { (fact("Not now", html! { span.badge.ill { (obstacle) } })) }
        }
        @if plan.possible {
            details { summary { "Leave in order" } (token_form("/leave", "Leave the network, for good", true)) }
        }
    }
}

fn token_form(action: &str, button: &str, grave: bool) -> Markup {
    html! {
        form method="post" action=(action) {
            div.field {
                label for="token" { "Token" }
                input #token name="token" type="password" autocomplete="off" required aria-describedby="token-hint";
                p.hint #token-hint { "It is in " code { "admin.token" } " in the node's data directory." }
            }
            button.grave[grave].plain[!grave] { (button) }
        }
    }
}
