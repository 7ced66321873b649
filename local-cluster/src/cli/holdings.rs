//! What the nodes hold, counted for both halves of the demo.

use anyhow::Result;
use futures::future::join_all;
use local_cluster::Cluster;
use local_cluster::client::Endpoint;
use serde_json::Value;

/// How many blobs each node holds, as the nodes say themselves; one that does not answer, none.
pub(super) async fn held(cluster: &Cluster) -> Result<Vec<u64>> {
    let nodes = cluster.status()?.nodes;
    let count = async |admin_url: Option<String>| {
        let status: Value = Endpoint::new(admin_url?).ok()?.get("/status").await.ok()?;
        status["catalogue"]["live"]["blobs"].as_u64()
    };
    let counts = join_all(nodes.into_iter().map(|node| count(node.admin_url))).await;
    Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
}

pub(super) fn plural(count: u64, thing: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{s}")
}
