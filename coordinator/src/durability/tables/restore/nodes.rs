//! `adoption_nodes` and `adoption_findings`: how far each node has been gone through, by whom, and what
//! was found on it.

use std::time::Duration;

use jiff::Timestamp;
use proto::{BlobId, BlobRange, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::hash32;

/// A coordinator's claim on a node while it goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub restore_mode: Uuid,
    pub node: NodeId,
    pub id: Uuid,
}

/// A node whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    pub node_id: NodeId,
    /// Everything up to this blob has been gone through.
    pub scanned_upto: Option<BlobId>,
    pub pages: u64,
    /// In vain, since the last page.
    pub attempts: u32,
}

/// From now on these nodes are gone through, unless they are out.
pub async fn enter(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    nodes: &[NodeId],
) -> sqlx::Result<()> {
    let nodes: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    sqlx::query!(
        "INSERT INTO adoption_nodes (adoption_id, node_id)
         SELECT $1, node_id FROM nodes
         WHERE node_id = ANY($2) AND state NOT IN ('drained', 'disqualified')
         ON CONFLICT DO NOTHING",
        restore_mode,
        &nodes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Leases rows of these nodes that have not been gone through; those that another coordinator holds are
/// passed over.
pub async fn take_due(
    connection: &mut PgConnection,
    restore_mode: Uuid,
    among: &[NodeId],
    lease: Uuid,
    lease_for: Duration,
    limit: usize,
) -> sqlx::Result<Vec<Due>> {
    let among: Vec<Uuid> = among.iter().map(NodeId::as_uuid).collect();
    let rows = sqlx::query!(
        "UPDATE adoption_nodes a
         SET lease_id = $3, leased_until = now() + make_interval(secs => $4)
         FROM (SELECT node_id FROM adoption_nodes
               WHERE adoption_id = $1 AND node_id = ANY($2) AND adopted_at IS NULL AND due_at <= now()
                 AND (leased_until IS NULL OR leased_until <= now())
                 AND EXISTS (SELECT FROM adoptions a
                             WHERE a.adoption_id = $1 AND a.finishing_since IS NULL)
               ORDER BY due_at, node_id LIMIT $5 FOR UPDATE SKIP LOCKED) AS due
         WHERE a.adoption_id = $1 AND a.node_id = due.node_id
         RETURNING a.node_id, scanned_upto, pages, attempts",
        restore_mode,
        &among,
        lease,
        lease_for.as_secs_f64(),
        limit as i64,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let upto = &row.scanned_upto;
            let scanned_upto = match upto.is_empty() {
                true => None,
                false => Some(BlobId::from_bytes(hash32(
                    "adoption_nodes.scanned_upto",
                    upto,
                )?)),
            };
            Ok(Due {
                node_id: NodeId::from_uuid(row.node_id),
                scanned_upto,
                pages: row.pages.unsigned_abs(),
                attempts: row.attempts.unsigned_abs(),
            })
        })
        .collect()
}

/// Keeps the row for longer. `false` when the lease was lost: whatever else the transaction has written has
/// to be rolled back.
pub async fn renew(
    connection: &mut PgConnection,
    lease: &Lease,
    lease_for: Duration,
) -> sqlx::Result<bool> {
    let renewed = sqlx::query!(
        "UPDATE adoption_nodes SET leased_until = now() + make_interval(secs => $4)
         WHERE adoption_id = $1 AND node_id = $2 AND lease_id = $3",
        lease.restore_mode,
        lease.node.as_uuid(),
        lease.id,
        lease_for.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(renewed.rows_affected() > 0)
}

/// A replica that the database names on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedReplica {
    pub blob_id: BlobId,
    pub demoted: bool,
    /// This restore has brought it.
    pub adopted: bool,
}

/// Replicas on a node in the order of their blobs, `limit` at most.
pub async fn named(
    connection: &mut PgConnection,
    lease: &Lease,
    range: &BlobRange,
    limit: usize,
) -> sqlx::Result<Vec<NamedReplica>> {
    let rows = sqlx::query!(
        r#"SELECT r.blob_id, r.demoted_at IS NOT NULL AS "demoted!",
                  EXISTS (SELECT FROM adoption_findings f
                          WHERE f.adoption_id = $1 AND f.node_id = r.node_id
                            AND f.blob_id = r.blob_id AND f.finding = 'adopted') AS "adopted!"
           FROM replicas r
           WHERE r.node_id = $2 AND r.blob_id >= $3 AND r.blob_id <= $4 ORDER BY r.blob_id LIMIT $5"#,
        lease.restore_mode,
        lease.node.as_uuid(),
        &range.first.as_bytes()[..],
        &range.last.as_bytes()[..],
        limit as i64,
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(NamedReplica {
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &row.blob_id)?),
                demoted: row.demoted,
                adopted: row.adopted,
            })
        })
        .collect()
}

/// Notes that these replicas of the node have got their rows.
pub async fn note_adopted(
    connection: &mut PgConnection,
    lease: &Lease,
    blobs: &[BlobId],
) -> sqlx::Result<()> {
    note(connection, lease, blobs, "adopted").await?;
    sqlx::query!(
        "UPDATE adoption_nodes SET adopted = adopted + $3 WHERE adoption_id = $1 AND node_id = $2",
        lease.restore_mode,
        lease.node.as_uuid(),
        blobs.len() as i64,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn note(
    connection: &mut PgConnection,
    lease: &Lease,
    blobs: &[BlobId],
    finding: &str,
) -> sqlx::Result<()> {
    let blobs: Vec<Vec<u8>> = blobs.iter().map(|blob| blob.as_bytes().to_vec()).collect();
    sqlx::query!(
        "INSERT INTO adoption_findings (adoption_id, node_id, blob_id, finding)
         SELECT $1, $2, blob_id, $4 FROM unnest($3::bytea[]) AS b (blob_id)
         ON CONFLICT DO NOTHING",
        lease.restore_mode,
        lease.node.as_uuid(),
        &blobs,
        finding,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a page of a node's blobs has come to; those that were adopted are counted as they get their rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub held: u64,
    pub known: u64,
    pub unknown: u64,
    pub unreadable: u64,
    pub refused: u64,
    pub restored: u64,
    pub missing: Vec<BlobId>,
}

/// A page is done, up to this blob; with the last one the node is. `false` when the lease was lost: the
/// transaction has to be rolled back.
pub async fn save_page(
    connection: &mut PgConnection,
    lease: &Lease,
    page: &Page,
    upto: &BlobId,
    is_last: bool,
) -> sqlx::Result<bool> {
    if is_last {
        // In this order, as where it ends without the node.
        sqlx::query!(
            "SELECT FROM adoptions WHERE adoption_id = $1 FOR KEY SHARE",
            lease.restore_mode,
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "UPDATE nodes SET awaits_adoption_since = NULL
             WHERE node_id = $1 AND awaits_adoption_since IS NOT NULL",
            lease.node.as_uuid(),
        )
        .execute(&mut *connection)
        .await?;
    }
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let saved = sqlx::query!(
        "UPDATE adoption_nodes
         SET scanned_upto = $4, pages = pages + 1, attempts = 0, detail = '',
             held = held + $5, known = known + $6, unknown = unknown + $7, unreadable = unreadable + $8,
             refused = refused + $9, restored = restored + $10, missing = missing + $11,
             adopted_at = CASE WHEN $12 THEN now() END,
             lease_id = CASE WHEN $12 THEN NULL ELSE lease_id END,
             leased_until = CASE WHEN $12 THEN NULL ELSE leased_until END
         WHERE adoption_id = $1 AND node_id = $2 AND lease_id = $3",
        lease.restore_mode,
        lease.node.as_uuid(),
        lease.id,
        &upto.as_bytes()[..],
        signed(page.held),
        signed(page.known),
        signed(page.unknown),
        signed(page.unreadable),
        signed(page.refused),
        signed(page.restored),
        signed(page.missing.len() as u64),
        is_last,
    )
    .execute(&mut *connection)
    .await?;
    note(connection, lease, &page.missing, "missing").await?;
    Ok(saved.rows_affected() > 0)
}

/// A run has failed; the node is taken up again after `pause`.
pub async fn give_back(
    connection: &mut PgConnection,
    lease: &Lease,
    detail: &str,
    pause: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE adoption_nodes
         SET lease_id = NULL, leased_until = NULL, attempts = attempts + 1, detail = $4,
             due_at = now() + make_interval(secs => $5)
         WHERE adoption_id = $1 AND node_id = $2 AND lease_id = $3",
        lease.restore_mode,
        lease.node.as_uuid(),
        lease.id,
        detail,
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What has been found on a node, for people.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    pub node_id: NodeId,
    pub name: String,
    pub last_seen_at: Option<Timestamp>,
    pub is_running: bool,
    pub adopted_at: Option<Timestamp>,
    /// A restore has ended without it.
    pub awaits_adoption: bool,
    /// Why it could not be gone through the last time.
    pub detail: String,
    pub found: Found,
}

/// See the columns of `adoption_nodes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    pub held: u64,
    pub known: u64,
    pub adopted: u64,
    pub restored: u64,
    pub unknown: u64,
    pub unreadable: u64,
    pub refused: u64,
    pub missing: u64,
}

/// All nodes that are not out, those that wait first.
pub async fn list(
    connection: &mut PgConnection,
    restore_mode: Uuid,
) -> sqlx::Result<Vec<NodeStatus>> {
    let rows = sqlx::query!(
        r#"SELECT n.node_id, n.name, n.last_seen_at AS "last_seen_at: jiff_sqlx::Timestamp",
                  coalesce(a.leased_until > now(), false) AS "is_running!",
                  a.adopted_at AS "adopted_at: jiff_sqlx::Timestamp", coalesce(a.detail, '') AS "detail!",
                  awaits_adoption_since IS NOT NULL AS "awaits_adoption!",
                  coalesce(held, 0) AS "held!", coalesce(known, 0) AS "known!",
                  coalesce(adopted, 0) AS "adopted!", coalesce(restored, 0) AS "restored!",
                  coalesce(unknown, 0) AS "unknown!", coalesce(unreadable, 0) AS "unreadable!",
                  coalesce(refused, 0) AS "refused!", coalesce(missing, 0) AS "missing!"
           FROM nodes n LEFT JOIN adoption_nodes a ON a.adoption_id = $1 AND a.node_id = n.node_id
           WHERE n.state NOT IN ('drained', 'disqualified') OR a.node_id IS NOT NULL
           ORDER BY a.adopted_at IS NOT NULL, n.name, n.node_id"#,
        restore_mode,
    )
    .fetch_all(connection)
    .await?;
    let nodes = rows.into_iter().map(|row| NodeStatus {
        node_id: NodeId::from_uuid(row.node_id),
        name: row.name,
        last_seen_at: row.last_seen_at.map(jiff_sqlx::Timestamp::to_jiff),
        is_running: row.is_running,
        adopted_at: row.adopted_at.map(jiff_sqlx::Timestamp::to_jiff),
        awaits_adoption: row.awaits_adoption,
        detail: row.detail,
        found: Found {
            held: row.held.unsigned_abs(),
            known: row.known.unsigned_abs(),
            adopted: row.adopted.unsigned_abs(),
            restored: row.restored.unsigned_abs(),
            unknown: row.unknown.unsigned_abs(),
            unreadable: row.unreadable.unsigned_abs(),
            refused: row.refused.unsigned_abs(),
            missing: row.missing.unsigned_abs(),
        },
    });
    Ok(nodes.collect())
}

/// Nodes that have to be gone through before everything can go on, with their names: all but those that
/// are out.
pub async fn awaited(
    connection: &mut PgConnection,
    restore_mode: Uuid,
) -> sqlx::Result<Vec<(NodeId, String)>> {
    let rows = sqlx::query!(
        "SELECT node_id, name FROM nodes n
         WHERE state NOT IN ('drained', 'disqualified')
           AND NOT EXISTS (SELECT FROM adoption_nodes a
                           WHERE a.adoption_id = $1 AND a.node_id = n.node_id
                             AND a.adopted_at IS NOT NULL)
         ORDER BY name, node_id",
        restore_mode,
    )
    .fetch_all(connection)
    .await?;
    let nodes = rows
        .into_iter()
        .map(|row| (NodeId::from_uuid(row.node_id), row.name));
    Ok(nodes.collect())
}
