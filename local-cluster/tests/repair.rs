//! What a lost node held is copied to the others, and taken back when it returns.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member};
use proto::FileId;
use support::{CHUNK, FILES, LONG, Replica, UNTIL_PURGED, blob_names, cluster, random_bytes};

const CHUNKS: usize = 12;
const NODES: usize = 5;

/// No grace: a node that is offline is replaced at once.
const REPAIR: &str = "[coordinator.repair]\ngrace = \"0s\"\ninterval = \"1s\"\n";

/// The file's healthy replicas once every chunk has exactly three of them, each on another node.
async fn whole(user: &Session, file_id: FileId) -> Option<Vec<Replica>> {
    let mut replicas = support::replicas(user, file_id).await.ok()?;
    replicas.retain(|replica| replica.healthy);
    let mut nodes_of: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for replica in &replicas {
        let nodes = nodes_of.entry(replica.chunk).or_default();
        nodes.insert(&replica.node_id);
    }
    let is_whole = replicas.len() == 3 * CHUNKS
        && nodes_of.len() == CHUNKS
        && nodes_of.values().all(|nodes| nodes.len() == 3);
    is_whole.then_some(replicas)
}

/// Names of the blobs that each node should hold.
fn named(cluster: &Cluster, replicas: &[Replica]) -> Vec<BTreeSet<String>> {
    let nodes = cluster.status().unwrap().nodes.into_iter();
    let named = nodes.map(|node| {
        let its = replicas
            .iter()
            .filter(|replica| node.node_id.as_ref() == Some(&replica.node_id));
        its.map(|replica| replica.blob_id.clone()).collect()
    });
    named.collect()
}

fn held(cluster: &Cluster) -> Vec<BTreeSet<String>> {
    (1..=NODES).map(|node| blob_names(cluster, node)).collect()
}

#[tokio::test]
async fn what_a_killed_node_held_is_copied_to_the_others_and_what_is_too_much_goes_when_it_returns()
{
    let mut cluster = cluster(NODES, &format!("{REPAIR}{FILES}")).await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes((CHUNKS - 1) * CHUNK + 5);
    let file = user.upload_in_steps("f", &content).await.unwrap();
    let before = whole(&user, file.file_id).await.unwrap();
    let before = named(&cluster, &before);
    let lost = (0..NODES).max_by_key(|node| before[*node].len()).unwrap();
    cluster.kill(Member::Node(lost + 1)).await.unwrap();

    let replaced = wait_for(
        "three copies of every chunk on other nodes",
        LONG,
        async || {
            let replicas = whole(&user, file.file_id).await?;
            let named = named(&cluster, &replicas);
            named[lost].is_empty().then_some(named)
        },
    );
    let replaced = replaced.await.unwrap();
    for (named, held) in replaced.iter().zip(held(&cluster)) {
        assert!(named.is_subset(&held), "what is named is on the disk");
    }
    assert!(user.download(file.file_id).await.unwrap() == content);

    cluster.start(Member::Node(lost + 1)).await.unwrap();
    cluster.until_online().await.unwrap();
    wait_for("what is too much to go", UNTIL_PURGED, async || {
        let replicas = whole(&user, file.file_id).await?;
        let all = support::replicas(&user, file.file_id).await.ok()?;
        (all.len() == replicas.len() && held(&cluster) == named(&cluster, &replicas)).then_some(())
    })
    .await
    .unwrap();
    assert!(user.download(file.file_id).await.unwrap() == content);
}
