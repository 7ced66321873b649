//! Hashes of files, and files to hash.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

const PIECE: usize = 256 * 1024;

/// A file in pieces, for an upload.
pub(super) async fn pieces(
    path: &Path,
) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static> {
    let file = File::open(path)
        .await
        .with_context(|| format!("cannot open {}", path.display()))?;
    Ok(ReaderStream::with_capacity(file, PIECE))
}

/// Length and SHA-256 in hex.
pub(super) async fn digest(path: &Path) -> Result<(u64, String)> {
    let start = (0, Sha256::new());
    let (length, digest) = pieces(path)
        .await?
        .try_fold(start, async |(length, mut digest), piece| {
            digest.update(&piece);
            Ok((length + piece.len() as u64, digest))
        })
        .await
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok((length, hex::encode(digest.finalize())))
}
