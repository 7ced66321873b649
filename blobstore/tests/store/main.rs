//! The store on a real disk. What a store promises it promises in both layouts: those tests take the
//! layout as an argument and run for each.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

/// Runs each of these functions as a test in both layouts.
macro_rules! in_both_layouts {
    ($($test:ident),+ $(,)?) => {
        mod in_segments {
            $(#[tokio::test] async fn $test() { super::$test(super::LayoutKind::Segments).await; })+
        }
        mod in_files {
            $(#[tokio::test] async fn $test() { super::$test(super::LayoutKind::Files).await; })+
        }
    };
}

mod brake;
mod conversion;
mod crash;
mod damage;
mod durability;
mod full_disk;
mod inventory;
mod removal;
mod segments;
mod throughput;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blobstore::{
    BlobState, Brake, Catalogue, Counts, Destination, Layout, LayoutKind, Readers, Recovery, Row,
    Store, StoreOptions, Tally, attach_layout, catalogue_path, measure, open_layout,
};
use bytes::Bytes;
use kit::Clock;
use proto::{BlobId, Deletion, DeletionMode, Locator};

const GB: u64 = 1_000_000_000;
/// The header of a record, the trailer of a file.
const HEADER: u64 = 1024;
const TRAILER: u64 = 124;

fn open(layout: LayoutKind, dir: &Path) -> Store {
    Store::open(dir, StoreOptions::new(layout, GB), Clock::system()).unwrap()
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

fn segment(dir: &Path, number: u64) -> PathBuf {
    dir.join("segments").join(format!("{number:010}"))
}

/// Where on disk the bytes of a blob are.
struct OnDisk {
    path: PathBuf,
    /// Where in the file the blob begins.
    start: u64,
    /// Where what stands beside the blob begins.
    label: u64,
}

impl OnDisk {
    fn of(dir: &Path, id: &BlobId) -> Self {
        let row = row(dir, id).unwrap();
        match row.location {
            Some(at) => Self {
                path: segment(dir, at.segment),
                start: at.position + HEADER,
                label: at.position,
            },
            None => Self {
                path: path_in(dir, "blobs", id),
                start: 0,
                label: row.length,
            },
        }
    }

    fn flip_bit(&self, at: u64) {
        let mut byte = [0];
        let file = self.file();
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// So many bytes of the blob are left.
    fn cut(&self, left: u64) {
        self.file().set_len(self.start + left).unwrap();
    }

    fn remove(&self) {
        fs::remove_file(&self.path).unwrap();
    }

    fn file(&self) -> File {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(&self.path).unwrap()
    }
}

/// Every row of the catalogue.
fn rows(dir: &Path) -> Vec<Row> {
    let readers = Readers::open(&catalogue_path(dir)).unwrap();
    readers.page(None, 100_000).unwrap()
}

fn row(dir: &Path, id: &BlobId) -> Option<Row> {
    let readers = Readers::open(&catalogue_path(dir)).unwrap();
    readers.row(id).unwrap()
}

fn deletion(id: BlobId, mode: DeletionMode) -> Deletion {
    Deletion { blob_id: id, mode }
}

/// What the disk says there is.
fn on_disk(layout: LayoutKind, dir: &Path) -> Tally {
    measure(&*attach_layout(layout, dir)).unwrap()
}

/// Ends the store without its orderly close, so that the next start takes it for a crash.
async fn crash(store: Store) {
    drop(store);
}

/// Makes the catalogue anew from the disk.
fn rebuild(layout: LayoutKind, dir: &Path) -> Counts {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.join(format!("catalogue.db{suffix}")));
    }
    let mut catalogue = Catalogue::open(&catalogue_path(dir)).unwrap();
    recover(layout, dir, &mut catalogue, Recovery::Rebuild);
    let counts = catalogue.counts().unwrap();
    catalogue.close().unwrap();
    counts
}

fn recover(layout: LayoutKind, dir: &Path, catalogue: &mut Catalogue, how: Recovery) {
    let layout: Box<dyn Layout> = open_layout(layout, dir, Default::default()).unwrap();
    layout
        .recover(catalogue, how, Clock::system().now(), &mut || {})
        .unwrap();
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
