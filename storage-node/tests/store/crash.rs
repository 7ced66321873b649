use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use proto::DeletionMode::Trash;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use storage_node::store::{
    BlobState, Catalogue, FilesLayout, NewBlob, Read, catalogue_path, measure, reconcile,
};
use tokio::task::JoinSet;

use super::*;

const ROUNDS: u64 = 20;
const WRITERS: u64 = 8;
const DIR: &str = "FSN_TEST_STORE_DIR";
const FIRST_SEED: &str = "FSN_TEST_FIRST_SEED";

/// Not a test by itself: what the test below kills. Prints the seed of every acknowledged blob.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by acknowledged_blobs_survive_kill_9_at_any_moment"]
async fn store_until_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let first: u64 = std::env::var(FIRST_SEED).unwrap().parse().unwrap();
    let store = open(Path::new(&dir));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for seed in (first + writer..).step_by(WRITERS as usize) {
                put(&store, seed, length_of(seed)).await;
                println!("\nacknowledged {seed}");
            }
        });
    }
    writers.join_all().await;
}

fn length_of(seed: u64) -> usize {
    1 + (seed as usize * 7919) % 60_000
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_blobs_survive_kill_9_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(0xdead);
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::store_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(DIR, dir.path())
            .env(FIRST_SEED, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = random.random_range(0..40);
        let mut seen = 0;
        // Everything is read to the end: what was printed before the kill was acknowledged.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(seed) = line.strip_prefix("acknowledged ") {
                acknowledged.extend(seed.parse::<u64>().ok());
                seen += 1;
            }
            if seen == wanted || (wanted == 0 && line.starts_with("running")) {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
    }
    assert!(acknowledged.len() as u64 > ROUNDS);

    let store = open(dir.path());
    for seed in acknowledged {
        let (id, data) = blob(seed, length_of(seed));
        assert_eq!(store.get(id).await, Read::Found(data), "blob {seed}");
    }
    let counts = store.counts();
    assert_eq!((counts.corrupt.blobs, counts.lost.blobs), (0, 0));
    assert_eq!(
        counts.on_disk(),
        measure(&FilesLayout::attach(dir.path())).unwrap()
    );
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    store.close().await;
}

#[tokio::test]
async fn half_written_files_are_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tmp")).unwrap();
    fs::write(dir.path().join("tmp/17"), b"half a blo").unwrap();
    let store = open(dir.path());
    assert!(!dir.path().join("tmp/17").exists());
    store.close().await;
}

#[tokio::test]
async fn a_file_that_was_flushed_but_not_entered_is_adopted_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1, 5000).await;
    crash(store).await;
    let (id, data) = blob(2, 7000);
    let unentered = NewBlob {
        id,
        locator: locator(2),
        stored_at_ms: 1_700_000_000_000,
        data: data.clone(),
    };
    FilesLayout::open(dir.path())
        .unwrap()
        .append(&[unentered])
        .unwrap();

    let store = open(dir.path());
    assert_eq!(store.counts().live.blobs, 2);
    assert_eq!(store.get(id).await, Read::Found(data.clone()));
    let row = rows(dir.path()).into_iter().find(|row| row.id == id);
    assert_eq!(row.unwrap().stored_at_ms, 1_700_000_000_000);
    store.close().await;
}

#[tokio::test]
async fn a_move_to_the_trash_that_a_crash_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = put(&store, 1, 5000).await;
    crash(store).await;
    let trash = path_in(dir.path(), "trash", &id);
    fs::create_dir_all(trash.parent().unwrap()).unwrap();
    fs::rename(path_in(dir.path(), "blobs", &id), &trash).unwrap();
    let store = open(dir.path());
    assert_eq!(rows(dir.path())[0].state, BlobState::Trashed);
    assert_eq!(store.counts().trashed.blobs, 1);
    store.close().await;
}

#[tokio::test]
async fn a_catalogue_rebuilt_from_the_disk_equals_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut ids = Vec::new();
    for seed in 0..40 {
        ids.push(put(&store, seed, length_of(seed)).await);
    }
    store.delete(vec![deletion(ids[3], Trash)]).await;
    store.close().await;
    drop(store);
    let before = rows(dir.path());

    let path = catalogue_path(dir.path());
    fs::remove_file(&path).unwrap();
    let layout = FilesLayout::open(dir.path()).unwrap();
    let mut catalogue = Catalogue::open(&path).unwrap();
    let done = reconcile(&layout, &mut catalogue, clock::now(), || {}).unwrap();
    assert_eq!((done.adopted, done.lost), (40, 0));
    drop(catalogue);
    // When something was thrown away is not on disk: the time starts anew.
    let timeless = |rows: Vec<Row>| -> Vec<Row> {
        let trashed = |row: &Row| row.state == BlobState::Trashed;
        let cleared = |row: Row| match trashed(&row) {
            true => Row {
                state_at_ms: 0,
                ..row
            },
            false => row,
        };
        rows.into_iter().map(cleared).collect()
    };
    assert_eq!(timeless(rows(dir.path())), timeless(before));
}

/// Ends the store without its orderly close, so that the next start takes it for a crash.
async fn crash(store: Store) {
    drop(store);
}
