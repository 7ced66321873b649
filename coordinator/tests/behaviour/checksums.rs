//! Digests from end to end: what a client says that its bytes are is checked, and every file tells its own.

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use coordinator::files::upload::digest;
use futures::stream;
use http::{Method, StatusCode};
use md5::Md5;
use serde_json::{Value, json};
use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::support::{Answer, CHUNK, Client, Coordinator, OnRead, content, count};

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn digest_field(bytes: &[u8]) -> String {
    format!(
        "sha-256=:{}:",
        BASE64_STANDARD.encode(Sha256::digest(bytes))
    )
}

fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

/// A body of unknown length.
fn pieces(bytes: &[u8]) -> Body {
    let pieces: Vec<_> = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
    Body::from_stream(stream::iter(
        pieces.into_iter().map(Ok::<_, std::io::Error>),
    ))
}

async fn metadata(client: &Client, file: &Value) -> Value {
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    client.get(&path).await.expect(StatusCode::OK)
}

async fn in_steps(client: &Client, bytes: &[u8], body: &'static str) -> Answer {
    let upload = client.initiate("in steps", bytes.len()).await;
    let upload = upload.expect(StatusCode::CREATED);
    for (index, chunk) in bytes.chunks(CHUNK).enumerate().rev() {
        let sent = client.send_chunk(&upload, index, chunk).await;
        sent.expect(StatusCode::OK);
    }
    complete(client, &upload, body).await
}

async fn complete(client: &Client, upload: &Value, body: impl Into<Body>) -> Answer {
    let id = upload["upload_id"].as_str().unwrap();
    let call = client.post(&format!("/api/v1/files/upload/{id}/complete"));
    call.body(body).send().await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_file_has_the_digest_of_all_its_bytes_however_it_came(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17] {
        let bytes = content(size);
        let whole = client.upload("whole", &bytes).await;
        let unknown = client
            .put("/api/v1/files?filename=unknown")
            .body(pieces(&bytes));
        let unknown = unknown.send().await.expect(StatusCode::CREATED);
        let steps = in_steps(&client, &bytes, "")
            .await
            .expect(StatusCode::CREATED);
        for file in [whole, unknown, steps] {
            assert_eq!(file["sha256"], sha256(&bytes), "{file}");
            assert_eq!(metadata(&client, &file).await["sha256"], file["sha256"]);
            let id = file["file_id"].as_str().unwrap();
            for method in [Method::GET, Method::HEAD] {
                let answer = client.call(method, &format!("/api/v1/files/{id}/download"));
                let answer = answer.send().await;
                assert_eq!(answer.header("repr-digest"), digest_field(&bytes));
            }
            if size > 2 {
                let part = client.call(Method::GET, &format!("/api/v1/files/{id}/download"));
                let part = part.header("range", "bytes=1-2").send().await;
                assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
                assert_eq!(part.header("repr-digest"), digest_field(&bytes));
            }
        }
    }
    let list = client.get("/api/v1/files").await.expect(StatusCode::OK);
    for file in list["items"].as_array().unwrap() {
        assert_eq!(file["sha256"].as_str().map(str::len), Some(64), "{file}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn bytes_that_are_not_those_of_the_digest_are_refused_and_cost_nothing(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    for size in [0, 10, CHUNK, 3 * CHUNK + 1] {
        let bytes = content(size);
        for (name, right, wrong) in [
            (
                "content-digest",
                digest_field(&bytes),
                digest_field(b"other"),
            ),
            ("repr-digest", digest_field(&bytes), digest_field(b"other")),
            ("content-md5", md5(&bytes), md5(b"other")),
        ] {
            let before = client.balances().await;
            let refused = client.upload_call("a", &bytes).header(name, &wrong);
            refused.send().await.problem(400, "digest-mismatch");
            let refused = client.put("/api/v1/files?filename=a").header(name, &wrong);
            let refused = refused.header("transfer-encoding", "chunked");
            let refused = refused.body(pieces(&bytes)).send().await;
            refused.problem(400, "digest-mismatch");
            let unreadable = client
                .upload_call("a", &bytes)
                .header(name, "sha-512=:AAAA:");
            unreadable.send().await.problem(400, "invalid-request");
            assert_eq!(client.balances().await, before, "{name} of {size}");

            let taken = client.upload_call("a", &bytes).header(name, &right);
            let file = taken.send().await.expect(StatusCode::CREATED);
            let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
            client.delete(&path).await.expect(StatusCode::NO_CONTENT);
        }
    }
    let ready = "SELECT count(*) FROM files WHERE state <> 'deleted'";
    assert_eq!(count(&pool, ready).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_is_not_the_one_of_its_digest_reaches_no_node(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client
        .initiate("a", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    let bytes = content(CHUNK);
    let send = |digest: String| {
        let id = upload["upload_id"].as_str().unwrap();
        let call = client.put(&format!("/api/v1/files/upload/{id}/chunk?index=0"));
        call.header("content-digest", &digest)
            .body(bytes.clone())
            .send()
    };
    let refused = send(digest_field(b"other")).await;
    refused.problem(400, "digest-mismatch");
    assert!(nodes.iter().all(|node| node.blobs().is_empty()));
    send(digest_field(&bytes)).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_in_steps_is_read_back_and_compared_before_it_is_there(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(3 * CHUNK + 5);
    let upload = client
        .initiate("a", bytes.len())
        .await
        .expect(StatusCode::CREATED);
    let mut chunks: Vec<_> = bytes.chunks(CHUNK).map(<[u8]>::to_vec).collect();
    chunks[1][7] ^= 1; // what the client read was not what it sends
    for (index, chunk) in chunks.iter().enumerate().rev() {
        client
            .send_chunk(&upload, index, chunk)
            .await
            .expect(StatusCode::OK);
    }
    let declared = json!({"sha256": sha256(&bytes)}).to_string();
    for odd in ["{\"sha256\": \"12\"}", "{\"sha-256\": \"\"}", "[\"\"]"] {
        complete(&client, &upload, odd)
            .await
            .problem(400, "invalid-request");
    }
    let refused = complete(&client, &upload, declared.clone()).await;
    refused.problem(400, "digest-mismatch");
    assert_eq!(
        count(&pool, "SELECT count(*) FROM files WHERE state = 'ready'").await,
        0
    );

    let mended = &bytes[CHUNK..2 * CHUNK];
    client
        .send_chunk(&upload, 1, mended)
        .await
        .expect(StatusCode::OK);
    let file = complete(&client, &upload, declared.clone())
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(file["sha256"], sha256(&bytes));
    assert_eq!(client.content(&file).await, bytes);
    assert_eq!(
        complete(&client, &upload, declared)
            .await
            .expect(StatusCode::CREATED),
        file
    );
    let other = json!({"sha256": sha256(b"other")}).to_string();
    complete(&client, &upload, other)
        .await
        .problem(400, "digest-mismatch");
    assert_eq!(count(&pool, "SELECT count(*) FROM file_digests").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_digest_that_could_not_be_computed_at_once_is_computed_later(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(2 * CHUNK + 5);
    nodes.iter().for_each(|node| node.on_read(OnRead::Deny));
    let file = in_steps(&client, &bytes, "")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(file["sha256"], Value::Null);
    let answer = client.download(&file).await;
    assert!(!answer.headers.contains_key("repr-digest"));

    let files = &coordinator.app.files;
    assert!(
        !digest::step(files).await.unwrap(),
        "whoever completed it has time first"
    );
    let due = "UPDATE file_digests SET not_before = now()";
    sqlx::query(due).execute(&pool).await.unwrap();
    assert!(digest::step(files).await.unwrap());
    assert!(
        !digest::step(files).await.unwrap(),
        "what cannot be read waits"
    );
    nodes.iter().for_each(|node| node.on_read(OnRead::Give));
    sqlx::query(due).execute(&pool).await.unwrap();
    assert!(digest::step(files).await.unwrap());
    assert_eq!(metadata(&client, &file).await["sha256"], sha256(&bytes));
    assert_eq!(count(&pool, "SELECT count(*) FROM file_digests").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn hashing_goes_on_where_another_coordinator_stopped(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(3 * CHUNK + 5);
    nodes.iter().for_each(|node| node.on_read(OnRead::Deny));
    let file = in_steps(&client, &bytes, "").await;
    let file = file.expect(StatusCode::CREATED);
    nodes.iter().for_each(|node| node.on_read(OnRead::Give));
    // What is hashed already is not read again: nothing of it is left.
    sqlx::query("DELETE FROM replicas WHERE chunk_index < 2")
        .execute(&pool)
        .await
        .unwrap();
    let begun = Sha256::new_with_prefix(&bytes[..2 * CHUNK]).serialize();
    sqlx::query("UPDATE file_digests SET next_index = 2, state = $1, not_before = now()")
        .bind(&begun[..])
        .execute(&pool)
        .await
        .unwrap();
    assert!(digest::step(&coordinator.app.files).await.unwrap());
    let told = metadata(&client, &file).await;
    assert_eq!(told["sha256"], sha256(&bytes));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_that_is_used_for_other_bytes_is_refused_whatever_their_length(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let keyed = |key: &str, body: Vec<u8>| {
        let call = client.upload_call("report.pdf", &body);
        call.header("idempotency-key", key).send()
    };
    let streamed = |key: &str, body: &[u8]| {
        let call = client.put("/api/v1/files?filename=report.pdf");
        call.header("idempotency-key", key)
            .body(pieces(body))
            .send()
    };
    for size in [10, CHUNK, 3 * CHUNK + 1] {
        let (bytes, mut other) = (content(size), content(size));
        other[size / 2] ^= 1;
        let key = format!("known-{size}");
        let file = keyed(&key, bytes.clone()).await.expect(StatusCode::CREATED);
        assert_eq!(
            keyed(&key, bytes.clone()).await.expect(StatusCode::CREATED),
            file
        );
        let refused = keyed(&key, other.clone()).await;
        refused.problem(422, "idempotency-key-reused");

        let key = format!("unknown-{size}");
        let file = streamed(&key, &bytes).await.expect(StatusCode::CREATED);
        assert_eq!(
            streamed(&key, &bytes).await.expect(StatusCode::CREATED),
            file
        );
        let longer = content(size + 5 * CHUNK);
        for other in [&other[..], &bytes[..size - 1], &longer, b""] {
            let refused = streamed(&key, other).await;
            refused.problem(422, "idempotency-key-reused");
        }
        assert_eq!(client.content(&file).await, bytes);
    }
    let files = client.get("/api/v1/files").await.expect(StatusCode::OK);
    assert_eq!(files["items"].as_array().unwrap().len(), 6);
}
