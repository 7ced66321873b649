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

use api::durability::{ChunkDurability, Durability};
use api::page::{MAX_LIMIT, PageParams};
use api::paths;
use bytes::Bytes;
use local_cluster::client::{ApiError, Session};
use local_cluster::{Cluster, TemporaryCluster, UpOptions, new_secret, shared_cluster};
use proto::FileId;
use rand::Rng;
use reqwest::Method;
use serde_json::Value;

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const KIB: usize = 1024;
pub(crate) const CHUNK: usize = 256 * KIB;

/// A cluster of this test alone, so that the test may break it.
pub(crate) async fn cluster(nodes: usize, overrides: &str) -> TemporaryCluster {
    let options = options(nodes, overrides).expect("settings");
    TemporaryCluster::start(options).await.expect("a cluster")
}

/// Two coordinators that share a database, and nodes that are connected to both.
pub(crate) async fn pair(nodes: usize, overrides: &str) -> TemporaryCluster {
    let options = options(nodes, overrides).expect("settings");
    let options = UpOptions {
        coordinators: Some(2),
        ..options
    };
    TemporaryCluster::start(options).await.expect("a cluster")
}

/// The cluster of all tests that do not hurt it: three healthy nodes, every user a new one.
pub(crate) async fn shared() -> Cluster {
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
pub(crate) async fn user(cluster: &Cluster) -> Session {
    let session = poor_user(cluster).await;
    session.purchase(10).await.unwrap();
    session
}

/// A user that no other test knows, without credits.
pub(crate) async fn poor_user(cluster: &Cluster) -> Session {
    let random = &mut kit::Entropy::system().rng();
    let email = format!("{}@example.com", new_secret(random));
    let password = new_secret(random);
    let client = cluster.client().unwrap();
    client.register(&email, &password).await.unwrap();
    client.login(&email, &password).await.unwrap()
}

pub(crate) fn random_bytes(length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    kit::Entropy::system().rng().fill_bytes(&mut bytes);
    bytes.into()
}

/// The status of a refusal; anything else is a failed test.
#[track_caller]
pub(crate) fn refused<T>(outcome: Result<T, ApiError>) -> u16 {
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
pub(crate) struct Replica {
    pub chunk: u32,
    pub node_id: String,
    pub blob_id: String,
    pub healthy: bool,
}

/// Every replica of a file of up to 1000 chunks.
pub(crate) async fn replicas(user: &Session, file_id: FileId) -> Result<Vec<Replica>, ApiError> {
    let all = PageParams {
        limit: Some(MAX_LIMIT),
        cursor: None,
    };
    let path = paths::file_durability(file_id);
    let durability: Durability = user.get_with(&path, &all).await?;
    let chunks = durability.chunks.into_iter();
    let of_chunk = |chunk: ChunkDurability| {
        chunk.replicas.into_iter().map(move |replica| Replica {
            chunk: chunk.index,
            node_id: replica.node_id.to_string(),
            blob_id: replica.blob_id.to_string(),
            healthy: replica.healthy,
        })
    };
    Ok(chunks.flat_map(of_chunk).collect())
}

/// What a node's disk holds has the names of its blobs.
pub(crate) fn blob_names(cluster: &Cluster, node: usize) -> BTreeSet<String> {
    let files = blob_files(cluster, node);
    let names = files.iter().filter_map(|path| path.file_name()?.to_str());
    names.map(ToOwned::to_owned).collect()
}

/// A copy that a slower node was asked for as well is purged by the coordinator once that can no longer arrive,
/// two minutes later.
pub(crate) const UNTIL_PURGED: Duration = Duration::from_secs(180);

/// Settings with which every blob is a file, so that a test can count and damage them.
pub(crate) const FILES: &str = "[node.store]\nlayout = \"files\"";

/// Every blob file on a node's disk.
pub(crate) fn blob_files(cluster: &Cluster, node: usize) -> Vec<PathBuf> {
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
pub(crate) fn all_blob_files(cluster: &Cluster) -> Vec<PathBuf> {
    (1..=cluster.node_count())
        .flat_map(|node| blob_files(cluster, node))
        .collect()
}

/// What a node is told with its own key.
pub(crate) async fn own_earnings(cluster: &Cluster, node: usize) -> reqwest::Result<Value> {
    let credentials = fs::read(cluster.data_dir(node).join("credentials.json")).unwrap();
    let credentials: Value = serde_json::from_slice(&credentials).unwrap();
    let text = |key: &str| credentials[key].as_str().unwrap().to_owned();
    let path = format!("/api/v1/nodes/{}/earnings", text("node_id"));
    let request = cluster.client().unwrap().request(Method::GET, &path);
    request
        .header("x-api-key", text("api_key"))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await
}
