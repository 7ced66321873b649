//! Uploads in steps that become an object.

use super::*;

async fn begin(shop: &Shop, size: usize, target: Value) -> Answer {
    let body = json!({"size_bytes": size, "content_type": "text/plain", "target": target});
    let call = shop.client.post("/api/v1/files/upload/initiate");
    call.body(body.to_string()).send().await
}

async fn send(shop: &Shop, upload: &Value, bytes: &[u8]) {
    for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
        let sent = shop.client.send_chunk(upload, index, chunk).await;
        sent.expect(StatusCode::OK);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_came_in_steps_is_the_object_from_its_completion_on(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.stored("dir/k", b"before").await;
    let bytes = content(3 * CHUNK + 1);
    let target = json!({
        "bucket": "b-1", "key": "dir/k", "metadata": {"Mtime": "5"}, "envelope": BASE64_STANDARD.encode(vec![1; 16_448]),
    });
    let upload = begin(&shop, bytes.len(), target)
        .await
        .expect(StatusCode::CREATED);
    send(&shop, &upload, &bytes).await;
    assert_eq!(shop.bytes("dir/k").await, b"before");
    let completed = shop.client.complete(&upload).await;
    completed.expect(StatusCode::CREATED);
    assert_eq!(
        completed.header("location"),
        "/api/v1/buckets/b-1/objects/dir/k"
    );
    let got = shop.get("dir/k").await;
    assert_eq!(got.bytes()[..], bytes);
    assert_eq!(got.header("etag"), completed.header("etag"));
    assert_eq!(
        got.header("x-fsn-version-id"),
        completed.header("x-fsn-version-id")
    );
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("x-fsn-meta-mtime"), "5");
    let entry = shop.client.get("/api/v1/buckets/b-1/entry?key=dir/k").await;
    let envelope = entry.expect(StatusCode::OK)["envelope"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(BASE64_STANDARD.decode(envelope).unwrap(), [1; 16_448]);
    // Repeated, it is the same.
    let again = shop.client.complete(&upload).await;
    again.expect(StatusCode::CREATED);
    assert_eq!(again.header("etag"), completed.header("etag"));
    let files = shop
        .client
        .get("/api/v1/files")
        .await
        .expect(StatusCode::OK);
    assert_eq!(files["items"], json!([]));
    let ready = "SELECT count(*) FROM files WHERE state = 'ready'";
    assert_eq!(count(&pool, ready).await, 1);
    shop.delete("dir/k").await.expect(StatusCode::NO_CONTENT);
    assert_eq!(shop.escrow().await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_condition_is_looked_at_when_the_key_is_written(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let target = json!({"bucket": "b-1", "key": "k", "if_none_match": "*"});
    let upload = begin(&shop, 1, target).await.expect(StatusCode::CREATED);
    send(&shop, &upload, b"1").await;
    shop.stored("k", b"meanwhile").await;
    shop.client
        .complete(&upload)
        .await
        .problem(412, "precondition-failed");
    assert_eq!(shop.bytes("k").await, b"meanwhile");
    shop.delete("k").await.expect(StatusCode::NO_CONTENT);
    shop.client
        .complete(&upload)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(shop.bytes("k").await, b"1");

    let lost = json!({"bucket": "b-1", "key": "lost"});
    let lost = begin(&shop, 1, lost).await.expect(StatusCode::CREATED);
    send(&shop, &lost, b"1").await;
    shop.delete("k").await.expect(StatusCode::NO_CONTENT);
    let gone = shop.client.delete("/api/v1/buckets/b-1").await;
    gone.expect(StatusCode::NO_CONTENT);
    shop.client.complete(&lost).await.problem(404, "not-found");
    shop.client
        .abort(&lost)
        .await
        .expect(StatusCode::NO_CONTENT);
    assert_eq!(shop.client.balances().await.1, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_cannot_be_a_target_is_refused_at_once(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let too_long = BASE64_STANDARD.encode(vec![1; 16_449]);
    for target in [
        json!({"key": "k"}),
        json!({"bucket": "b-1", "key": ""}),
        json!({"bucket": "b-1", "key": "k", "envelope": too_long}),
        json!({"bucket": "b-1", "key": "k", "expires_at": "2020-01-01T00:00:00Z"}),
        json!({"bucket": "b-1", "key": "k", "if_match": "a", "if_none_match": "*"}),
    ] {
        begin(&shop, 1, target)
            .await
            .problem(400, "invalid-request");
    }
    let none = json!({"bucket": "none", "key": "k"});
    begin(&shop, 1, none).await.problem(404, "not-found");
    // Under one key, one target.
    let keyed = |key: &str| {
        let body = json!({"size_bytes": 1, "target": {"bucket": "b-1", "key": key}});
        let call = shop.client.post("/api/v1/files/upload/initiate");
        let call = call.header("idempotency-key", "once");
        call.body(body.to_string()).send()
    };
    let first = keyed("k").await.expect(StatusCode::CREATED);
    let same = keyed("k").await.expect(StatusCode::CREATED);
    assert_eq!(first["upload_id"], same["upload_id"]);
    keyed("l").await.problem(422, "idempotency-key-reused");
}
