//! Uptime of real nodes, frozen as an attacker would freeze them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member};
use serde_json::Value;
use support::{CHUNK, cluster, own_earnings, random_bytes};

/// A coordinator's first minute counts for nobody; then enough samples have to come together.
const WITHIN: Duration = Duration::from_secs(240);

/// There for 3 seconds of every 15, which is enough for a heartbeat.
async fn freeze(cluster: &Cluster, node: Member) {
    loop {
        cluster.pause(node).unwrap();
        tokio::time::sleep(Duration::from_secs(12)).await;
        cluster.resume(node).unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

async fn uptime(cluster: &Cluster, node: usize) -> Option<u64> {
    let earnings: Value = own_earnings(cluster, node).await.ok()?;
    earnings["pending"]["uptime_ppm"].as_u64()
}

#[tokio::test]
async fn a_node_that_is_frozen_for_12_of_every_15_seconds_is_not_paid_for_being_there() {
    let cluster = cluster(3, "").await;
    let session = cluster.session().await.unwrap();
    session
        .upload("f", None, random_bytes(CHUNK))
        .await
        .unwrap();
    let seen = wait_for("the frozen node's uptime to fall", WITHIN, async || {
        let frozen = uptime(&cluster, 1).await?;
        (frozen < 500_000).then_some(())
    });
    tokio::select! {
        () = freeze(&cluster, Member::Node(1)) => panic!("it goes on for ever"),
        seen = seen => seen.unwrap(),
    }
    cluster.resume(Member::Node(1)).unwrap();
    let honest = uptime(&cluster, 2).await.unwrap();
    assert!(honest > 800_000, "{honest}");
}
