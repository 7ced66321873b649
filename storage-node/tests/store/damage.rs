use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use storage_node::store::{
    BlobState, Catalogue, FilesLayout, OpenError, Problem, Read, Readers, Scrubber, Store, verify,
};
use tokio_util::sync::CancellationToken;

use super::*;

const LENGTH: usize = 20_000;

fn flip_bit(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// Damages the file of a stored blob and says what reading it brings then.
async fn read_after(damage: impl FnOnce(&Path)) -> (Read, BlobState) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = put(&store, 1, LENGTH).await;
    damage(&path_in(dir.path(), "blobs", &id));
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

#[tokio::test]
async fn a_flipped_bit_is_never_served() {
    let read = read_after(|path| flip_bit(path, 777)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

#[tokio::test]
async fn a_truncated_file_is_never_served() {
    let read = read_after(|path| cut(path, 10_000)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

#[tokio::test]
async fn an_emptied_file_is_never_served() {
    let read = read_after(|path| cut(path, 0)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

#[tokio::test]
async fn a_file_that_grew_is_never_served() {
    let read = read_after(|path| cut(path, 30_000)).await;
    assert_eq!(read, (Read::Corrupt, BlobState::Corrupt));
}

#[tokio::test]
async fn a_removed_file_is_missing() {
    let read = read_after(|path| fs::remove_file(path).unwrap()).await;
    assert_eq!(read, (Read::Missing, BlobState::Lost));
}

#[tokio::test]
async fn damage_behind_a_blob_does_not_keep_it_from_being_served() {
    let (read, state) = read_after(|path| flip_bit(path, LENGTH as u64 + 30)).await;
    assert_eq!(read, Read::Found(blob(1, LENGTH).1));
    assert_eq!(state, BlobState::Live);
}

#[tokio::test]
async fn counts_follow_what_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let [rotten, gone, _] = [
        put(&store, 1, LENGTH).await,
        put(&store, 2, LENGTH).await,
        put(&store, 3, LENGTH).await,
    ];
    flip_bit(&path_in(dir.path(), "blobs", &rotten), 0);
    fs::remove_file(path_in(dir.path(), "blobs", &gone)).unwrap();
    store.get(rotten).await;
    store.get(gone).await;
    let counts = store.counts();
    assert_eq!(counts.live.blobs, 1);
    assert_eq!(counts.corrupt.blobs, 1);
    assert_eq!(counts.lost.blobs, 1);
    assert_eq!(counts.on_disk().bytes, 2 * LENGTH as u64);
    store.close().await;
}

#[tokio::test]
async fn the_scrub_finds_rot_before_anybody_asks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rotten = put(&store, 1, LENGTH).await;
    let gone = put(&store, 2, LENGTH).await;
    put(&store, 3, LENGTH).await;
    flip_bit(&path_in(dir.path(), "blobs", &rotten), 5);
    fs::remove_file(path_in(dir.path(), "blobs", &gone)).unwrap();
    let scrubber = Scrubber::new(store.clone(), Duration::from_millis(50));
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

#[tokio::test]
async fn a_check_of_everything_names_each_problem() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for seed in 0..5 {
        ids.push(put(&store, seed, LENGTH).await);
    }
    let path = |n: usize| path_in(dir.path(), "blobs", &ids[n]);
    flip_bit(&path(0), 9);
    flip_bit(&path(1), LENGTH as u64 + 40);
    fs::remove_file(path(2)).unwrap();
    let (stray, _) = blob(3, LENGTH);
    let elsewhere = path_in(dir.path(), "trash", &stray);
    fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    fs::rename(path(3), elsewhere).unwrap();
    let mut found = std::collections::BTreeMap::new();
    let readers = Readers::open(&catalogue_path(dir.path())).unwrap();
    verify(
        &FilesLayout::attach(dir.path()),
        &readers,
        |finding| {
            found.insert(finding.id, finding.problem);
        },
        |_| {},
    )
    .unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[&ids[0]], Problem::Corrupt);
    assert!(matches!(found[&ids[1]], Problem::Trailer(_)));
    assert_eq!(found[&ids[2]], Problem::Missing);
    assert_eq!(found[&ids[3]], Problem::WrongState(BlobState::Live));
    store.close().await;
}

#[tokio::test]
async fn a_catalogue_that_is_no_database_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, LENGTH).await;
    store.close().await;
    drop(store);
    fs::write(catalogue_path(dir.path()), vec![b'x'; 8192]).unwrap();
    let refused = Store::open(dir.path(), GB, clock::now).unwrap_err();
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
    let refused = Store::open(dir.path(), GB, clock::now).unwrap_err();
    assert!(
        refused.to_string().contains("schema version 99"),
        "{refused}"
    );
}
