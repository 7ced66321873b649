//! `chunks_to_repair`: which chunks need something. Its column `healthy` is the margin of each, as [`Scheme::margin`] works it
//! out: of copies as many as there are, of a coded chunk how many more pieces can be lost, and one.
//!
//! [`Scheme::margin`]: model::scheme::Scheme::margin

use std::time::Duration;

use jiff::Timestamp;
use proto::FileId;
use sqlx::PgConnection;

use crate::durability::tables::repair::{KeptChunk, columns};
use sealing::ChunkRef;

/// Locks those of these chunks against removal that nobody else has locked. Whoever has enters them himself, or
/// schedules another scan: a scan that waited for him could not be waited for.
pub(super) async fn lock_free(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<Vec<ChunkRef>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        "SELECT file_id, chunk_index FROM chunks
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ORDER BY file_id, chunk_index FOR KEY SHARE SKIP LOCKED",
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    let free = rows.into_iter().map(|row| ChunkRef {
        file_id: FileId::from_uuid(row.file_id),
        index: row.chunk_index.unsigned_abs(),
    });
    Ok(free.collect())
}

/// Enters those of these chunks that need something; how many. One that was put off is due at once when it has fewer
/// healthy replicas than it had. Takes their locks.
pub async fn enqueue_needy(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<u64> {
    if chunks.is_empty() {
        return Ok(0);
    }
    let (files, indices) = columns(chunks);
    // The foreign key would lock the chunks one by one, and after the rows of the queue.
    sqlx::query!(
        "SELECT FROM chunks WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ORDER BY file_id, chunk_index FOR KEY SHARE",
        &files,
        &indices,
    )
    .execute(&mut *connection)
    .await?;
    let entered = sqlx::query!(
        "INSERT INTO chunks_to_repair AS q (file_id, chunk_index, healthy, since)
         SELECT c.file_id, c.chunk_index, h.margin, now()
         FROM chunks c JOIN files f USING (file_id), LATERAL chunk_health(c.file_id, c.chunk_index) h
         WHERE (c.file_id, c.chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
           AND f.state <> 'deleted' AND (h.missing > 0 OR h.too_many > 0)
         ORDER BY c.file_id, c.chunk_index
         ON CONFLICT (file_id, chunk_index) DO UPDATE SET
             healthy = EXCLUDED.healthy,
             attempts = CASE WHEN EXCLUDED.healthy < q.healthy THEN 0 ELSE q.attempts END,
             not_before = CASE WHEN EXCLUDED.healthy < q.healthy AND q.attempts > 0 THEN now()
                               ELSE q.not_before END",
        &files,
        &indices,
    )
    .execute(connection)
    .await?;
    Ok(entered.rows_affected())
}

/// Enters chunks that have all their replicas; how many were not waiting yet. The caller has locked them.
pub async fn enqueue_whole(
    connection: &mut PgConnection,
    chunks: &[KeptChunk],
) -> sqlx::Result<u64> {
    if chunks.is_empty() {
        return Ok(0);
    }
    let named: Vec<ChunkRef> = chunks.iter().map(|kept| kept.chunk).collect();
    let (files, indices) = columns(&named);
    let healthy: Vec<i32> = chunks
        .iter()
        .map(|kept| kept.scheme.margin(kept.scheme.pieces()) as i32)
        .collect();
    let entered = sqlx::query!(
        "INSERT INTO chunks_to_repair (file_id, chunk_index, healthy, since)
         SELECT file_id, chunk_index, healthy, now()
         FROM unnest($1::uuid[], $2::int[], $3::int[]) AS c (file_id, chunk_index, healthy)
         ORDER BY file_id, chunk_index
         ON CONFLICT (file_id, chunk_index) DO NOTHING",
        &files,
        &indices,
        &healthy,
    )
    .execute(connection)
    .await?;
    Ok(entered.rows_affected())
}

/// A chunk that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    pub chunk: ChunkRef,
    /// How many more of its pieces can be lost, and one.
    pub margin: u32,
    /// In vain so far.
    pub attempts: u32,
}

/// Takes the most urgent chunks, of those with this margin at most, and puts them out
/// of reach for `lease`.
pub async fn take(
    connection: &mut PgConnection,
    limit: i64,
    most_margin: u32,
    lease: Duration,
) -> sqlx::Result<Vec<Queued>> {
    // Level by level, so that rows that are put off are no way to be gone.
    let rows = sqlx::query!(
        "UPDATE chunks_to_repair q SET not_before = now() + make_interval(secs => $3)
         FROM (SELECT due.* FROM generate_series(0, least($2, 32)) AS level, LATERAL
                   (SELECT file_id, chunk_index, healthy FROM chunks_to_repair
                    WHERE healthy = level AND not_before <= now()
                    ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED) AS due
               ORDER BY due.healthy LIMIT $1) AS due
         WHERE q.file_id = due.file_id AND q.chunk_index = due.chunk_index
         RETURNING q.file_id, q.chunk_index, q.healthy, q.attempts",
        limit,
        i32::try_from(most_margin).unwrap_or(i32::MAX),
        lease.as_secs_f64(),
    )
    .fetch_all(connection)
    .await?;
    let mut taken: Vec<Queued> = rows
        .into_iter()
        .map(|row| Queued {
            chunk: ChunkRef {
                file_id: FileId::from_uuid(row.file_id),
                index: row.chunk_index.unsigned_abs(),
            },
            margin: row.healthy.unsigned_abs(),
            attempts: row.attempts.unsigned_abs(),
        })
        .collect();
    taken.sort_by_key(|queued| queued.margin);
    Ok(taken)
}

/// Keeps chunks that are in work out of reach for `lease` from now on.
pub async fn renew(
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
    lease: Duration,
) -> sqlx::Result<()> {
    let (files, indices) = columns(chunks);
    sqlx::query!(
        "UPDATE chunks_to_repair SET not_before = now() + make_interval(secs => $3)
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))",
        &files,
        &indices,
        lease.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// These chunks need nothing more.
pub async fn finish(connection: &mut PgConnection, chunks: &[ChunkRef]) -> sqlx::Result<()> {
    let (files, indices) = columns(chunks);
    sqlx::query!(
        "DELETE FROM chunks_to_repair
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))",
        &files,
        &indices,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A chunk that is to be tried again.
#[derive(Debug, Clone, Copy)]
pub struct PutOff {
    pub chunk: ChunkRef,
    pub margin: u32,
    pub attempts: u32,
    pub pause: Duration,
}

pub async fn put_off(connection: &mut PgConnection, again: &[PutOff]) -> sqlx::Result<()> {
    if again.is_empty() {
        return Ok(());
    }
    let chunks: Vec<ChunkRef> = again.iter().map(|again| again.chunk).collect();
    let (files, indices) = columns(&chunks);
    let healthy: Vec<i32> = again.iter().map(|again| again.margin as i32).collect();
    let attempts: Vec<i32> = again.iter().map(|again| again.attempts as i32).collect();
    let pauses: Vec<f64> = again
        .iter()
        .map(|again| again.pause.as_secs_f64())
        .collect();
    sqlx::query!(
        "UPDATE chunks_to_repair q
         SET healthy = a.healthy, attempts = a.attempts, not_before = now() + make_interval(secs => a.pause)
         FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::float8[])
              AS a (file_id, chunk_index, healthy, attempts, pause)
         WHERE q.file_id = a.file_id AND q.chunk_index = a.chunk_index",
        &files,
        &indices,
        &healthy,
        &attempts,
        &pauses,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What waits, by margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Of copies as many as are healthy; of a coded chunk how many more pieces can be lost, and one.
    pub healthy: u32,
    pub chunks: u64,
    /// Put out of reach for now: in work, or to be tried again later.
    pub put_off: u64,
    pub oldest: Timestamp,
}

pub async fn waiting(connection: &mut PgConnection) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        r#"SELECT healthy, count(*) AS "chunks!", count(*) FILTER (WHERE not_before > now()) AS "put_off!",
                  min(since) AS "oldest!: jiff_sqlx::Timestamp"
           FROM chunks_to_repair GROUP BY healthy ORDER BY healthy"#
    )
    .fetch_all(connection)
    .await?;
    let waiting = rows.into_iter().map(|row| Waiting {
        healthy: row.healthy.unsigned_abs(),
        chunks: row.chunks.unsigned_abs(),
        put_off: row.put_off.unsigned_abs(),
        oldest: row.oldest.to_jiff(),
    });
    Ok(waiting.collect())
}
