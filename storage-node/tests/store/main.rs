//! The store on a real disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod crash;
mod damage;
mod durability;
mod removal;
mod throughput;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use proto::{BlobId, Deletion, DeletionMode, Locator};
use storage_node::clock;
use storage_node::store::{Readers, Row, Store, catalogue_path};

const GB: u64 = 1_000_000_000;

fn open(dir: &Path) -> Store {
    Store::open(dir, GB, clock::now).unwrap()
}

/// A blob of `length` bytes that is like no other with another seed.
fn blob(seed: u64, length: usize) -> (BlobId, Bytes) {
    let mut bytes = vec![0; length];
    let mut stream = blake3::Hasher::new();
    stream.update(&seed.to_le_bytes());
    stream.finalize_xof().fill(&mut bytes);
    (BlobId::of(&bytes), bytes.into())
}

fn locator(seed: u8) -> Locator {
    Locator::from_bytes([seed; Locator::LEN])
}

async fn put(store: &Store, seed: u64, length: usize) -> BlobId {
    let (id, data) = blob(seed, length);
    store.put(id, locator(seed as u8), data).await.unwrap();
    id
}

fn path_in(dir: &Path, area: &str, id: &BlobId) -> PathBuf {
    let name = id.to_string();
    dir.join(area).join(&name[..1]).join(&name[1..3]).join(name)
}

/// Every row of the catalogue.
fn rows(dir: &Path) -> Vec<Row> {
    let readers = Readers::open(&catalogue_path(dir)).unwrap();
    readers.page(None, 100_000).unwrap()
}

fn deletion(id: BlobId, mode: DeletionMode) -> Deletion {
    Deletion { blob_id: id, mode }
}

/// Waits for work in the background to have an effect.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(in_time.is_ok(), "it never came about that {what}");
}
