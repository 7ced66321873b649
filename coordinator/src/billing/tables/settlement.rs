//! `settlement_days`, `node_days`, `node_meters`, `user_days`: which days have been cut off, and what
//! is left to settle of them.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{FileId, LedgerDay, MicroCredits, NodeId};
use sqlx::PgConnection;

use crate::billing::tables::terms;
use crate::database::corrupt;
use ledger::TransferId;
use model::day::Day;
use model::ids::UserId;
use model::money::{Carry, PricePerGbMonth};
use model::node_state::NodeState;
use model::scheme::Scheme;
use rules::file_meter::FileMeter;
use rules::uptime::Rule;

const LOCK_TIMED_OUT: &str = "55P03";

/// Waits until no event can be added to the time before now, until this transaction ends; `false` when
/// another coordinator is at it, or a transaction with an event does not end. Events wait meanwhile: be short.
pub async fn lock_days(connection: &mut PgConnection) -> sqlx::Result<bool> {
    const CUTTER_LOCK: i64 = 0x6673_6e5f_6375_7473; // "fsn_cuts"
    let alone = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock($1) AS "alone!""#,
        CUTTER_LOCK
    )
    .fetch_one(&mut *connection)
    .await?;
    if !alone {
        return Ok(false);
    }
    // Whoever comes while this waits has to wait behind it.
    sqlx::query!("SET LOCAL lock_timeout = '250ms'")
        .execute(&mut *connection)
        .await?;
    let locked = sqlx::query!("SELECT pg_advisory_xact_lock(days_lock())")
        .execute(connection)
        .await;
    match locked {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_TIMED_OUT) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether a file is stored that was paid for only until then or less.
pub async fn file_ends_by(connection: &mut PgConnection, at: Timestamp) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM files WHERE state = 'ready' AND paid_until <= $1) AS "ends!""#,
        at.to_sqlx() as jiff_sqlx::Timestamp
    )
    .fetch_one(connection)
    .await
}

/// What the cheapest stored file pays. Reads all files, once a day.
pub async fn lowest_price(connection: &mut PgConnection) -> sqlx::Result<Option<PricePerGbMonth>> {
    let lowest = sqlx::query_scalar!(
        "SELECT min(price_microcredits) FROM files WHERE state = 'ready' AND size_bytes > 0"
    )
    .fetch_one(connection)
    .await?;
    Ok(lowest.map(|price| PricePerGbMonth::from_microcredits(price.unsigned_abs())))
}

/// Cuts a day off. The days are locked.
pub async fn insert_day(
    connection: &mut PgConnection,
    number: i64,
    day: &Day,
    pay: PricePerGbMonth,
    head: Option<&LedgerDay>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO settlement_days (day_number, label, starts_at, ends_at, pay_microcredits,
                                      head_block, head_hash, signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        number,
        day.label,
        day.starts_at.to_sqlx() as jiff_sqlx::Timestamp,
        day.ends_at.to_sqlx() as jiff_sqlx::Timestamp,
        pay.microcredits() as i64,
        head.map(|head| head.block_number as i64),
        head.map(|head| head.block_hash.to_vec()),
        head.map(|head| head.signature.as_bytes().to_vec()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts the oldest day that is not counted yet: what each node held over it, and which users have
/// used something. `false` when there is none, or others are at it.
pub async fn count_day(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let day = sqlx::query!(
        "SELECT day_number, starts_at, ends_at FROM settlement_days WHERE counted_at IS NULL
         ORDER BY day_number LIMIT 1 FOR UPDATE"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(day) = day else { return Ok(false) };
    // Bytes that were there all day, and those that came or went for the rest of it.
    sqlx::query!(
        "INSERT INTO node_meters (node_id) SELECT node_id FROM nodes ON CONFLICT DO NOTHING"
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "WITH moved AS (
             SELECT held.node_id, sum(held.bytes) AS bytes,
                    sum(held.bytes * (extract(epoch FROM $3 - e.at) * 1000)) AS byte_ms
             FROM earning_events e, unnest(e.node_ids, e.bytes) AS held (node_id, bytes)
             WHERE e.at >= $2 AND e.at < $3 GROUP BY held.node_id),
         counted AS (
             INSERT INTO node_days (node_id, day_number, bytes_at_start, byte_ms)
             SELECT m.node_id, $1, m.bytes,
                    trunc(m.bytes * (extract(epoch FROM $3 - $2) * 1000) + coalesce(moved.byte_ms, 0))
             FROM node_meters m LEFT JOIN moved USING (node_id))
         UPDATE node_meters m
         SET bytes = m.bytes + coalesce(moved.bytes, 0),
             earning_since = CASE WHEN m.bytes > 0 OR moved.node_id IS NOT NULL
                                  THEN coalesce(m.earning_since, $2) ELSE m.earning_since END
         FROM node_meters o LEFT JOIN moved USING (node_id)
         WHERE m.node_id = o.node_id",
        day.day_number,
        day.starts_at as jiff_sqlx::Timestamp,
        day.ends_at as jiff_sqlx::Timestamp,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO user_days (user_id, day_number)
         SELECT DISTINCT user_id, $1::bigint FROM files WHERE state = 'ready' AND completed_at < $2",
        day.day_number,
        day.ends_at as jiff_sqlx::Timestamp,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE settlement_days SET counted_at = now() WHERE day_number = $1",
        day.day_number
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// A user who has to be charged for a day, with the user's row locked.
#[derive(Debug, Clone)]
pub struct UserDay {
    pub user_id: UserId,
    pub day_number: i64,
    pub label: String,
    pub ends_at: Timestamp,
    /// Up to when the user's files were charged before.
    pub charged_until: Timestamp,
}

/// The first day that some user has to be charged for; users that others work on are passed over.
pub async fn lock_user_day(connection: &mut PgConnection) -> sqlx::Result<Option<UserDay>> {
    let user = sqlx::query!(
        r#"SELECT u.user_id, coalesce(u.charged_until, 'epoch') AS "charged_until!: jiff_sqlx::Timestamp"
           FROM user_days d JOIN users u USING (user_id)
           ORDER BY d.day_number LIMIT 1 FOR UPDATE OF u SKIP LOCKED"#
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(user) = user else { return Ok(None) };
    // Read again: another coordinator may have settled the day before the lock was there.
    let day = sqlx::query!(
        "SELECT day_number, label, ends_at FROM user_days JOIN settlement_days USING (day_number)
         WHERE user_id = $1 ORDER BY day_number LIMIT 1",
        user.user_id
    )
    .fetch_optional(connection)
    .await?;
    Ok(day.map(|day| UserDay {
        user_id: UserId::from_uuid(user.user_id),
        day_number: day.day_number,
        label: day.label,
        ends_at: day.ends_at.to_jiff(),
        charged_until: user.charged_until.to_jiff(),
    }))
}

/// The meters of a user's files, a page at a time in order of id.
pub async fn meters_of_user(
    connection: &mut PgConnection,
    user: UserId,
    after: Option<FileId>,
    limit: i64,
) -> sqlx::Result<Vec<(FileId, FileMeter)>> {
    let rows = sqlx::query!(
        r#"SELECT file_id, size_bytes AS "size_bytes!", replication, data_pieces, price_microcredits,
                  completed_at AS "completed_at!", paid_microcredits, billed_name_bytes,
                  trial_microcredits
           FROM files WHERE user_id = $1 AND state = 'ready' AND ($2::uuid IS NULL OR file_id > $2)
           ORDER BY file_id LIMIT $3"#,
        user.as_uuid(),
        after.map(|id| id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let meters = rows.into_iter().map(|row| {
        let meter = FileMeter {
            billed_bytes: terms::of_row(row.billed_name_bytes)
                .billed_bytes(row.size_bytes.unsigned_abs()),
            scheme: Scheme::of_row(row.data_pieces, row.replication),
            price: PricePerGbMonth::from_microcredits(row.price_microcredits.unsigned_abs()),
            since: row.completed_at.to_jiff(),
            paid: MicroCredits::new(row.paid_microcredits),
            trial: MicroCredits::new(row.trial_microcredits),
        };
        (FileId::from_uuid(row.file_id), meter)
    });
    Ok(meters.collect())
}

/// The user has been charged for the day.
pub async fn mark_charged(connection: &mut PgConnection, day: &UserDay) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH done AS (DELETE FROM user_days WHERE user_id = $1 AND day_number = $2)
         UPDATE users SET charged_until = $3 WHERE user_id = $1",
        day.user_id.as_uuid(),
        day.day_number,
        day.ends_at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A node that has to be settled for a day, with its meter locked.
#[derive(Debug, Clone)]
pub struct UnsettledDay {
    pub node_id: NodeId,
    pub day_number: i64,
    pub label: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub pay: PricePerGbMonth,
    pub byte_ms: u128,
    pub carry: Carry,
    pub earning_since: Option<Timestamp>,
    pub state: NodeState,
    pub registered_at: Timestamp,
}

/// The first day for which some node has to be settled; nodes that others work on are passed over.
pub async fn lock_node_day(connection: &mut PgConnection) -> sqlx::Result<Option<UnsettledDay>> {
    let node = sqlx::query!(
        "SELECT m.node_id, m.carry, m.earning_since, n.state, n.created_at
         FROM node_days d JOIN node_meters m USING (node_id) JOIN nodes n USING (node_id)
         WHERE d.settled_at IS NULL
         ORDER BY d.day_number, d.node_id LIMIT 1 FOR UPDATE OF m SKIP LOCKED"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(node) = node else { return Ok(None) };
    // Read again: another coordinator may have settled the day before the lock was there.
    let day = sqlx::query!(
        r#"SELECT d.day_number, s.label, s.starts_at, s.ends_at, s.pay_microcredits,
                  d.byte_ms::text AS "byte_ms!", m.carry
           FROM node_days d JOIN settlement_days s USING (day_number) JOIN node_meters m USING (node_id)
           WHERE d.node_id = $1 AND d.settled_at IS NULL ORDER BY d.day_number LIMIT 1"#,
        node.node_id
    )
    .fetch_optional(connection)
    .await?;
    day.map(|day| {
        Ok(UnsettledDay {
            node_id: NodeId::from_uuid(node.node_id),
            day_number: day.day_number,
            label: day.label,
            starts_at: day.starts_at.to_jiff(),
            ends_at: day.ends_at.to_jiff(),
            pay: PricePerGbMonth::from_microcredits(day.pay_microcredits.unsigned_abs()),
            byte_ms: byte_ms(&day.byte_ms)?,
            carry: carry(day.carry)?,
            earning_since: node.earning_since.map(jiff_sqlx::Timestamp::to_jiff),
            state: (node.state.parse()).map_err(|error| corrupt("nodes.state", error))?,
            registered_at: node.created_at.to_jiff(),
        })
    })
    .transpose()
}

pub(super) fn byte_ms(text: &str) -> sqlx::Result<u128> {
    text.parse()
        .map_err(|error| corrupt("node_days.byte_ms", error))
}

pub(super) fn carry(parts: i64) -> sqlx::Result<Carry> {
    let carry = u64::try_from(parts).ok().and_then(Carry::from_parts);
    carry.ok_or_else(|| corrupt("node_meters.carry", parts))
}

/// A day of a node, as it sees it.
#[derive(Debug, Clone)]
pub struct OwnDay {
    pub day_number: i64,
    pub label: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub byte_ms: u128,
    pub settled: SettledDay,
}

/// The settled days of a node, the newest first.
pub async fn days_of_node(
    connection: &mut PgConnection,
    node: NodeId,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<OwnDay>> {
    let rows = sqlx::query!(
        r#"SELECT day_number, s.label, s.starts_at, s.ends_at, d.byte_ms::text AS "byte_ms!",
                  carry_before AS "carry_before!", carry_after AS "carry_after!",
                  uptime_ppm AS "uptime_ppm!", gross AS "gross!", earned AS "earned!",
                  penalties AS "penalties!", given_back AS "given_back!", uncollected AS "uncollected!",
                  held AS "held!", available AS "available!", transfer_id
           FROM node_days d JOIN settlement_days s USING (day_number)
           WHERE node_id = $1 AND settled_at IS NOT NULL AND ($2::bigint IS NULL OR day_number < $2)
           ORDER BY day_number DESC LIMIT $3"#,
        node.as_uuid(),
        before,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OwnDay {
                day_number: row.day_number,
                label: row.label,
                starts_at: row.starts_at.to_jiff(),
                ends_at: row.ends_at.to_jiff(),
                byte_ms: byte_ms(&row.byte_ms)?,
                settled: SettledDay {
                    carry_before: carry(row.carry_before)?,
                    carry_after: carry(row.carry_after)?,
                    uptime_ppm: row.uptime_ppm.unsigned_abs(),
                    gross: MicroCredits::new(row.gross),
                    earned: MicroCredits::new(row.earned),
                    penalties: MicroCredits::new(row.penalties),
                    given_back: MicroCredits::new(row.given_back),
                    uncollected: MicroCredits::new(row.uncollected),
                    held: MicroCredits::new(row.held),
                    available: MicroCredits::new(row.available),
                    transfer: row.transfer_id.map(TransferId::from_uuid),
                },
            })
        })
        .collect()
}

/// What a node has coming that is not settled yet.
#[derive(Debug, Clone, Copy)]
pub struct PendingDay {
    /// The end of the last settled day.
    pub since: Timestamp,
    pub until: Timestamp,
    /// Plaintext bytes that earn now.
    pub bytes: i64,
    pub byte_ms: u128,
    pub carry: Carry,
}

/// Adds up what was counted and not settled, and what has happened since the last day was cut off.
pub async fn pending(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<PendingDay> {
    let row = sqlx::query!(
        r#"WITH cut AS (SELECT coalesce(max(ends_at) FILTER (WHERE counted_at IS NOT NULL), 'epoch') AS counted,
                               greatest(max(ends_at), database_clock()) AS until FROM settlement_days),
                moved AS (
                    SELECT coalesce(sum(b), 0) AS bytes,
                           coalesce(sum(b * (extract(epoch FROM cut.until - e.at) * 1000)), 0) AS byte_ms
                    FROM cut, earning_events e, unnest(e.node_ids, e.bytes) AS held (node_id, b)
                    WHERE e.at >= cut.counted AND held.node_id = $1),
                open AS (
                    SELECT coalesce(sum(d.byte_ms), 0) AS byte_ms, min(s.starts_at) AS since
                    FROM node_days d JOIN settlement_days s USING (day_number)
                    WHERE d.node_id = $1 AND d.settled_at IS NULL)
           SELECT coalesce(open.since, cut.counted) AS "since!: jiff_sqlx::Timestamp",
                  cut.until AS "until!: jiff_sqlx::Timestamp",
                  (coalesce(m.bytes, 0) + moved.bytes)::bigint AS "bytes!",
                  trunc(open.byte_ms + moved.byte_ms + coalesce(m.bytes, 0)
                        * (extract(epoch FROM cut.until - cut.counted) * 1000))::text AS "byte_ms!",
                  coalesce(m.carry, 0) AS "carry!"
           FROM cut CROSS JOIN moved CROSS JOIN open
           LEFT JOIN node_meters m ON m.node_id = $1"#,
        node.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(PendingDay {
        since: row.since.to_jiff(),
        until: row.until.to_jiff(),
        bytes: row.bytes,
        byte_ms: byte_ms(&row.byte_ms)?,
        carry: carry(row.carry)?,
    })
}

/// What a node's day came to.
#[derive(Debug, Clone, Copy)]
pub struct SettledDay {
    pub carry_before: Carry,
    pub carry_after: Carry,
    pub uptime_ppm: u32,
    pub gross: MicroCredits,
    pub earned: MicroCredits,
    pub penalties: MicroCredits,
    pub given_back: MicroCredits,
    pub uncollected: MicroCredits,
    pub held: MicroCredits,
    pub available: MicroCredits,
    pub transfer: Option<TransferId>,
}

/// Writes down how the day ended for the node, and moves its meter on.
pub async fn mark_settled(
    connection: &mut PgConnection,
    day: &UnsettledDay,
    settled: &SettledDay,
) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH meter AS (UPDATE node_meters SET carry = $4, uptime_ppm = $5 WHERE node_id = $1)
         UPDATE node_days SET settled_at = now(), carry_before = $3, carry_after = $4, uptime_ppm = $5,
                uptime_rule = $14, gross = $6, earned = $7, penalties = $8, given_back = $9, uncollected = $10,
                held = $11, available = $12, transfer_id = $13
         WHERE node_id = $1 AND day_number = $2 AND settled_at IS NULL",
        day.node_id.as_uuid(),
        day.day_number,
        settled.carry_before.parts() as i64,
        settled.carry_after.parts() as i64,
        settled.uptime_ppm as i32,
        settled.gross.get(),
        settled.earned.get(),
        settled.penalties.get(),
        settled.given_back.get(),
        settled.uncollected.get(),
        settled.held.get(),
        settled.available.get(),
        settled.transfer.map(|id| id.as_uuid()),
        Rule::CURRENT.number(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
