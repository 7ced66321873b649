//! Days of the ledger: `ledger_days`. A day that has been cut off takes no event any more.

use jiff::Timestamp;
use proto::{LedgerDay, Signature};
use sqlx::PgConnection;

use crate::database::{corrupt, hash32};

/// The time by the ledger's clock, which never lies in a day that has been cut off. The day cannot be
/// cut off before this transaction ends. Call it before users and accounts are locked.
pub async fn ledger_now(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"SELECT ledger_now() AS "now!: jiff_sqlx::Timestamp""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}

/// Number and end of the last day that was cut off.
pub async fn last_day(connection: &mut PgConnection) -> sqlx::Result<(i64, Timestamp)> {
    let row = sqlx::query!(
        "SELECT day_number, ends_at FROM settlement_days ORDER BY day_number DESC LIMIT 1"
    )
    .fetch_one(connection)
    .await?;
    Ok((row.day_number, row.ends_at.to_jiff()))
}

/// The head of the last day that has one.
pub async fn last_head(connection: &mut PgConnection) -> sqlx::Result<Option<LedgerDay>> {
    let row = sqlx::query!(
        r#"SELECT label, head_block AS "block!", head_hash AS "hash!", signature AS "signature!"
           FROM settlement_days WHERE head_block IS NOT NULL ORDER BY day_number DESC LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(LedgerDay {
            day: row.label,
            block_number: row.block.unsigned_abs(),
            block_hash: hash32("settlement_days.head_hash", &row.hash)?,
            signature: Signature::try_from(&row.signature[..])
                .map_err(|error| corrupt("settlement_days.signature", error))?,
        })
    })
    .transpose()
}
