//! What the end-to-end tests share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test file uses a part of this, and a failure here is a failed test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use local_cluster::client::{ApiError, Session};
use local_cluster::{Cluster, TemporaryCluster, UpOptions, edge, shared_cluster};
use rand::Rng;
use serde_json::Value;

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

/// A replica that the coordinator names to its owner.
#[derive(Debug, Clone)]
pub struct Replica {
    pub chunk: u64,
    pub node_id: String,
    pub blob_id: String,
    pub healthy: bool,
}

/// Every replica of a file of up to 1000 chunks.
pub async fn replicas(user: &Session, file_id: &str) -> Result<Vec<Replica>, ApiError> {
    let path = format!("/files/{file_id}/durability?limit=1000");
    let durability: Value = user.get(&path).await?;
    let chunks = durability["chunks"].as_array().unwrap();
    let of_chunk = |chunk: &Value| -> Vec<Replica> {
        let replicas = chunk["replicas"].as_array().unwrap().iter();
        let replicas = replicas.map(|replica| Replica {
            chunk: chunk["index"].as_u64().unwrap(),
            node_id: replica["node_id"].as_str().unwrap().to_owned(),
            blob_id: replica["blob_id"].as_str().unwrap().to_owned(),
            healthy: replica["healthy"].as_bool().unwrap(),
        });
        replicas.collect()
    };
    Ok(chunks.iter().flat_map(of_chunk).collect())
}

/// What a node's disk holds has the names of its blobs.
pub fn blob_names(cluster: &Cluster, node: usize) -> BTreeSet<String> {
    let files = blob_files(cluster, node);
    let names = files.iter().filter_map(|path| path.file_name()?.to_str());
    names.map(ToOwned::to_owned).collect()
}

/// A copy that a slower node was asked for as well is purged by the coordinator once that can no longer arrive,
/// two minutes later.
pub const UNTIL_PURGED: Duration = Duration::from_secs(180);

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
