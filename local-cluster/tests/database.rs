//! What the coordinator acknowledged is there after its database was killed under load, and after it was
//! restored from a backup.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;
use local_cluster::client::{Session, chunk_of};
use local_cluster::wait::wait_for;
use local_cluster::{Member, Programs, postgres_programs_dir};
use proto::FileId;
use support::{CHUNK, LONG, cluster, random_bytes, refused};

/// What has been acknowledged, and what it has to be read back as.
type Acknowledged = Mutex<Vec<(FileId, Bytes)>>;

/// Stores file after file, in one request and in steps; what is refused meanwhile was never promised.
async fn write(user: &Session, number: usize, done: &AtomicBool, acknowledged: &Acknowledged) {
    let content = random_bytes(number * CHUNK + 1);
    while !done.load(Ordering::Relaxed) {
        let stored = if number.is_multiple_of(2) {
            let size = Some(content.len() as u64);
            user.upload("f", size, content.clone()).await
        } else {
            user.upload_in_steps("f", &content).await
        };
        if let Ok(file) = stored {
            let known = (file.file_id, content.clone());
            acknowledged.lock().unwrap().push(known);
        }
    }
}

#[tokio::test]
async fn no_acknowledged_file_is_lost_when_postgres_is_killed_under_load() {
    const KILLS: usize = 3;
    let mut cluster = cluster(3, "").await;
    let user = cluster.session().await.unwrap();
    let (done, acknowledged) = (AtomicBool::new(false), Acknowledged::default());
    let count = || acknowledged.lock().unwrap().len();
    let more = async |than: usize| {
        let grown = wait_for("files to be stored", LONG, async || {
            (count() > than).then_some(())
        });
        grown.await.unwrap();
    };

    let writers = (0..4).map(|number| write(&user, number, &done, &acknowledged));
    let killing = async {
        for _ in 0..KILLS {
            more(count() + 4).await;
            cluster.kill(Member::Postgres).await.unwrap();
            cluster.start(Member::Postgres).await.unwrap();
            let (back, before) = (Instant::now(), count());
            more(before).await;
            println!(
                "stored again {} ms after the database was back",
                back.elapsed().as_millis()
            );
        }
        done.store(true, Ordering::Relaxed);
    };
    futures::join!(join_all(writers), killing);

    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= 5 * KILLS);
    for (file_id, content) in acknowledged {
        assert!(
            user.download(file_id).await.unwrap() == content,
            "{file_id}"
        );
    }
}

/// Runs a program, of Postgres or another, to its end; what it said if it fails.
fn run(program: impl AsRef<OsStr>, args: &[&OsStr]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([postgres_programs_dir().unwrap()]);
    let output = Command::new(program)
        .args(args)
        .env("PATH", std::env::join_paths(places).unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The commands of docs/operating-a-coordinator.md.
#[tokio::test]
async fn a_backup_brings_back_what_was_acknowledged_before_it() {
    let mut cluster = cluster(3, "").await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(3 * CHUNK + 7);
    let kept = user.upload_in_steps("kept", &content).await.unwrap();
    let plan = user.initiate("begun", content.len() as u64).await.unwrap();
    let chunk = chunk_of(&plan, &content, 0);
    user.send_chunk(plan.upload_id, 0, chunk).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("storage.dump");
    let url = cluster.status().unwrap().postgres.url;
    let options = ["--format=custom", "--file"].map(OsStr::new);
    run(
        "pg_dump",
        &[options[0], options[1], dump.as_ref(), url.as_ref()],
    );

    // Meanwhile life goes on, and the session is completed.
    let later = user.upload_in_steps("later", &content).await.unwrap();
    for index in plan.indices().skip(1) {
        let chunk = chunk_of(&plan, &content, index);
        user.send_chunk(plan.upload_id, index, chunk).await.unwrap();
    }
    user.complete(plan.upload_id).await.unwrap();

    cluster.stop(Member::Coordinator(1)).await.unwrap();
    let options = ["--clean", "--if-exists", "--exit-on-error", "--dbname"].map(OsStr::new);
    let args = [&options[..], &[url.as_ref(), dump.as_ref()]].concat();
    run("pg_restore", &args);
    cluster.start(Member::Coordinator(1)).await.unwrap();
    cluster.until_online().await.unwrap();

    assert!(user.download(kept.file_id).await.unwrap() == content);
    assert_eq!(refused(user.download(later.file_id).await), 404);
    let status = user.upload_status(plan.upload_id).await.unwrap();
    assert_eq!(status.missing, [1, 2, 3]);
    for index in status.missing {
        let chunk = chunk_of(&plan, &content, index);
        user.send_chunk(plan.upload_id, index, chunk).await.unwrap();
    }
    let begun = user.complete(plan.upload_id).await.unwrap();
    assert!(user.download(begun.file_id).await.unwrap() == content);
    let coordinator = Programs::beside_this_one().unwrap().coordinator;
    let config = cluster.config_file(Member::Coordinator(1));
    let verify = ["ledger", "verify", "--config"].map(OsStr::new);
    run(coordinator, &[&verify[..], &[config.as_ref()]].concat());
}
