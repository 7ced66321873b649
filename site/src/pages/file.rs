//! One file: what is known of it, where its copies are and what they proved, and a proof that is made now.

use std::collections::{BTreeMap, BTreeSet};

use api::durability::{Durability, ReplicaView};
use api::evidence::{Outcome, ProofRequest, Proofs};
use api::files::File;
use api::nodes::NodeDetail;
use api::paths;
use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use look::{ago, bytes, count};
use maud::{Markup, html};
use proto::{FileId, NodeId};

use super::{Owner, done};
use crate::Site;
use crate::asking::{Asker, Refused};
use crate::signed_in::SignedIn;

/// Chunks whose copies are shown one by one: those of a larger file are summed up.
const CHUNKS_SHOWN: usize = 10;

/// Nodes whose names are asked for: a page asks for no more than it shows.
const NODES_NAMED: usize = 30;

pub(super) async fn page(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Path(id): Path<FileId>,
) -> Result<Response, Refused> {
    show(&site, Owner::of(asker).await?, id, None).await
}

/// What came of a proof that was just made.
struct Fresh {
    passed: usize,
    asked: usize,
    nodes: usize,
    /// Not all of a large file are asked for at once.
    first_chunks: Option<u32>,
}

impl Fresh {
    fn of(proofs: &Proofs) -> Self {
        let passed = proofs
            .items
            .iter()
            .filter(|item| item.outcome == Outcome::Passed);
        let nodes: BTreeSet<_> = proofs.items.iter().map(|item| item.node_id).collect();
        Self {
            passed: passed.count(),
            asked: proofs.items.len(),
            nodes: nodes.len(),
            first_chunks: proofs.next_index,
        }
    }

    fn notice(&self) -> Markup {
        let text = html! {
            (self.passed) " of " (self.asked) " copies on " (self.nodes) " nodes proved just now that they are there"
            @match self.first_chunks {
                Some(next) => { ", of the first " (next) " chunks." }
                None => "."
            }
            " The signed proofs, to be checked without trusting anybody, are to be had from the API."
        };
        look::notice(self.passed < self.asked, text)
    }
}

pub(super) async fn prove(
    State(site): State<Site>,
    _: SignedIn,
    asker: Asker,
    Path(id): Path<FileId>,
) -> Result<Response, Refused> {
    let owner = Owner::of(asker).await?;
    let proven = owner
        .asker
        .post::<Proofs>(&paths::file_proof(id), &ProofRequest::default())
        .await;
    let told = match &proven {
        Ok(proofs) => Fresh::of(proofs).notice(),
        Err(refused) => look::notice(true, refused.words()),
    };
    show(&site, owner, id, Some(told)).await
}

pub(super) async fn delete(
    _: SignedIn,
    asker: Asker,
    Path(id): Path<FileId>,
) -> Result<Response, Refused> {
    asker.delete(&paths::file(id)).await?;
    Ok(done("/files", "deleted"))
}

async fn show(
    site: &Site,
    owner: Owner,
    id: FileId,
    told: Option<Markup>,
) -> Result<Response, Refused> {
    let file: File = owner.asker.get(&paths::file(id)).await?;
    let path = format!("{}?limit={CHUNKS_SHOWN}", paths::file_durability(id));
    let durability: Durability = owner.asker.get(&path).await?;
    let names = names(&owner.asker, &durability).await;
    let now = (site.now)();
    let download = paths::file_download(id);
    let content = html! {
        p { a href="/files" { "← Files" } }
        h1 { bdi { (file.filename) } }
        @if let Some(told) = told { (told) }
        (preview(&file, &download))
        div.row {
            a.button href=(download) download { "Download" }
            form method="post" action=(format!("/files/{id}/prove")) { button.plain { "Have it proven now" } }
        }
        div.grid.two {
            section.card aria-labelledby="what" { h2 #what { "What it is" } (facts(&file, now)) }
            section.card aria-labelledby="safe" { h2 #safe { "How safe it is" } (safety(&file, &durability, now)) }
        }
        section.card aria-labelledby="copies" {
            h2 #copies { "Where it is, and what was proven" }
            (copies(&file, &durability, &names, now))
        }
        details.card {
            summary { "Delete it" }
            p { "It is gone at once, for everybody; nodes delete their copies as they come by. What was not used of its price comes back." }
            form method="post" action=(format!("/files/{id}/delete")) { button.grave { "Delete it for good" } }
        }
    };
    Ok(owner.page("/files", &file.filename, content))
}

/// Names of the nodes that hold it. One that cannot be looked up goes by its id.
async fn names(asker: &Asker, durability: &Durability) -> BTreeMap<NodeId, String> {
    let replicas = durability.chunks.iter().flat_map(|chunk| &chunk.replicas);
    let mut names: BTreeMap<NodeId, String> = replicas
        .map(|replica| (replica.node_id, String::new()))
        .collect();
    for (id, name) in names.iter_mut().take(NODES_NAMED) {
        if let Ok(node) = asker.get::<NodeDetail>(&paths::node(*id)).await {
            *name = node.node.name;
        }
    }
    names
}

/// Only what browsers show without running any of it. The answer is an attachment in a sandbox of its own besides.
fn preview(file: &File, download: &str) -> Markup {
    const PICTURES: [&str; 5] = [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
    ];
    /// A page fetches no more by itself.
    const LARGEST_PICTURE: u64 = 20_000_000;
    let kind = file.content_type.to_ascii_lowercase();
    html! {
        @if PICTURES.contains(&kind.as_str()) && file.size_bytes <= LARGEST_PICTURE {
            p { img.preview src=(download) alt=(format!("Preview of {}", file.filename)) loading="lazy"; }
        } @else if kind.starts_with("video/") {
            p { video.preview src=(download) controls preload="none" aria-label="Preview" {} }
        } @else if kind.starts_with("audio/") {
            p { audio.preview src=(download) controls preload="none" aria-label="Preview" {} }
        }
    }
}

fn facts(file: &File, now: Timestamp) -> Markup {
    html! {
        dl.facts {
            (look::fact("Size", html! { (bytes(file.size_bytes)) span.quiet { " (" (count(file.size_bytes)) " bytes)" } }))
            (look::fact("Type", html! { span dir="auto" { (file.content_type) } }))
            (look::fact("Stored", ago(file.completed_at.unwrap_or(file.created_at), now)))
            (look::fact("Paid until", html! {
                (look::day(file.paid_until))
                @if let Some(since) = file.grace_since { " " span.badge.ill { "not renewed since " (look::day(since)) } }
            }))
            (look::fact("SHA-256", html! { @match &file.sha256 { Some(sha256) => code { (sha256) }, None => "is being computed" } }))
            (look::fact("Id", html! { code { (file.file_id) } }))
        }
    }
}

fn safety(file: &File, durability: &Durability, now: Timestamp) -> Markup {
    let replicas = durability.chunks.iter().flat_map(|chunk| &chunk.replicas);
    let last = replicas
        .filter_map(|replica| replica.last_proof.as_ref())
        .map(|proof| proof.at)
        .max();
    let target = durability.replication_target;
    html! {
        dl.facts {
            (look::fact("Chunks", count(file.chunk_count)))
            (look::fact("Copies of each", html! { (target) " wanted" }))
            (look::fact("Fewest healthy", html! {
                @match durability.min_healthy {
                    None => "there is nothing to hold: the file is empty",
                    Some(0) => { span.badge.ill { "0" } " a chunk has no healthy copy" }
                    Some(fewest) if fewest < target => { span.badge.odd { (fewest) } " copies are being added" }
                    Some(fewest) => { span.badge.good { (fewest) } " as it should be" }
                }
            }))
            (look::fact("Last proof", html! { @match last { Some(at) => (ago(at, now)), None => "none yet: the first comes soon" } }))
        }
    }
}

fn copies(
    file: &File,
    durability: &Durability,
    names: &BTreeMap<NodeId, String>,
    now: Timestamp,
) -> Markup {
    html! {
        @if durability.chunks.is_empty() { p.quiet { "There are no copies of nothing." } }
        @else {
            table.cards {
                thead { tr { th scope="col" { "Node" } th scope="col" { "Chunk" } th scope="col" { "State" } th scope="col" { "Signed for" } th scope="col" { "Last proof" } } }
                tbody.rows {
                    @for chunk in &durability.chunks {
                        @for replica in &chunk.replicas {
                            tr {
                                td { a href=(format!("/nodes/{}", replica.node_id)) { (name_of(replica, names)) } }
                                td data-name="Chunk" { (chunk.index) " " code.quiet title=(replica.blob_id) { (look::short(&replica.blob_id.to_string())) } }
                                td data-name="State" { (state(replica)) }
                                td data-name="Signed for" { (ago(replica.stored_at, now)) }
                                td data-name="Last proof" { (last_proof(replica, now)) }
                            }
                        }
                    }
                }
            }
            @if durability.next_cursor.is_some() {
                p.quiet { "These are the first " (durability.chunks.len()) " of " (count(file.chunk_count)) " chunks; the API tells of all." }
            }
        }
    }
}

fn name_of(replica: &ReplicaView, names: &BTreeMap<NodeId, String>) -> Markup {
    let name = names.get(&replica.node_id).filter(|name| !name.is_empty());
    html! {
        @match name {
            Some(name) => bdi { (name) },
            None => code { (look::short(&replica.node_id.to_string())) }
        }
    }
}

fn state(replica: &ReplicaView) -> Markup {
    html! {
        @match (&replica.demoted_reason, replica.healthy) {
            (Some(reason), _) => { span.badge.ill { "does not count" } " " span.quiet { (reason) } }
            (None, true) => span.badge.good { "healthy" },
            (None, false) => span.badge.odd { "out of reach" }
        }
    }
}

fn last_proof(replica: &ReplicaView, now: Timestamp) -> Markup {
    html! {
        @match &replica.last_proof {
            Some(proof) => {
                @if proof.outcome == "passed" { span.badge.good { "passed" } } @else { span.badge.ill { (proof.outcome) } }
                " " (ago(proof.at, now))
            }
            None => span.quiet { "not yet" }
        }
    }
}
