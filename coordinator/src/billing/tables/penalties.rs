//! `audit_penalties` as settlement reads them, and `settled_penalties`.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
use rules::node_pay::{Charge, Offence, PenaltyKind};

/// What has been charged to a node before a time and not been settled, oldest first.
pub async fn unsettled(
    connection: &mut PgConnection,
    node: NodeId,
    before: Timestamp,
) -> sqlx::Result<Vec<Charge>> {
    let rows = sqlx::query!(
        r#"SELECT p.penalty_id, p.kind, p.length_bytes, p.interval_s, p.weight_ppm, p.gives_back,
                  miss.collected AS "collected?"
           FROM audit_penalties p
           LEFT JOIN settled_penalties s ON s.penalty_id = p.penalty_id
           LEFT JOIN settled_penalties miss ON miss.penalty_id = p.gives_back
           WHERE p.node_id = $1 AND p.at < $2 AND s.penalty_id IS NULL
           ORDER BY p.penalty_id"#,
        node.as_uuid(),
        before.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            if let Some(miss) = row.gives_back {
                return Ok(Charge::GivenBack {
                    id: row.penalty_id,
                    miss,
                    collected: row.collected.map(MicroCredits::new),
                });
            }
            offence(
                row.penalty_id,
                &row.kind,
                (row.length_bytes, row.interval_s, row.weight_ppm),
            )
        })
        .collect()
}

/// From kind, length, interval and weight.
pub(super) fn offence(id: Uuid, kind: &str, facts: (i64, i64, i64)) -> sqlx::Result<Charge> {
    let kind = PenaltyKind::from_name(kind).ok_or_else(|| corrupt("audit_penalties.kind", kind))?;
    let offence = Offence {
        kind,
        length_bytes: facts.0.unsigned_abs(),
        interval_s: facts.1.unsigned_abs(),
        weight_ppm: facts.2.unsigned_abs(),
    };
    Ok(Charge::Offence { id, offence })
}

/// What a penalty came to.
#[derive(Debug, Clone, Copy)]
pub struct SettledPenalty {
    pub id: Uuid,
    pub amount: MicroCredits,
    pub collected: MicroCredits,
}

pub async fn mark_settled(
    connection: &mut PgConnection,
    node: NodeId,
    day_number: i64,
    penalties: &[SettledPenalty],
) -> sqlx::Result<()> {
    if penalties.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = penalties.iter().map(|penalty| penalty.id).collect();
    let amounts: Vec<i64> = penalties
        .iter()
        .map(|penalty| penalty.amount.get())
        .collect();
    let collected: Vec<i64> = penalties
        .iter()
        .map(|penalty| penalty.collected.get())
        .collect();
    sqlx::query!(
        "INSERT INTO settled_penalties (penalty_id, node_id, day_number, amount, collected)
         SELECT id, $1, $2, amount, collected
         FROM unnest($3::uuid[], $4::bigint[], $5::bigint[]) AS p (id, amount, collected)",
        node.as_uuid(),
        day_number,
        &ids,
        &amounts,
        &collected,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A penalty as its node sees it.
#[derive(Debug, Clone)]
pub struct OwnPenalty {
    pub day_number: i64,
    /// failed, missed, self_reported, given_back
    pub kind: String,
    pub amount: MicroCredits,
    pub collected: MicroCredits,
    pub at: Timestamp,
    pub blob_id: BlobId,
    pub reason: String,
}

/// The penalties of these days, `limit` of the newest.
pub async fn of_days(
    connection: &mut PgConnection,
    node: NodeId,
    days: &[i64],
    limit: i64,
) -> sqlx::Result<Vec<OwnPenalty>> {
    let rows = sqlx::query!(
        "SELECT s.day_number, p.kind, s.amount, s.collected, p.at, p.blob_id, p.reason
         FROM settled_penalties s JOIN audit_penalties p USING (penalty_id)
         WHERE s.node_id = $1 AND s.day_number = ANY($2)
         ORDER BY s.penalty_id DESC LIMIT $3",
        node.as_uuid(),
        days,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OwnPenalty {
                day_number: row.day_number,
                kind: row.kind,
                amount: MicroCredits::new(row.amount),
                collected: MicroCredits::new(row.collected),
                at: row.at.to_jiff(),
                blob_id: BlobId::from_bytes(hash32("audit_penalties.blob_id", &row.blob_id)?),
                reason: row.reason,
            })
        })
        .collect()
}
