//! `files` and `data_keys`.

use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{BlobId, FileId, MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::billing::tables::terms;
use crate::blobs::tables::chunks::piece_number;
use crate::database::hash32;
use crate::keys::data_keys::WrappedKey;
use model::chunk::{ChunkLocations, ReplicaLocation};
use model::chunking::ChunkLayout;
use model::file::{File, UploadingFile};
use model::ids::UserId;
use model::money::PricePerGbMonth;
use model::names::{ContentType, Filename};
use model::scheme::Scheme;
use model::terms::Terms;
use rules::file_meter::FileMeter;

struct Row {
    file_id: Uuid,
    user_id: Uuid,
    filename: String,
    content_type: String,
    sha256: Option<Vec<u8>>,
    size_bytes: i64,
    chunk_size_bytes: i32,
    replication: i32,
    data_pieces: i32,
    created_at: jiff_sqlx::Timestamp,
    completed_at: jiff_sqlx::Timestamp,
    paid_until: jiff_sqlx::Timestamp,
    paid_microcredits: i64,
    price_microcredits: i64,
    grace_since: Option<jiff_sqlx::Timestamp>,
    billed_name_bytes: Option<i32>,
    trial_microcredits: i64,
}

impl From<Row> for File {
    fn from(row: Row) -> Self {
        Self {
            id: FileId::from_uuid(row.file_id),
            user_id: UserId::from_uuid(row.user_id),
            filename: row.filename,
            content_type: row.content_type,
            sha256: row.sha256.and_then(|sha256| sha256.try_into().ok()), // the column holds 32 bytes or none
            layout: ChunkLayout::new(
                row.size_bytes.unsigned_abs(),
                row.chunk_size_bytes.unsigned_abs(),
            ),
            scheme: Scheme::of_row(row.data_pieces, row.replication),
            created_at: row.created_at.to_jiff(),
            completed_at: row.completed_at.to_jiff(),
            paid_until: row.paid_until.to_jiff(),
            terms: terms::of_row(row.billed_name_bytes),
            paid: MicroCredits::new(row.paid_microcredits),
            trial: MicroCredits::new(row.trial_microcredits),
            price: PricePerGbMonth::from_microcredits(row.price_microcredits.unsigned_abs()),
            grace_since: row.grace_since.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

#[derive(Debug)]
pub struct NewFile<'a> {
    pub id: FileId,
    pub user_id: UserId,
    pub filename: &'a Filename,
    pub content_type: &'a ContentType,
    pub size_bytes: Option<u64>,
    pub chunk_size: u32,
    pub scheme: Scheme,
    pub terms: Terms,
    pub key: &'a WrappedKey,
    /// It belongs to an object and is not listed by itself.
    pub is_part: bool,
}

/// As a row keeps it.
pub fn role(is_part: bool) -> &'static str {
    match is_part {
        true => "part",
        false => "file",
    }
}

pub async fn insert(connection: &mut PgConnection, file: &NewFile<'_>) -> sqlx::Result<()> {
    let layout = file
        .size_bytes
        .map(|size| ChunkLayout::new(size, file.chunk_size));
    sqlx::query!(
        "WITH file AS (
             INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count,
                                chunk_size_bytes, replication, billed_name_bytes, sealing, role, data_pieces)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $11, $12, $13, $14))
         INSERT INTO data_keys (file_id, master_key_id, wrapped) VALUES ($1, $9, $10)",
        file.id.as_uuid(),
        file.user_id.as_uuid(),
        file.filename.as_str(),
        file.content_type.as_str(),
        file.size_bytes.map(|size| size as i64),
        layout.map(|layout| layout.chunk_count() as i32),
        file.chunk_size as i32,
        file.scheme.pieces() as i32,
        file.key.master_key_id,
        &file.key.bytes[..],
        file.terms.name_bytes().map(u32::cast_signed),
        file.key.sealing_column(),
        role(file.is_part),
        file.scheme.needed() as i32,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn uploading(
    connection: &mut PgConnection,
    id: FileId,
) -> sqlx::Result<Option<UploadingFile>> {
    let row = sqlx::query!(
        "SELECT size_bytes, chunk_size_bytes, replication, data_pieces, billed_name_bytes FROM files
         WHERE file_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| UploadingFile {
        id,
        size_bytes: row.size_bytes.map(i64::unsigned_abs),
        chunk_size: row.chunk_size_bytes.unsigned_abs(),
        scheme: Scheme::of_row(row.data_pieces, row.replication),
        terms: terms::of_row(row.billed_name_bytes),
    }))
}

pub async fn wrapped_key(
    connection: &mut PgConnection,
    id: FileId,
) -> sqlx::Result<Option<WrappedKey>> {
    let row = sqlx::query!(
        "SELECT master_key_id, wrapped, sealing FROM data_keys JOIN files USING (file_id)
         WHERE file_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| WrappedKey::of_row(row.master_key_id, row.wrapped, row.sealing))
        .transpose()
}

/// Sets the size, the terms and the digest of a body that has ended.
pub async fn set_content(
    connection: &mut PgConnection,
    id: FileId,
    layout: ChunkLayout,
    terms: Terms,
    sha256: &[u8; 32],
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE files SET size_bytes = $2, chunk_count = $3, sha256 = $4, billed_name_bytes = $5 WHERE file_id = $1",
        id.as_uuid(),
        layout.size_bytes as i64,
        layout.chunk_count() as i32,
        &sha256[..],
        terms.name_bytes().map(u32::cast_signed),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets the size of a body that has begun without one.
pub async fn set_length(
    connection: &mut PgConnection,
    id: FileId,
    layout: ChunkLayout,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE files SET size_bytes = $2, chunk_count = $3 WHERE file_id = $1 AND size_bytes IS NULL",
        id.as_uuid(),
        layout.size_bytes as i64,
        layout.chunk_count() as i32,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Until when a file is kept, and when its renewal is tried first.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub paid_until: Timestamp,
    pub renew_at: Timestamp,
}

/// Makes the file visible; its meter begins.
pub async fn mark_ready(
    connection: &mut PgConnection,
    id: FileId,
    meter: &FileMeter,
    kept: Kept,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE files SET state = 'ready', completed_at = $2, paid_microcredits = $3,
                price_microcredits = $4, paid_until = $5, renew_at = $6, trial_microcredits = $7
         WHERE file_id = $1",
        id.as_uuid(),
        meter.since.to_sqlx() as jiff_sqlx::Timestamp,
        meter.paid.get(),
        meter.price.microcredits() as i64,
        kept.paid_until.to_sqlx() as jiff_sqlx::Timestamp,
        kept.renew_at.to_sqlx() as jiff_sqlx::Timestamp,
        meter.trial.get(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A file is paid for until later.
pub async fn mark_renewed(
    connection: &mut PgConnection,
    id: FileId,
    paid: MicroCredits,
    kept: Kept,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE files SET paid_microcredits = $2, paid_until = $3, renew_at = $4, grace_since = NULL
         WHERE file_id = $1",
        id.as_uuid(),
        paid.get(),
        kept.paid_until.to_sqlx() as jiff_sqlx::Timestamp,
        kept.renew_at.to_sqlx() as jiff_sqlx::Timestamp,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A renewal could not be paid; it is tried again after `pause`.
pub async fn mark_grace(
    connection: &mut PgConnection,
    id: FileId,
    pause: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE files SET grace_since = coalesce(grace_since, database_clock()),
                renew_at = database_clock() + make_interval(secs => $2)
         WHERE file_id = $1",
        id.as_uuid(),
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A file whose renewal is due, locked; those that others work on are passed over.
pub async fn lock_renewable(connection: &mut PgConnection) -> sqlx::Result<Option<File>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files WHERE state = 'ready' AND renew_at <= database_clock()
           ORDER BY renew_at LIMIT 1 FOR UPDATE SKIP LOCKED"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(File::from))
}

/// A file whose escrow is used up, locked; those that others work on are passed over, and so are those of objects,
/// which end with what they belong to.
pub async fn lock_unpaid(connection: &mut PgConnection) -> sqlx::Result<Option<File>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files WHERE state = 'ready' AND paid_until <= database_clock() AND role = 'file'
           ORDER BY paid_until LIMIT 1 FOR UPDATE SKIP LOCKED"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(File::from))
}

pub async fn by_id(
    connection: &mut PgConnection,
    id: FileId,
    user: UserId,
) -> sqlx::Result<Option<File>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files WHERE file_id = $1 AND user_id = $2 AND state = 'ready'"#,
        id.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(File::from))
}

/// A file that is to be read, its wrapped data key, and where its bytes are if it has one chunk.
#[derive(Debug)]
pub struct Readable {
    pub file: File,
    pub key: WrappedKey,
    pub only_chunk: Option<ChunkLocations>,
}

/// All that it takes to find the bytes of a file of one chunk, in one round trip.
pub async fn readable(
    connection: &mut PgConnection,
    id: FileId,
    user: UserId,
) -> sqlx::Result<Option<Readable>> {
    let rows = sqlx::query!(
        r#"SELECT f.file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits,
                  master_key_id, wrapped, sealing, r.node_id AS "node_id?", r.blob_id AS "blob_id?",
                  r.piece AS "piece?", r.suspect_since IS NOT NULL AS "suspect!", r.demoted_at IS NOT NULL AS "demoted!"
           FROM files f JOIN data_keys k ON k.file_id = f.file_id
                LEFT JOIN replicas r ON r.file_id = f.file_id AND f.chunk_count = 1
           WHERE f.file_id = $1 AND user_id = $2 AND state = 'ready'"#,
        id.as_uuid(),
        user.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    let mut replicas = Vec::new();
    for row in &rows {
        if let (Some(node_id), Some(blob_id)) = (row.node_id, &row.blob_id) {
            replicas.push(ReplicaLocation {
                node_id: NodeId::from_uuid(node_id),
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", blob_id)?),
                piece: piece_number(row.piece)?,
                suspect: row.suspect,
                demoted: row.demoted,
            });
        }
    }
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let key = WrappedKey::of_row(row.master_key_id, row.wrapped, row.sealing)?;
    let file = File::from(Row {
        file_id: row.file_id,
        user_id: row.user_id,
        filename: row.filename,
        content_type: row.content_type,
        sha256: row.sha256,
        size_bytes: row.size_bytes,
        chunk_size_bytes: row.chunk_size_bytes,
        replication: row.replication,
        data_pieces: row.data_pieces,
        created_at: row.created_at,
        completed_at: row.completed_at,
        paid_until: row.paid_until,
        paid_microcredits: row.paid_microcredits,
        price_microcredits: row.price_microcredits,
        grace_since: row.grace_since,
        billed_name_bytes: row.billed_name_bytes,
        trial_microcredits: row.trial_microcredits,
    });
    let only_chunk = (file.layout.chunk_count() == 1).then_some(ChunkLocations {
        index: 0,
        size_bytes: file.layout.size_bytes as u32,
        replicas,
    });
    Ok(Some(Readable {
        file,
        key,
        only_chunk,
    }))
}

/// A file that is listed by itself.
pub async fn lock(
    connection: &mut PgConnection,
    id: FileId,
    user: UserId,
) -> sqlx::Result<Option<File>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files WHERE file_id = $1 AND user_id = $2 AND state = 'ready' AND role = 'file' FOR UPDATE"#,
        id.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(File::from))
}

/// Files that belong to objects, in order of id, as everybody locks them; those that are there.
pub async fn lock_parts(connection: &mut PgConnection, ids: &[FileId]) -> sqlx::Result<Vec<File>> {
    let ids: Vec<Uuid> = ids.iter().map(FileId::as_uuid).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files WHERE file_id = ANY($1) AND state = 'ready' AND role = 'part'
           ORDER BY file_id FOR UPDATE"#,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(File::from).collect())
}

/// Takes the file, its key and its session from everybody's sight, at the same cost for any size.
/// Its chunks are then taken away by and by, each with the purges of its blobs.
pub async fn mark_deleted(connection: &mut PgConnection, id: FileId) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH key AS (DELETE FROM data_keys WHERE file_id = $1),
              session AS (DELETE FROM uploads WHERE file_id = $1)
         UPDATE files SET state = 'deleted', deleted_at = now(), paid_microcredits = 0, trial_microcredits = 0
         WHERE file_id = $1",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deleted files, longest waiting first, locked; those that others work on are passed over.
pub async fn lock_deleted(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<FileId>> {
    let ids = sqlx::query_scalar!(
        "SELECT file_id FROM files WHERE state = 'deleted'
         ORDER BY deleted_at LIMIT $1 FOR UPDATE SKIP LOCKED",
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(FileId::from_uuid).collect())
}

/// Removes the rows of those of these files that have no chunks left.
pub async fn remove_empty(connection: &mut PgConnection, files: &[FileId]) -> sqlx::Result<u64> {
    let files: Vec<Uuid> = files.iter().map(FileId::as_uuid).collect();
    let result = sqlx::query!(
        "DELETE FROM files f WHERE file_id = ANY($1)
           AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.file_id = f.file_id)",
        &files
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Where a page of the list begins.
#[derive(Debug, Clone)]
pub struct ByTime {
    pub completed_at: Timestamp,
    pub id: FileId,
}

/// Newest first, by when they were completed: whoever asks again and again for what is new misses none.
pub async fn list_by_time(
    connection: &mut PgConnection,
    user: UserId,
    prefix: &str,
    after: Option<&ByTime>,
    limit: i64,
) -> sqlx::Result<Vec<File>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files
           WHERE user_id = $1 AND state = 'ready' AND role = 'file' AND starts_with(filename, $2)
             AND ($3::timestamptz IS NULL OR completed_at < $3
                  OR (completed_at = $3 AND file_id > $4))
           ORDER BY completed_at DESC, file_id LIMIT $5"#,
        user.as_uuid(),
        prefix,
        after.map(|after| after.completed_at.to_sqlx()) as Option<jiff_sqlx::Timestamp>,
        after.map(|after| after.id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(File::from).collect())
}

/// In byte order of names. The index holds the first 256 characters of each, whose order is the same.
pub async fn list_by_name(
    connection: &mut PgConnection,
    user: UserId,
    prefix: &str,
    after: Option<(&str, FileId)>,
    limit: i64,
) -> sqlx::Result<Vec<File>> {
    let (after_name, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT file_id, user_id, filename, content_type, sha256, size_bytes AS "size_bytes!",
                  chunk_size_bytes, replication, data_pieces, created_at, completed_at AS "completed_at!",
                  paid_until AS "paid_until!", paid_microcredits, price_microcredits, grace_since,
                  billed_name_bytes, trial_microcredits
           FROM files
           WHERE user_id = $1 AND state = 'ready' AND role = 'file'
             AND left(filename, 256) COLLATE "C" >= left($2, 256) AND starts_with(filename, $2)
             AND ($3::text IS NULL
                  OR (left(filename, 256) COLLATE "C", filename COLLATE "C", file_id)
                      > (left($3, 256), $3, $4))
           ORDER BY left(filename, 256) COLLATE "C", filename COLLATE "C", file_id LIMIT $5"#,
        user.as_uuid(),
        prefix,
        after_name,
        after_id.map(|id: FileId| id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(File::from).collect())
}
