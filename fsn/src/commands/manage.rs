//! `fsn rm`, `mv`, `cp`, `mb` and `rb`: what changes names and moves no bytes.

use anyhow::Result;
use clap::Args;
use client::Entry;
use client::rest::Session;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::{Connected, Global};
use crate::exit;
use crate::remote::Remote;

/// Objects that are deleted at the same time.
const AT_A_TIME: usize = 16;

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// BUCKET/KEY
    #[arg(required = true, value_name = "REMOTE")]
    what: Vec<Remote>,
    /// All that is in a directory
    #[arg(short, long)]
    recursive: bool,
}

#[derive(Debug, Args)]
pub(super) struct FromTo {
    /// BUCKET/KEY
    from: Remote,
    /// BUCKET/KEY, or BUCKET/DIRECTORY/
    to: Remote,
}

#[derive(Debug, Args)]
pub(super) struct Mb {
    /// 3 to 63 lower-case letters, digits, `-` and `.`; unique in the network
    bucket: String,
    /// Not sealed: other programs, like those for S3, and the coordinator read what is in it
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rb {
    bucket: String,
}

impl Rm {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        for what in &self.what {
            let bucket = connected.client.bucket(&what.bucket).await?;
            if !self.recursive {
                if what.is_directory() {
                    return Err(exit::ended(
                        exit::USAGE,
                        format!("{what} is a directory: add -r, or `fsn rb` for an empty bucket"),
                    ));
                }
                bucket.remove(&what.key).await?;
                connected.show.result(
                    &format!("{what} is deleted"),
                    &json!({"deleted": what.to_string()}),
                )?;
                continue;
            }
            let directory = match what.key.is_empty() {
                true => String::new(),
                false => what.directory(),
            };
            let entries: Vec<Entry> = bucket.list(&directory, true).try_collect().await?;
            if entries.is_empty() {
                return Err(exit::ended(
                    exit::NOT_FOUND,
                    format!("there is nothing in {what}"),
                ));
            }
            let removed = stream::iter(entries.iter().map(|entry| bucket.remove(&entry.key)));
            removed
                .buffer_unordered(AT_A_TIME)
                .try_collect::<()>()
                .await?;
            let line = format!("{} objects in {what} are deleted", entries.len());
            let value = json!({"deleted": what.to_string(), "objects": entries.len()});
            connected.show.result(&line, &value)?;
        }
        Ok(())
    }
}

impl FromTo {
    pub(super) async fn rename(self, connected: &Connected) -> Result<()> {
        let (bucket, to) = self.places(connected).await?;
        bucket.rename(&self.from.key, &to).await?;
        self.told(connected, &to)
    }

    pub(super) async fn copy(self, connected: &Connected) -> Result<()> {
        let (bucket, to) = self.places(connected).await?;
        bucket.copy(&self.from.key, &to).await?;
        self.told(connected, &to)
    }

    async fn places(&self, connected: &Connected) -> Result<(client::Bucket, String)> {
        if self.from.bucket != self.to.bucket {
            return Err(exit::ended(
                exit::USAGE,
                "both names have to be in one bucket; `fsn get` and `fsn put` bring it into another",
            ));
        }
        if self.from.is_directory() {
            return Err(exit::ended(
                exit::USAGE,
                format!(
                    "{} is a directory, and names of single objects are changed",
                    self.from
                ),
            ));
        }
        let bucket = connected.client.bucket(&self.from.bucket).await?;
        Ok((bucket, self.to.receiving(self.from.file_name())))
    }

    fn told(&self, connected: &Connected, to: &str) -> Result<()> {
        let to = format!("{}/{to}", self.to.bucket);
        let value = json!({"from": self.from.to_string(), "to": to});
        connected.show.result(&to, &value)
    }
}

impl Mb {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let connected = global.connect()?;
        let bucket = connected
            .client
            .make_bucket(&self.bucket, !self.plain)
            .await?;
        global.change_profile(|profile| profile.note(&bucket))?;
        let kind = if bucket.is_sealed() {
            "sealed"
        } else {
            "plain"
        };
        let line = format!("{} is there, {kind}", bucket.name());
        let value = json!({"bucket": bucket.name(), "names": kind});
        connected.show.result(&line, &value)
    }
}

impl Rb {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let connected = global.connect()?;
        let name = &self.bucket;
        let delete = |session: Session| async move { Ok(session.delete_bucket(name).await?) };
        connected.client.ask(delete).await?;
        global.change_profile(|profile| profile.forget(name))?;
        let line = format!("{name} is deleted");
        connected.show.result(&line, &json!({"deleted": name}))
    }
}
