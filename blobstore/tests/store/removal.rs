//! The trash and back, and for good.

use blobstore::Read;
use proto::DeletionMode::{Purge, Restore, Trash};
use proto::DeletionOutcome::{Done, NotHeld};

use super::*;

in_both_layouts!(
    a_purged_blob_is_gone_and_gives_its_room_back,
    trash_keeps_a_blob_out_of_the_count_but_in_the_quota,
    a_blob_comes_back_from_the_trash_when_it_is_restored_read_or_stored,
    an_open_blob_is_read_in_parts_even_after_it_is_purged,
    deletions_are_answered_one_by_one_in_order,
    trash_is_removed_once_its_time_has_passed_and_not_before,
);

async fn a_purged_blob_is_gone_and_gives_its_room_back(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let id = put(&store, 1, 5000).await;
    assert_eq!(store.delete(vec![deletion(id, Purge)]).await, [Done]);
    assert_eq!(store.get(id).await, Read::Missing);
    assert_eq!(on_disk(layout, dir.path()), Tally::default());
    assert_eq!(store.space().unwrap().used_bytes, 0);
    assert_eq!(store.delete(vec![deletion(id, Purge)]).await, [Done]);
    store.close().await;
}

async fn trash_keeps_a_blob_out_of_the_count_but_in_the_quota(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let id = put(&store, 1, 5000).await;
    let used = store.space().unwrap().used_bytes;
    assert_eq!(store.delete(vec![deletion(id, Trash)]).await, [Done]);
    assert_eq!(store.counts().live.blobs, 0);
    assert_eq!(store.counts().trashed.blobs, 1);
    assert_eq!(store.space().unwrap().used_bytes, used);
    assert_eq!(on_disk(layout, dir.path()), store.counts().on_disk());
    store.close().await;
}

async fn a_blob_comes_back_from_the_trash_when_it_is_restored_read_or_stored(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (id, data) = blob(1, 5000);
    for way in 0..3 {
        store.put(id, locator(1), data.clone()).await.unwrap();
        assert_eq!(store.delete(vec![deletion(id, Trash)]).await, [Done]);
        match way {
            0 => assert_eq!(store.delete(vec![deletion(id, Restore)]).await, [Done]),
            1 => assert_eq!(store.get(id).await, Read::Found(data.clone())),
            _ => drop(store.put(id, locator(1), data.clone()).await.unwrap()),
        }
        assert_eq!(store.counts().live.blobs, 1, "way {way}");
        assert_eq!(store.counts().trashed.blobs, 0, "way {way}");
        let on_disk = on_disk(layout, dir.path());
        assert_eq!(on_disk, store.counts().on_disk(), "way {way}");
        assert_eq!(store.get(id).await, Read::Found(data.clone()));
    }
    store.close().await;
}

async fn an_open_blob_is_read_in_parts_even_after_it_is_purged(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let (id, data) = blob(1, 5000);
    assert!(store.open_blob(id).await.unwrap().is_none());
    store.put(id, locator(1), data.clone()).await.unwrap();
    store.delete(vec![deletion(id, Trash)]).await;
    let reader = store.open_blob(id).await.unwrap().unwrap();
    assert_eq!(store.counts().live.blobs, 1);
    assert_eq!(store.delete(vec![deletion(id, Purge)]).await, [Done]);
    assert_eq!(reader.len(), 5000);
    let mut part = [0; 1024];
    reader.read_exact_at(&mut part, 3000).unwrap();
    assert_eq!(part, data[3000..4024]);
    for (length, at) in [(1, 5000), (1024, 4000), (1, u64::MAX)] {
        let beyond = reader.read_exact_at(&mut vec![0; length], at);
        assert!(beyond.is_err(), "{length} bytes at {at}");
    }
    assert!(store.open_blob(id).await.unwrap().is_none());
    store.close().await;
}

async fn deletions_are_answered_one_by_one_in_order(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let held = put(&store, 1, 5000).await;
    let (unknown, _) = blob(2, 5000);
    let outcomes = store
        .delete(vec![
            deletion(unknown, Restore),
            deletion(held, Trash),
            deletion(held, Restore),
            deletion(unknown, Trash),
            deletion(held, Restore),
        ])
        .await;
    assert_eq!(outcomes, [NotHeld, Done, Done, Done, Done]);
    assert_eq!(rows(dir.path())[0].state, BlobState::Live);
    store.close().await;
}

async fn trash_is_removed_once_its_time_has_passed_and_not_before(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let id = put(&store, 1, 5000).await;
    store.delete(vec![deletion(id, Trash)]).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(store.empty_trash(week, 100).await, 0);
    assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 1);
    assert_eq!(on_disk(layout, dir.path()), Tally::default());
    assert_eq!(store.counts(), Default::default());
    store.close().await;
}
