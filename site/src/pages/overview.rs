//! What an account has: credits, what they last for, files, what moved.

use api::auth::Usage;
use api::credits::{PurchaseBody, Purchased, Transaction, UsdAmount};
use api::health::Health;
use api::page::Page;
use api::paths;
use axum::Form;
use axum::extract::{Query, State};
use axum::response::Response;
use look::{Tile, bytes, count, credits, duration, tile};
use maud::{Markup, html};
use proto::MicroCredits;
use serde::Deserialize;
use uuid::Uuid;

use super::{Done, Owner, done};
use crate::Site;
use crate::asking::{Asker, Refused};
use crate::signed_in::SignedIn;

/// With which credits cost nothing: whoever tries the network out has it.
const MOCK: &str = "mock";

const MONTH_SECONDS: i128 = 30 * 86_400;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    cursor: String,
    #[serde(flatten)]
    done: Done,
}

#[derive(Debug, Deserialize)]
pub(super) struct Amount {
    usd: u32,
    /// Of the form, so that it buys once however often it is sent.
    key: Uuid,
}

/// The amount as the API reads it.
fn dollars(usd: u32) -> PurchaseBody {
    PurchaseBody {
        amount_usd: UsdAmount::from(usd),
    }
}

pub(super) async fn page(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Query(shown): Query<Shown>,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let usage: Usage = owner.asker.get(paths::USAGE).await?;
    let health: Health = owner.asker.get(paths::HEALTH).await?;
    let cursor = super::query_of(&[("limit", "25"), ("cursor", &shown.cursor)]);
    let moved: Page<Transaction> = owner
        .asker
        .get(&format!("{}{cursor}", paths::TRANSACTIONS))
        .await?;
    let me = &owner.me;
    let content = html! {
        h1 { "Overview" }
        @if let Some(notice) = shown.done.notice() { (notice) }
        dl.tiles {
            (tile(&Tile { name: "Available", value: credits(me.available_microcredits), note: html! { "credits" } }))
            (tile(&Tile { name: "Paid in advance", value: credits(me.escrow_microcredits), note: html! {
                "credits for files that are stored"
                @if me.held_microcredits.is_positive() { "; " (credits(me.held_microcredits)) " held for uploads" }
            } }))
            (tile(&Tile { name: "Files", value: count(usage.files), note: html! { (bytes(usage.bytes)) " of content" } }))
            (tile(&Tile { name: "A month costs", value: credits(usage.month_microcredits), note: html! { (forecast(me.available_microcredits, usage.month_microcredits)) } }))
        }
        div.grid.two {
            section.card aria-labelledby="buy" {
                h2 #buy { "Credits" }
                (purchase(health.payments.as_deref(), (site.now)()))
            }
            section.card aria-labelledby="account" {
                h2 #account { "Account" }
                dl.facts {
                    (look::fact("Address", html! { span dir="auto" { (me.email) } }))
                    (look::fact("Id", html! { code { (me.user_id) } }))
                }
                div.row {
                    form method="post" action="/overview/verify" { button.plain.small { "Verify the address" } }
                    a.button.plain.small href=(paths::EXPORT) download { "Take everything along" }
                    a href="/leave" { "Close the account" }
                }
            }
        }
        section.card aria-labelledby="moved" {
            h2 #moved { "What moved" }
            (transactions(&moved))
        }
    };
    Ok(owner.page("/overview", "Overview", content))
}

/// How long what is there lasts, if nothing is stored or deleted.
fn forecast(available: MicroCredits, month: MicroCredits) -> String {
    let month = i128::from(month.get());
    if month <= 0 {
        return "credits: nothing is stored".to_owned();
    }
    let seconds = i128::from(available.get().max(0)) * MONTH_SECONDS / month;
    match u64::try_from(seconds).unwrap_or(u64::MAX) {
        // Ten years.
        seconds if seconds > 315_360_000 => {
            "credits; what is available lasts for years beyond what is paid".to_owned()
        }
        seconds => format!(
            "credits; what is available lasts for {} beyond what is paid",
            duration(seconds)
        ),
    }
}

fn purchase(provider: Option<&str>, now: jiff::Timestamp) -> Markup {
    html! {
        @match provider {
            Some(MOCK) => {
                p.quiet { "This network is for trying out: no money moves." }
                form.row method="post" action="/overview/buy" {
                    label for="usd" { "US dollars" }
                    select #usd name="usd" {
                        @for usd in [1, 10, 100] { option value=(usd) selected[usd == 10] { (usd) } }
                    }
                    input type="hidden" name="key" value=(form_key(now));
                    button { "Buy credits" }
                }
            }
            Some(provider) => {
                p { "Credits are paid for with " (provider) ", by a program: " code { "POST " (paths::PURCHASE) } "." }
                p { a href="/docs/" { "How that is done" } }
            }
            None => p { "Nothing can be bought on this network at the moment." }
        }
    }
}

/// Not a secret: it only has to be another one for each form.
fn form_key(now: jiff::Timestamp) -> Uuid {
    let nanos = u64::try_from(now.as_nanosecond()).unwrap_or(0);
    Uuid::from_u64_pair(nanos, nanos.rotate_left(32) ^ 0x5bd1_e995)
}

fn transactions(moved: &Page<Transaction>) -> Markup {
    html! {
        @if moved.items.is_empty() { p.quiet { "Nothing yet." } }
        @else {
            table.cards {
                thead { tr { th scope="col" { "What" } th scope="col" { "When" } th scope="col" { "Block" } th.sum scope="col" { "Credits" } } }
                tbody {
                    @for one in &moved.items {
                        tr {
                            td { (one.kind.replace('_', " ")) }
                            td data-name="When" { (look::moment(one.at)) }
                            td data-name="Block" { @match one.block { Some(block) => (block), None => "being sealed" } " " code.quiet title=(one.hash) { (look::short(&one.hash)) } }
                            td.sum.minus[one.amount_microcredits.is_negative()] data-name="Credits" { (credits(one.amount_microcredits)) }
                        }
                    }
                }
            }
        }
        @if let Some(cursor) = &moved.next_cursor {
            p { a href=(super::query_of(&[("cursor", cursor)])) { "Earlier" } }
        }
    }
}

pub(super) async fn buy(
    _: SignedIn,
    asker: Asker,
    Form(amount): Form<Amount>,
) -> Result<Response, Refused> {
    let key = amount.key.to_string();
    let bought: Purchased = asker
        .under_key(&key)
        .post(paths::PURCHASE, &dollars(amount.usd))
        .await?;
    tracing::debug!(state = bought.state, "a purchase from the page");
    Ok(done("/overview", "bought"))
}

pub(super) async fn verify(_: SignedIn, asker: Asker) -> Result<Response, Refused> {
    let _: serde_json::Value = asker.post(paths::VERIFY_REQUEST, &()).await?;
    Ok(done("/overview", "letter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_told_as_time() {
        let told =
            |available, month| forecast(MicroCredits::new(available), MicroCredits::new(month));
        assert!(told(1, 0).contains("nothing is stored"));
        assert!(told(300, 100).contains("90 days"));
        assert!(told(-5, 100).contains("0 s"));
        assert!(told(i64::MAX, 1).contains("years"));
    }
}
