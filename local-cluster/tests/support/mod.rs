//! What the end-to-end tests share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of this, and a failure here is a failed test"
)]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use local_cluster::client::{ApiError, Durability, Session};
use local_cluster::{Cluster, TemporaryCluster, UpOptions, edge, shared_cluster};
use rand::Rng;

pub const LONG: Duration = Duration::from_secs(60);
pub const KIB: usize = 1024;
pub const CHUNK: usize = 256 * KIB;

/// A cluster of this test alone, so that the test may break it.
pub async fn cluster(nodes: usize, overrides: &str) -> TemporaryCluster {
    let options = options(nodes, overrides).expect("settings");
    TemporaryCluster::start(options).await.expect("a cluster")
}

/// The cluster of all tests that do not hurt it: three healthy nodes, every user a new one.
pub async fn shared() -> Cluster {
    let options = options(3, "").expect("settings");
    shared_cluster(options).await.expect("a cluster")
}

fn options(nodes: usize, overrides: &str) -> anyhow::Result<UpOptions> {
    Ok(UpOptions {
        nodes: Some(nodes),
        overrides: Some(overrides.parse()?),
        without_fsync: true,
        ..UpOptions::default()
    })
}

/// A user that no other test knows, with credits.
pub async fn user(cluster: &Cluster) -> Session {
    let session = poor_user(cluster).await;
    session.purchase(10).await.unwrap();
    session
}

/// A user that no other test knows, without credits.
pub async fn poor_user(cluster: &Cluster) -> Session {
    let random = &mut edge::random_source();
    let email = format!("{}@example.com", edge::secret(random));
    let password = edge::secret(random);
    let client = cluster.client().unwrap();
    client.register(&email, &password).await.unwrap();
    client.login(&email, &password).await.unwrap()
}

pub fn random_bytes(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    edge::random_source().fill_bytes(&mut bytes);
    bytes.into()
}

/// The status of a refusal; anything else is a failed test.
#[track_caller]
pub fn refused<T>(outcome: Result<T, ApiError>) -> u16 {
    let Err(error) = outcome else {
        panic!("this should have been refused");
    };
    let status = error.status();
    status
        .unwrap_or_else(|| panic!("an answer was expected: {error}"))
        .as_u16()
}

/// Where the blobs of a file are on the nodes' disks: one list for each chunk.
pub fn blob_files(cluster: &Cluster, durability: &Durability) -> Vec<Vec<PathBuf>> {
    let nodes = cluster.status().unwrap().nodes;
    let path = |node_id: &str, blob_id: &str| {
        let node = nodes.iter().find(|n| n.node_id.as_deref() == Some(node_id));
        let blobs = node.unwrap().data_dir.join("blobs");
        blobs.join(&blob_id[..1]).join(&blob_id[1..3]).join(blob_id)
    };
    durability
        .chunks
        .iter()
        .map(|chunk| {
            let replicas = chunk.replicas.iter();
            replicas.map(|r| path(&r.node_id, &r.blob_id)).collect()
        })
        .collect()
}
