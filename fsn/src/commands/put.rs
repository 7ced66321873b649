//! `fsn put`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::Args;
use client::{Bucket, Input, PutOptions};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::Connected;
use crate::exit;
use crate::remote::{Remote, key_of};

/// Files that are stored at the same time.
const FILES: usize = 16;

#[derive(Debug, Args)]
pub(super) struct Put {
    /// Files; `-` is standard input
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// BUCKET/KEY, or BUCKET/DIRECTORY/
    #[arg(value_name = "REMOTE")]
    to: Remote,
    /// Directories with all that is in them
    #[arg(short, long)]
    recursive: bool,
    /// Into a bucket that is not sealed, where the coordinator reads it; one that is sealed is refused
    #[arg(long)]
    plain: bool,
    /// Leave alone what is there already
    #[arg(long)]
    if_absent: bool,
    /// Begin anew what was interrupted
    #[arg(long)]
    no_resume: bool,
    /// What it is, like image/jpeg
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
}

struct File {
    path: PathBuf,
    key: String,
    size: u64,
}

impl Put {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let bucket = connected.client.bucket(&self.to.bucket).await?;
        self.check_kind(&bucket)?;
        if self.sources == [Path::new("-")] {
            return self.put_stdin(connected, &bucket).await;
        }
        let files = self.files()?;
        let bytes = files.iter().map(|file| file.size).sum();
        let total = connected.show.total(bytes, files.len());
        let stored = stream::iter(files.iter().map(|file| {
            let options = self.options(Some(connected.show.transfer(&file.key, &total)));
            let bucket = &bucket;
            async move {
                let put = bucket.put(&file.key, Input::File(file.path.clone()), options);
                put.await
                    .with_context(|| format!("{} is not stored", file.path.display()))?;
                let line = format!(
                    "{}/{}  {}",
                    bucket.name(),
                    file.key,
                    ByteSize::b(file.size).display().iec()
                );
                let value =
                    json!({"bucket": bucket.name(), "key": file.key, "size_bytes": file.size});
                connected.show.result(&line, &value)
            }
        }));
        let outcome = stored.buffer_unordered(FILES).try_collect::<()>().await;
        total.end();
        outcome
    }

    /// Which kind it is, only the coordinator says, and what is stored in a bucket that is not sealed it reads: so that is
    /// the user's choice, told with each command.
    fn check_kind(&self, bucket: &Bucket) -> Result<()> {
        let name = bucket.name();
        match (self.plain, bucket.is_sealed()) {
            (false, true) | (true, false) => Ok(()),
            (true, true) => Err(exit::ended(
                exit::USAGE,
                format!(
                    "the bucket {name} is sealed, and all that is in it: `fsn mb --plain` makes one that is not"
                ),
            )),
            (false, false) => Err(exit::ended(
                exit::INTEGRITY,
                format!(
                    "the coordinator says that the bucket {name} is not sealed: --plain stores it readable"
                ),
            )),
        }
    }

    fn options(&self, progress: Option<client::OnProgress>) -> PutOptions {
        PutOptions {
            if_absent: self.if_absent,
            media_type: self.media_type.clone(),
            afresh: self.no_resume,
            progress,
        }
    }

    async fn put_stdin(&self, connected: &Connected, bucket: &Bucket) -> Result<()> {
        if self.to.is_directory() {
            return Err(exit::ended(
                exit::USAGE,
                "what comes from standard input needs a name: BUCKET/KEY",
            ));
        }
        let total = connected.show.total(0, 1);
        let options = self.options(Some(connected.show.transfer(&self.to.key, &total)));
        let input = Input::Stream(Box::new(tokio::io::stdin()));
        bucket.put(&self.to.key, input, options).await?;
        let value = json!({"bucket": bucket.name(), "key": self.to.key});
        connected.show.result(&self.to.to_string(), &value)
    }

    fn files(&self) -> Result<Vec<File>> {
        if self.sources.len() > 1 && !self.to.is_directory() {
            return Err(exit::ended(
                exit::USAGE,
                format!("several files go into a directory: {}/", self.to),
            ));
        }
        let mut files = Vec::new();
        for source in &self.sources {
            let metadata = fs::metadata(source)
                .with_context(|| format!("{} cannot be read", source.display()))?;
            let name = source.canonicalize().ok();
            let name = name
                .as_deref()
                .and_then(Path::file_name)
                .and_then(|name| name.to_str());
            let name =
                name.with_context(|| format!("{} has a name that is no UTF-8", source.display()))?;
            match (metadata.is_dir(), self.recursive) {
                (false, _) => files.push(File {
                    path: source.clone(),
                    key: self.to.receiving(name),
                    size: metadata.len(),
                }),
                (true, true) => {
                    let below = match self.to.is_directory() {
                        true => format!("{}{name}/", self.to.key),
                        false => self.to.directory(),
                    };
                    walk(source, &below, &mut files)?;
                }
                (true, false) => {
                    return Err(exit::ended(
                        exit::USAGE,
                        format!("{} is a directory: add -r", source.display()),
                    ));
                }
            }
        }
        Ok(files)
    }
}

/// Every file in a directory; links are not followed.
fn walk(root: &Path, below: &str, files: &mut Vec<File>) -> Result<()> {
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(&dir);
        let entries = entries.with_context(|| format!("{} cannot be read", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)
                .with_context(|| format!("{} cannot be read", path.display()))?;
            if metadata.is_dir() {
                dirs.push(path);
            } else if metadata.is_file() {
                let key = path.strip_prefix(root).ok().and_then(key_of);
                let key =
                    key.with_context(|| format!("{} has a name that is no UTF-8", path.display()))?;
                files.push(File {
                    key: format!("{below}{key}"),
                    size: metadata.len(),
                    path,
                });
            }
        }
    }
    Ok(())
}
