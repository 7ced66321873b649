//! `/`: what this is, and how the network does.

use api::paths;
use api::summary::{NodeGroup, Summary};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use look::{Cell, Tile, ago, bytes, cells, count, meter, tile};
use maud::{Markup, html};

use super::{answer, visitor_with};
use crate::asking::{Asker, Refused};
use crate::signed_in::Came;
use crate::{Site, assets};

/// States as they are shown, the best first: the state's name, the class of the stylesheet, and what it means.
const KINDS: [(&str, &str, &str); 5] = [
    ("active", "active", "active"),
    ("probation", "probation", "on probation"),
    ("draining", "draining", "leaving in order"),
    ("suspended", "suspended", "suspended"),
    ("away", "away", "away"),
];

/// A browser gets the page; programs are told that the API is elsewhere, as at every path that is none.
pub(super) async fn page(
    State(site): State<Site>,
    came: Came,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if !wants_html(&headers) {
        return Ok(StatusCode::NOT_FOUND.into_response());
    }
    let summary: Summary = asker.get(paths::NETWORK_SUMMARY).await?;
    let content = html! {
        section.hero {
            h1 { "Storage on many disks, with proof that it is there." }
            p.lead {
                "Your files are sealed and kept in several copies by independent people. You do not have to believe that they still "
                "are: every copy is asked for a proof, again and again, and you can ask yourself."
            }
            @if came.has_cookie { p.row { a.button href="/files" { "Your files" } a.button.plain href="/overview" { "Your account" } } }
            @else { p.row { a.button href="/sign-up" { "Open an account" } a.button.plain href="/sign-in" { "Sign in" } } }
        }
        section aria-labelledby="now" {
            div.spread {
                h2 #now { "The network now" }
                p.quiet { span.pulse #pulse aria-hidden="true" {} span #pulse-text { "as of " (look::moment(summary.at)) } }
            }
            div #live data-from="/live" { (figures(&summary, (site.now)())) }
        }
        section aria-labelledby="how" {
            h2 #how { "How it keeps a file" }
            ol.steps {
                li.card { h3 { "Sealed, each copy anew" } p.quiet { "A file is cut into chunks, and each copy is sealed by itself. Nodes see no name, no owner and no content." } }
                li.card { h3 { "Signed for" } p.quiet { "It counts as stored when nodes apart from each other have signed for every chunk, durably on their disks." } }
                li.card { h3 { "Proven, and repaired" } p.quiet { "Nodes prove at random moments that they hold what they signed for. What is lost is copied anew, and whoever lost it pays." } }
            }
        }
    };
    let page = visitor_with(&came, "/", "Network", &[assets::LIVE_SCRIPT], content);
    Ok(answer(page).into_response())
}

/// The part of it that changes, for the script that asks every few seconds.
pub(super) async fn live(State(site): State<Site>, asker: Asker) -> Result<Response, Refused> {
    let summary: Summary = asker.get(paths::NETWORK_SUMMARY).await?;
    let fragment =
        html! { div data-at=(look::moment(summary.at)) { (figures(&summary, (site.now)())) } };
    Ok(answer(fragment).into_response())
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let mut accepts = accepts.filter_map(|accepts| accepts.to_str().ok());
    accepts.any(|accepts| accepts.to_ascii_lowercase().contains("text/html"))
}

fn figures(summary: &Summary, now: Timestamp) -> Markup {
    let groups = &summary.nodes;
    let sum = |of: fn(&NodeGroup) -> u64| groups.iter().map(of).fold(0, u64::saturating_add);
    let nodes = sum(|group| group.nodes);
    let online = sum(|group| if group.online { group.nodes } else { 0 });
    let copies_online = sum(|group| if group.online { group.copies } else { 0 });
    let (used, capacity) = (
        sum(|group| group.used_bytes),
        sum(|group| group.capacity_bytes),
    );
    let copies = sum(|group| group.copies);
    let proofs = &summary.proofs_last_hour;
    let asked = proofs.passed + proofs.failed + proofs.missed;
    let share = if capacity == 0 {
        0.0
    } else {
        used as f64 / capacity as f64
    };
    html! {
        dl.tiles {
            (tile(&Tile { name: "Nodes that answer", value: count(online), note: html! { "of " (count(nodes)) } }))
            (tile(&Tile { name: "Stored, all copies", value: bytes(used), note: html! {
                (meter(&format!("{} of {} in use", bytes(used), bytes(capacity)), share)) "of " (bytes(capacity))
            } }))
            (tile(&Tile { name: "Copies within reach", value: count(copies_online), note: html! { "of " (count(copies)) } }))
            (tile(&Tile { name: "Proofs in the last hour", value: count(proofs.passed), note: html! {
                @if asked == proofs.passed { "none failed" }
                @else { (count(proofs.failed)) " failed, " (count(proofs.missed)) " missed" }
            } }))
            (tile(&Tile { name: "Under repair", value: count(summary.repair.chunks), note: html! {
                @match (summary.repair.fewest_healthy, summary.repair.oldest_since) {
                    (Some(fewest), Some(since)) => { "chunks; fewest healthy copies: " (fewest) ", since " (ago(since, now)) }
                    _ => { "chunks: every copy is where it should be" }
                }
            } }))
        }
        div.card {
            @if nodes == 0 { p { "No node has joined yet. " a href="/docs/" { "The API" } " says how one is registered." } }
            @else { (map(groups)) }
        }
    }
}

fn kind_of(group: &NodeGroup) -> usize {
    let name = if group.online {
        group.state.as_str()
    } else {
        "away"
    };
    KINDS
        .iter()
        .position(|(state, ..)| *state == name)
        .unwrap_or(0)
}

/// A field of cells for each region: there is no place on the globe that a node would prove.
fn map(groups: &[NodeGroup]) -> Markup {
    let of_kind = |kind: usize, groups: &[NodeGroup]| -> u64 {
        let of_kind = groups.iter().filter(|group| kind_of(group) == kind);
        of_kind.map(|group| group.nodes).sum()
    };
    html! {
        ul.legend {
            @for (at, (_, class, words)) in KINDS.iter().enumerate() {
                @let nodes = of_kind(at, groups);
                @if nodes > 0 {
                    li { svg viewBox="0 0 10 10" aria-hidden="true" { circle class=(class) cx="5" cy="5" r="3.5" {} } (count(nodes)) " " (words) }
                }
            }
        }
        div.map {
            @for region in groups.chunk_by(|one, other| one.region == other.region) {
                @let name = region.first().and_then(|group| group.region.as_deref());
                @let nodes: u64 = region.iter().map(|group| group.nodes).sum();
                @let drawn: Vec<Cell> = KINDS.iter().enumerate().map(|(at, (_, class, words))| Cell {
                    class,
                    count: of_kind(at, region),
                    title: (*words).to_owned(),
                }).collect();
                section {
                    h3 { span dir="auto" { (name.unwrap_or("no region")) } " " span.quiet { (count(nodes)) } }
                    (cells(&format!("{nodes} nodes"), &drawn))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn who_asks_for_html_is_a_browser() {
        let asks = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            wants_html(&headers)
        };
        assert!(asks("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(asks("Text/HTML"));
        assert!(!asks("*/*") && !asks("application/json"));
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn nodes_that_are_away_are_shown_as_that_whatever_their_state() {
        let group = |state: &str, online| NodeGroup {
            region: Some("<b>".to_owned()),
            state: state.to_owned(),
            online,
            nodes: 2,
            capacity_bytes: u64::MAX,
            used_bytes: u64::MAX,
            copies: 0,
        };
        let drawn = map(&[group("active", true), group("active", false)]).into_string();
        assert!(
            drawn.contains("2 active") && drawn.contains("2 away"),
            "{drawn}"
        );
        assert_eq!(drawn.matches("<h3>").count(), 1);
        assert!(!drawn.contains("<b>"));
        assert!(
            map(&[group("a new word", true)])
                .into_string()
                .contains("2 active")
        );
    }
}
