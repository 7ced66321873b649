//! A file in coded pieces on twelve real nodes: any four of them die, it is still there, and becomes whole again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use api::classes::Classes;
use api::durability::Durability;
use api::files::File;
use api::paths;
use bytes::Bytes;
use local_cluster::Member;
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use proto::FileId;
use reqwest::Method;
use support::{KIB, LONG, cluster, random_bytes};

const NODES: usize = 16;
const PIECES: usize = 12;

/// No grace: a node that is offline is replaced at once. What dies in this test is a quarter of the fleet, which is no reason to
/// wait.
const SETTINGS: &str = "[coordinator.repair]\ngrace = \"0s\"\ninterval = \"1s\"\n";

async fn store(user: &Session, content: &Bytes) -> File {
    let path = format!("{}?filename=film", paths::FILES);
    let request = user.request(Method::PUT, &path).await.unwrap();
    let request = request.header(api::headers::CLASS, "dense");
    let answer = request.body(content.clone()).send().await.unwrap();
    let answer = answer.error_for_status().unwrap();
    answer.json().await.unwrap()
}

/// Healthy different pieces of each chunk, and the nodes that hold any.
async fn held(user: &Session, file: FileId) -> Option<(Vec<BTreeSet<u8>>, BTreeSet<String>)> {
    let path = paths::file_durability(file);
    let durability: Durability = user.get(&path).await.ok()?;
    assert_eq!((durability.needed, durability.replication_target), (8, 12));
    let (mut pieces, mut nodes) = (Vec::new(), BTreeSet::new());
    for chunk in durability.chunks {
        let healthy = chunk.replicas.iter().filter(|replica| replica.healthy);
        nodes.extend(healthy.clone().map(|replica| replica.node_id.to_string()));
        pieces.push(healthy.map(|replica| replica.piece).collect());
    }
    Some((pieces, nodes))
}

#[tokio::test]
async fn any_four_of_twelve_nodes_die_and_a_dense_file_is_there_and_becomes_whole_again() {
    let cluster = cluster(NODES, SETTINGS).await;
    let user = cluster.session().await.unwrap();
    let classes: Classes = user.get(paths::CLASSES).await.unwrap();
    let dense = classes
        .classes
        .iter()
        .find(|class| class.name == "dense")
        .unwrap();
    assert_eq!(dense.scheme.as_ref().unwrap().needed, 8);

    let content = random_bytes(3 * 2048 * KIB + 300_001);
    let file = store(&user, &content).await;
    assert_eq!((file.class.as_str(), file.chunk_count), ("dense", 4));
    let (pieces, _) = held(&user, file.file_id).await.unwrap();
    assert!(pieces.iter().all(|held| held.len() == PIECES), "{pieces:?}");
    assert!(user.download(file.file_id).await.unwrap() == content);

    let status = cluster.status().unwrap().nodes;
    let dead: Vec<String> = status[..4]
        .iter()
        .filter_map(|node| node.node_id.clone())
        .collect();
    for node in 1..=4 {
        cluster.kill(Member::Node(node)).await.unwrap();
    }
    assert!(user.download(file.file_id).await.unwrap() == content);
    let range = user
        .download_range(file.file_id, 2_000_000..2_200_000)
        .await;
    assert!(range.unwrap() == content.slice(2_000_000..2_200_000));

    wait_for(
        "twelve pieces of every chunk on nodes that live",
        LONG,
        async || {
            let (pieces, nodes) = held(&user, file.file_id).await?;
            let is_whole = pieces.iter().all(|held| held.len() == PIECES);
            (is_whole && dead.iter().all(|node| !nodes.contains(node))).then_some(())
        },
    )
    .await
    .unwrap();
    assert!(user.download(file.file_id).await.unwrap() == content);

    // Four others, of which each now holds pieces that were made again.
    for node in 5..=8 {
        cluster.kill(Member::Node(node)).await.unwrap();
    }
    assert!(user.download(file.file_id).await.unwrap() == content);
}
