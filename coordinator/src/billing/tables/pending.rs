//! What is still to be settled, paid or paid out, counted over `settlement_days`, `node_days`, `payouts` and
//! `purchases`.

use jiff::Timestamp;
use sqlx::PgConnection;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Up to when all pay is settled.
    pub settled_until: Timestamp,
    pub payouts: u64,
    pub purchases: u64,
}

pub async fn look(connection: &mut PgConnection) -> sqlx::Result<Pending> {
    let row = sqlx::query!(
        r#"SELECT coalesce(
                      (SELECT min(d.starts_at) FROM settlement_days d
                       WHERE d.counted_at IS NULL
                          OR d.day_number = (SELECT min(day_number) FROM node_days WHERE settled_at IS NULL)),
                      (SELECT max(ends_at) FROM settlement_days)
                  ) AS "settled_until!: jiff_sqlx::Timestamp",
                  (SELECT count(*) FROM payouts WHERE state = 'pending') AS "payouts!",
                  (SELECT count(*) FROM purchases WHERE state = 'pending') AS "purchases!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(Pending {
        settled_until: row.settled_until.to_jiff(),
        payouts: row.payouts.unsigned_abs(),
        purchases: row.purchases.unsigned_abs(),
    })
}
