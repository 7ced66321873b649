//! What a node finds out about its own disk reaches the network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::os::unix::fs::FileExt;

use local_cluster::wait::wait_for;
use serde_json::Value;
use support::{CHUNK, LONG, blob_files, cluster, own_earnings, random_bytes};

/// A day ends soon enough to see what it costs.
const SETTINGS: &str = r#"
[coordinator.proofs]
interval = "1h"
[coordinator.money]
settlement_interval = "10s"
[node.store]
layout = "files"
[node.scrub]
period = "2s"
"#;

#[tokio::test]
async fn a_blob_that_rots_is_found_by_its_node_demoted_and_charged_as_reported() {
    let cluster = cluster(3, SETTINGS).await;
    let session = cluster.session().await.unwrap();
    let content = random_bytes(2 * CHUNK);
    let file = session.upload("f", None, content.clone()).await.unwrap();
    let durability = format!("/api/v1/files/{}/durability", file.file_id);
    let replicas = async || -> Option<Vec<Value>> {
        let durability: Value = session.get(&durability).await.ok()?;
        let chunks = durability["chunks"].as_array()?.clone();
        let replicas = chunks.iter().map(|c| c["replicas"].as_array().cloned());
        Some(replicas.collect::<Option<Vec<_>>>()?.concat())
    };
    // Newcomers prove at once what they have signed for. After that no proof finds it before the scrub does.
    let proven = wait_for("the first proofs", LONG, async || {
        let all = replicas().await?;
        all.iter()
            .all(|replica| !replica["last_proof"].is_null())
            .then_some(())
    });
    proven.await.unwrap();
    let path = blob_files(&cluster, 1).swap_remove(0);
    let rotten = path.file_name().unwrap().to_str().unwrap().to_owned();
    let blob = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    blob.write_all_at(b"rot", 1000).unwrap();

    let demoted = wait_for("the coordinator to know", LONG, async || {
        let mut replicas = replicas().await?.into_iter();
        replicas.find(|replica| replica["state"] == "demoted")
    });
    let demoted = demoted.await.unwrap();
    assert_eq!(demoted["blob_id"], rotten);
    assert_eq!(demoted["demoted_reason"], "its node reported it lost");
    assert!(session.download(file.file_id).await.unwrap() == content);

    let earnings = wait_for("the day of the loss to be settled", LONG, async || {
        let earnings = own_earnings(&cluster, 1).await.ok()?;
        let mut days = earnings["days"].as_array()?.iter();
        let charged = |day: &&Value| !day["penalties"].as_array().unwrap().is_empty();
        days.find(charged).cloned()
    });
    let penalties = earnings.await.unwrap()["penalties"].clone();
    assert_eq!(penalties.as_array().unwrap().len(), 1, "{penalties}");
    assert_eq!(penalties[0]["kind"], "self_reported");
    assert_eq!(penalties[0]["cause"]["blob_id"], rotten);
}
