//! A disk that is really full, and one that refuses: this program again, in surroundings of its own.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use blobstore::{PutError, Read};
use proto::DeletionOutcome;
use rustix::process::{Resource, Rlimit};

use super::*;

const DIR: &str = "FSN_TEST_FULL_DIR";
const LAYOUT: &str = "FSN_TEST_FULL_LAYOUT";
const LENGTH: usize = 200_000;

in_both_layouts!(
    a_disk_that_is_read_only_refuses_and_is_used_again_without_a_restart,
    io_errors_of_disk_and_catalogue_refuse_and_are_got_over_without_a_restart,
    missing_rights_refuse_and_are_got_over_without_a_restart,
    a_full_disk_refuses_keeps_what_it_has_and_takes_again_once_there_is_room,
    a_write_that_the_system_refuses_leaves_nothing_behind,
);

/// Runs one of the ignored tests below in a process of its own: `command` is followed by the test program and
/// its arguments.
fn again(layout: LayoutKind, test: &str, command: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(command[0])
        .args(&command[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .env(LAYOUT, layout.to_string())
        .output()
        .unwrap()
}

/// The beginning of a command that may mount.
const MOUNTING: [&str; 6] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--mount",
    "sh",
    "-ec",
];

fn again_mounting(layout: LayoutKind, test: &str, script: &str) -> Output {
    again(layout, test, &[&MOUNTING[..], &[script]].concat())
}

fn surroundings() -> Option<(LayoutKind, PathBuf)> {
    let dir = std::env::var(DIR).ok()?;
    let layout = match std::env::var(LAYOUT).ok()?.as_str() {
        "files" => LayoutKind::Files,
        _ => LayoutKind::Segments,
    };
    Some((layout, dir.into()))
}

fn without_reserve(layout: LayoutKind) -> StoreOptions {
    StoreOptions {
        disk_reserve_bytes: 0,
        ..StoreOptions::new(layout, GB)
    }
}

/// Stores until it is refused; the seeds of what was taken.
async fn store_until_refused(store: &Store, first: u64) -> (Vec<u64>, PutError) {
    let mut taken = Vec::new();
    for seed in first.. {
        let (id, data) = blob(seed, LENGTH);
        match store.put(id, locator(0), data).await {
            Ok(_) => taken.push(seed),
            Err(error) => return (taken, error),
        }
    }
    unreachable!()
}

async fn expect_all(store: &Store, seeds: &[u64]) {
    for seed in seeds {
        let (id, data) = blob(*seed, LENGTH);
        assert_eq!(store.get(id).await, Read::Found(data), "blob {seed}");
    }
}

fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "{said}\n{complained}");
}

async fn a_full_disk_refuses_keeps_what_it_has_and_takes_again_once_there_is_room(
    layout: LayoutKind,
) {
    let script = r#"mount -t tmpfs -o size=12m none "$FSN_TEST_FULL_DIR"; exec "$0" "$@""#;
    let output = again_mounting(layout, "full_disk::on_a_small_disk", script);
    if !not_tested(&output) {
        succeeded(&output);
    }
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn on_a_small_disk() {
    let Some((layout, dir)) = surroundings() else {
        return;
    };
    let store = Store::open(&dir, without_reserve(layout), Clock::system()).unwrap();
    let ballast = dir.join("ballast");
    let (mut taken, mut round) = (Vec::new(), 0);
    // Somebody else fills the disk between the look at the free space and the write.
    while round < 3 {
        fs::write(&ballast, vec![1; 4_000_000]).unwrap();
        let (more, error) = store_until_refused(&store, round * 1000).await;
        assert!(matches!(error, PutError::Full(_)), "{error}");
        taken.extend(more);
        let rest = vec![1; 16_000_000];
        let _ = fs::write(dir.join("more-ballast"), &rest); // as much as goes
        let (none, error) = store_until_refused(&store, round * 1000 + 500).await;
        assert!(none.is_empty());
        assert!(matches!(error, PutError::Full(_)), "{error}");
        assert_eq!(store.fault().await, None, "a full disk is no fault");
        expect_all(&store, &taken).await;
        assert_eq!(store.space().unwrap().reserved_bytes, 0);
        fs::remove_file(&ballast).unwrap();
        fs::remove_file(dir.join("more-ballast")).unwrap();
        round += 1;
    }
    let (more, _) = store_until_refused(&store, 9000).await;
    assert!(more.len() > 5, "{} of what had room were taken", more.len());
    taken.extend(more);
    assert_eq!(store.counts().live.blobs, taken.len() as u64);
    assert_eq!(store.counts().on_disk(), on_disk(layout, &dir));
    store.close().await;
    drop(store);
    let store = Store::open(&dir, without_reserve(layout), Clock::system()).unwrap();
    expect_all(&store, &taken).await;
    store.close().await;
}

/// The surroundings cannot be made on this machine.
fn not_tested(output: &Output) -> bool {
    let complained = String::from_utf8_lossy(&output.stderr);
    let missing = ["unshare", "mount:", "setpriv"];
    let missing = missing.iter().any(|what| complained.contains(what));
    if missing {
        eprintln!("not tested: {complained}");
    }
    missing
}

/// A store that holds nothing yet, in a directory that `spoil` makes unusable and `mend` usable again.
async fn refuses_and_recovers(
    layout: LayoutKind,
    dir: &Path,
    spoil: impl FnOnce(&Path),
    mend: impl FnOnce(&Path),
) {
    let store = Store::open(dir, without_reserve(layout), Clock::system()).unwrap();
    let needed = dir.join(match layout {
        LayoutKind::Segments => "segments",
        LayoutKind::Files => "tmp",
    });
    spoil(&needed);
    let (id, data) = blob(1, LENGTH);
    let refused = store.put(id, locator(1), data.clone()).await;
    assert!(matches!(refused, Err(PutError::Io(_))), "{refused:?}");
    assert!(store.fault().await.is_some());
    assert_eq!(store.get(id).await, Read::Missing);
    assert_eq!(store.space().unwrap().reserved_bytes, 0);
    mend(&needed);
    assert_eq!(store.fault().await, None);
    store.put(id, locator(1), data.clone()).await.unwrap();
    assert_eq!(store.get(id).await, Read::Found(data));
    assert_eq!(store.counts().on_disk(), on_disk(layout, dir));
    store.close().await;
}

async fn a_disk_that_is_read_only_refuses_and_is_used_again_without_a_restart(layout: LayoutKind) {
    let output = again_mounting(
        layout,
        "full_disk::on_a_read_only_disk",
        r#"exec "$0" "$@""#,
    );
    if !not_tested(&output) {
        succeeded(&output);
    }
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn on_a_read_only_disk() {
    let Some((layout, dir)) = surroundings() else {
        return;
    };
    let run = |program: &str, args: &[&str], dir: &Path| {
        let ran = Command::new(program).args(args).arg(dir).status();
        assert!(ran.unwrap().success());
    };
    let spoil = |dir: &Path| {
        run("mount", &["--bind", dir.to_str().unwrap()], dir);
        run("mount", &["-o", "remount,ro,bind"], dir);
    };
    let mend = |dir: &Path| run("umount", &[], dir);
    refuses_and_recovers(layout, &dir, spoil, mend).await;
}

async fn missing_rights_refuse_and_are_got_over_without_a_restart(layout: LayoutKind) {
    // Root has all rights whatever a directory says.
    let script = r#"if [ "$(id -u)" != 0 ]; then exec "$0" "$@"; fi
        chmod 777 "$FSN_TEST_FULL_DIR"
        exec setpriv --reuid 65534 --clear-groups "$0" "$@""#;
    let output = again(layout, "full_disk::without_rights", &["sh", "-ec", script]);
    if !not_tested(&output) {
        succeeded(&output);
    }
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn without_rights() {
    let Some((layout, dir)) = surroundings() else {
        return;
    };
    let allow = |mode: u32| {
        move |dir: &Path| fs::set_permissions(dir, Permissions::from_mode(mode)).unwrap()
    };
    refuses_and_recovers(layout, &dir, allow(0o500), allow(0o700)).await;
}

async fn io_errors_of_disk_and_catalogue_refuse_and_are_got_over_without_a_restart(
    layout: LayoutKind,
) {
    // The signal that comes with such an error is ignored.
    let script = r#"trap '' XFSZ; exec "$0" "$@""#;
    let output = again(
        layout,
        "full_disk::with_writes_that_fail",
        &["sh", "-ec", script],
    );
    succeeded(&output);
}

/// From now on every write to a file fails behind this many bytes.
fn fail_writes_behind(bytes: Option<u64>) {
    let limit = rustix::process::getrlimit(Resource::Fsize);
    let limit = Rlimit {
        current: bytes,
        ..limit
    };
    rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn with_writes_that_fail() {
    let Some((layout, dir)) = surroundings() else {
        return;
    };
    let store = Store::open(&dir, without_reserve(layout), Clock::system()).unwrap();
    let mut kept = vec![put(&store, 0, LENGTH).await];
    for round in 1..4 {
        fail_writes_behind(Some(0));
        let (id, data) = blob(round, LENGTH);
        let refused = store.put(id, locator(0), data).await;
        assert!(matches!(refused, Err(PutError::Io(_))), "{refused:?}");
        assert!(store.fault().await.is_some());
        // What is held is served meanwhile.
        for id in &kept {
            assert!(matches!(store.get(*id).await, Read::Found(_)));
        }
        assert_eq!(store.get(id).await, Read::Missing);
        let deleted = store
            .delete(vec![deletion(kept[0], DeletionMode::Purge)])
            .await;
        assert_eq!(deleted, [DeletionOutcome::Failed]);

        fail_writes_behind(None);
        assert_eq!(store.fault().await, None, "round {round}");
        kept.push(put(&store, round, LENGTH).await);
    }
    assert_eq!(store.counts().live.blobs, kept.len() as u64);
    assert_eq!(store.counts().on_disk(), on_disk(layout, &dir));
    store.close().await;
    drop(store);
    let store = Store::open(&dir, without_reserve(layout), Clock::system()).unwrap();
    for id in kept {
        assert!(matches!(store.get(id).await, Read::Found(_)));
    }
    store.close().await;
}

async fn a_write_that_the_system_refuses_leaves_nothing_behind(layout: LayoutKind) {
    // No file may become longer than this; the signal that comes with it is ignored.
    let dir = tempfile::tempdir().unwrap();
    let script = r#"trap '' XFSZ; ulimit -f "$FSN_TEST_FILE_BLOCKS"; exec "$0" "$@""#;
    let blocks = match layout {
        LayoutKind::Segments => "3000", // of 512 bytes: seven records
        LayoutKind::Files => "700",     // no blob, but the catalogue for a while
    };
    let output = Command::new("sh")
        .args(["-ec", script])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "full_disk::with_short_files",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir.path())
        .env(LAYOUT, layout.to_string())
        .env("FSN_TEST_FILE_BLOCKS", blocks)
        .output()
        .unwrap();
    succeeded(&output);
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn with_short_files() {
    let Some((layout, dir)) = surroundings() else {
        return;
    };
    let store = Store::open(&dir, without_reserve(layout), Clock::system()).unwrap();
    let length = match layout {
        LayoutKind::Segments => LENGTH,
        LayoutKind::Files => 2 * LENGTH,
    };
    let mut taken = Vec::new();
    let mut refused = 0;
    for seed in 0..10 {
        let (id, data) = blob(seed, length);
        match store.put(id, locator(0), data).await {
            Ok(_) => taken.push(id),
            Err(error) => {
                assert!(matches!(error, PutError::Io(_)), "{error}");
                refused += 1;
                assert_eq!(store.get(id).await, Read::Missing);
            }
        }
    }
    assert!(refused > 0);
    for id in &taken {
        assert!(matches!(store.get(*id).await, Read::Found(_)));
    }
    assert_eq!(store.counts().live.blobs, taken.len() as u64);
    assert_eq!(store.counts().on_disk(), on_disk(layout, &dir));
    // What is small enough is still taken.
    put(&store, 1000, 5000).await;
    assert_eq!(store.fault().await, None);
    store.close().await;
}
