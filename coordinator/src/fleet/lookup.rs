//! Nodes as the API shows them.

use proto::NodeId;

use super::Nodes;
pub use super::tables::node_status::StateChangeRow;
use super::tables::{node_status, nodes, uptime};
use model::node::Node;

/// Changes of state that a node is shown with, the newest.
const HISTORY: i64 = 20;

/// A node as anybody may see it. Its uptime is that of the last settled day, in parts per million.
#[derive(Debug)]
pub struct Listed {
    pub node: Node,
    pub uptime_ppm: Option<u32>,
}

pub async fn node(fleet: &Nodes, id: NodeId) -> sqlx::Result<Option<Node>> {
    let mut connection = fleet.db.acquire().await?;
    nodes::by_id(&mut connection, id).await
}

/// The node whose API key has this hash.
pub async fn node_of_key(fleet: &Nodes, hash: &[u8; 32]) -> sqlx::Result<Option<Node>> {
    let mut connection = fleet.db.acquire().await?;
    nodes::by_api_key(&mut connection, hash).await
}

/// Nodes in the order of their registration.
pub async fn list(fleet: &Nodes, after: Option<NodeId>, limit: i64) -> sqlx::Result<Vec<Listed>> {
    let mut connection = fleet.db.acquire().await?;
    let rows = nodes::list(&mut connection, after, limit).await?;
    let ids: Vec<NodeId> = rows.iter().map(|node| node.id).collect();
    let uptimes = uptime::last_of(&mut connection, &ids).await?;
    let listed = rows.into_iter().map(|node| Listed {
        uptime_ppm: uptimes.get(&node.id).copied(),
        node,
    });
    Ok(listed.collect())
}

/// A node and the last changes of its state.
pub async fn with_history(
    fleet: &Nodes,
    id: NodeId,
) -> sqlx::Result<Option<(Listed, Vec<StateChangeRow>)>> {
    let mut connection = fleet.db.acquire().await?;
    let Some(node) = nodes::by_id(&mut connection, id).await? else {
        return Ok(None);
    };
    let uptime_ppm = uptime::last_of(&mut connection, &[id])
        .await?
        .get(&id)
        .copied();
    let history = node_status::history(&mut connection, id, HISTORY).await?;
    Ok(Some((Listed { node, uptime_ppm }, history)))
}
