//! Into a file: pieces are written where they belong, whichever comes first, beside the file's place, and the whole is put
//! there in one step. What broke off leaves nothing, and what stood there stays until all is there.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use rand::Rng;

use super::Content;
use crate::Error;
use crate::layout::pieces;
use crate::pace::MOST;
use crate::progress::Progress;

/// Removed unless it got to its place.
struct Temporary {
    path: PathBuf,
    file: Arc<File>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `modified_ms`: when the file was changed last, where it was stored with that.
pub(crate) async fn to_file(
    content: Arc<Content>,
    path: &Path,
    modified_ms: Option<i64>,
    progress: Progress,
) -> Result<(), Error> {
    let temporary = beside(path, &content)?;
    let stored = 0..content.layout.stored;
    let length = content.piece_length();
    let written = stream::iter(pieces(stored, length).map(|piece| {
        let (content, progress) = (Arc::clone(&content), &progress);
        let file = Arc::clone(&temporary.file);
        async move {
            let _room = content.core.room(piece.end - piece.start).await?;
            let (begin, texts) = content.piece(piece).await?;
            let bytes: u64 = texts.iter().map(|text| text.len() as u64).sum();
            let write = move || {
                let mut at = begin;
                texts.iter().try_for_each(|text| {
                    file.write_all_at(text, at)?;
                    at += text.len() as u64;
                    Ok(())
                })
            };
            let written = tokio::task::spawn_blocking(write).await;
            let written = written.unwrap_or_else(|lost| Err(std::io::Error::other(lost)));
            written.map_err(Error::io(path))?;
            progress.add(bytes);
            Ok::<_, Error>(())
        }
    }));
    written.buffer_unordered(MOST).try_collect::<()>().await?;
    if let Some(at) = modified_ms.and_then(time_of) {
        temporary.file.set_modified(at).map_err(Error::io(path))?;
    }
    fs::rename(&temporary.path, path).map_err(Error::io(path))
}

fn time_of(ms: i64) -> Option<SystemTime> {
    let since = Duration::from_millis(ms.unsigned_abs());
    match ms >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(since),
        false => SystemTime::UNIX_EPOCH.checked_sub(since),
    }
}

fn beside(path: &Path, content: &Content) -> Result<Temporary, Error> {
    let Some(name) = path.file_name() else {
        return Err(Error::unusable(format!(
            "{} is no place for a file",
            path.display()
        )));
    };
    let mut chance = [0; 4];
    content.core.entropy.rng().fill_bytes(&mut chance);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", hex::encode(chance)));
    let temporary = path.with_file_name(hidden);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary);
    Ok(Temporary {
        file: Arc::new(file.map_err(Error::io(&temporary))?),
        path: temporary,
    })
}
