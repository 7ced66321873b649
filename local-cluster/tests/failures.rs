//! What was acknowledged is never lost, whatever dies.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use local_cluster::Member;
use local_cluster::client::chunk_of;
use local_cluster::process::ProcessState;
use local_cluster::wait::wait_for;
use reqwest::StatusCode;
use support::{CHUNK, FILES, LONG, all_blob_files, blob_files, cluster, random_bytes, refused};

#[tokio::test]
async fn two_of_five_nodes_may_die_while_files_go_up_and_down() {
    let cluster = cluster(5, FILES).await;
    let user = cluster.session().await.unwrap();
    let old = random_bytes(8 * CHUNK);
    let stored = user.upload_in_steps("old", &old).await.unwrap();

    let contents: Vec<_> = (0..3).map(|_| random_bytes(8 * CHUNK + 11)).collect();
    let uploads = contents.iter().map(|content| {
        let length = Some(content.len() as u64);
        user.upload("new", length, content.clone())
    });
    let downloads = (0..3).map(|_| user.download(stored.file_id));
    let killing = async {
        // In the middle: when the nodes hold blobs of the new files.
        let blobs = || all_blob_files(&cluster).len();
        let before = blobs();
        wait_for("uploads to be under way", LONG, async || {
            (blobs() > before + 6).then_some(())
        })
        .await
        .unwrap();
        cluster.kill(Member::Node(2)).await.unwrap();
        cluster.kill(Member::Node(4)).await.unwrap();
    };
    let (files, back, ()) = futures::join!(join_all(uploads), join_all(downloads), killing);

    for back in back {
        assert!(back.unwrap() == old);
    }
    for (file, content) in files.into_iter().zip(&contents) {
        let file = file.expect("an upload goes on without the dead nodes");
        assert!(user.download(file.file_id).await.unwrap() == *content);
    }
}

#[tokio::test]
async fn an_upload_goes_on_after_the_coordinator_was_killed() {
    let mut cluster = cluster(3, "").await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(4 * CHUNK + 3);
    let plan = user.initiate("f", content.len() as u64).await.unwrap();
    for index in [0, 3] {
        let chunk = chunk_of(&plan, &content, index);
        user.send_chunk(plan.upload_id, index, chunk).await.unwrap();
    }

    cluster.kill(Member::Coordinator(1)).await.unwrap();
    cluster.start(Member::Coordinator(1)).await.unwrap();
    cluster.until_online().await.unwrap();

    // The same token still works: signing keys outlive the process.
    let status = user.upload_status(plan.upload_id).await.unwrap();
    assert_eq!(status.missing, [1, 2, 4]);
    for index in status.missing {
        let chunk = chunk_of(&plan, &content, index);
        user.send_chunk(plan.upload_id, index, chunk).await.unwrap();
    }
    let file = user.complete(plan.upload_id).await.unwrap();
    assert!(user.download(file.file_id).await.unwrap() == content);
}

#[tokio::test]
async fn damaged_blobs_are_never_served_and_do_not_disturb() {
    let cluster = cluster(3, FILES).await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(4 * CHUNK);
    let file = user.upload_in_steps("f", &content).await.unwrap();

    // With three nodes, each holds a copy of every chunk. Two of them lose theirs in all ways.
    let damages: [fn(&Path); 4] = [flip_a_bit, truncate, empty, remove];
    for node in [1, 2] {
        let blobs = blob_files(&cluster, node);
        assert_eq!(blobs.len(), damages.len());
        for (blob, damage) in blobs.iter().zip(damages) {
            damage(blob);
        }
    }
    for _ in 0..3 {
        assert!(user.download(file.file_id).await.unwrap() == content);
    }

    // Without any good copy there is no file, rather than a wrong or a short one. Repair makes new copies
    // meanwhile, so that it takes more than one round to get at them all.
    wait_for("no copy to be left", LONG, async || {
        for blob in all_blob_files(&cluster) {
            let _ = fs::remove_file(blob);
        }
        let read = user.download(file.file_id).await;
        assert!(read.as_ref().is_ok_and(|read| *read == content) || read.is_err());
        read.is_err().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_node_that_hangs_holds_nobody_up() {
    let cluster = cluster(4, "").await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes(6 * CHUNK);
    let before = user.upload_in_steps("before", &content).await.unwrap();
    cluster.pause(Member::Node(1)).unwrap();

    assert!(user.download(before.file_id).await.unwrap() == content);
    let length = Some(content.len() as u64);
    let during = user
        .upload("during", length, content.clone())
        .await
        .unwrap();
    assert!(user.download(during.file_id).await.unwrap() == content);

    cluster.resume(Member::Node(1)).unwrap();
    cluster.until_online().await.unwrap();
    assert!(user.download(before.file_id).await.unwrap() == content);
}

/// Silence is all that tells: a paused process keeps its connection.
#[tokio::test]
async fn a_paused_node_is_offline_within_twenty_seconds_and_back_when_it_goes_on() {
    let cluster = cluster(1, "").await;
    let client = cluster.client().unwrap();
    let online = async || {
        let nodes = client.nodes().await.unwrap();
        nodes[0].online
    };
    assert!(online().await);
    cluster.pause(Member::Node(1)).unwrap();
    let limit = Duration::from_secs(20);
    wait_for("the silence to be noticed", limit, async || {
        (!online().await).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        cluster.state(Member::Node(1)).unwrap(),
        ProcessState::Paused
    );

    cluster.resume(Member::Node(1)).unwrap();
    wait_for("the node to be back", limit, async || {
        online().await.then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn without_its_database_the_coordinator_says_so_and_recovers() {
    let mut cluster = cluster(3, "").await;
    let client = cluster.client().unwrap();
    let user = cluster.session().await.unwrap();
    let content = random_bytes(CHUNK);
    let file = user.upload_in_steps("f", &content).await.unwrap();

    cluster.kill(Member::Postgres).await.unwrap();
    let noticed = wait_for("/readyz to fail", LONG, async || {
        (!client.is_ready().await).then_some(())
    });
    noticed.await.unwrap();
    let answer = user.files().await.unwrap_err();
    assert_eq!(answer.status(), Some(StatusCode::SERVICE_UNAVAILABLE));

    cluster.start(Member::Postgres).await.unwrap();
    cluster.until_online().await.unwrap();
    assert!(user.download(file.file_id).await.unwrap() == content);
    user.upload_in_steps("g", &content).await.unwrap();
}

#[tokio::test]
async fn with_too_few_nodes_an_upload_fails_rather_than_making_fewer_copies() {
    let cluster = cluster(3, "[coordinator.placement]\npatience = \"1s\"").await;
    let user = cluster.session().await.unwrap();
    cluster.stop(Member::Node(3)).await.unwrap();
    let content = random_bytes(10);
    let upload = user.upload("f", Some(10), content).await;
    assert_eq!(refused(upload), 503);
    assert!(user.files().await.unwrap().items.is_empty());
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn truncate(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn empty(path: &Path) {
    fs::write(path, b"").unwrap();
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}
