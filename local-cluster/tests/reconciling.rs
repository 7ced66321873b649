//! What a node no longer knows of is found out by comparing it with the database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

use local_cluster::wait::wait_for;
use local_cluster::{Member, Programs};
use serde_json::Value;
use support::{CHUNK, LONG, blob_files, cluster, random_bytes};

/// No proof comes round before the comparison does.
const SETTINGS: &str = r#"
[coordinator.proofs]
interval = "30d"
[coordinator.reconcile]
interval = "2s"
[node.store]
layout = "files"
"#;

#[tokio::test]
async fn a_blob_that_a_rebuilt_catalogue_does_not_know_is_missed_challenged_and_demoted() {
    let mut cluster = cluster(3, SETTINGS).await;
    let session = cluster.session().await.unwrap();
    let content = random_bytes(3 * CHUNK);
    let file = session.upload("f", None, content.clone()).await.unwrap();
    cluster.stop(Member::Node(1)).await.unwrap();
    let path = blob_files(&cluster, 1).swap_remove(0);
    let lost = path.file_name().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_file(path).unwrap();
    // The catalogue is made anew from what is left: the node itself has no idea of a loss.
    let config = cluster.data_dir(1).with_file_name("config.toml");
    let rebuilt = Command::new(Programs::beside_this_one().unwrap().storage_node)
        .args(["chunks", "verify", "--rebuild", "--config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    cluster.start(Member::Node(1)).await.unwrap();

    let durability = format!("/api/v1/files/{}/durability", file.file_id);
    let demoted = wait_for("the loss to be found", LONG, async || {
        let durability: Value = session.get(&durability).await.ok()?;
        let chunks = durability["chunks"].as_array()?.clone();
        let replicas = chunks
            .iter()
            .flat_map(|chunk| chunk["replicas"].as_array().unwrap());
        let demoted = replicas.filter(|replica| replica["state"] == "demoted");
        let demoted: Vec<Value> = demoted.cloned().collect();
        (!demoted.is_empty()).then_some(demoted)
    });
    let demoted = demoted.await.unwrap();
    assert_eq!(demoted.len(), 1, "{demoted:?}");
    assert_eq!(demoted[0]["blob_id"], lost);
    assert_eq!(
        demoted[0]["demoted_reason"],
        "it failed its proof of storage"
    );
    assert!(session.download(file.file_id).await.unwrap() == content);

    // The audit may have come upon it before the comparison did.
    let told = wait_for("the comparison to be told", LONG, async || {
        let status = Command::new(Programs::beside_this_one().unwrap().coordinator)
            .args(["admin", "reconcile", "status", "--config"])
            .arg(cluster.dir().join("coordinator").join("config.toml"))
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        let said = String::from_utf8_lossy(&status.stdout);
        let of_the_node = said.lines().find(|line| line.contains("node-1"))?;
        of_the_node.contains("done").then_some(())
    });
    told.await.unwrap();
}
