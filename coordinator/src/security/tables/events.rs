//! `security_events`.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use model::security::SecurityEvent;
use sqlx::PgConnection;

use crate::security::Row;
use model::ids::UserId;

/// Of one that is counted, the row of its minute may be there.
pub async fn insert(connection: &mut PgConnection, row: &Row<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO security_events AS e (kind, outcome, user_id, actor, address, subject, request_id, count,
                                           counted_as)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (counted_as) DO UPDATE SET count = e.count + EXCLUDED.count",
        row.event.kind.name(),
        row.event.outcome.name(),
        row.event.user.map(|user| user.as_uuid()),
        row.actor(),
        row.asked.address.map(|address| address.to_string()),
        row.subject(),
        row.asked.request_id,
        i64::try_from(row.count).unwrap_or(i64::MAX),
        row.counted_as.as_ref().map(|hash| &hash[..]),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which events are asked for; what is `None` is left open.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    pub user: Option<UserId>,
    pub kind: Option<&'a str>,
    pub outcome: Option<&'a str>,
    pub address: Option<IpAddr>,
    pub since: Option<Timestamp>,
    /// Those that came before this one.
    pub before: Option<i64>,
}

/// The newest first.
pub async fn list(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    limit: i64,
) -> sqlx::Result<Vec<SecurityEvent>> {
    let rows = sqlx::query!(
        "SELECT event_id, at, kind, outcome, user_id, actor, address, subject, request_id, count
         FROM security_events
         WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::text IS NULL OR kind = $2)
           AND ($3::text IS NULL OR outcome = $3) AND ($4::text IS NULL OR address = $4)
           AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::bigint IS NULL OR event_id < $6)
         ORDER BY event_id DESC LIMIT $7",
        wanted.user.map(|user| user.as_uuid()),
        wanted.kind,
        wanted.outcome,
        wanted.address.map(|address| address.to_string()),
        wanted.since.map(ToSqlx::to_sqlx) as _,
        wanted.before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let events = rows.into_iter().map(|row| SecurityEvent {
        id: row.event_id,
        at: row.at.to_jiff(),
        kind: row.kind,
        outcome: row.outcome,
        user: row.user_id.map(UserId::from_uuid),
        actor: row.actor,
        address: row.address.and_then(|address| address.parse().ok()),
        subject: row.subject,
        request_id: row.request_id,
        count: row.count.unsigned_abs(),
    });
    Ok(events.collect())
}

/// Forgets what is older than 400 days.
pub async fn delete_old(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM security_events WHERE event_id IN
             (SELECT event_id FROM security_events WHERE at < now() - interval '400 days' LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Takes from what is told of an account that was closed, and of commands that named its address, whose it was and from
/// where: that something happened, and when, stays.
pub async fn forget_person(
    connection: &mut PgConnection,
    user: UserId,
    address: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE security_events SET address = NULL, actor = NULL, request_id = NULL,
                subject = CASE WHEN kind = 'account-decision' THEN subject END
         WHERE user_id = $1",
        user.as_uuid(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE security_events SET subject = replace(subject, $1, $2)
         WHERE kind = 'admin-command' AND strpos(subject, $1) > 0",
        address,
        user.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
