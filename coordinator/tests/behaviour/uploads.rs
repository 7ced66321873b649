//! Bringing files in: in three steps or in one, all of it or nothing.

use axum::body::Body;
use bytes::Bytes;
use coordinator::bookkeeping::chart;
use coordinator::files::upload::complete;
use coordinator::proofs::audit;
use futures::{StreamExt, stream};
use http::StatusCode;
use kit::Clock;
use proto::BlobId;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use crate::support::{
    CHUNK, Client, Coordinator, Node, balance, content, count, eventually, price, purges_of,
};

const CREDITS: i64 = 1_000_000_000;

async fn begin(client: &Client, size: usize) -> Value {
    client
        .initiate("a file", size)
        .await
        .expect(StatusCode::CREATED)
}

async fn all_hold(nodes: &[Node; 3], blobs: usize) {
    for node in nodes {
        assert_eq!(node.blobs().len(), blobs);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_size_around_a_chunk_comes_back_as_it_went_in(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let (mut paid, mut chunks) = (0, 0);
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17] {
        let bytes = content(size);
        let file = client.upload("name", &bytes).await;
        assert_eq!(file["size_bytes"], size);
        assert_eq!(file["chunk_count"], size.div_ceil(CHUNK));
        assert_eq!(client.content(&file).await, bytes, "{size}");
        paid += price("name", size);
        chunks += size.div_ceil(CHUNK);
        assert_eq!(client.balances().await, (CREDITS - paid, 0, paid), "{size}");
    }
    all_hold(&nodes, chunks).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn no_two_nodes_hold_the_same_bytes(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    client.upload("a", &content(2 * CHUNK)).await;
    client.upload("b", &content(2 * CHUNK)).await;
    let mut blobs: Vec<_> = nodes.iter().flat_map(Node::blobs).collect();
    blobs.sort_unstable();
    blobs.dedup();
    assert_eq!(blobs.len(), 4 * 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_may_come_in_any_order_and_are_told_apart(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(3 * CHUNK + 5);
    let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
    let upload = begin(&client, bytes.len()).await;
    assert_eq!(upload["chunk_count"], 4);
    assert_eq!(upload["cost_microcredits"], price("a file", bytes.len()));
    assert_eq!(client.balances().await.1, price("a file", bytes.len()));

    for index in [3, 0, 2] {
        let sent = client.send_chunk(&upload, index, chunks[index]).await;
        let expected = json!({"index": index, "size_bytes": chunks[index].len(), "replicas": 3,
                              "sha256": hex::encode(Sha256::digest(chunks[index]))});
        assert_eq!(sent.expect(StatusCode::OK), expected);
    }
    let status = client.upload_status(&upload).await.expect(StatusCode::OK);
    assert_eq!(status["state"], "open");
    assert_eq!(
        (&status["missing"], &status["missing_count"]),
        (&json!([1]), &json!(1))
    );
    let digest = hex::encode(Sha256::digest(chunks[2]));
    assert_eq!(status["chunks"][1], json!({"index": 2, "sha256": digest}));
    let early = client
        .complete(&upload)
        .await
        .problem(409, "chunks-missing");
    assert_eq!(
        (&early["missing"], &early["missing_count"]),
        (&json!([1]), &json!(1))
    );

    client
        .send_chunk(&upload, 1, chunks[1])
        .await
        .expect(StatusCode::OK);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(file["file_id"], upload["file_id"]);
    assert_eq!(client.content(&file).await, bytes);
    let cost = price("a file", bytes.len());
    assert_eq!(client.balances().await, (CREDITS - cost, 0, cost));
    all_hold(&nodes, 4).await;

    // Repeated, it is the same file; later chunks come too late.
    assert_eq!(
        client.complete(&upload).await.expect(StatusCode::CREATED),
        file
    );
    let late = client.send_chunk(&upload, 0, chunks[0]).await;
    late.problem(409, "upload-closed");
    client.abort(&upload).await.problem(409, "upload-closed");
    assert_eq!(client.balances().await, (CREDITS - cost, 0, cost));
    all_hold(&nodes, 4).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_is_sent_again_replaces_the_one_before(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK).await;
    let (old, new) = (vec![1; CHUNK], vec![2; CHUNK]);
    client
        .send_chunk(&upload, 0, &old)
        .await
        .expect(StatusCode::OK);
    let before: Vec<_> = nodes.iter().flat_map(Node::blobs).collect();
    client
        .send_chunk(&upload, 0, &new)
        .await
        .expect(StatusCode::OK);
    for (node, old) in nodes.iter().zip(before) {
        let purges = purges_of(&pool, node.node_id).await;
        assert_eq!(purges, [old]);
    }
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, new);
    coordinator.start_workers();
    for node in &nodes {
        node.until(|blobs| blobs.len() == 1).await;
    }
    assert_eq!(client.content(&file).await, new);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_has_its_length_and_its_place(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK + 10).await;
    for (index, size) in [
        (0, CHUNK - 1),
        (0, CHUNK + 1),
        (0, 0),
        (1, 9),
        (1, 11),
        (1, CHUNK),
    ] {
        let refused = client.send_chunk(&upload, index, &content(size)).await;
        let problem = refused.problem(422, "wrong-chunk-length");
        let expected = if index == 0 { CHUNK } else { 10 };
        assert_eq!(problem["expected_bytes"], expected);
    }
    for index in [2, i32::MAX as usize, u32::MAX as usize] {
        let refused = client.send_chunk(&upload, index, b"x").await;
        assert_eq!(refused.problem(422, "chunk-out-of-range")["chunk_count"], 2);
    }
    for index in ["-1", "4294967296", "x", ""] {
        let id = upload["upload_id"].as_str().unwrap();
        let call = client.put(&format!("/api/v1/files/upload/{id}/chunk?index={index}"));
        call.body("x").send().await.problem(400, "invalid-request");
    }
    all_hold(&nodes, 0).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn giving_up_returns_every_credit_and_every_blob(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, 3 * CHUNK).await;
    client
        .send_chunk(&upload, 0, &content(CHUNK))
        .await
        .expect(StatusCode::OK);
    assert_eq!(client.abort(&upload).await.status, StatusCode::NO_CONTENT);
    assert_eq!(client.balances().await, (CREDITS, 0, 0));
    coordinator.forget().await;
    for table in [
        "SELECT count(*) FROM files",
        "SELECT count(*) FROM data_keys",
        "SELECT count(*) FROM uploads",
        "SELECT count(*) FROM chunks",
        "SELECT count(*) FROM replicas",
        "SELECT sum(file_count)::bigint FROM users",
    ] {
        assert_eq!(count(&pool, table).await, 0, "{table}");
    }
    coordinator.start_workers();
    for node in &nodes {
        node.until(<[_]>::is_empty).await;
    }
    for again in [client.abort(&upload).await, client.complete(&upload).await] {
        again.problem(404, "not-found");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_that_expires_returns_every_credit(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let upload = begin(&client, CHUNK).await;
    client
        .send_chunk(&upload, 0, &content(CHUNK))
        .await
        .expect(StatusCode::OK);
    assert!(!complete::expire_one(&coordinator.app.files).await.unwrap());
    let late = "UPDATE uploads SET expires_at = now() - interval '1 second'";
    sqlx::query(late).execute(&pool).await.unwrap();
    let refused = client.send_chunk(&upload, 0, &content(CHUNK)).await;
    refused.problem(410, "upload-expired");
    client
        .complete(&upload)
        .await
        .problem(410, "upload-expired");

    // The refused requests' transactions may still be rolling back; the row is passed over meanwhile.
    eventually(|| async {
        let expired = complete::expire_one(&coordinator.app.files).await.unwrap();
        expired.then_some(())
    })
    .await;
    assert!(!complete::expire_one(&coordinator.app.files).await.unwrap());
    assert_eq!(balance(&pool, chart::available(user)).await, CREDITS);
    assert_eq!(balance(&pool, chart::upload_hold(user)).await, 0);
    coordinator.forget().await;
    for node in &nodes {
        let purges = purges_of(&pool, node.node_id).await;
        assert_eq!(purges, node.blobs());
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn another_users_upload_and_file_do_not_exist(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let (_, stranger) = coordinator.customer().await;
    let (upload, file) = (begin(&client, 1).await, client.upload("a", b"secret").await);
    stranger
        .upload_status(&upload)
        .await
        .problem(404, "not-found");
    stranger
        .send_chunk(&upload, 0, b"x")
        .await
        .problem(404, "not-found");
    stranger.complete(&upload).await.problem(404, "not-found");
    stranger.abort(&upload).await.problem(404, "not-found");
    stranger.download(&file).await.problem(404, "not-found");
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    stranger.get(&path).await.problem(404, "not-found");
    stranger.delete(&path).await.problem(404, "not-found");
    assert_eq!(client.content(&file).await, &b"secret"[..]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_form_brings_its_file_with_its_name_and_type(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let form = "--x\r\ncontent-disposition: form-data; name=\"note\"\r\n\r\nignored\r\n\
                --x\r\ncontent-disposition: form-data; name=\"f\"; filename=\"\u{fc}.txt\"\r\n\
                content-type: text/plain\r\n\r\nhello\r\n--x--\r\n";
    let send = |body: &str| {
        let call = client.post("/api/v1/files");
        let call = call.header("content-type", "multipart/form-data; boundary=x");
        call.body(body.to_owned()).send()
    };
    let file = send(form).await.expect(StatusCode::CREATED);
    assert_eq!(
        (&file["filename"], &file["content_type"]),
        (&json!("ü.txt"), &json!("text/plain"))
    );
    assert_eq!(client.content(&file).await, &b"hello"[..]);
    let balances = client.balances().await;
    for broken in ["", "--x--\r\n", "no form", &form[..form.len() - 20]] {
        send(broken).await.problem(400, "invalid-request");
    }
    assert_eq!(client.balances().await, balances);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_form_that_never_comes_to_its_file_is_not_read_to_the_end(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    // A part's head without an end, and behind it a stream that has none either.
    let head = "--x\r\ncontent-disposition: form-data; name=\"f\"; x=\"";
    let head = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(head.as_bytes()))]);
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 65536])));
    let call = client.post("/api/v1/files");
    let call = call.header("content-type", "multipart/form-data; boundary=x");
    let answer = call.body(Body::from_stream(head.chain(endless))).send();
    answer.await.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_sent_again_wins_whatever_the_clock_said_before(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = begin(&client, 3).await;
    client
        .send_chunk(&upload, 0, b"old")
        .await
        .expect(StatusCode::OK);
    // As if it had been taken by a coordinator whose clock is years ahead.
    sqlx::query("UPDATE chunks SET version = version + 100000000000")
        .execute(&pool)
        .await
        .unwrap();
    client
        .send_chunk(&upload, 0, b"new")
        .await
        .expect(StatusCode::OK);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, &b"new"[..]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn names_in_any_script_survive_and_no_name_is_none(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    for name in ["a/b\"c\\d", "line\nbreak\r\n", "文件 🦀", "..", " ", "%41"] {
        let file = client.upload(name, b"x").await;
        assert_eq!(file["filename"], name);
        let answer = client.download(&file).await;
        let header = answer.header("content-disposition");
        assert!(header.starts_with("attachment; "), "{header}");
    }
    for query in [
        "",
        "?filename=",
        "?filename=%00",
        &format!("?filename={}", "x".repeat(4097)),
    ] {
        let call = client.put(&format!("/api/v1/files{query}")).body("x");
        call.send().await.problem(400, "invalid-request");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_repeated_request_under_its_key_stores_once(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let send = |bytes: &[u8]| {
        let call = client
            .upload_call("a", bytes)
            .header("idempotency-key", "stream");
        async move { call.send().await }
    };
    let file = send(&content(CHUNK)).await.expect(StatusCode::CREATED);
    assert_eq!(
        send(&content(CHUNK)).await.expect(StatusCode::CREATED),
        file
    );
    send(&content(CHUNK + 1))
        .await
        .problem(422, "idempotency-key-reused");

    let initiate = |size: usize| {
        let body = json!({"filename": "b", "size_bytes": size}).to_string();
        let call = client.post("/api/v1/files/upload/initiate").body(body);
        let call = call.header("idempotency-key", "steps");
        async move { call.send().await }
    };
    let (first, second) = tokio::join!(initiate(10), initiate(10));
    let upload = first.expect(StatusCode::CREATED);
    let same = |other: &Value| {
        for member in ["upload_id", "file_id", "chunk_count", "cost_microcredits"] {
            assert_eq!(other[member], upload[member], "{member}");
        }
    };
    same(&second.expect(StatusCode::CREATED));
    initiate(11).await.problem(422, "idempotency-key-reused");
    client
        .send_chunk(&upload, 0, &content(10))
        .await
        .expect(StatusCode::OK);
    client.complete(&upload).await.expect(StatusCode::CREATED);
    same(&initiate(10).await.expect(StatusCode::CREATED));
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 2);
    assert_eq!(client.balances().await.1, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_lost_a_copy_before_complete_has_to_be_sent_again(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(2 * CHUNK);
    let upload = begin(&client, bytes.len()).await;
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        let sent = client.send_chunk(&upload, index, chunk).await;
        sent.expect(StatusCode::OK);
    }
    let of_second = "SELECT blob_id FROM replicas WHERE node_id = $1 AND chunk_index = 1";
    let lost: Vec<u8> = sqlx::query_scalar(of_second)
        .bind(nodes[0].node_id.as_uuid())
        .fetch_one(&pool)
        .await
        .unwrap();
    let lost = [BlobId::try_from(&lost[..]).unwrap()];
    let node = nodes[0].node_id;
    let reported = audit::loss_reported(
        &coordinator.app.proofs,
        node,
        &lost,
        "rot",
        Clock::system().now(),
    )
    .await;
    assert_eq!(reported.unwrap(), 1);

    let status = client.upload_status(&upload).await.expect(StatusCode::OK);
    assert_eq!(status["missing"], json!([1]));
    let refused = client.complete(&upload).await;
    assert_eq!(
        refused.problem(409, "chunks-missing")["missing"],
        json!([1])
    );
    let again = client.send_chunk(&upload, 1, &bytes[CHUNK..]).await;
    again.expect(StatusCode::OK);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, bytes);
    let counted = "SELECT count(*) FROM replicas WHERE demoted_at IS NULL AND earns";
    assert_eq!(count(&pool, counted).await, 6);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_on_a_node_that_was_thrown_out_meanwhile_does_not_count(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let text = content(CHUNK);
    let upload = client
        .initiate("a", text.len())
        .await
        .expect(StatusCode::CREATED);
    client
        .send_chunk(&upload, 0, &text)
        .await
        .expect(StatusCode::OK);
    let out = "UPDATE nodes SET state = 'disqualified' WHERE node_id = $1";
    let out = sqlx::query(out).bind(nodes[0].node_id.as_uuid());
    out.execute(&pool).await.unwrap();
    let status = client.upload_status(&upload).await.expect(StatusCode::OK);
    assert_eq!(status["missing"], serde_json::json!([0]));
    client
        .complete(&upload)
        .await
        .problem(409, "chunks-missing");
}
