//! `purge_undos`: which nodes are to bring back what they have thrown away, and how far each is.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::hash32;

/// Asks every node, or this one, to bring back what went to its trash since then. How many nodes that are. An undo
/// before it is forgotten.
pub async fn request(
    connection: &mut PgConnection,
    since: Timestamp,
    node: Option<NodeId>,
) -> sqlx::Result<u64> {
    let asked = sqlx::query!(
        "INSERT INTO purge_undos (node_id, since)
         SELECT node_id, $1::timestamptz FROM nodes
         WHERE state <> 'disqualified' AND ($2::uuid IS NULL OR node_id = $2)
         ON CONFLICT (node_id) DO UPDATE SET since = EXCLUDED.since, requested_at = now(), upto = NULL,
             restored = 0, leased_until = now(), attempts = 0, done_at = NULL",
        since.to_sqlx() as _,
        node.map(|node| node.as_uuid()),
    )
    .execute(connection)
    .await?;
    Ok(asked.rows_affected())
}

/// What is left to do with a node.
#[derive(Debug, Clone, Copy)]
pub struct Undo {
    pub node_id: NodeId,
    pub since: Timestamp,
    /// Gone through already.
    pub upto: Option<BlobId>,
}

/// Takes one of these nodes and puts it out of reach for `lease`, longer each time.
pub async fn take(
    connection: &mut PgConnection,
    among: &[NodeId],
    lease: Duration,
) -> sqlx::Result<Option<Undo>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let row = sqlx::query!(
        r#"UPDATE purge_undos SET attempts = attempts + 1,
                  leased_until = now() + make_interval(secs => $2 * power(2, least(attempts, 5)))
           WHERE node_id = (
               SELECT node_id FROM purge_undos
               WHERE done_at IS NULL AND leased_until <= now() AND node_id = ANY($1)
               ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED)
           RETURNING node_id, since AS "since: jiff_sqlx::Timestamp", upto"#,
        &among,
        lease.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let upto = row.upto.as_deref();
        let upto = upto
            .map(|blob| hash32("purge_undos.upto", blob))
            .transpose()?;
        Ok(Undo {
            node_id: NodeId::from_uuid(row.node_id),
            since: row.since.to_jiff(),
            upto: upto.map(BlobId::from_bytes),
        })
    })
    .transpose()
}

/// So many blobs more are back; `upto` is where to go on, `None` at the end. Nothing is written when another undo was
/// asked for meanwhile.
pub async fn advance(
    connection: &mut PgConnection,
    undo: &Undo,
    restored: u64,
    upto: Option<BlobId>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE purge_undos SET restored = restored + $3, upto = $4, attempts = 0, leased_until = now(),
             done_at = CASE WHEN $4::bytea IS NULL THEN now() END
         WHERE node_id = $1 AND since = $2 AND done_at IS NULL",
        undo.node_id.as_uuid(),
        undo.since.to_sqlx() as _,
        i64::try_from(restored).unwrap_or(i64::MAX),
        upto.as_ref().map(|blob| &blob.as_bytes()[..]) as Option<&[u8]>,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How far a node is.
#[derive(Debug, Clone)]
pub struct Progress {
    pub node_id: NodeId,
    pub name: String,
    pub since: Timestamp,
    pub requested_at: Timestamp,
    pub restored: u64,
    pub done_at: Option<Timestamp>,
}

/// Those that are not done first.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<Progress>> {
    let rows = sqlx::query!(
        r#"SELECT u.node_id, n.name, u.since AS "since: jiff_sqlx::Timestamp",
                  u.requested_at AS "requested_at: jiff_sqlx::Timestamp", u.restored,
                  u.done_at AS "done_at: jiff_sqlx::Timestamp"
           FROM purge_undos u JOIN nodes n USING (node_id)
           ORDER BY u.done_at DESC NULLS FIRST, u.node_id"#
    )
    .fetch_all(connection)
    .await?;
    let progress = rows.into_iter().map(|row| Progress {
        node_id: NodeId::from_uuid(row.node_id),
        name: row.name,
        since: row.since.to_jiff(),
        requested_at: row.requested_at.to_jiff(),
        restored: row.restored.unsigned_abs(),
        done_at: row.done_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Ok(progress.collect())
}
