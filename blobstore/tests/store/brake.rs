//! What goes beyond a day's removals goes to the trash first, over restarts and rebuilds too.

use blobstore::Read;
use jiff::Timestamp;
use kit::SimulatedClock;
use proto::DeletionMode::{Purge, Restore, Trash};
use proto::DeletionOutcome::{Deferred, Done};

use super::*;

in_both_layouts!(
    beyond_twenty_blobs_a_day_purges_only_go_to_the_trash,
    of_many_blobs_a_fiftieth_of_the_most_in_a_week_may_go,
    a_restart_forgets_neither_what_was_removed_nor_what_was_put_off,
    what_was_put_off_goes_after_three_days_whatever_the_retention_is,
    a_message_that_names_a_blob_twice_removes_no_more,
    the_trash_is_no_way_around_the_brake,
    a_rebuild_removes_nothing_sooner,
    a_conversion_keeps_until_when_a_removal_was_put_off,
    what_was_put_off_takes_room_until_it_is_gone_and_comes_back_whole,
);

const HOUR: Duration = Duration::from_secs(3600);
const SIZE: usize = 100;

fn clock() -> SimulatedClock {
    SimulatedClock::new(Timestamp::from_second(1_800_000_000).unwrap())
}

fn braked(layout: LayoutKind, dir: &Path, clock: &SimulatedClock) -> Store {
    let options = StoreOptions {
        brake: Some(Brake::default()),
        ..StoreOptions::new(layout, GB)
    };
    Store::open(dir, options, clock.into()).unwrap()
}

async fn put_many(store: &Store, count: u64) -> Vec<BlobId> {
    let mut ids = Vec::new();
    for seed in 0..count {
        ids.push(put(store, seed, SIZE).await);
    }
    ids.sort_unstable();
    ids
}

/// How many were removed at once and how many were put off.
async fn purge(store: &Store, ids: &[BlobId]) -> (usize, usize) {
    let order = ids.iter().map(|id| deletion(*id, Purge)).collect();
    let outcomes = store.delete(order).await;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    (count(Done), count(Deferred))
}

async fn beyond_twenty_blobs_a_day_purges_only_go_to_the_trash(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 60).await;
    assert_eq!(purge(&store, &ids[..15]).await, (15, 0));
    assert_eq!(purge(&store, &ids[15..40]).await, (5, 20));
    assert_eq!(store.counts().live.blobs, 20);
    assert_eq!(store.deferred().held.blobs, 20);
    assert_eq!(store.counts().trashed.blobs, 20);
    // Told once more, it stays put off.
    assert_eq!(purge(&store, &ids[30..40]).await, (0, 10));
    // A day later, and not sooner, as many may go again.
    clock.advance(23 * HOUR);
    assert_eq!(purge(&store, &ids[40..42]).await, (0, 2));
    clock.advance(2 * HOUR);
    assert_eq!(purge(&store, &ids[42..]).await, (18, 0));
    store.close().await;
}

async fn of_many_blobs_a_fiftieth_of_the_most_in_a_week_may_go(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 1500).await;
    assert_eq!(purge(&store, &ids[..1000]).await, (30, 970));
    clock.advance(26 * HOUR);
    // 500 are left, and of 1500 that there were some days ago 30 may go.
    assert_eq!(purge(&store, &ids[1000..1100]).await, (30, 70));
    clock.advance(8 * 24 * HOUR);
    assert_eq!(purge(&store, &ids[1100..1200]).await, (20, 80));
    store.close().await;
}

async fn a_restart_forgets_neither_what_was_removed_nor_what_was_put_off(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 60).await;
    assert_eq!(purge(&store, &ids[..30]).await, (20, 10));
    let deferred = store.deferred();
    let hold_ms = 72 * 3600 * 1000;
    let now_ms = clock.now().as_millisecond().unsigned_abs();
    assert_eq!(deferred.first_until_ms, Some(now_ms + hold_ms));
    store.close().await;
    drop(store);
    let store = braked(layout, dir.path(), &clock);
    assert_eq!(store.deferred(), deferred);
    assert_eq!(purge(&store, &ids[30..35]).await, (0, 5));
    crash(store).await;
    let store = braked(layout, dir.path(), &clock);
    assert_eq!(store.deferred().held.blobs, 15);
    assert_eq!(purge(&store, &ids[35..40]).await, (0, 5));
    store.close().await;
}

async fn what_was_put_off_goes_after_three_days_whatever_the_retention_is(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 30).await;
    assert_eq!(purge(&store, &ids).await, (20, 10));
    clock.advance(72 * HOUR - Duration::from_secs(1));
    for retention in [Duration::ZERO, 30 * 24 * HOUR] {
        assert_eq!(store.empty_trash(retention, 100).await, 0);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.empty_trash(30 * 24 * HOUR, 4).await, 4);
    assert_eq!(store.empty_trash(30 * 24 * HOUR, 100).await, 6);
    assert_eq!(on_disk(layout, dir.path()), Tally::default());
    assert_eq!(store.deferred(), Default::default());
    store.close().await;
}

async fn a_message_that_names_a_blob_twice_removes_no_more(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 40).await;
    let twice: Vec<BlobId> = ids.iter().chain(&ids).copied().collect();
    assert_eq!(purge(&store, &twice).await, (40, 40));
    assert_eq!(store.deferred().held.blobs, 20);
    store.close().await;
}

async fn the_trash_is_no_way_around_the_brake(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 100).await;
    store
        .delete(ids.iter().map(|id| deletion(*id, Trash)).collect())
        .await;
    assert_eq!(store.counts().trashed.blobs, 100);
    assert_eq!(purge(&store, &ids[..50]).await, (20, 30));
    // Nor is a short retention.
    clock.advance(HOUR);
    assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 0);
    clock.advance(25 * HOUR);
    assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 20);
    assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 0);
    clock.advance(47 * HOUR);
    assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 60);
    store.close().await;
}

async fn a_rebuild_removes_nothing_sooner(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 50).await;
    assert_eq!(purge(&store, &ids).await, (20, 30));
    let before = rows(dir.path());
    store.close().await;
    drop(store);
    rebuild(layout, dir.path());
    if layout == LayoutKind::Segments {
        assert_eq!(rows(dir.path()), before);
    }
    // `rebuild` takes the time from the wall clock.
    let now = SimulatedClock::new(Clock::system().now());
    let store = braked(layout, dir.path(), &now);
    if layout == LayoutKind::Files {
        // What nobody knows the time of goes like trash of today.
        assert_eq!(store.empty_trash(Duration::ZERO, 100).await, 20);
        assert_eq!(store.counts().trashed.blobs, 10);
    }
    assert_eq!(store.empty_trash(24 * HOUR, 100).await, 0);
    store.close().await;
}

async fn a_conversion_keeps_until_when_a_removal_was_put_off(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 25).await;
    assert_eq!(purge(&store, &ids).await, (20, 5));
    let deferred = store.deferred();
    store.close().await;
    drop(store);
    let to = match layout {
        LayoutKind::Segments => LayoutKind::Files,
        LayoutKind::Files => LayoutKind::Segments,
    };
    let open = |kind| open_layout(kind, dir.path(), Default::default()).unwrap();
    let mut catalogue = Catalogue::open(&catalogue_path(dir.path())).unwrap();
    let (from, into) = (open(layout), open(to));
    blobstore::convert(&*from, &*into, &mut catalogue, clock.now(), |_| {}).unwrap();
    catalogue.close().unwrap();
    drop((catalogue, from, into));
    let store = braked(to, dir.path(), &clock);
    let after = store.deferred();
    assert_eq!(after.first_until_ms, deferred.first_until_ms);
    assert_eq!(after.held.blobs, 5);
    store.close().await;
}

async fn what_was_put_off_takes_room_until_it_is_gone_and_comes_back_whole(layout: LayoutKind) {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = braked(layout, dir.path(), &clock);
    let ids = put_many(&store, 30).await;
    let used = store.space().unwrap().used_bytes;
    assert_eq!(purge(&store, &ids).await, (20, 10));
    assert_eq!(store.space().unwrap().used_bytes, used / 3);
    let held = rows(dir.path());
    assert!(held.iter().all(|row| row.deferred_until_ms.is_some()));
    let back: Vec<BlobId> = held.iter().map(|row| row.id).collect();
    let restore = back[1..].iter().map(|id| deletion(*id, Restore)).collect();
    assert_eq!(store.delete(restore).await, [Done; 9]);
    assert!(matches!(store.get(back[0]).await, Read::Found(_)));
    assert_eq!(store.deferred(), Default::default());
    assert_eq!(store.counts().live.blobs, 10);
    // It was not removed, so it does not count as a removal; what is ordered again is put off again.
    assert_eq!(purge(&store, &back).await, (0, 10));
    store.close().await;
}
