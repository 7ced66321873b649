//! Whose buckets they are, and what access keys may do in them.

use super::*;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn buckets_are_made_changed_listed_and_are_their_owners(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let made = shop.make("a-1").await;
    assert_eq!(
        (&made["versioning"], &made["names"]),
        (&json!("off"), &json!("plain"))
    );
    let listed = shop
        .client
        .get("/api/v1/buckets")
        .await
        .expect(StatusCode::OK);
    let names: Vec<_> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| &b["name"])
        .collect();
    assert_eq!(names, ["a-1", "b-1"]);
    shop.keep_versions("enabled").await;
    shop.keep_versions("suspended").await;
    let one = shop
        .client
        .get("/api/v1/buckets/b-1")
        .await
        .expect(StatusCode::OK);
    assert_eq!(one["versioning"], "suspended");
    let off = shop.client.call(Method::PATCH, "/api/v1/buckets/b-1");
    let off = off.body(r#"{"versioning":"off"}"#).send().await;
    off.problem(400, "invalid-request");

    shop.stored("k", b"mine").await;
    let (_, stranger) = shop.coordinator.customer().await;
    let make = |name: &str| {
        let body = json!({"name": name}).to_string();
        stranger.post("/api/v1/buckets").body(body).send()
    };
    make("b-1").await.problem(409, "bucket-name-taken");
    make("B_1").await.problem(400, "invalid-request");
    make("c-1").await.expect(StatusCode::CREATED);
    for path in [
        "/api/v1/buckets/b-1",
        "/api/v1/buckets/b-1/objects",
        "/api/v1/buckets/b-1/objects/k",
        "/api/v1/buckets/b-1/entry?key=k",
        "/api/v1/buckets/b-1/changes",
    ] {
        stranger.get(path).await.problem(403, "forbidden");
    }
    let put = stranger
        .put("/api/v1/buckets/b-1/objects/k")
        .header("content-length", "1");
    put.body("x").send().await.problem(403, "forbidden");
    let deleted = stranger.delete("/api/v1/buckets/b-1/objects/k").await;
    deleted.problem(403, "forbidden");
    stranger
        .delete("/api/v1/buckets/b-1")
        .await
        .problem(403, "forbidden");
    let theirs = json!({"key": "k", "to": {"bucket": "c-1", "key": "k"}}).to_string();
    for door in ["copy", "move"] {
        let taken = stranger.post(&format!("/api/v1/buckets/b-1/{door}"));
        taken
            .body(theirs.clone())
            .send()
            .await
            .problem(403, "forbidden");
    }
    stranger
        .get("/api/v1/buckets/none")
        .await
        .problem(404, "not-found");
    let visitor = shop.coordinator.visitor();
    visitor
        .get("/api/v1/buckets/b-1/objects/k")
        .await
        .problem(401, "unauthorized");
    assert_eq!(shop.bytes("k").await, b"mine");
    shop.client
        .delete("/api/v1/buckets/b-1")
        .await
        .problem(409, "bucket-not-empty");
}

async fn key(shop: &Shop, wanted: Value) -> Client {
    let made = shop
        .client
        .post("/api/v1/access-keys")
        .body(wanted.to_string());
    let made = made.send().await.expect(StatusCode::CREATED);
    let member = |name: &str| made[name].as_str().unwrap().to_owned();
    let token = format!(
        "{}.{}",
        member("access_key_id"),
        member("secret_access_key")
    );
    shop.coordinator.visitor().with_token(&token)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_does_what_its_scopes_say_where_it_is_for(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.make("b-2").await;
    shop.stored("in/a", b"1").await;
    shop.stored("out", b"2").await;
    let all = ["read", "write", "list", "delete"];
    let placed = json!({"name": "placed", "scopes": all, "bucket": "b-1", "prefix": "in/"});
    let placed = key(&shop, placed).await;
    let objects = "/api/v1/buckets/b-1/objects";
    for path in [
        format!("{objects}/in/a"),
        format!("{objects}?prefix=in/"),
        "/api/v1/buckets/b-1".to_owned(),
        "/api/v1/buckets/b-1/entry?key=in/a".to_owned(),
    ] {
        placed.get(&path).await.expect_ok(&path);
    }
    for path in [
        format!("{objects}/out"),
        objects.to_owned(),
        format!("{objects}?prefix=i"),
        "/api/v1/buckets".to_owned(),
        "/api/v1/buckets/b-1/changes".to_owned(),
        "/api/v1/buckets/b-2".to_owned(),
        "/api/v1/files".to_owned(),
    ] {
        placed.get(&path).await.problem(403, "not-for-this-key");
    }
    let put = |client: &Client, key: &str| {
        let call = client.put(&api::paths::object("b-1", key));
        call.header("content-length", "1").body("x").send()
    };
    put(&placed, "in/b").await.expect(StatusCode::CREATED);
    put(&placed, "out").await.problem(403, "not-for-this-key");
    let copy = |to: &str| {
        let body = json!({"key": "in/a", "to": {"key": to}}).to_string();
        placed.post("/api/v1/buckets/b-1/copy").body(body).send()
    };
    copy("in/c").await.expect(StatusCode::CREATED);
    copy("c").await.problem(403, "not-for-this-key");
    let made = placed
        .post("/api/v1/buckets")
        .body(r#"{"name":"b-3"}"#)
        .send()
        .await;
    made.problem(403, "not-for-this-key");

    // An upload in steps, too, where it becomes something there.
    let begin = |client: &Client, body: Value| {
        let call = client.post("/api/v1/files/upload/initiate");
        call.body(body.to_string()).send()
    };
    let target = |key: &str| json!({"size_bytes": 1, "target": {"bucket": "b-1", "key": key}});
    begin(&placed, target("out"))
        .await
        .problem(403, "not-for-this-key");
    let file = json!({"filename": "f", "size_bytes": 1});
    begin(&placed, file.clone())
        .await
        .problem(403, "not-for-this-key");
    let upload = begin(&placed, target("in/d"))
        .await
        .expect(StatusCode::CREATED);
    placed
        .send_chunk(&upload, 0, b"x")
        .await
        .expect(StatusCode::OK);
    placed.upload_status(&upload).await.expect(StatusCode::OK);
    placed.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(shop.bytes("in/d").await, b"x");
    let elsewhere = begin(&shop.client, target("out"))
        .await
        .expect(StatusCode::CREATED);
    let refused = placed.send_chunk(&elsewhere, 0, b"x").await;
    refused.problem(403, "not-for-this-key");
    placed
        .complete(&elsewhere)
        .await
        .problem(403, "not-for-this-key");
    placed
        .abort(&elsewhere)
        .await
        .problem(403, "not-for-this-key");
    let plain = begin(&shop.client, file).await.expect(StatusCode::CREATED);
    placed
        .send_chunk(&plain, 0, b"x")
        .await
        .problem(403, "not-for-this-key");

    for (scope, may) in [
        ("read", [true, false, false, false]),
        ("write", [false, true, false, false]),
        ("list", [false, false, true, false]),
        ("delete", [false, false, false, true]),
    ] {
        let one = key(&shop, json!({"name": scope, "scopes": [scope]})).await;
        let asked = [
            one.get("/api/v1/buckets/b-1/objects/in/a").await,
            put(&one, "w").await,
            one.get("/api/v1/buckets/b-1/objects").await,
            one.delete("/api/v1/buckets/b-1/objects/in/b").await,
        ];
        for (answer, may) in asked.iter().zip(may) {
            assert_eq!(answer.status.is_success(), may, "{scope} {:?}", answer.body);
            if !may {
                answer.problem(403, "not-for-this-key");
            }
        }
    }
}

trait ExpectOk {
    fn expect_ok(&self, what: &str);
}

impl ExpectOk for Answer {
    fn expect_ok(&self, what: &str) {
        assert_eq!(self.status, StatusCode::OK, "{what}: {:?}", self.body);
    }
}
