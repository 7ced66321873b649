//! `braked_nodes`: who says that it has put purges off.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{DeferredPurges, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Takes over what nodes say; which of them had nothing put off before.
pub async fn note(
    connection: &mut PgConnection,
    braked: &[(NodeId, DeferredPurges)],
    free: &[NodeId],
) -> sqlx::Result<Vec<NodeId>> {
    let free: Vec<Uuid> = free.iter().map(NodeId::as_uuid).collect();
    sqlx::query!("DELETE FROM braked_nodes WHERE node_id = ANY($1)", &free)
        .execute(&mut *connection)
        .await?;
    if braked.is_empty() {
        return Ok(Vec::new());
    }
    let nodes: Vec<Uuid> = braked.iter().map(|(node, _)| node.as_uuid()).collect();
    let blobs: Vec<i64> = braked
        .iter()
        .map(|(_, deferred)| i64::try_from(deferred.blobs).unwrap_or(i64::MAX))
        .collect();
    let until: Vec<Option<jiff_sqlx::Timestamp>> = braked
        .iter()
        .map(|(_, deferred)| Some(until(*deferred)?.to_sqlx()))
        .collect();
    let rows = sqlx::query!(
        r#"INSERT INTO braked_nodes (node_id, blobs, until)
           SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS b (node_id, blobs, until)
           ORDER BY node_id
           ON CONFLICT (node_id) DO UPDATE SET blobs = EXCLUDED.blobs, until = EXCLUDED.until, told_at = now()
           RETURNING node_id, since = now() AS "new!""#,
        &nodes,
        &blobs,
        &until as &[Option<jiff_sqlx::Timestamp>],
    )
    .fetch_all(connection)
    .await?;
    let new = rows.into_iter().filter(|row| row.new);
    Ok(new.map(|row| NodeId::from_uuid(row.node_id)).collect())
}

/// A node may say anything; Postgres knows no time after the year 294276.
fn until(deferred: DeferredPurges) -> Option<Timestamp> {
    let until = i64::try_from(deferred.until_ms).ok().filter(|ms| *ms > 0)?;
    Timestamp::from_millisecond(until).ok()
}

/// A node whose brake is on.
#[derive(Debug, Clone)]
pub struct BrakedNode {
    pub node_id: NodeId,
    pub name: String,
    pub blobs: u64,
    /// When the first of them is gone for good.
    pub until: Option<Timestamp>,
    pub since: Timestamp,
}

/// In the order in which blobs are gone.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<BrakedNode>> {
    let rows = sqlx::query!(
        r#"SELECT b.node_id, n.name, b.blobs, b.until AS "until: jiff_sqlx::Timestamp",
                  b.since AS "since: jiff_sqlx::Timestamp"
           FROM braked_nodes b JOIN nodes n USING (node_id) ORDER BY b.until, b.node_id"#
    )
    .fetch_all(connection)
    .await?;
    let braked = rows.into_iter().map(|row| BrakedNode {
        node_id: NodeId::from_uuid(row.node_id),
        name: row.name,
        blobs: row.blobs.unsigned_abs(),
        until: row.until.map(jiff_sqlx::Timestamp::to_jiff),
        since: row.since.to_jiff(),
    });
    Ok(braked.collect())
}
