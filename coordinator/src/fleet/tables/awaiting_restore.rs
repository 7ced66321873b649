//! What the fleet has to know of a restore of the database: whether one is under way, and which nodes wait to be
//! gone through. `durability` begins, works on and ends it.

use proto::NodeId;
use sqlx::PgConnection;
use uuid::Uuid;

/// With what reason the last replica of a chunk is demoted when its node turns out not to hold it. Nobody
/// is to blame for what a database has forgotten: the audit does not count it.
pub const NOT_FOUND: &str = "no node held a copy when the database was restored";

/// Whether one stands: nothing may be taken away then.
pub async fn stands(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM adoptions WHERE ended_at IS NULL) AS "stands!""#
    )
    .fetch_one(connection)
    .await
}

/// Whether the database may be wrong about where this node's blobs are: it was restored, and the node has not
/// been gone through since.
pub async fn is_in_doubt(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM adoptions WHERE ended_at IS NULL)
               OR EXISTS (SELECT FROM nodes WHERE node_id = $1 AND awaits_adoption_since IS NOT NULL)
               AS "in_doubt!""#,
        node.as_uuid(),
    )
    .fetch_one(connection)
    .await
}

/// Those of these nodes that the last restore has ended without, or is about to. They stay out until another
/// one goes through them: by the rows of the backup they would be asked for blobs that they were told to
/// forget, and told to forget blobs that nobody else has.
pub async fn kept_out(
    connection: &mut PgConnection,
    among: &[NodeId],
) -> sqlx::Result<Vec<NodeId>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let nodes = sqlx::query_scalar!(
        "SELECT node_id FROM nodes
         WHERE node_id = ANY($1) AND awaits_adoption_since IS NOT NULL
           AND NOT EXISTS (SELECT FROM adoptions WHERE finishing_since IS NULL)",
        &among,
    )
    .fetch_all(connection)
    .await?;
    Ok(nodes.into_iter().map(NodeId::from_uuid).collect())
}

/// A node that registered after a restore had ended, and holds blobs of this network: it had registered before
/// with a database that is no more.
pub async fn keep_out_newcomer(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET awaits_adoption_since = now()
         WHERE node_id = $1 AND last_seen_at IS NULL AND awaits_adoption_since IS NULL
           AND EXISTS (SELECT FROM adoptions WHERE finishing_since IS NOT NULL)
           AND NOT EXISTS (SELECT FROM adoptions WHERE finishing_since IS NULL)",
        node.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
