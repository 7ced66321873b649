//! `fsn get` and `fsn cat`.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::Args;
use client::{Bucket, Entry};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::Connected;
use crate::exit;
use crate::remote::{Remote, below};

/// Files that are fetched at the same time.
const FILES: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Get {
    /// BUCKET/KEY, or with -r a bucket or directory
    #[arg(value_name = "REMOTE")]
    from: Remote,
    /// A file, a directory, or `-` for standard output [default: the current directory]
    #[arg(value_name = "DST", default_value = ".")]
    to: PathBuf,
    /// All that is in a directory
    #[arg(short, long)]
    recursive: bool,
}

#[derive(Debug, Args)]
pub(super) struct Cat {
    /// BUCKET/KEY
    #[arg(value_name = "REMOTE")]
    from: Remote,
    /// Bytes from A on and before B, counted from 0: A-B or A-
    #[arg(long, value_name = "A-B", value_parser = range)]
    range: Option<Range<u64>>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parse = || {
        let (from, to) = text.split_once('-')?;
        let to = match to {
            "" => u64::MAX,
            to => to.parse().ok()?,
        };
        let from = from.parse().ok()?;
        (from <= to).then_some(from..to)
    };
    parse().ok_or_else(|| "a range is like 100-200 or 100-".to_owned())
}

impl Get {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let bucket = connected.client.bucket(&self.from.bucket).await?;
        if self.recursive {
            return self.all(connected, &bucket).await;
        }
        if self.from.is_directory() {
            return Err(exit::ended(
                exit::USAGE,
                format!("{} is a directory: add -r", self.from),
            ));
        }
        if self.to == Path::new("-") {
            return print(&bucket, &self.from.key, 0..u64::MAX).await;
        }
        let to = match self.to.is_dir() {
            false => self.to.clone(),
            true => {
                let path = below(&self.to, self.from.file_name());
                path.with_context(|| format!("{} needs a name here: add DST", self.from))?
            }
        };
        let total = connected.show.total(0, 1);
        let tell = connected.show.transfer(&self.from.key, &total);
        let entry = bucket.get_file(&self.from.key, &to, Some(tell)).await?;
        told(connected, &bucket, &entry, &to)
    }

    async fn all(&self, connected: &Connected, bucket: &Bucket) -> Result<()> {
        let directory = match self.from.key.is_empty() {
            true => String::new(),
            false => self.from.directory(),
        };
        let entries: Vec<Entry> = bucket.list(&directory, true).try_collect().await?;
        let bytes = entries.iter().filter_map(|entry| entry.size).sum();
        let total = connected.show.total(bytes, entries.len());
        let fetched = stream::iter(entries.iter().map(|entry| {
            let (total, directory) = (&total, &directory);
            async move {
                let name = entry
                    .key
                    .strip_prefix(directory.as_str())
                    .unwrap_or(&entry.key);
                let Some(to) = below(&self.to, name) else {
                    connected.show.say(&format!(
                        "{} is left out: no file can be called so",
                        entry.key
                    ));
                    return Ok(());
                };
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent)
                        .with_context(|| format!("cannot make {}", parent.display()))?;
                }
                let tell = connected.show.transfer(&entry.key, total);
                let got = bucket.get_file(&entry.key, &to, Some(tell)).await;
                let got = got.with_context(|| format!("{} is not fetched", entry.key))?;
                told(connected, bucket, &got, &to)
            }
        }));
        let outcome = fetched.buffer_unordered(FILES).try_collect::<()>().await;
        total.end();
        outcome
    }
}

fn told(connected: &Connected, bucket: &Bucket, entry: &Entry, to: &Path) -> Result<()> {
    let size = entry.size.unwrap_or_default();
    let line = format!("{}  {}", to.display(), ByteSize::b(size).display().iec());
    let value = json!({
        "bucket": bucket.name(), "key": entry.key, "path": to.to_string_lossy(), "size_bytes": size,
    });
    connected.show.result(&line, &value)
}

impl Cat {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let bucket = connected.client.bucket(&self.from.bucket).await?;
        print(&bucket, &self.from.key, self.range.unwrap_or(0..u64::MAX)).await
    }
}

/// What was checked is printed as it comes; what breaks off ends with an error.
async fn print(bucket: &Bucket, key: &str, range: Range<u64>) -> Result<()> {
    let reader = bucket.open(key).await?;
    let mut parts = std::pin::pin!(reader.stream(range, None));
    let mut out = std::io::stdout().lock();
    while let Some(part) = parts.next().await {
        if let Err(error) = out.write_all(&part?) {
            if error.kind() == std::io::ErrorKind::BrokenPipe {
                kit::printing::reader_gone();
            }
            return Err(error).context("standard output cannot be written");
        }
    }
    Ok(out.flush()?)
}
