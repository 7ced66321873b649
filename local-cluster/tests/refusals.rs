//! What the programs cannot work with they say in one line, with the way out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use local_cluster::wait::wait_blocking;
use local_cluster::{Member, Programs};
use support::{LONG, cluster};

/// Runs a program that is expected to refuse, and returns what it said.
#[track_caller]
fn refusal(program: &Path, args: &[&str], expected: &[&str]) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_blocking(LONG, || child.try_wait().unwrap().is_some());
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    assert!(ended, "{args:?} should have been refused");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "{args:?} should have failed: {said}"
    );
    for part in expected {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn the_coordinator_refuses_what_it_cannot_serve_with() {
    let cluster = cluster(3, "").await;
    let program = Programs::beside_this_one().unwrap().coordinator;
    let config = cluster.config_file(Member::Coordinator(1));
    let config = config.to_str().unwrap();
    let base = cluster.base_url();
    let port = base.rsplit(':').next().unwrap();
    let serve = ["serve", "--config", config];

    refusal(&program, &serve, &[port, "in use"]);

    let bad = cluster.dir().join("bad.toml");
    fs::write(&bad, "[http]\nlisten = \"127.0.0.1:0\"\nlissten = 1\n").unwrap();
    let args = ["serve", "--config", bad.to_str().unwrap()];
    refusal(&program, &args, &["lissten"]);
    fs::write(&bad, "[http\n").unwrap();
    refusal(&program, &args, &["bad.toml"]);

    cluster.stop(Member::Coordinator(1)).await.unwrap();
    let keys = cluster.dir().join("coordinator/keys");
    let hidden = cluster.dir().join("coordinator/hidden");
    fs::rename(&keys, &hidden).unwrap();
    refusal(&program, &serve, &["key"]);
    let _ = fs::remove_dir_all(&keys);
    fs::rename(&hidden, &keys).unwrap();

    cluster.stop(Member::Postgres).await.unwrap();
    refusal(&program, &serve, &["atabase"]);
}

#[tokio::test]
async fn a_node_refuses_what_it_cannot_keep_blobs_with() {
    let cluster = cluster(3, "").await;
    let program = Programs::beside_this_one().unwrap().storage_node;
    let config = cluster.config_file(Member::Node(1));
    let config = config.to_str().unwrap();
    let start = ["start", "--config", config];
    refusal(&program, &start, &["in use by a running storage-node"]);

    cluster.stop(Member::Node(1)).await.unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("admin.listen={}", taken.local_addr().unwrap());
    let args = [&start[..], &["--set", &listen]].concat();
    refusal(&program, &args, &["in use"]);

    // The disk was not mounted: the directory is there, and empty.
    let data = cluster.data_dir(1);
    let away = data.with_extension("away");
    fs::rename(&data, &away).unwrap();
    fs::create_dir(&data).unwrap();
    refusal(&program, &start, &[data.to_str().unwrap()]);
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&away, &data).unwrap();

    // Another node's disk was mounted here.
    let foreign = cluster.data_dir(2);
    cluster.stop(Member::Node(2)).await.unwrap();
    let marker = "volume.json";
    let own = fs::read(data.join(marker)).unwrap();
    fs::copy(foreign.join(marker), data.join(marker)).unwrap();
    refusal(&program, &start, &[data.to_str().unwrap()]);
    fs::write(data.join(marker), own).unwrap();
}
