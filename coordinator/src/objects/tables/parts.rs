//! `object_parts`, and `released_files`: which files hold the bytes of which version, and which hold nobody's any more.

use proto::FileId;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::VersionId;
use model::objects::ObjectPart;

/// In order of the bytes; without the one that only stands for the version's price.
pub async fn of(connection: &mut PgConnection, id: VersionId) -> sqlx::Result<Vec<ObjectPart>> {
    let rows = sqlx::query!(
        "SELECT part, file_id, size_bytes, md5 FROM object_parts
         WHERE version_id = $1 AND part > 0 ORDER BY part",
        id.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let parts = rows.into_iter().map(|row| ObjectPart {
        number: row.part.unsigned_abs(),
        file_id: FileId::from_uuid(row.file_id),
        size_bytes: row.size_bytes.unsigned_abs(),
        md5: row.md5.and_then(|md5| md5.try_into().ok()), // the column holds 16 bytes or none
    });
    Ok(parts.collect())
}

/// Each with its version.
pub async fn insert(
    connection: &mut PgConnection,
    parts: &[(VersionId, ObjectPart)],
) -> sqlx::Result<()> {
    let versions: Vec<Uuid> = parts.iter().map(|(id, _)| id.as_uuid()).collect();
    let numbers: Vec<i32> = parts.iter().map(|(_, part)| part.number as i32).collect();
    let files: Vec<Uuid> = parts
        .iter()
        .map(|(_, part)| part.file_id.as_uuid())
        .collect();
    let sizes: Vec<i64> = parts
        .iter()
        .map(|(_, part)| part.size_bytes as i64)
        .collect();
    let sums = parts
        .iter()
        .map(|(_, part)| part.md5.map(|md5| md5.to_vec()));
    let sums: Vec<Option<Vec<u8>>> = sums.collect();
    sqlx::query!(
        "INSERT INTO object_parts (version_id, part, file_id, size_bytes, md5)
         SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::bigint[], $5::bytea[])",
        &versions,
        &numbers,
        &files,
        &sizes,
        &sums as &[Option<Vec<u8>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// All files of these versions, those without bytes too.
pub async fn files_of(
    connection: &mut PgConnection,
    ids: &[VersionId],
) -> sqlx::Result<Vec<FileId>> {
    let ids: Vec<Uuid> = ids.iter().map(VersionId::as_uuid).collect();
    let files = sqlx::query_scalar!(
        r#"SELECT DISTINCT file_id FROM object_parts WHERE version_id = ANY($1)"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    Ok(files.into_iter().map(FileId::from_uuid).collect())
}

/// Those that neither a version nor an unfinished upload names.
pub async fn unnamed(connection: &mut PgConnection, files: &[FileId]) -> sqlx::Result<Vec<FileId>> {
    let files: Vec<Uuid> = files.iter().map(FileId::as_uuid).collect();
    let unnamed = sqlx::query_scalar!(
        r#"SELECT f.file_id AS "file_id!" FROM unnest($1::uuid[]) AS f (file_id)
           WHERE NOT EXISTS (SELECT FROM object_parts p WHERE p.file_id = f.file_id)
             AND NOT EXISTS (SELECT FROM multipart_parts m WHERE m.file_id = f.file_id)"#,
        &files
    )
    .fetch_all(connection)
    .await?;
    Ok(unnamed.into_iter().map(FileId::from_uuid).collect())
}

/// They end by and by.
pub async fn release(connection: &mut PgConnection, files: &[FileId]) -> sqlx::Result<()> {
    let files: Vec<Uuid> = files.iter().map(FileId::as_uuid).collect();
    sqlx::query!(
        "INSERT INTO released_files SELECT * FROM unnest($1::uuid[]) ON CONFLICT DO NOTHING",
        &files
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Some that were released; those that others work on are passed over.
pub async fn take_released(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<FileId>> {
    let files = sqlx::query_scalar!(
        "DELETE FROM released_files WHERE file_id IN
             (SELECT file_id FROM released_files ORDER BY file_id LIMIT $1 FOR UPDATE SKIP LOCKED)
         RETURNING file_id",
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(files.into_iter().map(FileId::from_uuid).collect())
}

/// A file of an object that nobody pays for any longer.
pub async fn one_unpaid(connection: &mut PgConnection) -> sqlx::Result<Option<FileId>> {
    let file = sqlx::query_scalar!(
        "SELECT file_id FROM files
         WHERE state = 'ready' AND role = 'part' AND paid_until <= database_clock()
         ORDER BY paid_until LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    Ok(file.map(FileId::from_uuid))
}
