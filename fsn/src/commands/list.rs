//! `fsn ls`, `fsn stat` and `fsn du`.

use anyhow::Result;
use bytesize::ByteSize;
use clap::Args;
use client::rest::Session;
use client::{Bucket, Entry};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Connected;
use crate::exit;
use crate::remote::Remote;

#[derive(Debug, Args)]
pub(super) struct Ls {
    /// A bucket, or BUCKET/DIRECTORY/; all buckets, unless told
    #[arg(value_name = "REMOTE")]
    of: Option<Remote>,
    /// With sizes and times
    #[arg(short)]
    long: bool,
    /// With all that is in directories
    #[arg(short = 'R', long)]
    recursive: bool,
}

#[derive(Debug, Args)]
pub(super) struct Stat {
    /// BUCKET/KEY
    #[arg(value_name = "REMOTE")]
    of: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Du {
    /// A bucket, or BUCKET/DIRECTORY/
    #[arg(value_name = "REMOTE")]
    of: Remote,
}

impl Ls {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let Some(of) = &self.of else {
            return self.buckets(connected).await;
        };
        let bucket = connected.client.bucket(&of.bucket).await?;
        if !of.is_directory()
            && let Ok(entry) = bucket.head(&of.key).await
        {
            return self.line(connected, &entry);
        }
        let directory = match of.key.is_empty() {
            true => String::new(),
            false => of.directory(),
        };
        let (entries, foreign) = all(connected, &bucket, &directory, self.recursive).await?;
        if entries.is_empty() && foreign == 0 && !of.key.is_empty() {
            return Err(exit::ended(exit::NOT_FOUND, format!("there is no {of}")));
        }
        for entry in &entries {
            self.line(connected, entry)?;
        }
        names_opened(foreign)
    }

    async fn buckets(&self, connected: &Connected) -> Result<()> {
        let ask = |session: Session| async move { Ok(session.buckets().await?) };
        for bucket in connected.client.ask(ask).await? {
            let line = match self.long {
                false => bucket.name.clone(),
                true => format!("{}  {}", bucket.names, bucket.name),
            };
            connected.show.result(&line, &bucket)?;
        }
        Ok(())
    }

    fn line(&self, connected: &Connected, entry: &Entry) -> Result<()> {
        let line = match self.long {
            false => entry.key.clone(),
            true => {
                let size = entry
                    .size
                    .map(|size| ByteSize::b(size).display().iec().to_string());
                let at = entry.stored_at.map(seconds);
                format!(
                    "{:>10}  {:20}  {}",
                    size.unwrap_or_default(),
                    at.unwrap_or_default(),
                    entry.key
                )
            }
        };
        connected.show.result(&line, &value(entry))
    }
}

fn seconds(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second());
    whole.unwrap_or(at).to_string()
}

fn value(entry: &Entry) -> Value {
    json!({
        "key": entry.key,
        "size_bytes": entry.size,
        "stored_at": entry.stored_at,
        "modified_at": entry.modified_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        "type": entry.media_type,
        "etag": entry.etag,
    })
}

/// Sorted by name; and how many names do not open.
async fn all(
    connected: &Connected,
    bucket: &Bucket,
    directory: &str,
    recursive: bool,
) -> Result<(Vec<Entry>, usize)> {
    let (mut entries, mut foreign) = (Vec::new(), 0);
    let mut found = std::pin::pin!(bucket.list(directory, recursive));
    while let Some(found) = found.next().await {
        match found {
            Ok(entry) => entries.push(entry),
            Err(error @ client::Error::ForeignName(_)) => {
                connected.show.say(&error.to_string());
                foreign += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    entries.sort_unstable_by(|one, other| one.key.cmp(&other.key));
    Ok((entries, foreign))
}

fn names_opened(foreign: usize) -> Result<()> {
    match foreign {
        0 => Ok(()),
        count => Err(exit::ended(
            exit::INTEGRITY,
            format!("{count} names do not open with this profile"),
        )),
    }
}

impl Stat {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let bucket = connected.client.bucket(&self.of.bucket).await?;
        let entry = bucket.head(&self.of.key).await?;
        let modified = entry
            .modified_ms
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let mut lines = vec![
            format!("name      {}", entry.key),
            format!("size      {} bytes", entry.size.unwrap_or_default()),
            format!(
                "sealed    {}",
                if bucket.is_sealed() { "yes" } else { "no" }
            ),
        ];
        for (name, at) in [("stored", entry.stored_at), ("modified", modified)] {
            lines.extend(at.map(|at| format!("{name:8}  {}", seconds(at))));
        }
        lines.extend(
            entry
                .media_type
                .as_ref()
                .map(|kind| format!("type      {kind}")),
        );
        connected.show.lines(&lines, &value(&entry))
    }
}

impl Du {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let bucket = connected.client.bucket(&self.of.bucket).await?;
        let directory = match self.of.key.is_empty() {
            true => String::new(),
            false => self.of.directory(),
        };
        let (entries, foreign) = all(connected, &bucket, &directory, true).await?;
        let bytes: u64 = entries.iter().filter_map(|entry| entry.size).sum();
        let files = entries.len();
        let line = format!("{}  {files} files", ByteSize::b(bytes).display().iec());
        let value = json!({"size_bytes": bytes, "files": files});
        connected.show.result(&line, &value)?;
        names_opened(foreign)
    }
}
