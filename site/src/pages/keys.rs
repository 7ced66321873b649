//! Access keys: what programs sign in with, and how to set programs up with them.

use api::access_keys::{AccessKey, AccessKeys, NewAccessKey};
use api::paths;
use axum::Form;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::HeaderMap;
use http::header;
use jiff::{SignedDuration, Timestamp};
use look::ago;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Done, Owner, done};
use crate::asking::{Asker, Refused};
use crate::signed_in::{Came, SignedIn};
use crate::{S3Place, Site};

const SCOPES: [(&str, &str); 5] = [
    ("read", "read files"),
    ("write", "store files"),
    ("list", "list files"),
    ("delete", "delete files"),
    ("account", "see account and credits"),
];

/// A form knows no lists: each box has a name of its own.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    name: String,
    read: Option<String>,
    write: Option<String>,
    list: Option<String>,
    delete: Option<String>,
    account: Option<String>,
    s3: Option<String>,
    /// Days; empty for ever.
    days: String,
}

impl Wanted {
    fn key(&self, now: Timestamp) -> NewAccessKey {
        let ticked = [
            &self.read,
            &self.write,
            &self.list,
            &self.delete,
            &self.account,
        ];
        let scopes = SCOPES
            .iter()
            .zip(ticked)
            .filter(|(_, ticked)| ticked.is_some());
        let days = self.days.parse::<u32>().ok();
        let lasts = days.map(|days| SignedDuration::from_hours(24 * i64::from(days)));
        NewAccessKey {
            name: self.name.clone(),
            scopes: scopes.map(|((scope, _), _)| (*scope).to_owned()).collect(),
            bucket: None,
            prefix: None,
            expires_at: lasts.and_then(|lasts| now.checked_add(lasts).ok()),
            allowed_addresses: Vec::new(),
            s3: self.s3.is_some(),
            bytes_per_day: None,
            credits_per_day: None,
        }
    }
}

pub(super) async fn list(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Query(shown): Query<Done>,
) -> Result<Response, Refused> {
    show(&site, Owner::of(asker).await?, shown.notice()).await
}

async fn show(site: &Site, owner: Owner, told: Option<Markup>) -> Result<Response, Refused> {
    let keys: AccessKeys = owner.asker.get(paths::ACCESS_KEYS).await?;
    let now = (site.now)();
    let content = html! {
        h1 { "Access keys" }
        p.lead { "A program does not need your password: it gets a key of its own, which may do less, and which you can revoke alone." }
        @if let Some(told) = told { (told) }
        section.card aria-labelledby="new" { h2 #new { "A new key" } (form(site.s3.is_some())) }
        section.card aria-labelledby="all" {
            h2 #all { "Your keys" }
            @if keys.items.is_empty() { p.quiet { "There are none." } }
            @else { (table(&keys.items, now)) }
        }
    };
    Ok(owner.page("/keys", "Access keys", content))
}

fn form(has_s3: bool) -> Markup {
    html! {
        form method="post" action="/keys" {
            div.field {
                label for="name" { "Name" }
                input #name name="name" required maxlength="100" dir="auto" placeholder="backup of the laptop" autocomplete="off";
            }
            fieldset {
                legend { "It may" }
                div.checks {
                    @for (scope, words) in SCOPES {
                        label { input type="checkbox" name=(scope) checked[scope != "account"]; (words) }
                    }
                }
            }
            fieldset {
                legend { "Besides" }
                div.checks {
                    label { input type="checkbox" name="s3" checked[has_s3]; "sign S3 requests" }
                }
            }
            div.field {
                label for="days" { "Good for" }
                select #days name="days" {
                    option value="30" { "30 days" }
                    option value="365" selected { "a year" }
                    option value="" { "until it is revoked" }
                }
            }
            button { "Make it" }
        }
    }
}

fn table(keys: &[AccessKey], now: Timestamp) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Name" } th scope="col" { "Key" } th scope="col" { "May" } th scope="col" { "Used" } th scope="col" { "Ends" } th scope="col" { span.quiet { "Revoke" } } } }
            tbody {
                @for key in keys {
                    tr {
                        td { bdi { (key.name) } }
                        td data-name="Key" { code { (key.access_key_id) } }
                        td data-name="May" {
                            (key.scopes.join(", ")) @if key.s3 { ", S3" }
                            @if let Some(bucket) = &key.bucket { " in " bdi { (bucket) } @if let Some(prefix) = &key.prefix { "/" bdi { (prefix) } } }
                        }
                        td data-name="Used" {
                            @match key.last_used_at { Some(at) => (ago(at, now)), None => span.quiet { "never" } }
                            @if let Some(address) = &key.last_used_address { " from " (address) }
                        }
                        td data-name="Ends" {
                            @match key.expires_at {
                                Some(at) if at <= now => span.badge.ill { "has ended" },
                                Some(at) => (look::day(at)),
                                None => "–"
                            }
                        }
                        td { form method="post" action=(format!("/keys/{}/revoke", key.access_key_id)) {
                            button.grave.small aria-label=(format!("Revoke {}", key.name)) { "Revoke" }
                        } }
                    }
                }
            }
        }
    }
}

/// The answer shows the secret, this once: it is not kept, and a reload would ask for another key.
pub(super) async fn create(
    State(site): State<Site>,
    came: Came,
    _: SignedIn,
    asker: Asker,
    headers: HeaderMap,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let body = wanted.key((site.now)());
    let made = match owner
        .asker
        .post::<AccessKey>(paths::ACCESS_KEYS, &body)
        .await
    {
        Ok(made) => made,
        Err(refused) => {
            let told = look::notice(true, refused.words());
            return show(&site, owner, Some(told)).await;
        }
    };
    let secret = made.secret_access_key.as_deref().unwrap_or_default();
    let url = here(&site, &came, &headers);
    let content = html! {
        h1 { "A new key: " bdi { (made.name) } }
        (look::notice(false, "Copy the secret now: it is shown this once, and kept nowhere."))
        dl.facts.card {
            (look::fact("Access key", html! { code { (made.access_key_id) } }))
            (look::fact("Secret", html! { code { (secret) } }))
        }
        (snippets(&made, secret, &url, site.s3.as_ref()))
        p { a.button href="/keys" { "I have it" } }
    };
    Ok(owner.page("/keys", "A new key", content))
}

/// How this site was asked for, for lines to paste.
fn here(site: &Site, came: &Came, headers: &HeaderMap) -> String {
    if let Some(url) = &site.public_url {
        return url.clone();
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let scheme = if came.over_tls { "https" } else { "http" };
    format!("{scheme}://{}", host.unwrap_or("127.0.0.1:8080"))
}

fn snippets(key: &AccessKey, secret: &str, url: &str, s3: Option<&S3Place>) -> Markup {
    let id = &key.access_key_id;
    html! {
        section.card aria-labelledby="set-up" {
            h2 #set-up { "Set a program up" }
            h3 { "curl" }
            pre tabindex="0" { code {
                "curl -u " (id) ":" (secret) " '" (url) (paths::FILES) "'\n"
                "curl -u " (id) ":" (secret) " -T photo.jpg '" (url) (paths::FILES) "?filename=photo.jpg'"
            } }
            @if key.s3 && let Some(place) = s3 {
                @let endpoint = place.endpoint.as_deref().unwrap_or("https://S3-ADDRESS-OF-THIS-NETWORK");
                h3 { "aws" }
                pre tabindex="0" { code {
                    "export AWS_ACCESS_KEY_ID=" (id) " AWS_SECRET_ACCESS_KEY=" (secret) "\n"
                    "export AWS_DEFAULT_REGION=" (place.region) " AWS_ENDPOINT_URL=" (endpoint) "\n"
                    "aws s3 ls"
                } }
                h3 { "rclone, in rclone.conf" }
                pre tabindex="0" { code {
                    "[fsn]\ntype = s3\nprovider = Other\nendpoint = " (endpoint) "\nregion = " (place.region)
                    "\naccess_key_id = " (id) "\nsecret_access_key = " (secret)
                } }
            }
        }
    }
}

pub(super) async fn revoke(
    _: SignedIn,
    asker: Asker,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let id = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
    asker.delete(&paths::access_key(id)).await?;
    Ok(done("/keys", "revoked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_what_was_ticked() {
        let wanted = Wanted {
            name: "a".to_owned(),
            read: Some("on".to_owned()),
            write: None,
            list: Some("on".to_owned()),
            delete: None,
            account: None,
            s3: None,
            days: "30".to_owned(),
        };
        let key = wanted.key(Timestamp::UNIX_EPOCH);
        assert_eq!(key.scopes, ["read", "list"]);
        assert_eq!(key.expires_at.unwrap().as_second(), 30 * 86_400);
        let longest = Wanted {
            days: u32::MAX.to_string(),
            ..wanted
        };
        assert_eq!(longest.key(Timestamp::UNIX_EPOCH).expires_at, None);
    }
}
