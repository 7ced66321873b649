//! `kill -9` at any moment, and what the next start makes of what is left.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use blobstore::{NewBlob, Read};
use proto::DeletionMode::{Purge, Trash};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::*;

const WRITERS: u64 = 8;
const DIR: &str = "FSN_TEST_STORE_DIR";
const LAYOUT: &str = "FSN_TEST_STORE_LAYOUT";
const FIRST_SEED: &str = "FSN_TEST_FIRST_SEED";
/// How often the store is killed; more by hand: FSN_TEST_KILLS=200.
const KILLS: &str = "FSN_TEST_KILLS";
const FEW_KILLS: u64 = 12;

in_both_layouts!(
    acknowledged_changes_survive_kill_9_at_any_moment,
    bytes_that_were_flushed_but_not_entered_are_adopted_after_a_crash,
    a_catalogue_rebuilt_from_the_disk_equals_the_one_before,
    purged_blobs_stay_away_when_the_catalogue_is_rebuilt,
);

/// Not a test by itself: what the test below kills. Prints each change once it is acknowledged.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by acknowledged_changes_survive_kill_9_at_any_moment"]
async fn change_until_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let layout = match std::env::var(LAYOUT).unwrap().as_str() {
        "files" => LayoutKind::Files,
        _ => LayoutKind::Segments,
    };
    let first: u64 = std::env::var(FIRST_SEED).unwrap().parse().unwrap();
    let store = open(layout, Path::new(&dir));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for seed in (first + writer..).step_by(WRITERS as usize) {
                let id = put(&store, seed, length_of(seed)).await;
                println!("\nstored {seed}");
                match seed % 5 {
                    0 => {
                        println!("\npurging {seed}");
                        store.delete(vec![deletion(id, Purge)]).await;
                        println!("\npurged {seed}");
                    }
                    1 => {
                        println!("\ntrashing {seed}");
                        store.delete(vec![deletion(id, Trash)]).await;
                        println!("\ntrashed {seed}");
                    }
                    _ => {}
                }
            }
        });
    }
    writers.join_all().await;
}

fn length_of(seed: u64) -> usize {
    1 + (seed as usize * 7919) % 60_000
}

async fn acknowledged_changes_survive_kill_9_at_any_moment(layout: LayoutKind) {
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = kills.unwrap_or(FEW_KILLS);
    let dir = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(0xdead);
    let mut said = std::collections::BTreeMap::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "crash::change_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(DIR, dir.path())
            .env(LAYOUT, layout.to_string())
            .env(FIRST_SEED, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let wanted = random.random_range(0..60);
        let mut seen = 0;
        // Everything is read to the end: what was printed before the kill was acknowledged.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((what, seed)) = line.split_once(' ')
                && let Ok(seed) = seed.parse::<u64>()
                && ["stored", "purging", "purged", "trashing", "trashed"].contains(&what)
            {
                said.insert(seed, what.to_owned());
                seen += 1;
            }
            if seen == wanted || (wanted == 0 && line.starts_with("running")) {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
    }
    assert!(said.len() as u64 > rounds);

    let store = open(layout, dir.path());
    let counts = store.counts();
    assert_eq!((counts.corrupt.blobs, counts.lost.blobs), (0, 0));
    assert_eq!(counts.on_disk(), on_disk(layout, dir.path()));
    let least = |word: &str| said.values().filter(|what| *what == word).count() as u64;
    assert!(counts.live.blobs >= least("stored"));
    assert!(counts.trashed.blobs >= least("trashed"));
    check(&store, dir.path(), &said).await;
    store.close().await;
    drop(store);

    // And once more without the catalogue.
    let rebuilt = rebuild(layout, dir.path());
    let store = open(layout, dir.path());
    assert_eq!(store.counts(), rebuilt);
    assert_eq!(rebuilt.on_disk(), on_disk(layout, dir.path()));
    check(&store, dir.path(), &said).await;
    store.close().await;
}

async fn check(store: &Store, dir: &Path, said: &std::collections::BTreeMap<u64, String>) {
    for (seed, what) in said {
        let (id, data) = blob(*seed, length_of(*seed));
        let state = row(dir, &id).map(|row| row.state);
        match what.as_str() {
            "stored" => assert_eq!(store.get(id).await, Read::Found(data), "blob {seed}"),
            "purged" => assert_eq!(state, None, "blob {seed}"),
            "trashed" => assert_eq!(state, Some(BlobState::Trashed), "blob {seed}"),
            "trashing" => assert!(state.is_some(), "blob {seed}"),
            _ => {} // whether the purge was done nobody knows
        }
    }
}

#[tokio::test]
async fn half_written_files_are_removed_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tmp")).unwrap();
    fs::write(dir.path().join("tmp/17"), b"half a blo").unwrap();
    let store = open(LayoutKind::Files, dir.path());
    assert!(!dir.path().join("tmp/17").exists());
    store.close().await;
}

async fn bytes_that_were_flushed_but_not_entered_are_adopted_after_a_crash(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    put(&store, 1, 5000).await;
    crash(store).await;
    let (id, data) = blob(2, 7000);
    let unentered = NewBlob {
        id,
        locator: locator(2),
        stored_at_ms: 1_700_000_000_000,
        data: data.clone(),
        trashed_at_ms: None,
        deferred_until_ms: None,
    };
    let on_its_own = open_layout(layout, dir.path(), Default::default()).unwrap();
    on_its_own.append(&[unentered]).remove(0).unwrap();
    drop(on_its_own);

    let store = open(layout, dir.path());
    assert_eq!(store.counts().live.blobs, 2);
    assert_eq!(store.get(id).await, Read::Found(data.clone()));
    assert_eq!(
        row(dir.path(), &id).unwrap().stored_at_ms,
        1_700_000_000_000
    );
    store.close().await;
}

#[tokio::test]
async fn a_move_to_the_trash_that_a_crash_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(LayoutKind::Files, dir.path());
    let id = put(&store, 1, 5000).await;
    crash(store).await;
    let trash = path_in(dir.path(), "trash", &id);
    fs::create_dir_all(trash.parent().unwrap()).unwrap();
    fs::rename(path_in(dir.path(), "blobs", &id), &trash).unwrap();
    let store = open(LayoutKind::Files, dir.path());
    assert_eq!(rows(dir.path())[0].state, BlobState::Trashed);
    assert_eq!(store.counts().trashed.blobs, 1);
    store.close().await;
}

async fn a_catalogue_rebuilt_from_the_disk_equals_the_one_before(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut ids = Vec::new();
    for seed in 0..40 {
        ids.push(put(&store, seed, length_of(seed)).await);
    }
    store.delete(vec![deletion(ids[3], Trash)]).await;
    let counts = store.counts();
    store.close().await;
    drop(store);
    let before = rows(dir.path());
    assert_eq!(rebuild(layout, dir.path()), counts);
    // When a file was thrown away is not on disk: the time starts anew. A record's header tells it.
    let comparable = |rows: Vec<Row>| -> Vec<Row> {
        let untimed = |row: Row| match (layout, row.state) {
            (LayoutKind::Files, BlobState::Trashed) => Row {
                state_at_ms: 0,
                ..row
            },
            _ => row,
        };
        rows.into_iter().map(untimed).collect()
    };
    assert_eq!(comparable(rows(dir.path())), comparable(before));
}

async fn purged_blobs_stay_away_when_the_catalogue_is_rebuilt(layout: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(layout, dir.path());
    let mut ids = Vec::new();
    for seed in 0..10 {
        ids.push(put(&store, seed, 20_000).await);
    }
    store
        .delete(vec![deletion(ids[2], Purge), deletion(ids[9], Purge)])
        .await;
    // A second copy: what was in the trash is stored anew, and the old one goes.
    store.delete(vec![deletion(ids[5], Trash)]).await;
    put(&store, 5, 20_000).await;
    let counts = store.counts();
    store.close().await;
    drop(store);
    assert_eq!(rebuild(layout, dir.path()), counts);
    assert_eq!(row(dir.path(), &ids[2]), None);
    assert_eq!(row(dir.path(), &ids[9]), None);
    let again = open(layout, dir.path());
    assert_eq!(again.counts(), counts);
    assert_eq!(again.counts().live.blobs, 8);
    again.close().await;
}
