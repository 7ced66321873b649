//! The owner's own file beside what coordinators sign of its chunks.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, ensure};
use proto::ChunkSha256;
use proto::evidence::{Checker, Stated};
use sha2::{Digest, Sha256};

/// What does not agree, a line each. Chunks of which nothing is signed are among it.
pub(super) fn differences(path: &Path, checker: &Checker) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("{} cannot be read", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let bytes = file.metadata().with_context(cannot)?.len();
    let stated: Vec<(u32, Stated)> = checker.stated().collect();
    let Some((_, first)) = stated.first().filter(|(index, _)| *index == 0) else {
        ensure!(
            bytes == 0,
            "nothing is signed of the file's first chunk: fetch the receipts of all chunks, and compare then"
        );
        return Ok(Vec::new());
    };
    let chunk_bytes = u64::from(first.bytes);
    ensure!(chunk_bytes > 0, "a chunk of no bytes is signed");
    let mut differences = Vec::new();
    let mut buffer = Vec::new();
    for (index, stated) in &stated {
        let offset = u64::from(*index) * chunk_bytes;
        let length = bytes.saturating_sub(offset).min(chunk_bytes);
        buffer.clear();
        file.seek(SeekFrom::Start(offset)).with_context(cannot)?;
        let mut chunk = (&mut file).take(length);
        chunk.read_to_end(&mut buffer).with_context(cannot)?;
        let sha256 = ChunkSha256::from_bytes(Sha256::digest(&buffer).into());
        if buffer.len() as u64 != u64::from(stated.bytes) || sha256 != stated.sha256 {
            differences.push(format!("chunk {index} is not what the coordinator signs"));
        }
    }
    let chunks = bytes.div_ceil(chunk_bytes);
    let missing = chunks.saturating_sub(stated.len() as u64);
    if missing > 0 {
        differences.push(format!("of {missing} chunks nothing is signed"));
    }
    Ok(differences)
}
