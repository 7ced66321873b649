//! `keys`: ids and check values, never key bytes.

use sqlx::PgConnection;

use super::{corrupt, hash32};
use crate::keys::{KeyPurpose, NamedKey};

/// Coordinators that start for the first time at once must not each make keys.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("LOCK TABLE keys IN EXCLUSIVE MODE")
        .execute(connection)
        .await?;
    Ok(())
}

pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<NamedKey>> {
    let rows = sqlx::query!(
        r#"SELECT key_id, purpose, check_value, retired_at IS NULL AS "in_use!"
           FROM keys ORDER BY created_at, key_id"#
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
                in_use: row.in_use,
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
