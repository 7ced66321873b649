//! Files of one piece, many in one transaction: the same rows as those of an upload in steps, written
//! a table at a time.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::FileId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::files::role;
use crate::keys::data_keys::WrappedKey;
use model::chunk::StoredChunk;
use model::ids::UploadId;
use model::scheme::Scheme;
use model::terms::Terms;
use model::upload::UploadRequest;
use rules::file_meter::FileMeter;

/// A file that is paid for.
#[derive(Debug)]
pub struct Row<'a> {
    pub id: FileId,
    /// Of the session that remembers the `Idempotency-Key`.
    pub upload_id: UploadId,
    pub request: &'a UploadRequest,
    pub size_bytes: u64,
    pub sha256: &'a [u8; 32],
    pub chunk_size: u32,
    pub terms: Terms,
    /// An empty file has none.
    pub has_chunk: bool,
    pub key: &'a WrappedKey,
    pub meter: &'a FileMeter,
    pub paid_until: Timestamp,
    pub renew_at: Timestamp,
}

/// Files that are ready at once, their keys, and the sessions that remember an `Idempotency-Key`.
pub async fn insert(
    connection: &mut PgConnection,
    rows: &[Row<'_>],
    key_ttl: Duration,
) -> sqlx::Result<()> {
    fn column<T>(rows: &[Row<'_>], value: impl Fn(&Row<'_>) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }
    let time = |at: Timestamp| -> jiff_sqlx::Timestamp { at.to_sqlx() };
    sqlx::query!(
        "WITH file AS (
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[],
                                  $6::int[], $7::int[], $8::int[], $9::timestamptz[],
                                  $10::timestamptz[], $11::timestamptz[], $12::bigint[],
                                  $13::bigint[], $14::text[], $15::bytea[], $16::int[], $17::bigint[],
                                  $18::bytea[], $19::smallint[], $20::text[], $21::int[])
                 AS f (file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size,
                       replication, at, paid_until, renew_at, paid, price, master_key_id, wrapped,
                       billed_name_bytes, trial, sha256, sealing, role, data_pieces)),
         added AS (
             INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count,
                                chunk_size_bytes, replication, state, created_at, completed_at,
                                paid_until, renew_at, paid_microcredits, price_microcredits,
                                billed_name_bytes, trial_microcredits, sha256, sealing, role, data_pieces)
             SELECT file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size,
                    replication, 'ready', at, at, paid_until, renew_at, paid, price,
                    billed_name_bytes, trial, sha256, sealing, role, data_pieces FROM file)
         INSERT INTO data_keys (file_id, master_key_id, wrapped)
         SELECT file_id, master_key_id, wrapped FROM file",
        &column(rows, |r| r.id.as_uuid()),
        &column(rows, |r| r.request.user_id.as_uuid()),
        &column(rows, |r| r.request.filename.as_str().to_owned()),
        &column(rows, |r| r.request.content_type.as_str().to_owned()),
        &column(rows, |r| r.size_bytes as i64),
        &column(rows, |r| i32::from(r.has_chunk)),
        &column(rows, |r| r.chunk_size as i32),
        &column(rows, |r| r.meter.scheme.pieces() as i32),
        &column(rows, |r| time(r.meter.since)) as &[jiff_sqlx::Timestamp],
        &column(rows, |r| time(r.paid_until)) as &[jiff_sqlx::Timestamp],
        &column(rows, |r| time(r.renew_at)) as &[jiff_sqlx::Timestamp],
        &column(rows, |r| r.meter.paid.get()),
        &column(rows, |r| r.meter.price.microcredits() as i64),
        &column(rows, |r| r.key.master_key_id.clone()),
        &column(rows, |r| r.key.bytes.clone()),
        &column(rows, |r| r.terms.name_bytes().map(u32::cast_signed)) as &[Option<i32>],
        &column(rows, |r| r.meter.trial.get()),
        &column(rows, |r| r.sha256.to_vec()),
        &column(rows, |r| r.key.sealing_column()),
        &column(rows, |r| role(r.request.target.is_some()).to_owned()),
        &column(rows, |r| r.meter.scheme.needed() as i32),
    )
    .execute(&mut *connection)
    .await?;
    let keyed = rows.iter().filter_map(|row| {
        let key = row.request.idempotency_key.clone()?;
        Some((row, key))
    });
    let (files, keys): (Vec<&Row<'_>>, Vec<String>) = keyed.unzip();
    if files.is_empty() {
        return Ok(());
    }
    let uploads: Vec<Uuid> = files.iter().map(|file| file.upload_id.as_uuid()).collect();
    let users: Vec<Uuid> = files
        .iter()
        .map(|file| file.request.user_id.as_uuid())
        .collect();
    let digests: Vec<Vec<u8>> = files
        .iter()
        .map(|file| file.request.digest().to_vec())
        .collect();
    let files: Vec<Uuid> = files.iter().map(|file| file.id.as_uuid()).collect();
    sqlx::query!(
        "INSERT INTO uploads (upload_id, file_id, user_id, state, hold_microcredits,
                              idempotency_key, request_digest, expires_at)
         SELECT upload_id, file_id, user_id, 'completed', 0, key, digest,
                now() + make_interval(secs => $6)
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[])
             AS u (upload_id, file_id, user_id, key, digest)",
        &uploads,
        &files,
        &users,
        &keys,
        &digests,
        key_ttl.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The replicas of these chunks begin to earn, on the length of the plaintext that each holds.
pub async fn record_earnings(
    connection: &mut PgConnection,
    chunks: &[(&StoredChunk, Scheme)],
    at: Timestamp,
) -> sqlx::Result<()> {
    let replicas = || {
        chunks
            .iter()
            .flat_map(|of| of.0.replicas.iter().map(move |replica| (of, replica)))
    };
    let files: Vec<Uuid> = replicas()
        .map(|((chunk, _), _)| chunk.file_id.as_uuid())
        .collect();
    let nodes: Vec<Uuid> = replicas()
        .map(|(_, replica)| replica.node_id.as_uuid())
        .collect();
    let bytes: Vec<i64> = replicas()
        .map(|((chunk, scheme), _)| scheme.piece_len(chunk.size_bytes.into()).cast_signed())
        .collect();
    sqlx::query!(
        "INSERT INTO earning_events (file_id, at, cause, node_ids, bytes)
         SELECT file_id, $4, 'complete', array_agg(node_id ORDER BY node_id),
                array_agg(bytes ORDER BY node_id)
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS r (file_id, node_id, bytes)
         GROUP BY file_id",
        &files,
        &nodes,
        &bytes,
        at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(connection)
    .await?;
    Ok(())
}
