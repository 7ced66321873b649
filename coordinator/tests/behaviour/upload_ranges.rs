//! Many chunks in one body: each is taken as if it came alone.

use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::support::{CHUNK, Client, Coordinator, Node, content, price};

const CREDITS: i64 = 1_000_000_000;

async fn begin(client: &Client, size: usize) -> Value {
    let begun = client.initiate("a file", size).await;
    begun.expect(StatusCode::CREATED)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_in_one_body_are_taken_as_if_each_came_alone(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(9 * CHUNK + 5);
    let upload = begin(&client, bytes.len()).await;
    let parts = [(4, 8), (8, 10), (0, 4)]; // in any order, and at the same time
    let sent = futures::future::join_all(parts.map(|(first, end)| {
        let part = &bytes[first * CHUNK..bytes.len().min(end * CHUNK)];
        client.send_chunks(&upload, first, part)
    }));
    for (answer, (first, end)) in sent.await.iter().zip(parts) {
        let digests = bytes[first * CHUNK..].chunks(CHUNK).take(end - first);
        let digests: Vec<_> = digests.map(|c| hex::encode(Sha256::digest(c))).collect();
        let expected = json!({"first": first, "count": end - first, "sha256": digests});
        assert_eq!(answer.expect(StatusCode::OK), expected);
    }
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, bytes);
    assert!(nodes.iter().all(|node: &Node| node.blobs().len() == 10));
    let cost = price("a file", bytes.len());
    assert_eq!(client.balances().await, (CREDITS - cost, 0, cost));
    let late = client.send_chunks(&upload, 0, &bytes[..CHUNK]).await;
    late.problem(409, "upload-closed");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_there_already_moves_nothing_and_what_replaces_it_is_charged(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(3 * CHUNK);
    let upload = begin(&client, bytes.len()).await;
    let held = client.balances().await;
    let first = client.send_chunks(&upload, 0, &bytes).await;
    let again = client.send_chunks(&upload, 0, &bytes).await;
    assert_eq!(first.expect(StatusCode::OK), again.expect(StatusCode::OK));
    assert!(nodes.iter().all(|node: &Node| node.blobs().len() == 3));
    assert_eq!(client.balances().await, held);

    let other = [vec![1; CHUNK], bytes[CHUNK..].to_vec()].concat();
    let replaced = client.send_chunks(&upload, 0, &other).await;
    replaced.expect(StatusCode::OK);
    assert!(client.balances().await.0 < held.0);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, other);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_chunk_of_a_body_has_its_length_and_its_place(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK + 10).await;
    for (first, size, index, expected) in [
        (0, CHUNK - 1, 0, CHUNK),
        (0, 0, 0, CHUNK),
        (1, 9, 1, 10),
        (1, 11, 1, 10),
        (1, CHUNK, 1, 10),
    ] {
        let refused = client.send_chunks(&upload, first, &content(size)).await;
        let problem = refused.problem(422, "wrong-chunk-length");
        assert_eq!(problem["expected_bytes"], expected, "{first} {size}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("Chunk {index} ")), "{detail}");
    }
    for first in [2, u32::MAX as usize] {
        let refused = client.send_chunks(&upload, first, b"x").await;
        assert_eq!(refused.problem(422, "chunk-out-of-range")["chunk_count"], 2);
    }
    for first in ["-1", "4294967296", "x", ""] {
        let id = upload["upload_id"].as_str().unwrap();
        let call = client.put(&format!("/api/v1/files/upload/{id}/chunks?first={first}"));
        call.body("x").send().await.problem(400, "invalid-request");
    }
    assert!(nodes.iter().all(|node: &Node| node.blobs().is_empty()));

    // Of one with a wrong end, what came whole stays.
    let long = client.send_chunks(&upload, 0, &content(CHUNK + 11)).await;
    long.problem(422, "wrong-chunk-length");
    let status = client.upload_status(&upload).await.expect(StatusCode::OK);
    assert_eq!(status["missing"], json!([1]));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn forms_digests_and_other_peoples_uploads_are_refused(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let (_, other) = coordinator.customer().await;
    let upload = begin(&client, CHUNK).await;
    let send = |client: &Client, name: &str, value: &str| {
        let call = client.send_chunks_call(&upload, 0).header(name, value);
        call.body(content(CHUNK)).send()
    };
    let form = send(&client, "content-type", "multipart/form-data; boundary=x").await;
    form.problem(415, "unsupported-media-type");
    let digest = send(&client, "content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").await;
    digest.problem(400, "invalid-request");
    let foreign = other.send_chunks(&upload, 0, &content(CHUNK)).await;
    foreign.problem(404, "not-found");
    let own = client.send_chunks(&upload, 0, &content(CHUNK)).await;
    own.expect(StatusCode::OK);
}
