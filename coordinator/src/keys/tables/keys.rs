//! `keys`, `key_announcements` and `running_coordinators`: ids and check values, never key bytes.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
use crate::keys::{KeyPurpose, KeyState, NamedKey};

/// Whoever makes or rotates keys does so alone.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("LOCK TABLE keys IN EXCLUSIVE MODE")
        .execute(connection)
        .await?;
    Ok(())
}

/// All that are named, the announced ones last.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<NamedKey>> {
    let rows = sqlx::query!(
        r#"SELECT key_id AS "key_id!", purpose AS "purpose!", check_value AS "check_value!",
                  announced AS "announced!", retired AS "retired!"
           FROM (SELECT key_id, purpose, check_value, created_at, false AS announced,
                        retired_at IS NOT NULL AS retired FROM keys
                 UNION ALL
                 SELECT key_id, purpose, check_value, created_at, true, false
                 FROM key_announcements) AS named
           ORDER BY announced, created_at, key_id"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let purpose = KeyPurpose::ALL
                .into_iter()
                .find(|purpose| purpose.name() == row.purpose)
                .ok_or_else(|| corrupt("keys.purpose", &row.purpose))?;
            Ok(NamedKey {
                id: row.key_id,
                purpose,
                check_value: hash32("keys.check_value", &row.check_value)?,
                state: match (row.announced, row.retired) {
                    (true, _) => KeyState::Announced,
                    (false, false) => KeyState::InUse,
                    (false, true) => KeyState::Retired,
                },
            })
        })
        .collect()
}

pub async fn insert(connection: &mut PgConnection, key: &NamedKey) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO keys (key_id, purpose, check_value) VALUES ($1, $2, $3)",
        key.id,
        key.purpose.name(),
        &key.check_value[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn announce(connection: &mut PgConnection, key: &NamedKey) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO key_announcements (key_id, purpose, check_value) VALUES ($1, $2, $3)",
        key.id,
        key.purpose.name(),
        &key.check_value[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Retires the key that was in use and puts the announced one in its place.
pub async fn put_to_use(connection: &mut PgConnection, key: &NamedKey) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE keys SET retired_at = now() WHERE purpose = $1 AND retired_at IS NULL",
        key.purpose.name()
    )
    .execute(&mut *connection)
    .await?;
    insert(connection, key).await?;
    sqlx::query!("DELETE FROM key_announcements WHERE key_id = $1", key.id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the master key in use has been so for this long.
pub async fn master_is_older(
    connection: &mut PgConnection,
    period: Duration,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM keys WHERE purpose = 'master' AND retired_at IS NULL
                            AND created_at <= now() - make_interval(secs => $1)) AS "is_older!""#,
        period.as_secs_f64(),
    )
    .fetch_one(connection)
    .await
}

/// Takes a name away that has been retired for at least this long and that neither data key nor secret bears;
/// `false` when there is none such.
pub async fn forget(
    connection: &mut PgConnection,
    id: &str,
    retired_for: Duration,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "DELETE FROM keys WHERE key_id = $1 AND retired_at < now() - make_interval(secs => $2)
           AND NOT EXISTS (SELECT 1 FROM data_keys WHERE master_key_id = $1)
           AND NOT EXISTS (SELECT 1 FROM wrapped_secrets WHERE master_key_id = $1)",
        id,
        retired_for.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How many data keys and secrets each master key wraps; those that wrap none are left out.
pub async fn wrapped_by(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, u64)>> {
    let rows = sqlx::query!(
        r#"SELECT master_key_id AS "master_key_id!", count(*) AS "count!"
           FROM (SELECT master_key_id FROM data_keys UNION ALL SELECT master_key_id FROM wrapped_secrets) AS wrapped
           GROUP BY master_key_id"#
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (row.master_key_id, row.count.unsigned_abs()))
        .collect())
}

/// A coordinator that is, or was a moment ago, running.
#[derive(Debug, Clone)]
pub struct RunningCoordinator {
    pub peer_id: String,
    pub key_ids: Vec<String>,
}

/// Who asks to serve as a coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub instance: Uuid,
    /// One that is dead for certain.
    pub before: Option<Uuid>,
    pub ends_after: Duration,
}

/// Enters a process as the one that serves as this coordinator; `false` while another one may. What is dated into the
/// future was so by a clock that has been set since.
pub async fn claim(
    connection: &mut PgConnection,
    coordinator: &RunningCoordinator,
    lease: &Lease,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO running_coordinators AS r (peer_id, key_ids, sealing, instance_id)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (peer_id) DO UPDATE
         SET key_ids = EXCLUDED.key_ids, sealing = EXCLUDED.sealing, seen_at = now(),
             instance_id = EXCLUDED.instance_id
         WHERE r.instance_id = $4 OR r.instance_id = $5
            OR r.seen_at NOT BETWEEN now() - make_interval(secs => $6) AND now() + make_interval(secs => $6)",
        coordinator.peer_id,
        &coordinator.key_ids,
        i16::from(READS_PIECES),
        lease.instance,
        lease.before,
        lease.ends_after.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Notes that a coordinator runs, and which keys it holds; `false` when another process serves as it by now.
pub async fn note_running(
    connection: &mut PgConnection,
    coordinator: &RunningCoordinator,
    instance: Uuid,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO running_coordinators AS r (peer_id, key_ids, sealing, instance_id)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (peer_id) DO UPDATE
         SET key_ids = EXCLUDED.key_ids, sealing = EXCLUDED.sealing, seen_at = now(),
             instance_id = EXCLUDED.instance_id
         WHERE r.instance_id = $4 OR r.instance_id IS NULL",
        coordinator.peer_id,
        &coordinator.key_ids,
        i16::from(READS_PIECES),
        instance,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// What this program says that it reads: the newest version of sealing, and with it the pieces of coded files, which a
/// release that knew the version did not read yet.
pub const READS_PIECES: u8 = 3;

/// The newest version of sealing that all coordinators which have said within `seen_within` that they run can read;
/// `None` when none has.
pub async fn common_sealing(
    connection: &mut PgConnection,
    seen_within: Duration,
) -> sqlx::Result<Option<u8>> {
    let common = sqlx::query_scalar!(
        "SELECT min(sealing) FROM running_coordinators
         WHERE seen_at > now() - make_interval(secs => $1)",
        seen_within.as_secs_f64(),
    )
    .fetch_one(connection)
    .await?;
    // One that is newer than this program knows reads what this one reads.
    Ok(common.map(|version| u8::try_from(version).unwrap_or(u8::MAX)))
}

/// A coordinator ends in an orderly way.
pub async fn note_stopped(
    connection: &mut PgConnection,
    peer_id: &str,
    instance: Uuid,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM running_coordinators WHERE peer_id = $1 AND instance_id = $2",
        peer_id,
        instance
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets coordinators that have said nothing for a day.
pub async fn forget_dead(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM running_coordinators WHERE seen_at < now() - interval '1 day'")
        .execute(connection)
        .await?;
    Ok(())
}

/// The coordinators that have said within `seen_within` that they run.
pub async fn running(
    connection: &mut PgConnection,
    seen_within: Duration,
) -> sqlx::Result<Vec<RunningCoordinator>> {
    sqlx::query_as!(
        RunningCoordinator,
        "SELECT peer_id, key_ids FROM running_coordinators
         WHERE seen_at > now() - make_interval(secs => $1) ORDER BY peer_id",
        seen_within.as_secs_f64(),
    )
    .fetch_all(connection)
    .await
}
