//! `uptime_samples`, and `uptime_windows` as earlier releases have written it: when nodes were there.

use std::collections::HashMap;

use jiff::Timestamp;
use proto::{NodeId, PeerId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use rules::uptime::{Rule, Samples, SlotSamples, Stretch, place_of, window_of};

/// Nodes whose presence is sampled: those that have been here, and are not out or gone in order.
pub async fn sampled(connection: &mut PgConnection) -> sqlx::Result<Vec<(NodeId, PeerId)>> {
    let rows = sqlx::query!(
        "SELECT node_id, peer_id FROM nodes
         WHERE last_seen_at IS NOT NULL AND state NOT IN ('drained', 'disqualified')"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let peer = row.peer_id.parse();
            let peer = peer.map_err(|error| corrupt("nodes.peer_id", error))?;
            Ok((NodeId::from_uuid(row.node_id), peer))
        })
        .collect()
}

/// Adds what a coordinator has sampled in one window, of each node. Only it writes to these rows.
pub async fn record(
    connection: &mut PgConnection,
    coordinator: &PeerId,
    window: i64,
    samples: &[(NodeId, Samples)],
) -> sqlx::Result<()> {
    let (slot, place) = place_of(window);
    let nodes: Vec<Uuid> = samples.iter().map(|(node, _)| node.as_uuid()).collect();
    let bytes: Vec<i32> = samples
        .iter()
        .map(|(_, samples)| i32::from(samples.to_byte()))
        .collect();
    // Both halves are added at once; beyond 15 of a window no more are kept.
    sqlx::query!(
        "INSERT INTO uptime_samples AS u (slot, node_id, coordinator, windows)
         SELECT $1, node_id, $2, set_byte(decode(repeat('00', 64), 'hex'), $3, samples)
         FROM unnest($4::uuid[], $5::int[]) AS s (node_id, samples)
         ON CONFLICT (slot, node_id, coordinator) DO UPDATE
         SET windows = set_byte(u.windows, $3, get_byte(u.windows, $3) + get_byte(EXCLUDED.windows, $3))
         WHERE (get_byte(u.windows, $3) >> 4) + (get_byte(EXCLUDED.windows, $3) >> 4) <= 15",
        slot,
        coordinator.to_string(),
        place as i32,
        &nodes,
        &bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Uptime of a node over a stretch of time, by this rule.
pub async fn uptime_ppm(
    connection: &mut PgConnection,
    node: NodeId,
    stretch: Stretch,
    rule: Rule,
) -> sqlx::Result<u32> {
    let samples = match rule {
        Rule::Windows => Vec::new(),
        Rule::Samples => samples(connection, node, stretch).await?,
    };
    let (first, last) = stretch.slots();
    let rows = sqlx::query!(
        "SELECT slot, node_id, seen FROM uptime_windows
         WHERE slot BETWEEN $1 AND $2 AND node_id IN ($3, $4)",
        first,
        last,
        node.as_uuid(),
        Uuid::nil(),
    )
    .fetch_all(&mut *connection)
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
    let bits = slots.map(|(slot, (seen, observed))| (slot, seen, observed));
    Ok(stretch.uptime_ppm(bits, samples))
}

/// What all coordinators have sampled of a node.
async fn samples(
    connection: &mut PgConnection,
    node: NodeId,
    stretch: Stretch,
) -> sqlx::Result<Vec<SlotSamples>> {
    let (first, last) = stretch.slots();
    let rows = sqlx::query!(
        "SELECT slot, windows FROM uptime_samples WHERE slot BETWEEN $1 AND $2 AND node_id = $3",
        first,
        last,
        node.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let windows = row.windows[..].try_into();
            Ok(SlotSamples {
                slot: row.slot,
                windows: windows.map_err(|error| corrupt("uptime_samples.windows", error))?,
            })
        })
        .collect()
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
    let (oldest, _) = place_of(window_of(kept_since(connection).await?));
    let windows = sqlx::query!(
        "DELETE FROM uptime_windows WHERE (slot, node_id) IN
             (SELECT slot, node_id FROM uptime_windows WHERE slot < $1 LIMIT $2)",
        oldest,
        limit,
    )
    .execute(&mut *connection)
    .await?;
    let samples = sqlx::query!(
        "DELETE FROM uptime_samples WHERE (slot, node_id, coordinator) IN
             (SELECT slot, node_id, coordinator FROM uptime_samples WHERE slot < $1 LIMIT $2)",
        oldest,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(windows.rows_affected().max(samples.rows_affected()))
}
