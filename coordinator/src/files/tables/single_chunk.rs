//! Files of one piece, many in one transaction: the same rows as those of an upload in steps, written
//! a table at a time.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{FileId, MicroCredits};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::keys::data_keys::WrappedKey;
use model::chunk::StoredChunk;
use model::ids::{UploadId, UserId};
use model::upload::UploadRequest;
use rules::allowance::Allowance;
use rules::file_meter::FileMeter;

/// What no account may exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub files: u64,
    /// What an account may use before its first purchase.
    pub trial: MicroCredits,
}

/// What this user may spend, as it stands; `None`: there is no such user.
pub async fn allowance(
    connection: &mut PgConnection,
    user: UserId,
    limits: &Limits,
) -> sqlx::Result<Option<Allowance>> {
    let row = sqlx::query_as!(
        AllowanceRow,
        "SELECT user_id, file_count, has_trial, trial_used_microcredits, balance_microcredits
         FROM users JOIN accounts ON owner_id = user_id AND account = 'available'
         WHERE user_id = $1",
        user.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.allowance(limits)))
}

/// Locks the users' rows and their accounts, in order of id as everybody does, each user's before
/// the user's accounts. What each of them may spend; one who is not known is left out.
pub async fn lock_allowances(
    connection: &mut PgConnection,
    users: &[UserId],
    limits: &Limits,
) -> sqlx::Result<HashMap<UserId, Allowance>> {
    let users: Vec<Uuid> = users.iter().map(UserId::as_uuid).collect();
    let rows = sqlx::query_as!(
        AllowanceRow,
        "SELECT user_id, file_count, has_trial, trial_used_microcredits, a.balance_microcredits
         FROM users
              JOIN accounts a ON a.owner_id = user_id AND a.account = 'available'
              JOIN accounts e ON e.owner_id = user_id AND e.account = 'escrow'
         WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE",
        &users
    )
    .fetch_all(connection)
    .await?;
    let allowances = rows.into_iter().map(|row| {
        let user = UserId::from_uuid(row.user_id);
        (user, row.allowance(limits))
    });
    Ok(allowances.collect())
}

struct AllowanceRow {
    user_id: Uuid,
    file_count: i64,
    has_trial: bool,
    trial_used_microcredits: i64,
    balance_microcredits: i64,
}

impl AllowanceRow {
    fn allowance(&self, limits: &Limits) -> Allowance {
        let used = MicroCredits::new(self.trial_used_microcredits);
        let trial = limits.trial.checked_sub(used).filter(|_| self.has_trial);
        Allowance {
            available: MicroCredits::new(self.balance_microcredits),
            trial: trial.unwrap_or(MicroCredits::ZERO),
            files: limits.files.saturating_sub(self.file_count.unsigned_abs()),
        }
    }
}

/// A file that is paid for.
#[derive(Debug)]
pub struct Row<'a> {
    pub id: FileId,
    /// Of the session that remembers the `Idempotency-Key`.
    pub upload_id: UploadId,
    pub request: &'a UploadRequest,
    pub chunk_size: u32,
    /// An empty file has none.
    pub has_chunk: bool,
    pub key: &'a WrappedKey,
    pub meter: &'a FileMeter,
    pub renew_at: Option<Timestamp>,
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
                                  $13::bigint[], $14::text[], $15::bytea[], $16::smallint[])
                 AS f (file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size,
                       replication, at, paid_until, renew_at, paid, price, master_key_id, wrapped,
                       sealing)),
         added AS (
             INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count,
                                chunk_size_bytes, replication, state, created_at, completed_at,
                                paid_until, renew_at, paid_microcredits, price_microcredits, sealing)
             SELECT file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size,
                    replication, 'ready', at, at, paid_until, renew_at, paid, price, sealing FROM file)
         INSERT INTO data_keys (file_id, master_key_id, wrapped)
         SELECT file_id, master_key_id, wrapped FROM file",
        &column(rows, |r| r.id.as_uuid()),
        &column(rows, |r| r.request.user_id.as_uuid()),
        &column(rows, |r| r.request.filename.as_str().to_owned()),
        &column(rows, |r| r.request.content_type.as_str().to_owned()),
        &column(rows, |r| r.meter.size_bytes as i64),
        &column(rows, |r| i32::from(r.has_chunk)),
        &column(rows, |r| r.chunk_size as i32),
        &column(rows, |r| r.meter.scheme.pieces() as i32),
        &column(rows, |r| time(r.meter.since)) as &[jiff_sqlx::Timestamp],
        &column(rows, |r| time(r.meter.paid_until())) as &[jiff_sqlx::Timestamp],
        &column(rows, |r| r.renew_at.map(time)) as &[Option<jiff_sqlx::Timestamp>],
        &column(rows, |r| r.meter.paid.get()),
        &column(rows, |r| r.meter.price.microcredits() as i64),
        &column(rows, |r| r.key.master_key_id.clone()),
        &column(rows, |r| r.key.bytes.clone()),
        &column(rows, |r| r.key.sealing_column()),
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

/// The replicas of these chunks begin to earn, on the length of the plaintext.
pub async fn record_earnings(
    connection: &mut PgConnection,
    chunks: &[&StoredChunk],
    at: Timestamp,
) -> sqlx::Result<()> {
    let replicas = || {
        chunks
            .iter()
            .flat_map(|chunk| chunk.replicas.iter().map(move |replica| (chunk, replica)))
    };
    let files: Vec<Uuid> = replicas()
        .map(|(chunk, _)| chunk.file_id.as_uuid())
        .collect();
    let nodes: Vec<Uuid> = replicas()
        .map(|(_, replica)| replica.node_id.as_uuid())
        .collect();
    let bytes: Vec<i64> = replicas()
        .map(|(chunk, _)| i64::from(chunk.size_bytes))
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

/// Counts one more file for each mention of a user, and what they took from the trial allowance.
pub async fn count_files(
    connection: &mut PgConnection,
    users: impl Iterator<Item = UserId>,
    trials: &[(UserId, MicroCredits)],
) -> sqlx::Result<()> {
    let mut added: HashMap<UserId, (i64, i64)> = HashMap::new();
    for user in users {
        added.entry(user).or_default().0 += 1;
    }
    for (user, amount) in trials {
        added.entry(*user).or_default().1 += amount.get();
    }
    let (users, added): (Vec<Uuid>, Vec<(i64, i64)>) = added
        .into_iter()
        .map(|(user, added)| (user.as_uuid(), added))
        .unzip();
    let (files, trials): (Vec<i64>, Vec<i64>) = added.into_iter().unzip();
    sqlx::query!(
        "UPDATE users SET file_count = file_count + a.files,
                trial_used_microcredits = trial_used_microcredits + a.trial
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS a (user_id, files, trial)
         WHERE users.user_id = a.user_id",
        &users,
        &files,
        &trials,
    )
    .execute(connection)
    .await?;
    Ok(())
}
