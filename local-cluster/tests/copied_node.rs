//! A node's data directory that was copied, and one that was moved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs};
use support::{CHUNK, LONG, cluster, random_bytes};
use tokio::process::{Child, Command};

const COPIED: usize = 1;

/// The node's program with the node's settings, but for another data directory.
fn storage_node(cluster: &Cluster, data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(Programs::beside_this_one().unwrap().storage_node);
    command
        .arg("--config")
        .arg(cluster.config_file(Member::Node(COPIED)))
        .arg("--set")
        .arg(format!("node.data_dir={}", data_dir.display()))
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a node from this directory, until it is dropped. What it says is in the file.
fn start(cluster: &Cluster, data_dir: &Path) -> (Child, PathBuf) {
    let log = data_dir.with_extension("log");
    let output = File::create(&log).unwrap();
    let node = storage_node(cluster, data_dir, &["start"])
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    (node, log)
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.unwrap().success());
}

async fn until_said(log: &Path, words: &str) {
    let said = wait_for(format!("a node to say `{words}`"), LONG, async || {
        fs::read_to_string(log).ok()?.contains(words).then_some(())
    });
    let outcome = said.await;
    let log = fs::read_to_string(log).unwrap_or_default();
    outcome.unwrap_or_else(|error| panic!("{error}: {log}"));
}

async fn until_stored(user: &Session, content: &Bytes) {
    wait_for("a file to be stored", LONG, async || {
        let length = Some(content.len() as u64);
        let file = user.upload("f", length, content.clone()).await.ok()?;
        assert!(user.download(file.file_id).await.unwrap() == *content);
        Some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn of_a_node_and_its_copy_that_are_both_started_the_second_is_refused() {
    let mut cluster = cluster(3, "").await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(2 * CHUNK + 7);
    let original = cluster.data_dir(COPIED);
    let copied = original.with_file_name("node2");
    cluster.stop(Member::Node(COPIED)).await.unwrap();
    copy(&original, &copied);
    cluster.start(Member::Node(COPIED)).await.unwrap();
    cluster.until_online().await.unwrap();

    let (mut second, log) = start(&cluster, &copied);
    until_said(&log, "a copy of this data directory has been in use").await;
    // It hangs up and asks again now and then; the node goes on beside it.
    until_stored(&user, &content).await;
    let doctor = storage_node(&cluster, &copied, &["doctor"]).output();
    let doctor = doctor.await.unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    until_stored(&user, &content).await;
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        !said.contains("the coordinator has taken the node"),
        "{said}"
    );

    // With the original gone for good, the copy is the node once it has registered.
    second.start_kill().unwrap();
    second.wait().await.unwrap();
    cluster.kill(Member::Node(COPIED)).await.unwrap();
    let url = cluster.base_url();
    let init = ["init", "--name", "node-1", "--coordinator-url", &url];
    let init = storage_node(&cluster, &copied, &init)
        .output()
        .await
        .unwrap();
    assert!(init.status.success(), "{init:?}");
    let (_second, log) = start(&cluster, &copied);
    until_said(&log, "the coordinator has taken the node").await;
    until_stored(&user, &content).await;
}

#[tokio::test]
async fn a_copy_of_a_running_node_is_refused_until_that_one_is_gone() {
    let cluster = cluster(3, "").await;
    let original = cluster.data_dir(COPIED);
    let copied = original.with_file_name("node2");
    copy(&original, &copied);
    let (_second, log) = start(&cluster, &copied);
    until_said(&log, "this node is connected from elsewhere").await;
    cluster.kill(Member::Node(COPIED)).await.unwrap();
    until_said(&log, "the coordinator has taken the node").await;
}

#[tokio::test]
async fn a_node_that_was_restarted_goes_on_and_so_does_one_whose_directory_was_moved() {
    let mut cluster = cluster(3, "").await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(CHUNK);
    for _ in 0..3 {
        cluster.kill(Member::Node(COPIED)).await.unwrap();
        cluster.start(Member::Node(COPIED)).await.unwrap();
        cluster.until_online().await.unwrap();
    }
    cluster.stop(Member::Node(COPIED)).await.unwrap();
    let original = cluster.data_dir(COPIED);
    let moved = original.with_file_name("elsewhere");
    copy(&original, &moved); // to another disk, say
    fs::remove_dir_all(&original).unwrap();
    let (_moved, log) = start(&cluster, &moved);
    until_said(&log, "the coordinator has taken the node").await;
    until_stored(&user, &content).await;
}
