//! Blocks: committed transfers are sealed into a chain of hashes, by one sealer at a time.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{TableError, hash32};
use crate::rules::{Hash, PLATFORM, block_hash};

/// Number and hash of the last block.
pub async fn head(connection: &mut PgConnection) -> Result<Option<(u64, Hash)>, TableError> {
    let row =
        sqlx::query!("SELECT block_number, hash FROM blocks ORDER BY block_number DESC LIMIT 1")
            .fetch_optional(connection)
            .await?;
    row.map(|row| {
        Ok((
            row.block_number.unsigned_abs(),
            hash32("blocks.hash", &row.hash)?,
        ))
    })
    .transpose()
}

/// The hashes of those of these blocks that there are.
pub(crate) async fn block_hashes(
    connection: &mut PgConnection,
    numbers: &[u64],
) -> Result<Vec<(u64, Hash)>, TableError> {
    let numbers = numbers.iter().map(|number| i64::try_from(*number));
    let numbers: Vec<i64> = numbers.filter_map(Result::ok).collect();
    let rows = sqlx::query!(
        "SELECT block_number, hash FROM blocks WHERE block_number = ANY($1) ORDER BY block_number",
        &numbers
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash = hash32("blocks.hash", &row.hash)?;
            Ok((row.block_number.unsigned_abs(), hash))
        })
        .collect()
}

/// When the oldest transfer happened that is in no block yet.
pub async fn unsealed_since(
    connection: &mut PgConnection,
) -> Result<Option<Timestamp>, TableError> {
    let at = sqlx::query_scalar!(
        r#"SELECT at AS "at: jiff_sqlx::Timestamp" FROM transfers WHERE block IS NULL
           ORDER BY transfer_id LIMIT 1"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(at.map(jiff_sqlx::Timestamp::to_jiff))
}

/// A block that was just appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub block_number: u64,
    pub transfers: usize,
}

/// Seals committed transfers into the next block, `limit` at most, and carries the platform's
/// balances forward. `None` when there is nothing to seal or another coordinator is at it.
pub async fn seal_block(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Option<Sealed>, TableError> {
    const SEALER_LOCK: i64 = 0x6673_6e5f_7365_616c; // "fsn_seal"
    let alone = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_xact_lock($1) AS "alone!""#,
        SEALER_LOCK
    )
    .fetch_one(&mut *connection)
    .await?;
    if !alone {
        return Ok(None);
    }
    let transfers = sqlx::query!(
        "SELECT transfer_id, hash FROM transfers WHERE block IS NULL ORDER BY transfer_id LIMIT $1",
        limit
    )
    .fetch_all(&mut *connection)
    .await?;
    if transfers.is_empty() {
        return Ok(None);
    }
    let (number, previous) = match head(&mut *connection).await? {
        Some((last, hash)) => (last + 1, hash),
        None => (1, [0; 32]),
    };
    let hashes: Vec<Hash> = transfers
        .iter()
        .map(|transfer| hash32("transfers.hash", &transfer.hash))
        .collect::<Result<_, TableError>>()?;
    let hash = block_hash(&previous, number, hashes.iter().copied());
    sqlx::query!(
        "INSERT INTO blocks (block_number, previous_hash, hash, transfer_count) VALUES ($1, $2, $3, $4)",
        number as i64,
        &previous[..],
        &hash[..],
        transfers.len() as i32,
    )
    .execute(&mut *connection)
    .await?;
    let ids: Vec<Uuid> = transfers
        .iter()
        .map(|transfer| transfer.transfer_id)
        .collect();
    sqlx::query!(
        "UPDATE transfers SET block = $1 WHERE transfer_id = ANY($2)",
        number as i64,
        &ids
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE accounts SET balance_microcredits = balance_microcredits + moved.amount
         FROM (SELECT owner_id, account, sum(amount_microcredits)::bigint AS amount FROM entries
               WHERE transfer_id = ANY($1) AND owner_id = $2 GROUP BY owner_id, account) AS moved
         WHERE accounts.owner_id = moved.owner_id AND accounts.account = moved.account",
        &ids,
        PLATFORM,
    )
    .execute(connection)
    .await?;
    Ok(Some(Sealed {
        block_number: number,
        transfers: ids.len(),
    }))
}
