//! The database of yesterday meets the nodes of today: restore mode finds again what repair, a drain and trim
//! have moved since, and nobody is blamed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs, postgres_programs_dir};
use proto::FileId;
use serde_json::Value;
use support::{CHUNK, LONG, UNTIL_PURGED, all_blob_files, cluster, random_bytes, refused};
use tokio::process::Command;

/// No grace: a node that is offline is replaced at once. Proofs come round soon.
const SETTINGS: &str = r#"
    [coordinator.repair]
    grace = "0s"
    interval = "1s"
    [coordinator.proofs]
    interval = "15s"
    [node.store]
    layout = "files"
"#;

/// A node that is killed is offline after a while, and then much is copied, by debug builds on a busy machine.
const MOVED_WITHIN: Duration = Duration::from_secs(240);

/// Runs a program to its end; what it says.
async fn run(program: impl AsRef<OsStr>, args: &[&OsStr]) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([postgres_programs_dir().unwrap()]);
    let output = Command::new(program)
        .args(args)
        .env("PATH", std::env::join_paths(places).unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

async fn coordinator(cluster: &Cluster, args: &[&str]) -> String {
    let program = Programs::beside_this_one().unwrap().coordinator;
    let config = cluster.config_file(Member::Coordinator(1));
    let args: Vec<&OsStr> = args
        .iter()
        .map(OsStr::new)
        .chain(["--config".as_ref(), config.as_ref()])
        .collect();
    run(program, &args).await
}

async fn storage_node(cluster: &Cluster, node: usize, args: &[&str]) -> String {
    let program = Programs::beside_this_one().unwrap().storage_node;
    let config = cluster.config_file(Member::Node(node));
    let first = ["--config".as_ref(), config.as_ref()];
    let args: Vec<&OsStr> = first
        .into_iter()
        .chain(args.iter().map(OsStr::new))
        .collect();
    run(program, &args).await
}

/// The replicas of all chunks of a file.
async fn replicas(user: &Session, file_id: FileId) -> Option<Vec<Vec<Value>>> {
    let path = format!("/api/v1/files/{file_id}/durability?limit=1000");
    let durability: Value = user.get(&path).await.ok()?;
    let of_chunk = |chunk: &Value| chunk["replicas"].as_array().cloned();
    durability["chunks"]
        .as_array()?
        .iter()
        .map(of_chunk)
        .collect()
}

/// Returns when every chunk of these files has exactly three replicas, all healthy and as wanted.
async fn until_three(
    user: &Session,
    files: &[(FileId, Bytes)],
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) {
    for (file_id, _) in files {
        wait_for(what, MOVED_WITHIN, async || {
            let chunks = replicas(user, *file_id).await?;
            let is_whole = |replicas: &Vec<Value>| {
                let counted = replicas.iter().filter(|replica| replica["healthy"] == true);
                let counted: Vec<_> = counted.filter(|replica| wanted(replica)).collect();
                counted.len() == 3
            };
            chunks.iter().all(is_whole).then_some(())
        })
        .await
        .unwrap();
    }
}

async fn node_id(cluster: &Cluster, name: &str) -> String {
    let nodes = cluster.client().unwrap().nodes().await.unwrap();
    let node = nodes.iter().find(|node| node.name == name).unwrap();
    node.node_id.to_string()
}

#[tokio::test]
async fn a_database_of_yesterday_finds_again_what_the_nodes_of_today_hold() {
    let mut cluster = cluster(6, SETTINGS).await;
    let user = cluster.session().await.unwrap();
    let mut kept = Vec::new();
    for number in 1..=4 {
        let content = random_bytes(number * 2 * CHUNK + number);
        let file = match number % 2 {
            0 => user.upload_in_steps("kept", &content).await.unwrap(),
            _ => user.upload("kept", None, content.clone()).await.unwrap(),
        };
        kept.push((file.file_id, content));
    }
    let doomed = user
        .upload_in_steps("doomed", &random_bytes(9))
        .await
        .unwrap();

    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("storage.dump");
    let url = cluster.status().unwrap().postgres.url;
    let options = ["--format=custom", "--file"].map(OsStr::new);
    let args = [&options[..], &[dump.as_ref(), url.as_ref()]].concat();
    run("pg_dump", &args).await;

    // A file is deleted, and nodes are told to forget it for good.
    let before = all_blob_files(&cluster).len();
    user.delete(doomed.file_id).await.unwrap();
    wait_for("a deleted file's blobs to go", UNTIL_PURGED, async || {
        (all_blob_files(&cluster).len() == before - 3).then_some(())
    })
    .await
    .unwrap();

    // A node dies, and what it held is copied; it returns, and what is too much goes to the trash.
    let lost = node_id(&cluster, "node-1").await;
    cluster.kill(Member::Node(1)).await.unwrap();
    let elsewhere = |replica: &Value| replica["node_id"] != *lost;
    until_three(&user, &kept, "copies of what node 1 held", elsewhere).await;
    cluster.start(Member::Node(1)).await.unwrap();
    cluster.until_online().await.unwrap();
    // Another one leaves, and holds nothing any more.
    storage_node(&cluster, 2, &["drain", "--yes", "--wait"]).await;
    until_three(&user, &kept, "what is too much to go", |_| true).await;
    let later = user
        .upload_in_steps("later", &random_bytes(CHUNK))
        .await
        .unwrap();

    cluster.stop(Member::Coordinator(1)).await.unwrap();
    let options = ["--clean", "--if-exists", "--exit-on-error", "--dbname"].map(OsStr::new);
    let args = [&options[..], &[url.as_ref(), dump.as_ref()]].concat();
    run("pg_restore", &args).await;
    let begun = coordinator(&cluster, &["restore", "begin"]).await;
    assert!(begun.contains("Restore mode is on"), "{begun}");
    cluster.start(Member::Coordinator(1)).await.unwrap();
    cluster.until_online().await.unwrap();
    let ended = wait_for("restore mode to end", LONG * 2, async || {
        let status = coordinator(&cluster, &["restore", "status"]).await;
        status.contains("Restore mode was on").then_some(status)
    });
    let status = ended.await.unwrap();
    println!("{status}");
    assert!(status.contains("6 of 6 nodes"), "{status}");
    assert!(status.contains("gone through: 1."), "{status}");

    for (file_id, content) in &kept {
        assert!(
            user.download(*file_id).await.unwrap() == *content,
            "{file_id}"
        );
    }
    assert_eq!(refused(user.download(later.file_id).await), 404);
    assert!(user.download(doomed.file_id).await.is_err());
    until_three(&user, &kept, "full replication", |_| true).await;
    // Every replica has proved anew that it is there, and nobody has lost score for what is not.
    let proved = |replica: &Value| {
        replica["state"] == "stored" && replica["last_proof"]["outcome"] == "passed"
    };
    until_three(&user, &kept, "proofs of all replicas", proved).await;
    for node in cluster.client().unwrap().nodes().await.unwrap() {
        assert_eq!(node.score_ppm, 1_000_000, "{node:?}");
    }
    for (file_id, content) in &kept {
        assert!(
            user.download(*file_id).await.unwrap() == *content,
            "{file_id}"
        );
    }
    coordinator(&cluster, &["ledger", "verify"]).await;
}
