//! Rot and loss: never served, found, told, and put right from the disk.

use blobstore::{Address, OpenError, Problem, Read, Scrubber, verify};
use tokio_util::sync::CancellationToken;

use super::*;

const LENGTH: usize = 20_000;

in_both_layouts!(
    a_flipped_bit_is_never_served,
    a_blob_that_was_cut_is_never_served,
    a_blob_of_which_nothing_is_left_is_missing,
    damage_beside_a_blob_does_not_keep_it_from_being_served,
    counts_follow_what_is_found_out,
    the_scrub_finds_rot_before_anybody_asks,
    a_check_of_everything_names_each_problem,
    what_is_found_lost_waits_to_be_reported_until_it_is_known_or_back,
    a_catalogue_that_is_gone_is_made_anew_at_the_start,
    a_catalogue_that_rots_under_a_running_store_is_a_lasting_fault_with_the_way_out,
);

/// Damages a stored blob and says what reading it brings then.
async fn read_after(layout: LayoutKind, damage: impl FnOnce(&OnDisk)) -> (Read, BlobState) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let id = put(&store, 1, LENGTH).await;
    damage(&OnDisk::of(dir.path(), &id));
    let read = store.get(id).await;
    let state = rows(dir.path())[0].state;
    // Whatever happened, storing the blob again mends it.
    let (_, data) = blob(1, LENGTH);
    store.put(id, locator(1), data.clone()).await.unwrap();
    assert_eq!(store.get(id).await, Read::Found(data));
    assert_eq!(rows(dir.path())[0].state, BlobState::Live);
    store.close().await;
    (read, state)
}

async fn a_flipped_bit_is_never_served(layout: LayoutKind) {
    let read = read_after(layout, |blob| blob.flip_bit(blob.start + 777)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

async fn a_blob_that_was_cut_is_never_served(layout: LayoutKind) {
    let read = read_after(layout, |blob| blob.cut(10_000)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

async fn a_blob_of_which_nothing_is_left_is_missing(layout: LayoutKind) {
    let read = read_after(layout, |blob| match layout {
        LayoutKind::Segments => blob.file().set_len(0).unwrap(),
        LayoutKind::Files => blob.remove(),
    })
    .await;
    assert_eq!(read, (Read::Missing, BlobState::Lost));
}

#[tokio::test]
async fn a_file_that_grew_is_never_served() {
    let read = read_after(LayoutKind::Files, |blob| blob.cut(30_000)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

async fn damage_beside_a_blob_does_not_keep_it_from_being_served(layout: LayoutKind) {
    let (read, state) = read_after(layout, |blob| blob.flip_bit(blob.label + 30)).await;
    assert_eq!(read, Read::Found(blob(1, LENGTH).1));
    assert_eq!(state, BlobState::Live);
}

/// Wipes the bytes of a blob as if nothing had ever been there.
fn lose(dir: &Path, id: &BlobId) {
    let blob = OnDisk::of(dir, id);
    match row(dir, id).unwrap().location {
        Some(_) => {
            let header = BlobId::of(b"what overwrote it");
            blob.file()
                .write_all_at(header.as_bytes(), blob.label)
                .unwrap();
            blob.file().set_len(blob.label).unwrap();
        }
        None => blob.remove(),
    }
}

async fn counts_follow_what_is_found_out(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    put(&store, 3, LENGTH).await;
    let rotten = put(&store, 1, LENGTH).await;
    let gone = put(&store, 2, LENGTH).await;
    let blob = OnDisk::of(dir.path(), &rotten);
    blob.flip_bit(blob.start);
    lose(dir.path(), &gone);
    store.get(rotten).await;
    store.get(gone).await;
    let counts = store.counts();
    assert_eq!(counts.live.blobs, 1);
    assert_eq!(counts.corrupt.blobs, 1);
    assert_eq!(counts.lost.blobs, 1);
    assert_eq!(counts.on_disk().bytes, 2 * LENGTH as u64);
    assert_eq!(counts.on_disk(), on_disk(layout, dir.path()));
    store.close().await;
}

async fn the_scrub_finds_rot_before_anybody_asks(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        scrub_period: Duration::from_millis(50),
        ..StoreOptions::new(layout, GB)
    };
    let store = Store::open(dir.path(), options, Clock::system()).unwrap();
    put(&store, 3, LENGTH).await;
    let rotten = put(&store, 1, LENGTH).await;
    let gone = put(&store, 2, LENGTH).await;
    let blob = OnDisk::of(dir.path(), &rotten);
    blob.flip_bit(blob.start + 5);
    lose(dir.path(), &gone);
    let scrubber = Scrubber::new(store.clone());
    let cancel = CancellationToken::new();
    let running = tokio::spawn(scrubber.clone().run(cancel.clone()));
    eventually("the scrub has been through", || {
        scrubber.status().rounds > 0
    })
    .await;
    cancel.cancel();
    running.await.unwrap();
    assert_eq!((scrubber.status().corrupt, scrubber.status().lost), (1, 1));
    assert_eq!(store.counts().corrupt.blobs, 1);
    assert_eq!(store.counts().lost.blobs, 1);
    assert_eq!(store.get(rotten).await, Read::Corrupt);
    store.close().await;
}

async fn what_is_found_lost_waits_to_be_reported_until_it_is_known_or_back(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    put(&store, 4, LENGTH).await;
    let mut rotten = Vec::new();
    for seed in 1..=3 {
        rotten.push(put(&store, seed, LENGTH).await);
    }
    let gone = put(&store, 5, LENGTH).await;
    lose(dir.path(), &gone);
    for id in &rotten {
        let blob = OnDisk::of(dir.path(), id);
        blob.flip_bit(blob.start);
    }
    assert_eq!(store.losses(10).unwrap(), [], "nobody has looked yet");
    for id in rotten.iter().chain([&gone]) {
        store.get(*id).await;
    }
    rotten.sort_unstable();
    let mut expected: Vec<_> = rotten.iter().map(|id| (*id, BlobState::Corrupt)).collect();
    expected.push((gone, BlobState::Lost));
    assert_eq!(store.losses(10).unwrap(), expected);
    assert_eq!(store.losses(2).unwrap(), expected[..2]);

    // A restart forgets none, and finds none anew that a coordinator knows of.
    assert!(store.clear_losses(vec![rotten[0]]).await);
    store.close().await;
    drop(store);
    let store = open(layout, dir.path());
    assert_eq!(store.losses(10).unwrap(), expected[1..]);
    store.get(rotten[0]).await;
    assert_eq!(store.losses(10).unwrap(), expected[1..]);

    // What is back, or is to be forgotten, is no loss.
    let (_, data) = blob(5, LENGTH);
    store.put(gone, locator(5), data).await.unwrap();
    assert_eq!(store.losses(10).unwrap(), expected[1..3]);
    store
        .delete(vec![deletion(rotten[1], DeletionMode::Purge)])
        .await;
    assert_eq!(store.losses(10).unwrap(), expected[2..3]);
    store.close().await;
}

async fn a_check_of_everything_names_each_problem(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut ids = Vec::new();
    for seed in 0..6 {
        ids.push(put(&store, seed, LENGTH).await);
    }
    let on_disk = |n: usize| OnDisk::of(dir.path(), &ids[n]);
    on_disk(0).flip_bit(on_disk(0).start + 9);
    on_disk(1).flip_bit(on_disk(1).label + 40);
    // One that is in the trash says the disk, and live, says the catalogue; one that no row knows.
    let address = |n: usize| Address::of(&row(dir.path(), &ids[n]).unwrap());
    let writable = open_layout(layout, dir.path(), Default::default()).unwrap();
    writable
        .move_to(Destination::TRASH, 1, &[address(3)])
        .remove(0)
        .unwrap();
    let connection = rusqlite::Connection::open(catalogue_path(dir.path())).unwrap();
    let forget = "DELETE FROM blobs WHERE id = ?1";
    connection.execute(forget, [ids[4].as_bytes()]).unwrap();
    lose(dir.path(), &ids[5]);
    let mut found = std::collections::BTreeMap::new();
    let readers = Readers::open(&catalogue_path(dir.path())).unwrap();
    verify(
        &*attach_layout(layout, dir.path()),
        &readers,
        |finding| {
            let before = found.insert(finding.id, finding.problem);
            assert_eq!(before, None, "told twice");
        },
        |_| {},
    )
    .unwrap();
    assert_eq!(found.len(), 5, "{found:?}");
    assert_eq!(found[&ids[0]], Problem::Corrupt);
    assert!(matches!(found[&ids[1]], Problem::Label(_)));
    assert_eq!(found[&ids[3]], Problem::WrongState(BlobState::Live));
    assert_eq!(found[&ids[4]], Problem::Unlisted);
    assert_eq!(found[&ids[5]], Problem::Missing);
    store.close().await;
}

async fn a_catalogue_that_is_gone_is_made_anew_at_the_start(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut ids = Vec::new();
    for seed in 0..8 {
        ids.push(put(&store, seed, LENGTH).await);
    }
    let (trash, purge) = (DeletionMode::Trash, DeletionMode::Purge);
    store
        .delete(vec![deletion(ids[1], trash), deletion(ids[4], purge)])
        .await;
    let counts = store.counts();
    crash(store).await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("catalogue.db{suffix}")));
    }
    let store = open(layout, dir.path());
    assert_eq!(store.counts(), counts);
    assert_eq!(store.counts().on_disk(), on_disk(layout, dir.path()));
    assert_eq!(store.get(ids[4]).await, Read::Missing);
    assert_eq!(store.get(ids[7]).await, Read::Found(blob(7, LENGTH).1));
    store.close().await;
}

async fn a_catalogue_that_rots_under_a_running_store_is_a_lasting_fault_with_the_way_out(
    layout: LayoutKind,
) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    for seed in 0..300 {
        put(&store, seed, 100).await;
    }
    store.close().await;
    drop(store);
    // Pages of rows, but not those that a start reads.
    let path = catalogue_path(dir.path());
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for page in pages / 2..pages {
        file.write_all_at(&[0xee; 4096], page * 4096).unwrap();
    }
    let store = match Store::open(dir.path(), StoreOptions::new(layout, GB), Clock::system()) {
        Ok(store) => store,
        Err(refused) => {
            assert!(refused.to_string().contains("--rebuild"), "{refused}");
            return;
        }
    };
    let mut refusals = Vec::new();
    for seed in 0..300 {
        let (id, data) = blob(seed, 100);
        refusals.extend(store.put(id, locator(0), data).await.err());
    }
    assert!(!refusals.is_empty());
    for _ in 0..2 {
        let fault = store.fault().await.unwrap();
        assert!(fault.contains("--rebuild"), "{fault}");
    }
    store.close().await;
    drop(store);
    assert_eq!(rebuild(layout, dir.path()).live.blobs, 300);
}

#[tokio::test]
async fn a_catalogue_that_is_no_database_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(LayoutKind::Segments, dir.path());
    put(&store, 1, LENGTH).await;
    store.close().await;
    drop(store);
    fs::write(catalogue_path(dir.path()), vec![b'x'; 8192]).unwrap();
    let refused = Store::open(
        dir.path(),
        StoreOptions::new(LayoutKind::Segments, GB),
        Clock::system(),
    )
    .unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("--rebuild"));
}

#[test]
fn a_catalogue_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Catalogue::open(&catalogue_path(dir.path())).unwrap());
    let connection = rusqlite::Connection::open(catalogue_path(dir.path())).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let refused = Store::open(
        dir.path(),
        StoreOptions::new(LayoutKind::Segments, GB),
        Clock::system(),
    )
    .unwrap_err();
    assert!(
        refused.to_string().contains("schema version 99"),
        "{refused}"
    );
}
