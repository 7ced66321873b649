//! After the storm, by the API: every acknowledged file is there byte for byte, every deleted one is
//! gone, nothing is there that nobody stored.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::durability::Durability;
use api::files::File;
use api::page::PageParams;
use api::paths;
use futures::stream::{self, StreamExt, TryStreamExt};
use local_cluster::wait::wait_for;
use proto::FileId;
use reqwest::StatusCode;

use super::content::number_of;
use super::journal::{State, Stored};
use super::workload::Workload;

const AT_ONCE: usize = 8;
/// A connection that a crash has closed may be met once more.
const READABLE_WITHIN: Duration = Duration::from_secs(20);

/// What became of what was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub files: u64,
    pub bytes: u64,
    pub lost_files: u64,
    pub lost_bytes: u64,
    /// What is wrong, in words.
    pub violations: Vec<String>,
}

pub(super) async fn check(work: &Workload) -> Result<Kept> {
    let listed = work.session().all_files().await?;
    let listed: HashMap<FileId, File> = listed
        .into_iter()
        .map(|file| (file.file_id, file))
        .collect();
    let files = work.journal.files();
    let known: HashSet<FileId> = files.iter().map(|(s, _)| s.file_id).collect();
    let mut kept = Kept::default();

    let live = files.iter().filter(|(_, state)| *state == State::Live);
    let outcomes = stream::iter(live).map(|(stored, _)| async move {
        let outcome = readable(work, stored).await;
        (stored, outcome)
    });
    let mut outcomes = outcomes.buffer_unordered(AT_ONCE);
    while let Some((stored, outcome)) = outcomes.next().await {
        let is_listed = listed.contains_key(&stored.file_id);
        kept.files += 1;
        kept.bytes += stored.size;
        let outcome = outcome.and_then(|()| {
            ensure!(is_listed, "it is not in the list of files");
            Ok(())
        });
        if let Err(error) = outcome {
            kept.lost_files += 1;
            kept.lost_bytes += stored.size;
            let (number, size) = (stored.number, stored.size);
            kept.violations.push(format!(
                "file {number} ({}, {size} bytes) is lost: {error:#}",
                stored.file_id
            ));
        }
    }

    for (stored, _) in files.iter().filter(|(_, state)| *state == State::Deleted) {
        let answer = work.session().open(stored.file_id).await;
        let gone = answer.is_err_and(|error| error.status() == Some(StatusCode::NOT_FOUND));
        if !gone || listed.contains_key(&stored.file_id) {
            let what = format!("file {} was deleted and is still there", stored.number);
            kept.violations.push(what);
        }
    }

    // Uploads and deletions that nobody answered may have come to something, but only to the whole.
    for file in listed.values() {
        if known.contains(&file.file_id) {
            continue;
        }
        if let Err(error) = unanswered(work, file).await {
            let what = format!("{} ({}): {error:#}", file.filename, file.file_id);
            kept.violations.push(what);
        }
    }
    Ok(kept)
}

async fn readable(work: &Workload, stored: &Stored) -> Result<()> {
    let mut last = None;
    let read = wait_for("an acknowledged file", READABLE_WITHIN, async || match work
        .session()
        .download(stored.file_id)
        .await
    {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    let bytes = match (read.await, last) {
        (Ok(bytes), _) => bytes,
        (Err(_), Some(error)) => return Err(error.into()),
        (Err(error), None) => return Err(error.into()),
    };
    ensure!(
        bytes.len() as u64 == stored.size && blake3::hash(&bytes) == stored.hash,
        "{} bytes came back, and not those that were stored",
        bytes.len()
    );
    Ok(())
}

async fn unanswered(work: &Workload, file: &File) -> Result<()> {
    let number = number_of(&file.filename).context("nobody stored a file of this name")?;
    let size = work.journal.unanswered(number);
    let size = size.context("its upload was answered with another file, or never sent")?;
    let bytes = work.session().download(file.file_id).await?;
    ensure!(
        bytes == work.contents.of(number, size),
        "it is visible, and not what was sent"
    );
    Ok(())
}

/// Files that the API does not say to be at full replication, of all that are there.
pub(super) async fn not_durable(work: &Workload) -> Result<Vec<String>> {
    let files = work.session().all_files().await?;
    let asked = files.iter().filter(|file| file.chunk_count > 0);
    let asked = stream::iter(asked).map(|file| async move {
        let (path, first) = (
            paths::file_durability(file.file_id),
            PageParams {
                limit: Some(1),
                cursor: None,
            },
        );
        let found: Durability = work.session().get_with(&path, &first).await?;
        let (healthy, target) = (found.min_healthy, found.replication_target);
        let whole = healthy.is_some_and(|healthy| healthy >= target);
        anyhow::Ok((!whole).then(|| {
            let healthy = healthy.unwrap_or(0);
            format!("{}: {healthy} of {target}", file.filename)
        }))
    });
    let found: Vec<Option<String>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}
