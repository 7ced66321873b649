//! `uptime_windows`: when nodes were there.

use std::collections::HashMap;

use jiff::Timestamp;
use proto::NodeId;
use sqlx::PgConnection;
use uuid::Uuid;

use rules::uptime::{SLOT_WINDOWS, SlotWindows, Stretch, WINDOW_MS};

/// Notes that a coordinator was looking in these windows, and saw these nodes in all of them.
pub async fn record(
    connection: &mut PgConnection,
    windows: &[SlotWindows],
    seen: &[NodeId],
) -> sqlx::Result<()> {
    let mut nodes: Vec<Uuid> = seen.iter().map(NodeId::as_uuid).collect();
    nodes.push(Uuid::nil()); // the coordinators themselves
    nodes.sort_unstable(); // rows are locked in this order
    for windows in windows {
        sqlx::query!(
            "INSERT INTO uptime_windows (slot, node_id, seen)
             SELECT $1, node_id, $2 FROM unnest($3::uuid[]) AS n (node_id)
             ON CONFLICT (slot, node_id) DO UPDATE SET seen = uptime_windows.seen | EXCLUDED.seen",
            windows.slot,
            windows.bits as i64,
            &nodes,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Uptime of a node over a stretch of time.
pub async fn uptime_ppm(
    connection: &mut PgConnection,
    node: NodeId,
    stretch: Stretch,
) -> sqlx::Result<u32> {
    let (first, last) = stretch.slots();
    let rows = sqlx::query!(
        "SELECT slot, node_id, seen FROM uptime_windows
         WHERE slot BETWEEN $1 AND $2 AND node_id IN ($3, $4)",
        first,
        last,
        node.as_uuid(),
        Uuid::nil(),
    )
    .fetch_all(connection)
    .await?;
    let mut slots: HashMap<i64, (u64, u64)> = HashMap::new();
    for row in rows {
        let slot = slots.entry(row.slot).or_default();
        if row.node_id.is_nil() {
            slot.1 = row.seen as u64;
        } else {
            slot.0 = row.seen as u64;
        }
    }
    let slots = slots.into_iter();
    Ok(stretch.uptime_ppm(slots.map(|(slot, (seen, observed))| (slot, seen, observed))))
}

/// The uptime of these nodes on the last day that was settled; those without one are left out.
pub async fn last_of(
    connection: &mut PgConnection,
    nodes: &[NodeId],
) -> sqlx::Result<HashMap<NodeId, u32>> {
    let nodes: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    let rows = sqlx::query!(
        r#"SELECT node_id, uptime_ppm AS "uptime_ppm!" FROM node_meters
           WHERE node_id = ANY($1) AND uptime_ppm IS NOT NULL"#,
        &nodes
    )
    .fetch_all(connection)
    .await?;
    let uptimes = rows.into_iter().map(|row| {
        (
            NodeId::from_uuid(row.node_id),
            row.uptime_ppm.unsigned_abs(),
        )
    });
    Ok(uptimes.collect())
}

/// From then on every window is still there: a day longer than settlement needs them.
pub async fn kept_since(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let since = sqlx::query_scalar!(
        r#"SELECT coalesce(min(s.starts_at), now()) - interval '1 day' AS "oldest!: jiff_sqlx::Timestamp"
           FROM settlement_days s
           WHERE s.counted_at IS NULL
              OR s.day_number = (SELECT min(day_number) FROM node_days WHERE settled_at IS NULL)
              OR s.day_number = (SELECT max(day_number) FROM settlement_days)"#
    )
    .fetch_one(connection)
    .await?;
    Ok(since.to_jiff())
}

/// Forgets windows that nobody needs any more.
pub async fn delete_settled(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let oldest = kept_since(connection).await?;
    let result = sqlx::query!(
        "DELETE FROM uptime_windows WHERE (slot, node_id) IN
             (SELECT slot, node_id FROM uptime_windows WHERE slot < $1 LIMIT $2)",
        slot_of(oldest),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

fn slot_of(at: Timestamp) -> i64 {
    at.as_millisecond().div_euclid(WINDOW_MS * SLOT_WINDOWS)
}
