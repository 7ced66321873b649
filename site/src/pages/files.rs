//! The files of an account: a list that goes on as it is scrolled, and what brings new ones in.
//!
//! A page of the list is a page: the script that scrolls asks for the next one and takes the rows out of it. So there is one
//! way to draw a row, and without the script there is a link.

use api::files::File;
use api::page::Page;
use api::paths;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use look::{ago, bytes};
use maud::{Markup, html};
use serde::Deserialize;

use super::{Done, Owner, query_of};
use crate::asking::{Asker, Refused};
use crate::signed_in::SignedIn;
use crate::{Site, assets};

const ON_A_PAGE: &str = "100";
const BY_NAME: &str = "name";

#[derive(Debug, Default, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    cursor: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    sort: String,
    #[serde(flatten)]
    done: Done,
}

pub(super) async fn list(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Query(shown): Query<Shown>,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let by_name = shown.sort == BY_NAME;
    let sort = if by_name { BY_NAME } else { "" };
    let query = query_of(&[
        ("limit", ON_A_PAGE),
        ("cursor", &shown.cursor),
        ("prefix", &shown.prefix),
        ("sort", sort),
    ]);
    let files: Page<File> = owner.asker.get(&format!("{}{query}", paths::FILES)).await?;
    let now = (site.now)();
    let content = html! {
        div.spread { h1 { "Files" } (search(&shown.prefix, by_name)) }
        @if let Some(notice) = shown.done.notice() { (notice) }
        (upload(&owner))
        section.card aria-label="Stored files" {
            @if files.items.is_empty() {
                p #empty { @if shown.prefix.is_empty() { "Nothing is stored yet." } @else { "No name begins so." } }
            }
            table.cards hidden[files.items.is_empty()] {
                thead { tr { th scope="col" { "Name" } th.sum scope="col" { "Size" } th scope="col" { "Stored" } th scope="col" { "Paid until" } } }
                tbody.rows #rows { @for file in &files.items { (row(file, now)) } }
            }
            @if let Some(cursor) = &files.next_cursor {
                p #more { a rel="next" href=(query_of(&[("cursor", cursor), ("prefix", &shown.prefix), ("sort", sort)])) { "More files" } }
            }
        }
    };
    let scripts = [assets::SCROLL_SCRIPT, assets::UPLOAD_SCRIPT];
    Ok(owner.page_with("/files", "Files", &scripts, content))
}

fn search(prefix: &str, by_name: bool) -> Markup {
    html! {
        form.row method="get" action="/files" role="search" {
            input type="search" name="prefix" value=(prefix) aria-label="Names that begin with" placeholder="Begins with …" dir="auto" maxlength="1024";
            select name="sort" aria-label="Order" {
                option value="" selected[!by_name] { "Newest first" }
                option value=(BY_NAME) selected[by_name] { "By name" }
            }
            button.plain.small { "Show" }
        }
    }
}

fn row(file: &File, now: Timestamp) -> Markup {
    let stored = file.completed_at.unwrap_or(file.created_at);
    html! {
        tr {
            td { a href=(format!("/files/{}", file.file_id)) { bdi { (file.filename) } } }
            td.sum data-name="Size" title=(format!("{} bytes", look::count(file.size_bytes))) { (bytes(file.size_bytes)) }
            td data-name="Stored" { (ago(stored, now)) }
            td data-name="Paid until" {
                @if file.grace_since.is_some() { span.badge.ill { "cannot be renewed" } " " }
                time datetime=(file.paid_until) { (look::day(file.paid_until)) }
            }
        }
    }
}

/// The script fills it: a browser sends nothing in parts by itself.
fn upload(owner: &Owner) -> Markup {
    html! {
        noscript { p.notice { "Files are sent by a script, which can pause and go on. It is switched off here; programs use the API or S3." } }
        section #upload aria-labelledby="upload-head" data-owner=(owner.me.user_id) hidden {
            div.drop #drop {
                h2 #upload-head { "Drop files or folders here" }
                div.row {
                    button #choose type="button" { "Choose files" }
                    button.plain #choose-folder type="button" { "Choose a folder" }
                }
                input #picker type="file" multiple hidden aria-label="Files";
                input #folder-picker type="file" webkitdirectory hidden aria-label="Folder";
                p.hint { "What is interrupted goes on: choose the same file again." }
            }
            div.card #sending hidden {
                div.spread { h2 { "Uploads" } div.row { button.plain.small #pause type="button" aria-pressed="false" { "Pause" } } }
                p #upload-told role="status" aria-live="polite" {}
                ul.uploads #uploads {}
            }
        }
    }
}
