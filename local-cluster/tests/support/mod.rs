//! What the end-to-end tests share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of this, and a failure here is a failed test"
)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use local_cluster::client::{ApiError, Session};
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

/// Two coordinators that share a database, and nodes that are connected to both.
pub async fn pair(nodes: usize, overrides: &str) -> TemporaryCluster {
    let options = options(nodes, overrides).expect("settings");
    let options = UpOptions {
        coordinators: Some(2),
        ..options
    };
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

/// Settings with which every blob is a file, so that a test can count and damage them.
pub const FILES: &str = "[node.store]\nlayout = \"files\"";

/// Every blob file on a node's disk.
pub fn blob_files(cluster: &Cluster, node: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![cluster.data_dir(node).join("blobs")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

/// Every blob file on the disks of all nodes.
pub fn all_blob_files(cluster: &Cluster) -> Vec<PathBuf> {
    (1..=cluster.node_count())
        .flat_map(|node| blob_files(cluster, node))
        .collect()
}
