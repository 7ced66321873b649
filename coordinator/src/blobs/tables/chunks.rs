//! `chunks` and `replicas`.

use proto::{BlobId, FileId, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::{corrupt, hash32};
use model::chunk::{ChunkLocations, FailedRead, ReplicaLocation, StoredChunk, StoredReplica};
use model::scheme::Scheme;

/// The versions of those chunks that are there already.
pub async fn existing_versions(
    connection: &mut PgConnection,
    chunks: &[(FileId, u32)],
) -> sqlx::Result<Vec<(FileId, u32, u64)>> {
    let (files, indices) = columns(chunks);
    let rows = sqlx::query!(
        "SELECT file_id, chunk_index, version FROM chunks
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))",
        &files,
        &indices,
    )
    .fetch_all(connection)
    .await?;
    let versions = rows.into_iter().map(|row| {
        let file_id = FileId::from_uuid(row.file_id);
        (
            file_id,
            row.chunk_index.unsigned_abs(),
            row.version.unsigned_abs(),
        )
    });
    Ok(versions.collect())
}

/// A chunk of an upload that came before.
#[derive(Debug)]
pub struct Earlier {
    pub version: u64,
    pub size_bytes: u32,
    pub sha256: Option<[u8; 32]>,
    /// It has all the replicas without which [`missing`] names it.
    pub is_whole: bool,
}

/// The chunk as it stands.
pub async fn standing(
    connection: &mut PgConnection,
    file_id: FileId,
    index: u32,
    scheme: Scheme,
) -> sqlx::Result<Option<Earlier>> {
    let row = sqlx::query!(
        r#"SELECT version, size_bytes, sha256,
                  (SELECT CASE WHEN $4 THEN count(DISTINCT piece) ELSE count(*) END
                   FROM replicas r JOIN nodes USING (node_id)
                   WHERE r.file_id = c.file_id AND r.chunk_index = c.chunk_index
                     AND demoted_at IS NULL AND state <> 'disqualified') >= $3 AS "is_whole!"
           FROM chunks c WHERE file_id = $1 AND chunk_index = $2"#,
        file_id.as_uuid(),
        index as i32,
        i64::from(scheme.pieces()),
        scheme.is_coded(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let sha256 = row.sha256.map(|hash| hash32("chunks.sha256", &hash));
        Ok(Earlier {
            version: row.version.unsigned_abs(),
            size_bytes: row.size_bytes.unsigned_abs(),
            sha256: sha256.transpose()?,
            is_whole: row.is_whole,
        })
    })
    .transpose()
}

/// Takes chunks away, to be replaced or for good, and enqueues the purges of their blobs.
pub async fn delete_and_purge(
    connection: &mut PgConnection,
    chunks: &[(FileId, u32)],
) -> sqlx::Result<()> {
    let (files, indices) = columns(chunks);
    // Repair may be adding a replica.
    sqlx::query!(
        "SELECT FROM chunks WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ORDER BY file_id, chunk_index FOR UPDATE",
        &files,
        &indices,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO purges (node_id, blob_id, mode)
         SELECT node_id, blob_id, 'purge' FROM replicas
         WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))
         ON CONFLICT (node_id, blob_id) DO UPDATE SET mode = 'purge'",
        &files,
        &indices,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "DELETE FROM chunks WHERE (file_id, chunk_index) IN (SELECT * FROM unnest($1::uuid[], $2::int[]))",
        &files,
        &indices,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Some chunks of these files, `limit` at most.
pub async fn some_of(
    connection: &mut PgConnection,
    files: &[FileId],
    limit: i64,
) -> sqlx::Result<Vec<(FileId, u32)>> {
    let files: Vec<Uuid> = files.iter().map(FileId::as_uuid).collect();
    let rows = sqlx::query!(
        "SELECT file_id, chunk_index FROM chunks WHERE file_id = ANY($1) LIMIT $2",
        &files,
        limit
    )
    .fetch_all(connection)
    .await?;
    let chunks = rows.into_iter().map(|row| {
        (
            FileId::from_uuid(row.file_id),
            row.chunk_index.unsigned_abs(),
        )
    });
    Ok(chunks.collect())
}

/// Some chunks of a file from an index on, `limit` at most.
pub async fn some_from(
    connection: &mut PgConnection,
    file_id: FileId,
    from: u32,
    limit: i64,
) -> sqlx::Result<Vec<(FileId, u32)>> {
    let indices = sqlx::query_scalar!(
        "SELECT chunk_index FROM chunks WHERE file_id = $1 AND chunk_index >= $2 LIMIT $3",
        file_id.as_uuid(),
        from as i32,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let chunks = indices.into_iter().map(i32::unsigned_abs);
    Ok(chunks.map(|index| (file_id, index)).collect())
}

/// Adds chunks that are not there, with their replicas.
pub async fn insert(connection: &mut PgConnection, chunks: &[&StoredChunk]) -> sqlx::Result<()> {
    let places: Vec<_> = chunks.iter().map(|c| (c.file_id, c.index)).collect();
    let (files, indices) = columns(&places);
    let versions: Vec<i64> = chunks.iter().map(|chunk| chunk.version as i64).collect();
    let sizes: Vec<i32> = chunks.iter().map(|chunk| chunk.size_bytes as i32).collect();
    let sha256: Vec<Vec<u8>> = chunks.iter().map(|chunk| chunk.sha256.to_vec()).collect();
    let replicas = || {
        chunks
            .iter()
            .flat_map(|chunk| chunk.replicas.iter().map(move |replica| (chunk, replica)))
    };
    let nodes: Vec<Uuid> = replicas()
        .map(|(_, replica)| replica.node_id.as_uuid())
        .collect();
    let blobs: Vec<Vec<u8>> = replicas()
        .map(|(_, replica)| replica.blob_id.as_bytes().to_vec())
        .collect();
    let of_files: Vec<Uuid> = replicas()
        .map(|(chunk, _)| chunk.file_id.as_uuid())
        .collect();
    let of_chunks: Vec<i32> = replicas().map(|(chunk, _)| chunk.index as i32).collect();
    let times: Vec<i64> = replicas()
        .map(|(_, replica)| i64::try_from(replica.receipt.stored_at_ms).unwrap_or(i64::MAX))
        .collect();
    let signatures: Vec<Vec<u8>> = replicas()
        .map(|(_, replica)| replica.receipt.signature.as_bytes().to_vec())
        .collect();
    let pieces: Vec<i16> = replicas()
        .map(|(_, replica)| i16::from(replica.piece))
        .collect();
    sqlx::query!(
        "WITH chunk AS (
             INSERT INTO chunks (file_id, chunk_index, version, size_bytes, sha256)
             SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[], $4::int[], $5::bytea[]))
         INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, piece)
         SELECT * FROM unnest($6::uuid[], $7::bytea[], $8::uuid[], $9::int[], $10::bigint[], $11::bytea[],
                              $12::smallint[])",
        &files,
        &indices,
        &versions,
        &sizes,
        &sha256,
        &nodes,
        &blobs,
        &of_files,
        &of_chunks,
        &times,
        &signatures,
        &pieces,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds replicas of chunks that are there, in stored files or uploads. They do not earn before
/// `billing::tables::earnings` says so.
pub async fn insert_replicas(
    connection: &mut PgConnection,
    replicas: &[((FileId, u32), StoredReplica)],
    earns: bool,
) -> sqlx::Result<()> {
    let places: Vec<_> = replicas.iter().map(|(place, _)| *place).collect();
    let (files, indices) = columns(&places);
    let replicas = || replicas.iter().map(|(_, replica)| replica);
    let nodes: Vec<Uuid> = replicas()
        .map(|replica| replica.node_id.as_uuid())
        .collect();
    let blobs: Vec<Vec<u8>> = replicas()
        .map(|replica| replica.blob_id.as_bytes().to_vec())
        .collect();
    let times: Vec<i64> = replicas()
        .map(|replica| i64::try_from(replica.receipt.stored_at_ms).unwrap_or(i64::MAX))
        .collect();
    let signatures: Vec<Vec<u8>> = replicas()
        .map(|replica| replica.receipt.signature.as_bytes().to_vec())
        .collect();
    let pieces: Vec<i16> = replicas().map(|replica| i16::from(replica.piece)).collect();
    sqlx::query!(
        "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, piece, earns)
         SELECT *, $7 FROM unnest($1::uuid[], $2::bytea[], $3::uuid[], $4::int[], $5::bigint[], $6::bytea[],
                                  $8::smallint[])",
        &nodes,
        &blobs,
        &files,
        &indices,
        &times,
        &signatures,
        earns,
        &pieces,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A piece's number, of a column.
pub fn piece_number(column: Option<i16>) -> sqlx::Result<u8> {
    u8::try_from(column.unwrap_or(0)).map_err(|error| corrupt("replicas.piece", error))
}

fn columns(chunks: &[(FileId, u32)]) -> (Vec<Uuid>, Vec<i32>) {
    chunks
        .iter()
        .map(|(file, index)| (file.as_uuid(), *index as i32))
        .unzip()
}

/// How many of the file's chunks still have to be sent, and the first `limit` of them: those that do not
/// stand on `replication` nodes, each with another piece where it is coded. A replica that was demoted before the file is complete does not count, nor one on a
/// node that was disqualified; one that has drained drains again.
pub async fn missing(
    connection: &mut PgConnection,
    file_id: FileId,
    chunk_count: u32,
    scheme: Scheme,
    limit: i64,
) -> sqlx::Result<(u64, Vec<u32>)> {
    let safe = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM (
               SELECT 1 FROM replicas JOIN nodes USING (node_id)
               WHERE file_id = $1 AND chunk_index < $4 AND demoted_at IS NULL AND state <> 'disqualified'
               GROUP BY chunk_index
               HAVING CASE WHEN $3 THEN count(DISTINCT piece) ELSE count(*) END >= $2) AS chunk"#,
        file_id.as_uuid(),
        i64::from(scheme.pieces()),
        scheme.is_coded(),
        chunk_count as i32,
    )
    .fetch_one(&mut *connection)
    .await?;
    let missing_count = u64::from(chunk_count).saturating_sub(safe.unsigned_abs());
    if missing_count == 0 {
        return Ok((0, Vec::new()));
    }
    let indices = sqlx::query_scalar!(
        r#"SELECT n AS "n!" FROM generate_series(0, $2::int - 1) AS n
           WHERE (SELECT CASE WHEN $5 THEN count(DISTINCT piece) ELSE count(*) END
                  FROM replicas JOIN nodes USING (node_id)
                  WHERE file_id = $1 AND chunk_index = n AND demoted_at IS NULL
                    AND state <> 'disqualified') < $3
           ORDER BY n LIMIT $4"#,
        file_id.as_uuid(),
        chunk_count as i32,
        i64::from(scheme.pieces()),
        limit,
        scheme.is_coded(),
    )
    .fetch_all(connection)
    .await?;
    let indices = indices.into_iter().map(i32::unsigned_abs).collect();
    Ok((missing_count, indices))
}

/// SHA-256 of the chunks of an unfinished upload, in order, a page at a time.
pub async fn digests(
    connection: &mut PgConnection,
    file_id: FileId,
    from_index: u32,
    limit: i64,
) -> sqlx::Result<Vec<(u32, Option<[u8; 32]>)>> {
    let rows = sqlx::query!(
        "SELECT chunk_index, sha256 FROM chunks WHERE file_id = $1 AND chunk_index >= $2
         ORDER BY chunk_index LIMIT $3",
        file_id.as_uuid(),
        from_index as i32,
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let sha256 = row
                .sha256
                .map(|hash| hash32("chunks.sha256", &hash))
                .transpose()?;
            Ok((row.chunk_index.unsigned_abs(), sha256))
        })
        .collect()
}

/// Locations of `count` chunks from `first` on. A chunk without any replica is there with none.
pub async fn locate(
    connection: &mut PgConnection,
    file_id: FileId,
    first: u32,
    count: u32,
) -> sqlx::Result<Vec<ChunkLocations>> {
    let rows = sqlx::query!(
        r#"SELECT c.chunk_index, c.size_bytes, r.node_id AS "node_id?", r.blob_id AS "blob_id?",
                  r.piece AS "piece?",
                  r.suspect_since IS NOT NULL AS "suspect!", r.demoted_at IS NOT NULL AS "demoted!"
           FROM chunks c LEFT JOIN replicas r USING (file_id, chunk_index)
           WHERE c.file_id = $1 AND c.chunk_index >= $2 AND c.chunk_index < $3
           ORDER BY c.chunk_index"#,
        file_id.as_uuid(),
        first as i32,
        first.saturating_add(count).min(i32::MAX as u32) as i32,
    )
    .fetch_all(connection)
    .await?;
    let mut chunks: Vec<ChunkLocations> = Vec::with_capacity(count as usize);
    for row in rows {
        let index = row.chunk_index.unsigned_abs();
        if chunks.last().is_none_or(|chunk| chunk.index != index) {
            chunks.push(ChunkLocations {
                index,
                size_bytes: row.size_bytes.unsigned_abs(),
                replicas: Vec::new(),
            });
        }
        if let (Some(node_id), Some(blob_id), Some(chunk)) =
            (row.node_id, row.blob_id, chunks.last_mut())
        {
            chunk.replicas.push(ReplicaLocation {
                node_id: NodeId::from_uuid(node_id),
                blob_id: BlobId::from_bytes(hash32("replicas.blob_id", &blob_id)?),
                piece: piece_number(row.piece)?,
                suspect: row.suspect,
                demoted: row.demoted,
            });
        }
    }
    Ok(chunks)
}

/// Notes replicas for the audit. What is no longer there is passed over.
pub async fn suspect(connection: &mut PgConnection, suspicions: &[FailedRead]) -> sqlx::Result<()> {
    let nodes: Vec<Uuid> = suspicions.iter().map(|s| s.node_id.as_uuid()).collect();
    let blobs: Vec<Vec<u8>> = suspicions
        .iter()
        .map(|s| s.blob_id.as_bytes().to_vec())
        .collect();
    let reasons: Vec<String> = suspicions.iter().map(|s| s.reason.to_owned()).collect();
    sqlx::query!(
        "UPDATE replicas SET suspect_since = coalesce(suspect_since, now()), suspect_reason = s.reason
         FROM unnest($1::uuid[], $2::bytea[], $3::text[]) AS s (node_id, blob_id, reason)
         WHERE replicas.node_id = s.node_id AND replicas.blob_id = s.blob_id",
        &nodes,
        &blobs,
        &reasons,
    )
    .execute(connection)
    .await?;
    Ok(())
}
