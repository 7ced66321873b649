//! Copies and moves: names change, and bytes do not move.

use super::*;

const CHUNKS: &str = "SELECT count(*) FROM chunks";

fn post(shop: &Shop, door: &str, body: Value) -> impl Future<Output = Answer> + use<> {
    let call = shop.client.post(&format!("/api/v1/buckets/b-1/{door}"));
    call.body(body.to_string()).send()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_says_what_its_source_says_unless_told_and_outlives_it(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.make("b-2").await;
    let bytes = content(3 * CHUNK);
    let put = shop
        .put("from", &bytes)
        .header("content-type", "text/plain");
    let put = put
        .header("x-fsn-meta-a", "1")
        .header("x-fsn-envelope", "AAEC");
    let source = put.send().await.expect(StatusCode::CREATED);
    let copied = post(
        &shop,
        "copy",
        json!({"key": "from", "to": {"bucket": "b-2", "key": "to"}}),
    );
    let copied = copied.await;
    let copy = copied.expect(StatusCode::CREATED);
    assert_eq!(copied.header("location"), "/api/v1/buckets/b-2/objects/to");
    assert_eq!(copy["etag"], source["etag"]);
    assert_eq!(copy["content_type"], "text/plain");
    assert_eq!(copy["metadata"], json!({"a": "1"}));
    let entry = shop.client.get("/api/v1/buckets/b-2/entry?key=to").await;
    assert_eq!(entry.expect(StatusCode::OK)["envelope"], "AAEC");
    let other = json!({"key": "other", "metadata": {"b": "2"}, "content_type": "a/b", "if_none_match": "*"});
    let told = post(&shop, "copy", json!({"key": "from", "to": other})).await;
    let told = told.expect(StatusCode::CREATED);
    assert_eq!(
        (&told["metadata"], &told["content_type"]),
        (&json!({"b": "2"}), &json!("a/b"))
    );
    let again = post(&shop, "copy", json!({"key": "from", "to": other})).await;
    again.problem(412, "precondition-failed");
    assert_eq!(count(&pool, CHUNKS).await, 3);
    assert_eq!(shop.escrow().await, 3 * SMALL);

    for key in ["from", "other"] {
        shop.delete(key).await.expect(StatusCode::NO_CONTENT);
    }
    let got = shop.client.get("/api/v1/buckets/b-2/objects/to").await;
    assert_eq!(got.bytes()[..], bytes);
    post(&shop, "copy", json!({"key": "none", "to": {"key": "a"}}))
        .await
        .problem(404, "not-found");
    let odd = json!({"key": "to", "to": {"key": "a", "metadata": {"a b": "c"}}});
    let odd = shop
        .client
        .post("/api/v1/buckets/b-2/copy")
        .body(odd.to_string());
    odd.send().await.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_move_is_a_new_name_for_the_same_version(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.make("b-2").await;
    let bytes = content(3 * CHUNK);
    let object = shop.stored("from", &bytes).await;
    shop.stored("in the way", b"x").await;
    let absent = json!({"key": "from", "to": {"key": "in the way", "if_none_match": "*"}});
    post(&shop, "move", absent)
        .await
        .problem(412, "precondition-failed");
    let moved = post(
        &shop,
        "move",
        json!({"key": "from", "to": {"key": "in the way"}}),
    )
    .await;
    let moved = moved.expect(StatusCode::CREATED);
    assert_eq!(moved["version_id"], object["version_id"]);
    shop.get("from").await.problem(404, "not-found");
    assert_eq!(shop.bytes("in the way").await, bytes);
    assert_eq!(shop.escrow().await, SMALL);
    let elsewhere = json!({"key": "in the way", "to": {"bucket": "b-2", "key": "k"}});
    post(&shop, "move", elsewhere)
        .await
        .expect(StatusCode::CREATED);
    assert!(keys(&shop.list("").await).is_empty());
    let got = shop.client.get("/api/v1/buckets/b-2/objects/k").await;
    assert_eq!(got.bytes()[..], bytes);
    assert_eq!(count(&pool, CHUNKS).await, 3 + 1); // of what was in the way, until it is forgotten

    // Both feeds tell it, without a gap.
    let told = |bucket: &str| {
        let path = format!("/api/v1/buckets/{bucket}/changes");
        let client = shop.client.clone();
        async move {
            let page = client.get(&path).await.expect(StatusCode::OK);
            let items = page["items"].as_array().unwrap().clone();
            let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
            let told = items
                .iter()
                .map(|item| (text(item, "what"), text(item, "key")));
            told.collect::<Vec<_>>()
        }
    };
    let pair = |what: &str, key: &str| (what.to_owned(), key.to_owned());
    assert_eq!(
        told("b-1").await,
        [
            pair("put", "from"),
            pair("put", "in the way"),
            pair("removed", "from"),
            pair("put", "in the way"),
            pair("removed", "in the way"),
        ]
    );
    assert_eq!(told("b-2").await, [pair("put", "k")]);
    let onto_itself = json!({"key": "k", "to": {"key": "k"}}).to_string();
    let same = shop
        .client
        .post("/api/v1/buckets/b-2/move")
        .body(onto_itself);
    assert_eq!(
        same.send().await.expect(StatusCode::CREATED)["version_id"],
        object["version_id"]
    );
    let changing = json!({"key": "k", "to": {"key": "l", "metadata": {}}}).to_string();
    let changing = shop.client.post("/api/v1/buckets/b-2/move").body(changing);
    changing.send().await.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_versions_are_kept_the_old_keys_stay_behind_a_marker(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.keep_versions("enabled").await;
    shop.stored("from", b"bytes").await;
    let moved = post(&shop, "move", json!({"key": "from", "to": {"key": "to"}})).await;
    moved.expect(StatusCode::CREATED);
    assert_eq!(keys(&shop.list("").await), ["to"]);
    assert_eq!(
        keys(&shop.list("versions=true").await),
        ["from", "from", "to"]
    );
    assert_eq!(shop.bytes("to").await, b"bytes");
}
