//! The whole ledger and what it was derived from, read in order: for verification and export.

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use model::scheme::Scheme;
use proto::{FileId, LedgerDay, MicroCredits, NodeId, Signature};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::billing::tables::settlement::{byte_ms, carry};
use crate::billing::tables::terms;
use crate::database::{corrupt, hash32};
use ledger::Hash;
use model::ids::UserId;
use model::money::{Carry, PricePerGbMonth};
use rules::file_meter::FileMeter;
use rules::node_pay::Charge;
use rules::uptime::Rule;

/// The meters of all stored files in order of user, with the time up to which the user was charged and
/// what the user has in escrow; a user who stores nothing and has something there comes without one.
#[derive(Debug, Clone, Copy)]
pub struct EscrowRow {
    pub user_id: UserId,
    pub escrow: MicroCredits,
    pub charged_until: Timestamp,
    pub meter: Option<FileMeter>,
}

pub fn escrows(connection: &mut PgConnection) -> impl Stream<Item = sqlx::Result<EscrowRow>> + '_ {
    sqlx::query!(
        r#"SELECT a.owner_id, a.balance_microcredits,
                  coalesce(u.charged_until, 'epoch') AS "charged_until!: jiff_sqlx::Timestamp",
                  f.size_bytes AS "size_bytes?", f.replication AS "replication?", f.data_pieces AS "data_pieces?",
                  f.price_microcredits AS "price?", f.completed_at AS "completed_at?: jiff_sqlx::Timestamp",
                  f.paid_microcredits AS "paid?", f.billed_name_bytes, f.trial_microcredits AS "trial?"
           FROM accounts a JOIN users u ON u.user_id = a.owner_id
           LEFT JOIN files f ON f.user_id = a.owner_id AND f.state = 'ready'
           WHERE a.account = 'escrow' AND (f.file_id IS NOT NULL OR a.balance_microcredits <> 0)
           ORDER BY a.owner_id"#
    )
    .fetch(connection)
    .map(|row| {
        let row = row?;
        let meter = match (row.size_bytes, row.completed_at) {
            (Some(size), Some(since)) => Some(FileMeter {
                billed_bytes: terms::of_row(row.billed_name_bytes).billed_bytes(size.unsigned_abs()),
                scheme: Scheme::of_row(row.data_pieces.unwrap_or(1), row.replication.unwrap_or(0)),
                price: PricePerGbMonth::from_microcredits(row.price.unwrap_or(0).unsigned_abs()),
                since: since.to_jiff(),
                paid: MicroCredits::new(row.paid.unwrap_or(0)),
                trial: MicroCredits::new(row.trial.unwrap_or(0)),
            }),
            _ => None,
        };
        Ok(EscrowRow {
            user_id: UserId::from_uuid(row.owner_id),
            escrow: MicroCredits::new(row.balance_microcredits),
            charged_until: row.charged_until.to_jiff(),
            meter,
        })
    })
}

/// A day that was cut off.
#[derive(Debug, Clone)]
pub struct DayRow {
    pub number: i64,
    pub label: String,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub pay: PricePerGbMonth,
    pub counted: bool,
    /// The signed head, and the hash that its block has.
    pub head: Option<(LedgerDay, Hash)>,
}

/// Days from number `from` on.
pub async fn days(
    connection: &mut PgConnection,
    from: i64,
    limit: i64,
) -> sqlx::Result<Vec<DayRow>> {
    let rows = sqlx::query!(
        r#"SELECT day_number, label, starts_at, ends_at, pay_microcredits,
                  counted_at IS NOT NULL AS "counted!", head_block, head_hash, signature,
                  b.hash AS "block_hash?"
           FROM settlement_days LEFT JOIN blocks b ON b.block_number = head_block
           WHERE day_number >= $1 ORDER BY day_number LIMIT $2"#,
        from,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let head = match (row.head_block, row.head_hash, row.signature, row.block_hash) {
                (Some(block), Some(hash), Some(signature), Some(block_hash)) => {
                    let head = LedgerDay {
                        day: row.label.clone(),
                        block_number: block.unsigned_abs(),
                        block_hash: hash32("settlement_days.head_hash", &hash)?,
                        signature: Signature::try_from(&signature[..])
                            .map_err(|error| corrupt("settlement_days.signature", error))?,
                    };
                    Some((head, hash32("blocks.hash", &block_hash)?))
                }
                _ => None,
            };
            Ok(DayRow {
                number: row.day_number,
                label: row.label,
                starts_at: row.starts_at.to_jiff(),
                ends_at: row.ends_at.to_jiff(),
                pay: PricePerGbMonth::from_microcredits(row.pay_microcredits.unsigned_abs()),
                counted: row.counted,
                head,
            })
        })
        .collect()
}

/// The signed heads of all days, in order.
pub async fn heads(connection: &mut PgConnection) -> sqlx::Result<Vec<LedgerDay>> {
    let rows = sqlx::query!(
        r#"SELECT label, head_block AS "block!", head_hash AS "hash!", signature AS "signature!"
           FROM settlement_days
           WHERE head_block IS NOT NULL AND head_hash IS NOT NULL AND signature IS NOT NULL
           ORDER BY day_number"#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LedgerDay {
                day: row.label,
                block_number: row.block.unsigned_abs(),
                block_hash: hash32("settlement_days.head_hash", &row.hash)?,
                signature: Signature::try_from(&row.signature[..])
                    .map_err(|error| corrupt("settlement_days.signature", error))?,
            })
        })
        .collect()
}

/// What the events of a stretch of time come to on each node: the change of bytes, and of
/// byte-milliseconds until its end.
pub async fn moved(
    connection: &mut PgConnection,
    starts_at: Timestamp,
    ends_at: Timestamp,
) -> sqlx::Result<Vec<(NodeId, i128, i128)>> {
    use jiff_sqlx::ToSqlx;
    let rows = sqlx::query!(
        r#"SELECT held.node_id AS "node_id!", sum(held.bytes)::text AS "bytes!",
                  trunc(sum(held.bytes * (extract(epoch FROM $2 - e.at) * 1000)))::text AS "byte_ms!"
           FROM earning_events e, unnest(e.node_ids, e.bytes) AS held (node_id, bytes)
           WHERE e.at >= $1 AND e.at < $2 GROUP BY held.node_id"#,
        starts_at.to_sqlx() as jiff_sqlx::Timestamp,
        ends_at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_all(connection)
    .await?;
    let number = |text: &str| -> sqlx::Result<i128> {
        text.parse()
            .map_err(|error| corrupt("earning_events", error))
    };
    rows.into_iter()
        .map(|row| {
            Ok((
                NodeId::from_uuid(row.node_id),
                number(&row.bytes)?,
                number(&row.byte_ms)?,
            ))
        })
        .collect()
}

/// What settlement wrote of a node's day, and what its transfer moved.
#[derive(Debug, Clone)]
pub struct NodeDayRow {
    pub node_id: NodeId,
    pub registered_at: Timestamp,
    pub bytes_at_start: i64,
    pub byte_ms: u128,
    pub settled: Option<SettledRow>,
}

#[derive(Debug, Clone)]
pub struct SettledRow {
    pub carry_before: Carry,
    pub carry_after: Carry,
    pub uptime_ppm: u32,
    /// `None`: by one that this release does not know.
    pub uptime_rule: Option<Rule>,
    pub gross: MicroCredits,
    pub earned: MicroCredits,
    pub penalties: MicroCredits,
    pub given_back: MicroCredits,
    pub held: MicroCredits,
    pub available: MicroCredits,
    /// Entries of the transfer: income, held, available.
    pub moved: (i64, i64, i64),
    /// Sums of the single penalties: collected, given back.
    pub single: (i64, i64),
}

pub async fn node_days(
    connection: &mut PgConnection,
    day_number: i64,
) -> sqlx::Result<Vec<NodeDayRow>> {
    let rows = sqlx::query!(
        r#"SELECT d.node_id, n.created_at, d.bytes_at_start, d.byte_ms::text AS "byte_ms!", d.carry_before,
                  d.carry_after, d.uptime_ppm, d.uptime_rule, d.gross, d.earned, d.penalties, d.given_back,
                  d.held, d.available, d.settled_at IS NOT NULL AS "settled!",
                  coalesce((SELECT amount_microcredits FROM entries e WHERE e.transfer_id = d.transfer_id
                            AND e.owner_id = $2 AND e.account = 'income'), 0) AS "income!",
                  coalesce((SELECT amount_microcredits FROM entries e WHERE e.transfer_id = d.transfer_id
                            AND e.owner_id = d.node_id AND e.account = 'held'), 0) AS "to_held!",
                  coalesce((SELECT amount_microcredits FROM entries e WHERE e.transfer_id = d.transfer_id
                            AND e.owner_id = d.node_id AND e.account = 'available'), 0) AS "to_available!",
                  coalesce((SELECT sum(s.collected) FROM settled_penalties s JOIN audit_penalties p USING (penalty_id)
                            WHERE s.node_id = d.node_id AND s.day_number = d.day_number
                              AND p.kind <> 'given_back'), 0)::bigint AS "collected!",
                  coalesce((SELECT sum(s.collected) FROM settled_penalties s JOIN audit_penalties p USING (penalty_id)
                            WHERE s.node_id = d.node_id AND s.day_number = d.day_number
                              AND p.kind = 'given_back'), 0)::bigint AS "returned!"
           FROM node_days d JOIN nodes n USING (node_id) WHERE d.day_number = $1 ORDER BY d.node_id"#,
        day_number,
        Uuid::nil(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let amount = |value: Option<i64>| MicroCredits::new(value.unwrap_or(0));
            let settled = match row.settled {
                true => Some(SettledRow {
                    carry_before: carry(row.carry_before.unwrap_or(-1))?,
                    carry_after: carry(row.carry_after.unwrap_or(-1))?,
                    uptime_ppm: row.uptime_ppm.unwrap_or(0).unsigned_abs(),
                    uptime_rule: Rule::from_number(row.uptime_rule),
                    gross: amount(row.gross),
                    earned: amount(row.earned),
                    penalties: amount(row.penalties),
                    given_back: amount(row.given_back),
                    held: amount(row.held),
                    available: amount(row.available),
                    moved: (row.income, row.to_held, row.to_available),
                    single: (row.collected, row.returned),
                }),
                false => None,
            };
            Ok(NodeDayRow {
                node_id: NodeId::from_uuid(row.node_id),
                registered_at: row.created_at.to_jiff(),
                bytes_at_start: row.bytes_at_start,
                byte_ms: byte_ms(&row.byte_ms)?,
                settled,
            })
        })
        .collect()
}

/// What was charged to nodes and settled with a day: the facts, and the amount that was made of them.
pub async fn settled_charges(
    connection: &mut PgConnection,
    day_number: i64,
) -> sqlx::Result<Vec<(NodeId, Charge, MicroCredits)>> {
    let rows = sqlx::query!(
        r#"SELECT s.node_id, s.amount, p.penalty_id, p.kind, p.length_bytes, p.interval_s, p.weight_ppm,
                  EXISTS (SELECT 1 FROM audit_penalties back JOIN settled_penalties b USING (penalty_id)
                          WHERE back.gives_back = p.penalty_id AND b.day_number = s.day_number) AS "forgiven!"
           FROM settled_penalties s JOIN audit_penalties p USING (penalty_id)
           WHERE s.day_number = $1 AND p.gives_back IS NULL"#,
        day_number
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .filter(|row| !row.forgiven)
        .map(|row| {
            let charge = super::penalties::offence(
                row.penalty_id,
                &row.kind,
                (row.length_bytes, row.interval_s, row.weight_ppm),
            )?;
            Ok((
                NodeId::from_uuid(row.node_id),
                charge,
                MicroCredits::new(row.amount),
            ))
        })
        .collect()
}

/// Files whose events leave something on a node although they are gone.
pub async fn unended_files(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<FileId>> {
    let ids = sqlx::query_scalar!(
        "SELECT DISTINCT e.file_id
         FROM (SELECT file_id, node_id, sum(b) AS bytes
               FROM earning_events, unnest(node_ids, bytes) AS held (node_id, b)
               GROUP BY file_id, node_id HAVING sum(b) <> 0) AS e
         WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.file_id = e.file_id AND f.state = 'ready')
         ORDER BY e.file_id LIMIT $1",
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(FileId::from_uuid).collect())
}

/// Purchases, payouts and disputes of which the ledger says something else than their rows, in words. The first thousand.
pub async fn odd_money(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT 'purchase ' || p.purchase_id || ': it is ' || p.state
                  || ', and the ledger has not the transfer of just that' AS "finding!"
           FROM purchases p
           LEFT JOIN transfers t ON t.idempotency_key = 'purchase:' || p.user_id || ':' || p.idempotency_key
           LEFT JOIN entries e ON e.transfer_id = t.transfer_id AND e.owner_id = p.user_id
                              AND e.account = 'available'
           WHERE t.transfer_id IS DISTINCT FROM p.transfer_id
              OR (t.transfer_id IS NOT NULL AND e.amount_microcredits IS DISTINCT FROM p.credits_microcredits)
           UNION ALL
           SELECT 'payout ' || p.payout_id || ': it is ' || p.state
                  || ', and the ledger has not the transfers of just that'
           FROM payouts p
           LEFT JOIN transfers back ON back.idempotency_key = 'payout-refused:' || p.payout_id
           LEFT JOIN entries e ON e.transfer_id = p.transfer_id AND e.owner_id = p.node_id
           WHERE (p.state = 'refused') <> (back.transfer_id IS NOT NULL)
              OR e.amount_microcredits IS DISTINCT FROM -p.amount_microcredits
           UNION ALL
           SELECT 'dispute ' || d.dispute || ': it is ' || d.state
                  || ', and the ledger has not the transfers of just that'
           FROM disputes d
           LEFT JOIN transfers taken
               ON taken.idempotency_key = 'purchase_reversed:' || d.purchase_id || ':' || d.dispute
           LEFT JOIN transfers back
               ON back.idempotency_key = 'purchase_restored:' || d.purchase_id || ':' || d.dispute
           WHERE (d.taken_microcredits + d.lost_microcredits > 0) <> (taken.transfer_id IS NOT NULL)
              OR (d.state = 'given_back' AND taken.transfer_id IS NOT NULL) <> (back.transfer_id IS NOT NULL)
           LIMIT 1000"#
    )
    .fetch_all(connection)
    .await
}
