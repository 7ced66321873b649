//! What only the layout of segments has: tails, holes, compaction.

use std::os::unix::fs::MetadataExt;

use blobstore::{NewBlob, Read, SegmentOptions};
use proto::DeletionMode::{Purge, Trash};
use proto::DeletionOutcome::Done;

use super::*;

const SEGMENTS: LayoutKind = LayoutKind::Segments;
const LENGTH: usize = 30_000;
/// What a record of that length takes.
const SPAN: u64 = 32_768;

/// Segments of four records of `LENGTH`.
fn small(dir: &Path, punch_holes: bool) -> Store {
    let options = StoreOptions {
        segments: SegmentOptions {
            segment_bytes: 4 * SPAN,
            punch_holes,
        },
        ..StoreOptions::new(SEGMENTS, GB)
    };
    Store::open(dir, options, Clock::system()).unwrap()
}

async fn fill(store: &Store, seeds: std::ops::Range<u64>) -> Vec<BlobId> {
    let mut ids = Vec::new();
    for seed in seeds {
        ids.push(put(store, seed, LENGTH).await);
    }
    ids
}

async fn purge(store: &Store, ids: &[BlobId]) {
    let deletions = ids.iter().map(|id| deletion(*id, Purge)).collect();
    let outcomes = store.delete(deletions).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Done));
}

/// Bytes of blocks of a segment, whatever its length says.
fn allocated(dir: &Path, number: u64) -> u64 {
    fs::metadata(segment(dir, number)).unwrap().blocks() * 512
}

#[tokio::test]
async fn a_segment_that_is_full_is_followed_by_the_next_one_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), true);
    let mut ids = fill(&store, 0..6).await;
    store.close().await;
    let store = small(dir.path(), true);
    ids.extend(fill(&store, 6..9).await);
    let place = |id: &BlobId| row(dir.path(), id).unwrap().location.unwrap();
    let places: Vec<(u64, u64)> = ids
        .iter()
        .map(|id| (place(id).segment, place(id).position / SPAN))
        .collect();
    let full = |segment| (0..4).map(move |n| (segment, n));
    let expected: Vec<(u64, u64)> = full(1).chain(full(2)).chain([(3, 0)]).collect();
    assert_eq!(places, expected);
    store.close().await;
}

#[tokio::test]
async fn blobs_whose_rows_a_power_failure_took_are_found_where_their_bytes_lie() {
    let (dir, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = small(dir.path(), true);
    let mut ids = fill(&store, 0..3).await;
    purge(&store, &ids[..1]).await; // flushed, and all before it
    for name in ["catalogue.db", "catalogue.db-wal"] {
        fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    ids.extend(fill(&store, 3..12).await);
    fs::create_dir(after.path().join("segments")).unwrap();
    for number in 1..=3 {
        fs::copy(segment(dir.path(), number), segment(after.path(), number)).unwrap();
    }
    let counts = store.counts();
    store.close().await;

    let store = small(after.path(), true);
    assert_eq!(store.counts(), counts);
    assert_eq!(store.counts().on_disk(), on_disk(SEGMENTS, after.path()));
    for (seed, id) in (0..12).zip(&ids).skip(1) {
        let (_, data) = blob(seed, LENGTH);
        assert_eq!(store.get(*id).await, Read::Found(data), "blob {seed}");
    }
    assert_eq!(store.get(ids[0]).await, Read::Missing);
    store.close().await;
}

#[tokio::test]
async fn a_torn_record_at_the_end_is_dropped_and_the_whole_ones_before_it_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    let first = put(&store, 1, LENGTH).await;
    crash(store).await;
    // What a batch leaves that a power failure has cut short: in a new segment, since nobody has
    // looked at the old one.
    let layout = open_layout(SEGMENTS, dir.path(), Default::default()).unwrap();
    let blobs = [2, 3].map(|seed| NewBlob {
        id: blob(seed, LENGTH).0,
        locator: locator(2),
        stored_at_ms: 5,
        data: blob(seed, LENGTH).1,
        trashed_at_ms: None,
        deferred_until_ms: None,
    });
    layout.append(&blobs);
    drop(layout);
    let file = OpenOptions::new().write(true).open(segment(dir.path(), 2));
    file.unwrap().set_len(SPAN + 20_000).unwrap();

    let store = open(SEGMENTS, dir.path());
    assert_eq!(store.counts().live.blobs, 2);
    assert_eq!(
        store.get(blobs[0].id).await,
        Read::Found(blobs[0].data.clone())
    );
    assert_eq!(store.get(blobs[1].id).await, Read::Missing);
    assert_eq!(fs::metadata(segment(dir.path(), 2)).unwrap().len(), SPAN);
    // And the next one goes where the torn one was.
    let next = put(&store, 4, LENGTH).await;
    let location = row(dir.path(), &next).unwrap().location.unwrap();
    assert_eq!((location.segment, location.position), (2, SPAN));
    assert!(matches!(store.get(first).await, Read::Found(_)));
    assert_eq!(store.counts().on_disk(), on_disk(SEGMENTS, dir.path()));
    store.close().await;
}

#[tokio::test]
async fn a_torn_record_between_whole_ones_is_wiped_for_good() {
    let dir = tempfile::tempdir().unwrap();
    crash(open(SEGMENTS, dir.path())).await;
    let layout = open_layout(SEGMENTS, dir.path(), Default::default()).unwrap();
    let blobs = [1, 2, 3].map(|seed| NewBlob {
        id: blob(seed, LENGTH).0,
        locator: locator(2),
        stored_at_ms: 5,
        data: blob(seed, LENGTH).1,
        trashed_at_ms: None,
        deferred_until_ms: None,
    });
    layout.append(&blobs);
    drop(layout);
    let file = OpenOptions::new().write(true).open(segment(dir.path(), 1));
    file.unwrap().write_all_at(&[0; 4096], SPAN + 4096).unwrap();
    let store = open(SEGMENTS, dir.path());
    assert_eq!(store.counts().live.blobs, 2);
    store.close().await;
    drop(store);
    assert_eq!(rebuild(SEGMENTS, dir.path()).on_disk().blobs, 2);
}

#[tokio::test]
async fn a_start_reads_nothing_before_the_committed_position() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    let id = put(&store, 1, LENGTH).await;
    crash(store).await;
    OnDisk::of(dir.path(), &id).flip_bit(HEADER + 5);
    let store = open(SEGMENTS, dir.path());
    assert_eq!(row(dir.path(), &id).unwrap().state, BlobState::Live);
    assert_eq!(store.get(id).await, Read::Corrupt);
    store.close().await;
}

#[tokio::test]
async fn a_purged_blob_gives_its_blocks_back_and_an_empty_segment_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), true);
    let ids = fill(&store, 0..5).await;
    let before = allocated(dir.path(), 1);
    purge(&store, &ids[1..3]).await;
    assert_eq!(before - allocated(dir.path(), 1), 2 * SPAN);
    assert_eq!(
        fs::metadata(segment(dir.path(), 1)).unwrap().len(),
        4 * SPAN
    );
    assert_eq!(store.counts().on_disk(), on_disk(SEGMENTS, dir.path()));
    purge(&store, &[ids[0], ids[3]]).await;
    assert!(!segment(dir.path(), 1).exists());
    assert!(matches!(store.get(ids[4]).await, Read::Found(_)));
    store.close().await;
}

#[tokio::test]
async fn a_purge_that_a_crash_cut_short_is_finished_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    let gone = put(&store, 1, LENGTH).await;
    put(&store, 2, LENGTH).await;
    crash(store).await;
    // The row is gone, the record is not wiped yet.
    let connection = rusqlite::Connection::open(catalogue_path(dir.path())).unwrap();
    let forget = "DELETE FROM blobs WHERE id = ?1";
    connection.execute(forget, [gone.as_bytes()]).unwrap();
    drop(connection);
    assert_eq!(on_disk(SEGMENTS, dir.path()).blobs, 2);
    let store = open(SEGMENTS, dir.path());
    assert_eq!(on_disk(SEGMENTS, dir.path()).blobs, 1);
    store.close().await;
    drop(store);
    assert_eq!(rebuild(SEGMENTS, dir.path()).on_disk().blobs, 1);
}

#[tokio::test]
async fn a_blob_that_is_being_read_keeps_its_bytes_and_is_not_found_by_a_rebuild() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    let (id, data) = blob(1, LENGTH);
    store.put(id, locator(1), data.clone()).await.unwrap();
    put(&store, 2, LENGTH).await;
    let reader = store.open_blob(id).await.unwrap().unwrap();
    purge(&store, &[id]).await;
    let before = allocated(dir.path(), 1);
    let mut read = vec![0; LENGTH];
    reader.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, data);
    assert_eq!(on_disk(SEGMENTS, dir.path()).blobs, 1);
    drop(reader);
    store.empty_trash(Duration::MAX, 10).await;
    assert_eq!(before - allocated(dir.path(), 1), SPAN);
    store.close().await;
}

#[tokio::test]
async fn where_there_are_no_holes_what_is_left_is_moved_and_the_segment_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), false);
    let ids = fill(&store, 0..9).await;
    purge(&store, &ids[0..2]).await;
    assert_eq!(store.compact().await, 0, "half of it is still held");
    store.delete(vec![deletion(ids[3], Trash)]).await;
    purge(&store, &[ids[2], ids[4], ids[5], ids[6]]).await;
    assert_eq!(allocated(dir.path(), 1) / SPAN, 4, "no holes were punched");
    let (counts, before) = (store.counts(), row(dir.path(), &ids[3]));
    while store.compact().await > 0 {}
    assert!(!segment(dir.path(), 1).exists());
    assert!(!segment(dir.path(), 2).exists());
    assert_eq!(store.counts(), counts);
    let after = row(dir.path(), &ids[3]).unwrap();
    assert_eq!(after.state_at_ms, before.unwrap().state_at_ms);
    assert!(matches!(store.get(ids[7]).await, Read::Found(_)));
    store.close().await;
    drop(store);
    assert_eq!(rebuild(SEGMENTS, dir.path()), counts);
    let store = small(dir.path(), false);
    assert_eq!(store.counts(), counts);
    assert!(
        matches!(store.get(ids[3]).await, Read::Found(_)),
        "from the trash"
    );
    store.close().await;
}

#[tokio::test]
async fn rot_that_compaction_comes_upon_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), false);
    let ids = fill(&store, 0..5).await;
    let rotten = OnDisk::of(dir.path(), &ids[3]);
    rotten.flip_bit(rotten.start);
    purge(&store, &ids[0..3]).await;
    while store.compact().await > 0 {}
    assert_eq!(store.counts().lost.blobs, 1);
    assert!(!segment(dir.path(), 1).exists());
    store.close().await;
}

#[tokio::test]
async fn a_segment_that_is_gone_or_cut_loses_its_blobs_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), true);
    let ids = fill(&store, 0..9).await;
    store.delete(vec![deletion(ids[1], Trash)]).await;
    store.close().await;
    fs::remove_file(segment(dir.path(), 1)).unwrap();
    let cut = OpenOptions::new().write(true).open(segment(dir.path(), 2));
    cut.unwrap().set_len(2 * SPAN).unwrap();
    let store = small(dir.path(), true);
    let counts = store.counts();
    assert_eq!((counts.live.blobs, counts.lost.blobs), (3, 5));
    assert_eq!(counts.trashed.blobs, 0);
    assert_eq!(counts.on_disk(), on_disk(SEGMENTS, dir.path()));
    assert!(matches!(store.get(ids[5]).await, Read::Found(_)));
    assert_eq!(store.get(ids[6]).await, Read::Missing);
    // A lost one that is stored again is held again, and nothing is written over the cut.
    put(&store, 6, LENGTH).await;
    assert!(matches!(store.get(ids[6]).await, Read::Found(_)));
    store.close().await;
    let store = small(dir.path(), true);
    assert_eq!(store.counts().live.blobs, 4);
    store.close().await;
}

#[tokio::test]
async fn a_start_cuts_nothing_that_a_crash_cannot_have_left() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    let id = put(&store, 1, LENGTH).await;
    store.close().await;
    let file = OpenOptions::new().write(true).open(segment(dir.path(), 1));
    let file = file.unwrap();
    let rubbish = vec![7; 1024 * 1024];
    for n in 0..40 {
        file.write_all_at(&rubbish, SPAN + n * rubbish.len() as u64)
            .unwrap();
    }
    let length = file.metadata().unwrap().len();
    let store = open(SEGMENTS, dir.path());
    assert_eq!(file.metadata().unwrap().len(), length);
    assert!(matches!(store.get(id).await, Read::Found(_)));
    let next = put(&store, 2, LENGTH).await;
    assert_eq!(row(dir.path(), &next).unwrap().location.unwrap().segment, 2);
    store.close().await;
}

#[tokio::test]
async fn a_record_of_a_later_version_keeps_the_store_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(SEGMENTS, dir.path());
    put(&store, 1, LENGTH).await;
    store.close().await;
    // Version 2, at the beginning of the second segment.
    let mut header = vec![0; 4096];
    header[..8].copy_from_slice(b"fsn-rcrd");
    header[8] = 2;
    let mut sum = blake3::Hasher::new_derive_key("fsn segment record v1");
    sum.update(&2_u64.to_le_bytes())
        .update(&[0; 8])
        .update(&header[..128]);
    header[128..160].copy_from_slice(sum.finalize().as_bytes());
    fs::write(segment(dir.path(), 2), header).unwrap();
    let refused = Store::open(dir.path(), StoreOptions::new(SEGMENTS, GB), Clock::system());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("version 2"), "{refused}");
    assert!(segment(dir.path(), 2).exists());
}

#[tokio::test]
async fn reads_go_on_while_blobs_come_move_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = small(dir.path(), false);
    let kept = fill(&store, 0..3).await;
    let reading = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..400 {
                let id = kept[n % kept.len()];
                let expected = blob(n as u64 % 3, LENGTH).1;
                assert_eq!(store.get(id).await, Read::Found(expected), "read {n}");
            }
        })
    };
    let mut seed = 1000;
    while !reading.is_finished() {
        let ids = fill(&store, seed..seed + 6).await;
        purge(&store, &ids).await;
        store.compact().await;
        seed += 6;
    }
    reading.await.unwrap();
    assert_eq!(store.counts().live.blobs, 3);
    store.close().await;
}
