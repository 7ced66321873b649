//! Writing chunk rows: nobody waits for another's session, and a database that goes away in the
//! middle loses nothing.

use coordinator::blobs::tentative::Tentative;
use coordinator::files::upload::chunk_commit::{ChunkCommit, SentChunk};
use http::StatusCode;
use model::chunk::{StoredChunk, StoredReplica};
use model::ids::UploadId;
use proto::{BlobId, FileId, NodeId, SignedReceipt};
use serde_json::Value;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::support::{
    CHUNK, Client, Coordinator, content, count, eventually, soon, waits_for_lock,
};

async fn begin(client: &Client, size: usize) -> Value {
    let begun = client.initiate("a", size).await;
    begun.expect(StatusCode::CREATED)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_locked_session_keeps_only_its_own_chunks_waiting(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let (locked, free) = (begin(&client, CHUNK).await, begin(&client, CHUNK).await);
    let mut other = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM uploads WHERE upload_id = $1::uuid FOR UPDATE")
        .bind(locked["upload_id"].as_str().unwrap())
        .execute(&mut *other)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let (client, locked) = (client.clone(), locked.clone());
        async move { client.send_chunk(&locked, 0, &content(CHUNK)).await }
    });
    for _ in 0..3 {
        let sent = soon(client.send_chunk(&free, 0, &content(CHUNK))).await;
        sent.expect(StatusCode::OK);
    }
    assert!(!waiting.is_finished());
    other.rollback().await.unwrap();
    soon(waiting).await.unwrap().expect(StatusCode::OK);
    client.complete(&locked).await.expect(StatusCode::CREATED);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_survives_that_the_database_drops_its_transaction(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK).await;
    let mut other = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE replicas IN SHARE MODE")
        .execute(&mut *other)
        .await
        .unwrap();
    let sending = tokio::spawn({
        let (client, upload) = (client.clone(), upload.clone());
        async move { client.send_chunk(&upload, 0, &content(CHUNK)).await }
    });
    soon(waits_for_lock(&pool)).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(count(&pool, end).await, 1);
    other.rollback().await.unwrap();
    soon(sending).await.unwrap().expect(StatusCode::OK);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, content(CHUNK));
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
}

/// The one chunk that stands in the database.
async fn the_chunk(pool: &PgPool) -> StoredChunk {
    let chunk = sqlx::query("SELECT file_id, version, size_bytes FROM chunks");
    let chunk = chunk.fetch_one(pool).await.unwrap();
    let rows = sqlx::query("SELECT node_id, blob_id, stored_at_ms, signature FROM replicas");
    let rows = rows.fetch_all(pool).await.unwrap();
    let replica = |row: &sqlx::postgres::PgRow| StoredReplica {
        node_id: NodeId::from_uuid(row.get("node_id")),
        blob_id: BlobId::try_from(row.get::<&[u8], _>("blob_id")).unwrap(),
        piece: 0,
        receipt: SignedReceipt {
            stored_at_ms: row.get::<i64, _>("stored_at_ms") as u64,
            signature: row.get::<&[u8], _>("signature").try_into().unwrap(),
        },
    };
    StoredChunk {
        file_id: FileId::from_uuid(chunk.get("file_id")),
        index: 0,
        version: chunk.get::<i64, _>("version") as u64,
        size_bytes: chunk.get::<i32, _>("size_bytes") as u32,
        sha256: [0; 32],
        replicas: rows.iter().map(replica).collect(),
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_commit_that_is_repeated_purges_nothing_that_stands(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK).await;
    let sent = client.send_chunk(&upload, 0, &content(CHUNK)).await;
    sent.expect(StatusCode::OK);
    let id: Uuid = upload["upload_id"].as_str().unwrap().parse().unwrap();
    let chunk = the_chunk(&pool).await;
    let purger = coordinator.app.blobs.purger.clone();
    let again = SentChunk {
        blobs: Tentative::of(chunk.replicas.clone(), purger),
        chunk,
    };
    let again = ChunkCommit {
        upload_id: UploadId::from_uuid(id),
        chunks: vec![again],
    };
    let repeated = coordinator.app.files.chunk_commits.submit(again);
    soon(repeated).await.unwrap().unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_the_database_refuses_spoils_no_other_of_its_transaction(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    sqlx::query("ALTER TABLE chunks ADD CONSTRAINT odd CHECK (size_bytes <> 77)")
        .execute(&pool)
        .await
        .unwrap();
    let mut other = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE replicas IN SHARE MODE")
        .execute(&mut *other)
        .await
        .unwrap();
    let sent = |upload: Value, size: usize| {
        let client = client.clone();
        tokio::spawn(async move { client.send_chunk(&upload, 0, &content(size)).await })
    };
    let first = sent(begin(&client, CHUNK).await, CHUNK);
    soon(waits_for_lock(&pool)).await; // the next ones gather behind it
    let poison = sent(begin(&client, 77).await, 77);
    let mut good = Vec::new();
    for size in 1..6 {
        good.push(sent(begin(&client, size).await, size));
    }
    eventually(|| async { (nodes[0].blobs().len() == 7).then_some(()) }).await;
    other.rollback().await.unwrap();

    soon(first).await.unwrap().expect(StatusCode::OK);
    for answer in good {
        soon(answer).await.unwrap().expect(StatusCode::OK);
    }
    let refused = soon(poison).await.unwrap();
    refused.problem(400, "invalid-request");
    assert_eq!(count(&pool, "SELECT count(*) FROM chunks").await, 6);
    let purged = "SELECT count(*) FROM purges";
    eventually(|| async { (count(&pool, purged).await == 3).then_some(()) }).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_in_one_request_lives_on_a_short_lease(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    begin(&client, CHUNK).await;
    let (body, frames) = tokio::sync::mpsc::channel(1);
    let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
    let uploading = tokio::spawn({
        let call = client.put("/api/v1/files?filename=b");
        let call = call.body(axum::body::Body::from_stream(frames));
        async move { call.send().await }
    });
    let frame = |len| Ok::<_, std::io::Error>(bytes::Bytes::from(content(len)));
    body.send(frame(2 * CHUNK)).await.unwrap();
    let short = "SELECT count(*) FROM uploads WHERE expires_at < now() + interval '5 minutes'";
    eventually(|| async { (count(&pool, short).await == 1).then_some(()) }).await;
    drop(body);
    let file = soon(uploading).await.unwrap().expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, content(2 * CHUNK));
}
