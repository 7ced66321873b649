//! `earning_events`: when and where replicas begin and cease to earn, and the clock that all of money
//! goes by. One row says what happens to a file at one time, with the bytes of each node: rows for
//! single replicas would outnumber the replicas themselves, sums per node and day would be rows that
//! all uploads fight for, and could not be recomputed.

use crate::bookkeeping::tables::days;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use model::chunking::ChunkLayout;
use model::scheme::Scheme;

/// Plaintext bytes on each node: of a coded file those of its pieces, padding and all.
pub type NodeBytes = Vec<(NodeId, i64)>;

/// What the replicas of a file that earn come to on each node. Whoever changes that of a stored file writes an event;
/// of one that is not stored yet nobody does, so the caller has made it so in this transaction.
pub async fn holdings(
    connection: &mut PgConnection,
    file: FileId,
    layout: ChunkLayout,
    scheme: Scheme,
) -> sqlx::Result<NodeBytes> {
    Ok(count_holdings(connection, file, layout, scheme).await?.1)
}

/// Of each chunk of a file that is not stored yet, no more than `replication` are to earn, and of a coded one none twice
/// with the same piece: any further ones are marked.
pub async fn mark_surplus(
    connection: &mut PgConnection,
    file: FileId,
    layout: ChunkLayout,
    scheme: Scheme,
) -> sqlx::Result<()> {
    let expected = layout.chunk_count() as i64 * i64::from(scheme.pieces());
    let (count, _) = count_holdings(connection, file, layout, scheme).await?;
    // A piece that is there twice may make up for one that is not.
    if count <= expected && !scheme.is_coded() {
        return Ok(());
    }
    let of_each = match scheme {
        Scheme::Copies { pieces } => i64::from(pieces),
        Scheme::Coded { .. } => 1,
    };
    sqlx::query!(
        "UPDATE replicas r SET earns = false
         FROM (SELECT node_id, blob_id,
                      row_number() OVER (PARTITION BY chunk_index, piece ORDER BY stored_at_ms, blob_id) AS place
               FROM replicas WHERE file_id = $1) AS ranked
         WHERE r.node_id = ranked.node_id AND r.blob_id = ranked.blob_id AND ranked.place > $2",
        file.as_uuid(),
        of_each,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn count_holdings(
    connection: &mut PgConnection,
    file: FileId,
    layout: ChunkLayout,
    scheme: Scheme,
) -> sqlx::Result<(i64, NodeBytes)> {
    let chunks = layout.chunk_count();
    let Some(last) = chunks.checked_sub(1) else {
        return Ok((0, Vec::new()));
    };
    let last_size = layout.size_bytes - last * u64::from(layout.chunk_size);
    let chunk_size = scheme.piece_len(layout.chunk_size.into()).cast_signed();
    let last_size = scheme.piece_len(last_size).cast_signed();
    let rows = sqlx::query!(
        r#"SELECT node_id, count(*) AS "count!", count(*) FILTER (WHERE chunk_index = $2) AS "last!"
           FROM replicas WHERE file_id = $1 AND earns GROUP BY node_id ORDER BY node_id"#,
        file.as_uuid(),
        last as i32,
    )
    .fetch_all(connection)
    .await?;
    let count = rows.iter().map(|row| row.count).sum();
    let held = rows.into_iter().map(|row| {
        let bytes = row.count * chunk_size - row.last * (chunk_size - last_size);
        (NodeId::from_uuid(row.node_id), bytes)
    });
    Ok((count, held.collect()))
}

/// Writes down that each of these nodes gains or loses bytes that earn, at `at` by the ledger's clock.
pub async fn record(
    connection: &mut PgConnection,
    file: FileId,
    at: Timestamp,
    cause: &str,
    changes: &[(NodeId, i64)],
) -> sqlx::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let nodes: Vec<Uuid> = changes.iter().map(|(node, _)| node.as_uuid()).collect();
    let bytes: Vec<i64> = changes.iter().map(|(_, bytes)| *bytes).collect();
    sqlx::query!(
        "INSERT INTO earning_events (file_id, at, cause, node_ids, bytes) VALUES ($1, $2, $3, $4, $5)",
        file.as_uuid(),
        at.to_sqlx() as jiff_sqlx::Timestamp,
        cause,
        &nodes,
        &bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All replicas of a file cease to earn, at the same cost for any size.
pub async fn record_end(
    connection: &mut PgConnection,
    file: FileId,
    at: Timestamp,
    cause: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO earning_events (file_id, at, cause, node_ids, bytes)
         SELECT $1, $2, $3, array_agg(node_id ORDER BY node_id), array_agg(-bytes ORDER BY node_id)
         FROM (SELECT node_id, sum(b)::bigint AS bytes
               FROM earning_events, unnest(node_ids, bytes) AS held (node_id, b)
               WHERE file_id = $1 GROUP BY node_id HAVING sum(b) <> 0) AS held
         HAVING count(*) > 0",
        file.as_uuid(),
        at.to_sqlx() as jiff_sqlx::Timestamp,
        cause,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One replica ceases to earn, as in [`stop_all`].
pub async fn stop(
    connection: &mut PgConnection,
    node: NodeId,
    blob: BlobId,
    cause: &str,
) -> sqlx::Result<()> {
    stop_all(connection, node, &[blob], cause).await
}

/// Replicas of a node that are demoted or leave cease to earn; those that did not, or whose file is no
/// longer there, are passed over. Others of their chunks may then begin with [`start`]. The caller has
/// locked the chunks, and their files against deletion.
pub async fn stop_all(
    connection: &mut PgConnection,
    node: NodeId,
    blobs: &[BlobId],
    cause: &str,
) -> sqlx::Result<()> {
    let blobs: Vec<Vec<u8>> = blobs.iter().map(|blob| blob.as_bytes().to_vec()).collect();
    let stopped = sqlx::query!(
        "UPDATE replicas r SET earns = false
         FROM chunks c, files f
         WHERE r.node_id = $1 AND r.blob_id = ANY($2) AND r.earns
           AND (c.file_id, c.chunk_index) = (r.file_id, r.chunk_index)
           AND f.file_id = r.file_id AND f.state = 'ready'
         RETURNING r.file_id, piece_bytes(c.size_bytes, f.data_pieces) AS \"size_bytes!\"",
        node.as_uuid(),
        &blobs,
    )
    .fetch_all(&mut *connection)
    .await?;
    if stopped.is_empty() {
        return Ok(());
    }
    let files: Vec<Uuid> = stopped.iter().map(|row| row.file_id).collect();
    let bytes: Vec<i64> = stopped
        .iter()
        .map(|row| i64::from(row.size_bytes))
        .collect();
    let at = days::ledger_now(connection).await?;
    sqlx::query!(
        "INSERT INTO earning_events (file_id, at, cause, node_ids, bytes)
         SELECT file_id, $2, $3, ARRAY[$1::uuid], ARRAY[-sum(size)::bigint]
         FROM unnest($4::uuid[], $5::bigint[]) AS s (file_id, size) GROUP BY file_id",
        node.as_uuid(),
        at.to_sqlx() as jiff_sqlx::Timestamp,
        cause,
        &files,
        &bytes,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A replica begins to earn, unless its chunk has as many that do as were promised, or one with the same piece, or its file is used up and about
/// to end: it does so when it was used up, before this. Rows that repair adds to a stored file have `earns` unset
/// until this is called. The caller has locked the chunk, and its file against deletion.
pub async fn start(
    connection: &mut PgConnection,
    node: NodeId,
    blob: BlobId,
    cause: &str,
) -> sqlx::Result<bool> {
    let at = days::ledger_now(connection).await?;
    let started = sqlx::query!(
        "UPDATE replicas r SET earns = true
         FROM chunks c, files f
         WHERE r.node_id = $1 AND r.blob_id = $2 AND NOT r.earns
           AND (c.file_id, c.chunk_index) = (r.file_id, r.chunk_index)
           AND f.file_id = r.file_id AND f.state = 'ready' AND f.paid_until > $3
           AND (SELECT count(*) FROM replicas o
                WHERE o.file_id = r.file_id AND o.chunk_index = r.chunk_index AND o.earns
                  AND (f.data_pieces = 1 OR o.piece = r.piece))
               < CASE WHEN f.data_pieces = 1 THEN f.replication ELSE 1 END
         RETURNING r.file_id, piece_bytes(c.size_bytes, f.data_pieces) AS \"size_bytes!\"",
        node.as_uuid(),
        blob.as_bytes(),
        at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(started) = started else {
        return Ok(false);
    };
    let change = [(node, i64::from(started.size_bytes))];
    record(
        connection,
        FileId::from_uuid(started.file_id),
        at,
        cause,
        &change,
    )
    .await?;
    Ok(true)
}

/// Replicas, by node and blob.
pub type Replicas = [(NodeId, BlobId)];

/// Replicas of stored files cease and begin to earn, many at once. The caller has locked their chunks, and
/// their files against deletion, and sees to it that no more of a chunk earn than were promised. None of a file that
/// is used up begins, as in [`start`].
pub async fn reassign(
    connection: &mut PgConnection,
    stop: &Replicas,
    start: &Replicas,
    cause: &str,
) -> sqlx::Result<()> {
    if stop.is_empty() && start.is_empty() {
        return Ok(());
    }
    let changes = stop.iter().map(|replica| (replica, false));
    let changes: Vec<_> = changes
        .chain(start.iter().map(|replica| (replica, true)))
        .collect();
    let nodes: Vec<Uuid> = changes
        .iter()
        .map(|((node, _), _)| node.as_uuid())
        .collect();
    let blobs: Vec<Vec<u8>> = changes
        .iter()
        .map(|((_, blob), _)| blob.as_bytes().to_vec())
        .collect();
    let earns: Vec<bool> = changes.iter().map(|(_, earns)| *earns).collect();
    let at = days::ledger_now(connection).await?;
    sqlx::query!(
        "WITH changed AS (
             UPDATE replicas r SET earns = w.earns
             FROM unnest($1::uuid[], $2::bytea[], $3::boolean[]) AS w (node_id, blob_id, earns), chunks c, files f
             WHERE r.node_id = w.node_id AND r.blob_id = w.blob_id AND r.earns <> w.earns
               AND (c.file_id, c.chunk_index) = (r.file_id, r.chunk_index)
               AND f.file_id = r.file_id AND f.state = 'ready' AND (NOT w.earns OR f.paid_until > $4)
             RETURNING r.file_id, r.node_id,
                       piece_bytes(c.size_bytes, f.data_pieces) * CASE WHEN w.earns THEN 1 ELSE -1 END AS bytes),
         of_node AS (
             SELECT file_id, node_id, sum(bytes)::bigint AS bytes FROM changed
             GROUP BY file_id, node_id HAVING sum(bytes) <> 0)
         INSERT INTO earning_events (file_id, at, cause, node_ids, bytes)
         SELECT file_id, $4, $5, array_agg(node_id ORDER BY node_id), array_agg(bytes ORDER BY node_id)
         FROM of_node GROUP BY file_id",
        &nodes,
        &blobs,
        &earns,
        at.to_sqlx() as jiff_sqlx::Timestamp,
        cause,
    )
    .execute(connection)
    .await?;
    Ok(())
}
