//! `data_keys`, as a rotation of the master key sees them. They are made with their files (`files.rs`).

use proto::FileId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::keys::data_keys::WrappedKey;

/// A data key that a retired master key wraps.
#[derive(Debug)]
pub struct OldDataKey {
    pub file_id: FileId,
    pub wrapped: WrappedKey,
}

/// Locks some of those that a retired key wraps; none unless `in_use` is the key that is in use, for a
/// coordinator that missed the last rotation must not turn it back. What somebody else has locked is
/// passed over: it is deleted, or wrapped anew, at this moment.
pub async fn lock_old(
    connection: &mut PgConnection,
    in_use: &str,
    limit: i64,
) -> sqlx::Result<Vec<OldDataKey>> {
    let rows = sqlx::query!(
        "SELECT file_id, master_key_id, wrapped, sealing FROM data_keys d JOIN files USING (file_id)
         WHERE master_key_id IN (SELECT key_id FROM keys
                                 WHERE purpose = 'master' AND retired_at IS NOT NULL)
           AND EXISTS (SELECT 1 FROM keys WHERE key_id = $1 AND retired_at IS NULL)
         LIMIT $2 FOR UPDATE OF d SKIP LOCKED",
        in_use,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OldDataKey {
                file_id: FileId::from_uuid(row.file_id),
                wrapped: WrappedKey::of_row(row.master_key_id, row.wrapped, row.sealing)?,
            })
        })
        .collect()
}

/// Replaces what wraps these files' data keys.
pub async fn replace(
    connection: &mut PgConnection,
    master_key_id: &str,
    keys: &[(FileId, Vec<u8>)],
) -> sqlx::Result<()> {
    let files: Vec<Uuid> = keys.iter().map(|(file, _)| file.as_uuid()).collect();
    let wrapped: Vec<Vec<u8>> = keys.iter().map(|(_, wrapped)| wrapped.clone()).collect();
    sqlx::query!(
        "UPDATE data_keys d SET master_key_id = $1, wrapped = k.wrapped
         FROM unnest($2::uuid[], $3::bytea[]) AS k (file_id, wrapped) WHERE d.file_id = k.file_id",
        master_key_id,
        &files,
        &wrapped,
    )
    .execute(connection)
    .await?;
    Ok(())
}
