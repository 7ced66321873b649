//! What is acknowledged is kept, and what is refused leaves nothing.

use blobstore::{PutError, Read};
use tokio::task::JoinSet;

use super::*;

in_both_layouts!(
    a_stored_blob_is_read_back_after_a_restart,
    stores_that_wait_at_one_time_share_their_flushes,
    storing_a_held_blob_again_gives_the_same_time_and_writes_nothing,
    one_blob_stored_many_times_at_once_is_held_once,
    bytes_that_do_not_hash_to_their_id_are_refused_and_leave_nothing,
    nothing_is_taken_beyond_the_quota_however_many_come_at_once,
    a_full_node_still_confirms_what_it_holds,
    a_disk_that_fails_refuses_and_is_used_again_once_it_works,
    a_closed_store_refuses_and_what_it_had_taken_is_kept,
);

async fn a_stored_blob_is_read_back_after_a_restart(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (id, data) = blob(1, 262_172);
    store.put(id, locator(1), data.clone()).await.unwrap();
    store.close().await;
    let store = open(layout, dir.path());
    assert_eq!(store.get(id).await, Read::Found(data));
    assert_eq!(store.counts().live.blobs, 1);
    assert_eq!(store.counts().live.bytes, 262_172);
    store.close().await;
}

#[tokio::test]
async fn a_blobs_file_begins_with_its_bytes_and_ends_with_its_trailer() {
    let layout = LayoutKind::Files;
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (id, data) = blob(1, 5000);
    store.put(id, locator(1), data.clone()).await.unwrap();
    let file = std::fs::read(path_in(dir.path(), "blobs", &id)).unwrap();
    assert_eq!(file.len() as u64, 5000 + TRAILER);
    assert_eq!(file[..5000], data[..]);
    assert_eq!(&file[5000..5008], b"fsn-blob");
    store.close().await;
}

async fn stores_that_wait_at_one_time_share_their_flushes(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut stores = JoinSet::new();
    for seed in 0..200 {
        let store = store.clone();
        stores.spawn(async move { put(&store, seed, 20_000).await });
    }
    stores.join_all().await;
    let (stored, batches) = store.flushes();
    assert_eq!(stored, 200);
    assert!(batches < 200, "{batches} batches for 200 blobs");
    store.close().await;
}

async fn storing_a_held_blob_again_gives_the_same_time_and_writes_nothing(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (id, data) = blob(1, 5000);
    let first = store.put(id, locator(1), data.clone()).await.unwrap();
    let again = store.put(id, locator(1), data).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(store.flushes(), (1, 1));
    store.close().await;
}

async fn one_blob_stored_many_times_at_once_is_held_once(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut stores = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        let (id, data) = blob(7, 10_000);
        stores.spawn(async move { store.put(id, locator(7), data).await.unwrap() });
    }
    let times = stores.join_all().await;
    assert!(times.iter().all(|time| *time == times[0]));
    assert_eq!(store.counts().live.blobs, 1);
    assert_eq!(on_disk(layout, dir.path()), store.counts().on_disk());
    assert_eq!(leftovers(dir.path()), 0);
    store.close().await;
}

async fn bytes_that_do_not_hash_to_their_id_are_refused_and_leave_nothing(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (_, data) = blob(1, 5000);
    let wrong = BlobId::of(b"something else");
    let refused = store.put(wrong, locator(1), data).await;
    assert_eq!(refused, Err(PutError::HashMismatch));
    assert_eq!(store.get(wrong).await, Read::Missing);
    assert_eq!(leftovers(dir.path()), 0);
    store.close().await;
}

async fn nothing_is_taken_beyond_the_quota_however_many_come_at_once(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let each = match layout {
        LayoutKind::Segments => 12_288, // header, bytes, padding
        LayoutKind::Files => 10_000 + TRAILER,
    };
    let options = StoreOptions::new(layout, 5 * each + 100);
    let store = Store::open(dir.path(), options, Clock::system()).unwrap();
    let mut stores = JoinSet::new();
    for seed in 0..20 {
        let store = store.clone();
        let (id, data) = blob(seed, 10_000);
        stores.spawn(async move { store.put(id, locator(0), data).await });
    }
    let outcomes = stores.join_all().await;
    let full = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(PutError::Full(_))));
    assert_eq!(full.count(), 15);
    let space = store.space().unwrap();
    assert_eq!(space.used_bytes, 5 * each);
    assert_eq!((space.reserved_bytes, space.free_bytes), (0, 100));
    store.close().await;
}

async fn a_full_node_still_confirms_what_it_holds(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(layout, 9000);
    let store = Store::open(dir.path(), options, Clock::system()).unwrap();
    let (id, data) = blob(1, 5000);
    store.put(id, locator(1), data.clone()).await.unwrap();
    assert!(store.put(id, locator(1), data).await.is_ok());
    store.close().await;
}

async fn a_disk_that_fails_refuses_and_is_used_again_once_it_works(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let needed = dir.path().join(match layout {
        LayoutKind::Segments => "segments",
        LayoutKind::Files => "tmp",
    });
    std::fs::remove_dir(&needed).unwrap();
    std::fs::write(&needed, b"in the way").unwrap();
    let (id, data) = blob(1, 5000);
    let refused = store.put(id, locator(1), data.clone()).await;
    assert!(matches!(refused, Err(PutError::Io(_))), "{refused:?}");
    assert!(store.fault().await.is_some());
    assert_eq!(store.space().unwrap().reserved_bytes, 0);

    std::fs::remove_file(&needed).unwrap();
    std::fs::create_dir(&needed).unwrap();
    assert_eq!(store.fault().await, None);
    store.put(id, locator(1), data.clone()).await.unwrap();
    assert_eq!(store.get(id).await, Read::Found(data));
    store.close().await;
}

async fn a_closed_store_refuses_and_what_it_had_taken_is_kept(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let id = put(&store, 1, 5000).await;
    store.close().await;
    let (other, data) = blob(2, 5000);
    let refused = store.put(other, locator(2), data).await;
    assert_eq!(refused, Err(PutError::Closed));
    let held: Vec<_> = rows(dir.path())
        .iter()
        .map(|row| (row.id, row.state))
        .collect();
    assert_eq!(held, [(id, BlobState::Live)]);
}

fn leftovers(dir: &Path) -> usize {
    match std::fs::read_dir(dir.join("tmp")) {
        Ok(entries) => entries.count(),
        Err(_) => 0, // segments need no such directory
    }
}
