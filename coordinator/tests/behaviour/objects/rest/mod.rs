//! Buckets and objects over the REST API: the same things that S3 clients see, for everybody else.

mod copies;
mod model;
mod places;
mod targets;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use coordinator::objects::expiry;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::SMALL;
use crate::support::{Answer, CHUNK, Call, Client, Coordinator, Node, content, count};

/// An account with a bucket that is called `b-1`.
struct Shop {
    coordinator: Coordinator,
    client: Client,
    _nodes: [Node; 3],
}

impl Shop {
    async fn open(pool: PgPool) -> Self {
        let settings = ["money.trial_microcredits=0"];
        let (coordinator, nodes) = Coordinator::with_fleet(pool, &settings).await;
        let (_, client) = coordinator.customer().await;
        let shop = Self {
            coordinator,
            client,
            _nodes: nodes,
        };
        shop.make("b-1").await;
        shop
    }

    async fn make(&self, name: &str) -> Value {
        let body = json!({"name": name}).to_string();
        let made = self.client.post("/api/v1/buckets").body(body).send().await;
        made.expect(StatusCode::CREATED)
    }

    async fn keep_versions(&self, versioning: &str) {
        let body = json!({"versioning": versioning}).to_string();
        let call = self.client.call(Method::PATCH, "/api/v1/buckets/b-1");
        call.body(body).send().await.expect(StatusCode::OK);
    }

    fn put(&self, key: &str, content: &[u8]) -> Call {
        let call = self.client.put(&api::paths::object("b-1", key));
        call.header("content-length", &content.len().to_string())
            .body(content.to_vec())
    }

    async fn stored(&self, key: &str, content: &[u8]) -> Value {
        self.put(key, content)
            .send()
            .await
            .expect(StatusCode::CREATED)
    }

    async fn get(&self, key: &str) -> Answer {
        self.client.get(&api::paths::object("b-1", key)).await
    }

    async fn bytes(&self, key: &str) -> Vec<u8> {
        let answer = self.get(key).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.bytes().to_vec()
    }

    async fn delete(&self, key: &str) -> Answer {
        self.client.delete(&api::paths::object("b-1", key)).await
    }

    async fn list(&self, query: &str) -> Value {
        let path = format!("/api/v1/buckets/b-1/objects?{query}");
        self.client.get(&path).await.expect(StatusCode::OK)
    }

    async fn escrow(&self) -> i64 {
        self.client.balances().await.2
    }
}

fn keys(page: &Value) -> Vec<&str> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["key"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_put_is_read_overwritten_listed_and_deleted(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let bytes = content(3 * CHUNK + 5);
    let put = shop
        .put("dir/a+b é%//", &bytes)
        .header("content-type", "text/plain")
        .header("x-fsn-meta-mtime", "123.4");
    let put = put.send().await;
    let object = put.expect(StatusCode::CREATED);
    assert_eq!(object["key"], "dir/a+b é%//");
    assert_eq!(object["size_bytes"], bytes.len());
    assert_eq!(object["metadata"], json!({"mtime": "123.4"}));
    let etag = format!("\"{}\"", object["etag"].as_str().unwrap());
    assert_eq!(put.header("etag"), etag);
    let location = put.header("location").to_owned();
    assert_eq!(
        location,
        "/api/v1/buckets/b-1/objects/dir/a%2Bb%20%C3%A9%25//"
    );

    let got = shop.client.get(&location).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.bytes()[..], bytes);
    assert_eq!(got.header("etag"), etag);
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("x-fsn-meta-mtime"), "123.4");
    assert_eq!(got.header("x-fsn-version-id"), object["version_id"]);
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert!(got.header("content-disposition").starts_with("attachment"));
    let head = shop.client.call(Method::HEAD, &location).send().await;
    assert_eq!(head.header("content-length"), bytes.len().to_string());
    assert!(head.bytes().is_empty());

    // Short, of a chunk, of several, of unknown length: each way in ends with the same name.
    for size in [0, 1, CHUNK, 5 * CHUNK + 7] {
        shop.stored("dir/a+b é%//", &content(size)).await;
        assert_eq!(shop.bytes("dir/a+b é%//").await, content(size));
    }
    let call = shop.client.put(&location);
    let call = call
        .header("transfer-encoding", "chunked")
        .body(bytes.clone());
    call.send().await.expect(StatusCode::CREATED);
    assert_eq!(shop.bytes("dir/a+b é%//").await, bytes);
    let files = "SELECT count(*) FROM files WHERE state = 'ready'";
    assert_eq!(count(&pool, files).await, 1);

    let page = shop.list("").await;
    assert_eq!(keys(&page), ["dir/a+b é%//"]);
    assert_eq!(page["next_after"], Value::Null);
    let entry = "/api/v1/buckets/b-1/entry?key=dir/a%2Bb%20%C3%A9%25//";
    let mut entry = shop.client.get(entry).await.expect(StatusCode::OK);
    // The files that hold it, whose proofs can be asked for: lists leave them out.
    let files = entry.as_object_mut().unwrap().remove("file_ids");
    assert_eq!(files.unwrap().as_array().unwrap().len(), 1);
    assert_eq!(entry, page["items"][0]);

    let deleted = shop.delete("dir/a+b é%//").await;
    deleted.expect(StatusCode::NO_CONTENT);
    shop.get("dir/a+b é%//").await.problem(404, "not-found");
    shop.delete("dir/a+b é%//").await.problem(404, "not-found");
    assert_eq!(shop.escrow().await, 0);
    let gone = shop.client.delete("/api/v1/buckets/b-1").await;
    gone.expect(StatusCode::NO_CONTENT);
    shop.get("a").await.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_write_or_a_read_with_a_condition_happens_only_where_it_holds(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let absent = |content: &[u8]| shop.put("k", content).header("if-none-match", "*");
    let first = absent(b"first").send().await.expect(StatusCode::CREATED);
    absent(b"x")
        .send()
        .await
        .problem(412, "precondition-failed");
    let etag = first["etag"].as_str().unwrap();
    let quoted = format!("\"{etag}\"");
    let second = shop.put("k", b"second").header("if-match", &quoted);
    let second = second.send().await.expect(StatusCode::CREATED);
    let stale = shop.put("k", b"x").header("if-match", &quoted);
    stale.send().await.problem(412, "precondition-failed");
    assert_eq!(shop.bytes("k").await, b"second");

    let path = api::paths::object("b-1", "k");
    let newest = format!("\"{}\"", second["etag"].as_str().unwrap());
    let same = shop.client.call(Method::GET, &path);
    let same = same.header("if-none-match", &newest).send().await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    let other = shop.client.call(Method::GET, &path);
    let other = other.header("if-match", &quoted).send().await;
    other.problem(412, "precondition-failed");
    let stale = shop.client.call(Method::DELETE, &path);
    let stale = stale.header("if-match", &quoted).send().await;
    stale.problem(412, "precondition-failed");
    let fresh = shop.client.call(Method::DELETE, &path);
    let fresh = fresh.header("if-match", &newest).send().await;
    fresh.expect(StatusCode::NO_CONTENT);
    let odd = shop.put("k", b"x").header("if-none-match", "\"a\"");
    odd.send().await.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_range_is_answered_in_part_and_one_outside_is_refused(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let bytes = content(2 * CHUNK + 9);
    shop.stored("k", &bytes).await;
    let ranged = |range: &'static str| {
        let call = shop
            .client
            .call(Method::GET, "/api/v1/buckets/b-1/objects/k");
        call.header("range", range).send()
    };
    let part = ranged("bytes=4090-4100").await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes()[..], bytes[4090..4101]);
    let whole = bytes.len();
    assert_eq!(
        part.header("content-range"),
        format!("bytes 4090-4100/{whole}")
    );
    assert_eq!(ranged("bytes=-3").await.bytes()[..], bytes[whole - 3..]);
    ranged("bytes=99999-")
        .await
        .problem(416, "range-not-satisfiable");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_digest_that_is_another_stores_nothing(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.stored("k", b"before").await;
    let wrong = BASE64_STANDARD.encode([0; 32]);
    for size in [5, 3 * CHUNK] {
        let put = shop.put("k", &content(size));
        let put = put.header("content-digest", &format!("sha-256=:{wrong}:"));
        put.send().await.problem(400, "digest-mismatch");
    }
    assert_eq!(shop.bytes("k").await, b"before");
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 1);
    let form = shop.put("k", b"x");
    let form = form.header("content-type", "multipart/form-data; boundary=x");
    form.send().await.problem(415, "unsupported-media-type");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn versions_stay_behind_a_marker_and_are_brought_back(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.keep_versions("enabled").await;
    let first = shop.stored("k", b"first").await;
    let second = shop.stored("k", b"second").await;
    let path = |object: &Value| {
        let version = object["version_id"].as_str().unwrap();
        format!("{}?version={version}", api::paths::object("b-1", "k"))
    };
    assert_eq!(
        shop.client.get(&path(&first)).await.bytes()[..],
        b"first"[..]
    );

    let marker = shop.delete("k").await;
    marker.expect(StatusCode::NO_CONTENT);
    shop.get("k").await.problem(404, "not-found");
    shop.delete("k").await.problem(404, "not-found"); // one marker is enough
    assert!(keys(&shop.list("").await).is_empty());
    let all = shop.list("versions=true&limit=2").await;
    assert_eq!(all["items"][0]["is_marker"], true);
    assert_eq!(
        all["items"][0]["version_id"],
        marker.header("x-fsn-version-id")
    );
    assert_eq!(all["items"][0]["etag"], Value::Null);
    assert_eq!(all["items"][1]["version_id"], second["version_id"]);
    let next = all["next_after_version"].as_str().unwrap();
    let rest = shop
        .list(&format!("versions=true&after=k&after_version={next}"))
        .await;
    assert_eq!(rest["items"][0]["version_id"], first["version_id"]);
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);

    let restore = json!({"key": "k", "version": first["version_id"]}).to_string();
    let restore = shop
        .client
        .post("/api/v1/buckets/b-1/restore")
        .body(restore);
    let restored = restore.send().await.expect(StatusCode::CREATED);
    assert_eq!(restored["is_latest"], true);
    assert_eq!(restored["etag"], first["etag"]);
    assert_eq!(shop.bytes("k").await, b"first");
    for version in [&restored, &second, &first] {
        shop.client
            .delete(&path(version))
            .await
            .expect(StatusCode::NO_CONTENT);
    }
    let left = shop.list("versions=true").await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1); // the marker
    shop.client
        .delete(&path(&first))
        .await
        .problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_feed_of_changes_knows_deletions_and_ends_where_it_was_forgotten(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.stored("a", b"1").await;
    shop.stored("b", b"2").await;
    shop.delete("a").await.expect(StatusCode::NO_CONTENT);
    let changes = |after: u64| {
        let path = format!("/api/v1/buckets/b-1/changes?limit=2&after={after}");
        let client = shop.client.clone();
        async move { client.get(&path).await }
    };
    let first = changes(0).await.expect(StatusCode::OK);
    assert_eq!(keys(&first), ["a", "b"]);
    assert_eq!(first["last_seq"], 3);
    let second = changes(2).await.expect(StatusCode::OK);
    let last = &second["items"][0];
    assert_eq!(
        (&last["key"], &last["what"]),
        (&json!("a"), &json!("removed"))
    );
    assert!(keys(&changes(3).await.expect(StatusCode::OK)).is_empty());
    sqlx::query("DELETE FROM object_changes WHERE change_seq <= 2")
        .execute(&pool)
        .await
        .unwrap();
    changes(1).await.problem(410, "changes-gone");
    changes(2).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_object_that_expires_is_gone_at_its_time_and_paid_back(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let now = kit::Clock::system().now().as_second();
    let soon = jiff::Timestamp::from_second(now + 3600).unwrap();
    let put = |key: &str| {
        shop.put(key, b"x")
            .header("x-fsn-expires-at", &soon.to_string())
    };
    let object = put("short").send().await.expect(StatusCode::CREATED);
    assert!(object["expires_at"].is_string());
    assert_eq!(
        shop.get("short").await.header("x-fsn-expires-at"),
        soon.to_string()
    );
    shop.stored("long", b"y").await;
    let objects = &shop.coordinator.app.objects;
    assert!(!expiry::expire_one_version(objects).await.unwrap());
    let over =
        "UPDATE objects SET expires_at = now() - interval '1 second' WHERE expires_at IS NOT NULL";
    sqlx::query(over).execute(&pool).await.unwrap();
    shop.get("short").await.problem(404, "not-found");
    while expiry::expire_one_version(objects).await.unwrap() {}
    assert_eq!(keys(&shop.list("").await), ["long"]);
    assert_eq!(shop.escrow().await, SMALL);

    // Where versions are kept, what it had replaced does not come back.
    shop.keep_versions("enabled").await;
    shop.stored("short", b"older").await;
    put("short").send().await.expect(StatusCode::CREATED);
    sqlx::query(over).execute(&pool).await.unwrap();
    while expiry::expire_one_version(objects).await.unwrap() {}
    shop.get("short").await.problem(404, "not-found");
    let all = shop.list("versions=true&prefix=short").await;
    let all: Vec<_> = all["items"].as_array().unwrap().iter().collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["is_marker"], true);
    assert_eq!(all[1]["size_bytes"], 5);
    let past = shop
        .put("k", b"x")
        .header("x-fsn-expires-at", "2020-01-01T00:00:00Z");
    past.send().await.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn key_metadata_and_envelope_are_billed_beside_the_least(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let billed = |bytes: i64| (bytes * 3 * 1_250_000 + 999_999_999) / 1_000_000_000;
    let envelope = BASE64_STANDARD.encode(vec![7; 3000]);
    // With a length and without one, below the least and above it.
    for (size, is_told) in [
        (0, true),
        (10, true),
        (10, false),
        (5 * CHUNK, false),
        (40 * CHUNK, false),
    ] {
        let mut put = shop
            .client
            .put(&api::paths::object("b-1", &"k".repeat(1000)));
        put = match is_told {
            true => put.header("content-length", &size.to_string()),
            false => put.header("transfer-encoding", "chunked"),
        };
        put = put.header("x-fsn-meta-m", &"v".repeat(988));
        put = put.header("x-fsn-envelope", &envelope).body(content(size));
        put.send().await.expect(StatusCode::CREATED);
        let bytes = size.max(65_536) as i64 + 1000 + 1000 + 3000;
        assert_eq!(shop.escrow().await, billed(bytes), "{size} {is_told}");
    }
    let asked = |query: &str| {
        let path = format!("{}{query}", api::paths::object("b-1", &"k".repeat(1000)));
        let client = shop.client.clone();
        async move { client.get(&path).await }
    };
    assert_eq!(
        asked("?envelope=true").await.header("x-fsn-envelope"),
        envelope
    );
    assert!(!asked("").await.headers.contains_key("x-fsn-envelope"));
    let listed = shop.list("envelope=true").await;
    assert_eq!(listed["items"][0]["envelope"], envelope);
    assert_eq!(shop.list("").await["items"][0]["envelope"], Value::Null);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_cannot_pay_has_what_he_had(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.stored("k", b"before").await;
    let poor = "UPDATE accounts SET balance_microcredits = 100 WHERE account = 'available'";
    sqlx::query(poor).execute(&pool).await.unwrap();
    let refused = shop.put("k", b"after").send().await;
    refused.problem(402, "insufficient-credits");
    assert_eq!(shop.bytes("k").await, b"before");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn keys_of_a_sealed_bucket_may_be_longer(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let body = json!({"name": "sealed", "names": "sealed", "versioning": "enabled"}).to_string();
    let made = shop.client.post("/api/v1/buckets").body(body).send().await;
    let made = made.expect(StatusCode::CREATED);
    assert_eq!(
        (&made["names"], &made["versioning"]),
        (&json!("sealed"), &json!("enabled"))
    );
    let put = |bucket: &str, length: usize| {
        let path = api::paths::object(bucket, &"x".repeat(length));
        shop.client
            .put(&path)
            .header("content-length", "1")
            .body("1")
            .send()
    };
    put("sealed", 2048).await.expect(StatusCode::CREATED);
    put("sealed", 2049).await.problem(400, "invalid-request");
    put("b-1", 1024).await.expect(StatusCode::CREATED);
    put("b-1", 1025).await.problem(400, "invalid-request");
}
