//! `wrapped_secrets`. What belongs to them stands in the tables of the concern that keeps them.

use sealing::SecretPlace;
use sqlx::PgConnection;

use crate::keys::wrapped_secret::WrappedSecret;

/// A secret that a retired master key wraps.
#[derive(Debug)]
pub struct OldSecret {
    pub purpose: String,
    pub subject: String,
    pub wrapped: WrappedSecret,
}

/// In the place of one that is there already.
pub async fn insert(
    connection: &mut PgConnection,
    place: SecretPlace<'_>,
    master_key_id: &str,
    wrapped: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO wrapped_secrets (purpose, subject, master_key_id, wrapped) VALUES ($1, $2, $3, $4)
         ON CONFLICT (purpose, subject) DO UPDATE
         SET master_key_id = EXCLUDED.master_key_id, wrapped = EXCLUDED.wrapped",
        place.purpose,
        place.subject,
        master_key_id,
        wrapped,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn find(
    connection: &mut PgConnection,
    place: SecretPlace<'_>,
) -> sqlx::Result<Option<WrappedSecret>> {
    sqlx::query_as!(
        WrappedSecret,
        "SELECT master_key_id, wrapped AS bytes FROM wrapped_secrets WHERE purpose = $1 AND subject = $2",
        place.purpose,
        place.subject,
    )
    .fetch_optional(connection)
    .await
}

pub async fn delete(connection: &mut PgConnection, place: SecretPlace<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM wrapped_secrets WHERE purpose = $1 AND subject = $2",
        place.purpose,
        place.subject,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// As `data_keys::lock_old`: some that a retired key wraps, unless this coordinator has missed a rotation.
pub async fn lock_old(
    connection: &mut PgConnection,
    in_use: &str,
    limit: i64,
) -> sqlx::Result<Vec<OldSecret>> {
    let rows = sqlx::query!(
        "SELECT purpose, subject, master_key_id, wrapped FROM wrapped_secrets
         WHERE master_key_id IN (SELECT key_id FROM keys
                                 WHERE purpose = 'master' AND retired_at IS NOT NULL)
           AND EXISTS (SELECT 1 FROM keys WHERE key_id = $1 AND retired_at IS NULL)
         LIMIT $2 FOR UPDATE SKIP LOCKED",
        in_use,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let secrets = rows.into_iter().map(|row| OldSecret {
        purpose: row.purpose,
        subject: row.subject,
        wrapped: WrappedSecret {
            master_key_id: row.master_key_id,
            bytes: row.wrapped,
        },
    });
    Ok(secrets.collect())
}
