//! Rot: blobs of a node are spoilt on its disk, behind its back and while it runs.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use blobstore::{BlobState, Readers, Row, catalogue_path};
use proto::BlobId;
use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};

use super::plan::Kind;

const MOST_BLOBS: usize = 12;
/// In a segment the bytes of a blob begin so far behind its record.
const HEADER_LEN: u64 = 1024;
const PAGE: u32 = 1000;

/// Everything that a node's catalogue lists.
pub(super) fn rows(data_dir: &Path) -> Result<Vec<Row>> {
    let readers = Readers::open(&catalogue_path(data_dir))?;
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let page = readers.page(rows.last().map(|row| &row.id), PAGE)?;
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}

/// Spoils a few blobs; returns which.
pub(super) fn damage(data_dir: &Path, kind: Kind, rng: &mut impl Rng) -> Result<Vec<BlobId>> {
    let live = rows(data_dir)?;
    let live = live.iter().filter(|row| row.state == BlobState::Live);
    let count = rng.random_range(1..=MOST_BLOBS);
    let mut spoilt = Vec::new();
    for row in live.sample(rng, count) {
        let done = match kind {
            Kind::WipedBlobs => wipe(data_dir, row),
            _ => flip(data_dir, row, rng.random_range(0..row.length)),
        };
        match done {
            Ok(()) => spoilt.push(row.id),
            // It was deleted in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(spoilt)
}

fn flip(data_dir: &Path, row: &Row, offset: u64) -> io::Result<()> {
    let (path, start) = match row.location {
        Some(at) => (segment(data_dir, at.segment), at.position + HEADER_LEN),
        None => (file(data_dir, &row.id), 0),
    };
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, start + offset)?;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, start + offset)
}

/// As if it had never been written: a record of zeros, or no file.
fn wipe(data_dir: &Path, row: &Row) -> io::Result<()> {
    match row.location {
        Some(at) => {
            let path = segment(data_dir, at.segment);
            let file = OpenOptions::new().write(true).open(path)?;
            let zeros = vec![0; (HEADER_LEN + row.length) as usize];
            file.write_all_at(&zeros, at.position)
        }
        None => fs::remove_file(file(data_dir, &row.id)),
    }
}

fn segment(data_dir: &Path, number: u64) -> PathBuf {
    data_dir.join("segments").join(format!("{number:010}"))
}

fn file(data_dir: &Path, id: &BlobId) -> PathBuf {
    let name = id.to_string();
    let blobs = data_dir.join("blobs");
    blobs.join(&name[..1]).join(&name[1..3]).join(name)
}
