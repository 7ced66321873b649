//! Links to what is stored: who opens them, how often, until when, and what they show.

mod shown;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use coordinator::files::take_down;
use coordinator::http::s3;
use coordinator::shares::jobs::{CleanUp, CutEnded};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kit::Job as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt;

use crate::command_line::succeeds;
use crate::support::{
    Answer, CHUNK, Client, Coordinator, Node, S3Client, content, count, eventually, soon,
};

const PASSWORD: &str = "violet anchor";
/// More than is read ahead and kept on its way.
const LONG: usize = 200 * CHUNK;

struct Shop {
    coordinator: Coordinator,
    owner: Client,
    visitor: Client,
    nodes: [Node; 3],
}

async fn shop(pool: PgPool) -> Shop {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, owner) = coordinator.customer().await;
    Shop {
        visitor: coordinator.visitor(),
        coordinator,
        owner,
        nodes,
    }
}

async fn make(owner: &Client, wanted: &Value) -> Answer {
    let call = owner.post("/api/v1/shares");
    call.body(wanted.to_string()).send().await
}

impl Shop {
    /// A file, and a share of it that is otherwise as `wanted` says.
    async fn share(&self, bytes: &[u8], mut wanted: Value) -> Value {
        let file = self.owner.upload("tree.txt", bytes).await;
        wanted["file_id"] = file["file_id"].clone();
        make(&self.owner, &wanted).await.expect(StatusCode::CREATED)
    }

    async fn facts(&self, share: &Value) -> Answer {
        self.visitor.get(&about(share, "")).await
    }

    async fn read(&self, share: &Value) -> Answer {
        self.visitor.get(&about(share, "/content")).await
    }

    /// From there, with these headers.
    async fn read_with(&self, share: &Value, from: &str, headers: &[(&str, &str)]) -> Answer {
        let mut call = self.visitor.call(Method::GET, &about(share, "/content"));
        call = call.from(from);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.send().await
    }

    async fn unlock(&self, share: &Value, from: &str, password: &str) -> Answer {
        let call = self.visitor.post(&about(share, "/unlock")).from(from);
        call.body(json!({"password": password}).to_string())
            .send()
            .await
    }
}

fn about(share: &Value, behind: &str) -> String {
    format!("/api/v1/shares/{}{behind}", share["id"].as_str().unwrap())
}

fn page(share: &Value) -> String {
    format!("/s/{}", share["id"].as_str().unwrap())
}

fn html(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    String::from_utf8(answer.bytes().to_vec()).unwrap()
}

/// A share's content as it comes.
async fn begin(router: &Router, share: &Value) -> Body {
    let address: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    let request = Request::get(about(share, "/content")).extension(ConnectInfo(address));
    let request = request.body(Body::empty()).unwrap();
    let answer = soon(router.clone().oneshot(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    let first = soon(body.frame()).await.unwrap().unwrap();
    assert!(!first.into_data().unwrap().is_empty());
    body
}

async fn is_cut(body: Body) -> bool {
    soon(body.collect()).await.is_err()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_has_the_link_reads_what_it_leads_to_without_an_account(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let bytes = content(3 * CHUNK + 5);
    let share = shop.share(&bytes, json!({})).await;
    assert_eq!(share["url"], page(&share));
    assert_eq!(share["name"], "tree.txt");
    let facts = shop.facts(&share).await.expect(StatusCode::OK);
    assert_eq!(facts["size_bytes"], bytes.len());
    assert_eq!(facts["needs_password"], false);
    assert_eq!(facts["sha256"].as_str().unwrap().len(), 64);

    let whole = shop.read(&share).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.bytes()[..], bytes);
    let part = [("range", "bytes=4090-4100")];
    let part = shop.read_with(&share, "192.0.2.9", &part).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes()[..], bytes[4090..=4100]);
    let same = [("if-none-match", whole.header("etag"))];
    let same = shop.read_with(&share, "192.0.2.9", &same).await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);
    let path = about(&share, "/content");
    let head = shop.visitor.call(Method::HEAD, &path).send().await;
    assert_eq!(head.header("content-length"), bytes.len().to_string());

    let listed = shop.owner.get("/api/v1/shares").await;
    let listed = listed.expect(StatusCode::OK);
    assert_eq!(listed["items"][0]["id"], share["id"]);
    assert_eq!(listed["items"][0]["downloads"], 2);
    assert_eq!(listed["items"][0]["sent_bytes"], bytes.len() + 11);
    // Who reads is not charged, and neither is the owner but for storage.
    let charged = "SELECT count(*) FROM share_visitors";
    assert_eq!(count(&pool, charged).await, 4);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_share_ends_with_its_time_and_says_so(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let past = json!({"expires_at": "2020-01-01T00:00:00Z"});
    let file = shop.owner.upload("a", b"a").await;
    let wanted = json!({"file_id": file["file_id"], "expires_at": past["expires_at"]});
    let refused = make(&shop.owner, &wanted).await;
    refused.problem(400, "invalid-request");
    let share = shop
        .share(b"abc", json!({"expires_at": "2999-01-01T00:00:00Z"}))
        .await;
    assert_eq!(shop.read(&share).await.status, StatusCode::OK);

    sqlx::query("UPDATE shares SET expires_at = now() - interval '1 s'")
        .execute(&pool)
        .await
        .unwrap();
    shop.read(&share).await.problem(410, "share-ended");
    shop.facts(&share).await.problem(410, "share-ended");
    let shown = shop.visitor.get(&page(&share)).await;
    assert_eq!(shown.status, StatusCode::GONE);
    assert!(html(&shown).contains("its time is up"));

    // Its owner may make it longer, for a while.
    let longer = shop.owner.call(Method::PATCH, &about(&share, ""));
    let longer = longer.body(r#"{"expires_at":null}"#).send().await;
    assert!(longer.expect(StatusCode::OK)["expires_at"].is_null());
    assert_eq!(shop.read(&share).await.status, StatusCode::OK);
    sqlx::query("UPDATE shares SET expires_at = now() - interval '31 days'")
        .execute(&pool)
        .await
        .unwrap();
    let clean_up = CleanUp(Arc::clone(&shop.coordinator.app.shares));
    clean_up.step().await.unwrap();
    shop.read(&share).await.problem(404, "not-found");
    assert_eq!(
        count(&pool, "SELECT count(*) FROM wrapped_secrets").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_download_is_what_one_visitor_reads_in_a_day_in_any_pieces(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let bytes = content(4 * CHUNK);
    let share = shop.share(&bytes, json!({"max_downloads": 1})).await;
    let mut read = Vec::new();
    let mut cookie = String::new();
    for range in ["bytes=0-4999", "bytes=5000-9999"] {
        let part = shop
            .read_with(&share, "192.0.2.1", &[("range", range)])
            .await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        read.extend_from_slice(part.bytes());
        let set = part.header("set-cookie");
        assert!(
            set.contains("HttpOnly") && set.contains("SameSite=Lax"),
            "{set}"
        );
        assert!(
            set.contains(&format!("Path={};", about(&share, ""))),
            "{set}"
        );
        if cookie.is_empty() {
            set.split(';').next().unwrap().clone_into(&mut cookie);
        }
    }
    // From another address: the cookie tells that it is the same download.
    let rest = [("range", "bytes=10000-"), ("cookie", cookie.as_str())];
    let rest = shop.read_with(&share, "198.51.100.7", &rest).await;
    read.extend_from_slice(rest.bytes());
    assert_eq!(read, bytes);

    let other = [("range", "bytes=0-0")];
    let other = shop.read_with(&share, "203.0.113.9", &other).await;
    other.problem(410, "share-ended");
    // The same visitor gets no second copy either.
    let again = shop.read_with(&share, "192.0.2.1", &[]).await;
    again.problem(410, "share-ended");
    let facts = shop.facts(&share).await.expect(StatusCode::OK);
    assert_eq!(facts["downloads_left"], 0);
    let more = shop.owner.call(Method::PATCH, &about(&share, ""));
    more.body(r#"{"max_downloads":2}"#).send().await;
    assert_eq!(shop.read(&share).await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_a_broken_connection_did_not_take_may_be_read_later(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let share = shop
        .share(&content(LONG), json!({"max_downloads": 1}))
        .await;
    drop(begin(&shop.coordinator.router, &share).await);
    let sent = "SELECT sent_bytes FROM shares";
    eventually(|| async {
        let sent = count(&pool, sent).await;
        (sent < LONG as i64 / 8).then_some(())
    })
    .await;
    let whole = shop.read(&share).await;
    assert_eq!(whole.bytes().len(), LONG);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_share_that_is_taken_back_is_cut_in_mid_stream_at_every_coordinator(pool: PgPool) {
    let shop = shop(pool).await;
    let share = shop.share(&content(LONG), json!({})).await;
    let elsewhere = shop.coordinator.beside(&[]).await;
    let (here, there) = (
        begin(&shop.coordinator.router, &share).await,
        begin(&shop.coordinator.router, &share).await,
    );
    let other = shop.share(&content(LONG), json!({})).await;
    let untouched = begin(&shop.coordinator.router, &other).await;

    // By another coordinator: this one finds out by its job.
    let token = shop.owner.token().unwrap();
    let owner = elsewhere.visitor().with_token(token);
    let path = about(&share, "");
    owner.delete(&path).await.expect(StatusCode::NO_CONTENT);
    let cut_ended = CutEnded(Arc::clone(&shop.coordinator.app.shares));
    cut_ended.step().await.unwrap();
    assert!(is_cut(here).await && is_cut(there).await);
    shop.read(&share).await.problem(404, "not-found");

    // By this one: at once.
    let path = about(&other, "");
    shop.owner
        .delete(&path)
        .await
        .expect(StatusCode::NO_CONTENT);
    assert!(is_cut(untouched).await);
    shop.owner.delete(&path).await.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn five_passwords_may_be_tried_in_a_minute_from_one_address(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let short = json!({"password": "12345"});
    let file = shop.owner.upload("a", b"a").await;
    let wanted = json!({"file_id": file["file_id"], "password": short["password"]});
    make(&shop.owner, &wanted)
        .await
        .problem(400, "invalid-request");
    let common = json!({"file_id": file["file_id"], "password": "test1234"});
    make(&shop.owner, &common)
        .await
        .problem(400, "weak-password");
    let share = shop.share(b"secret", json!({"password": PASSWORD})).await;
    let refused = shop.read(&share).await;
    refused.problem(401, "share-password-required");

    // Each takes a while, in which another attempt may have come back.
    let mut tried = 0;
    loop {
        let wrong = shop.unlock(&share, "192.0.2.1", "wrong password").await;
        if wrong.status == StatusCode::TOO_MANY_REQUESTS {
            wrong.problem(429, "too-many-requests");
            break;
        }
        wrong.problem(401, "share-password-required");
        tried += 1;
        assert!(tried < 50, "passwords are tried without end");
    }
    assert!(tried >= 5, "{tried}");
    let other = shop.unlock(&share, "198.51.100.1", PASSWORD).await;
    let token = other.expect(StatusCode::OK);
    assert!(other.header("set-cookie").starts_with("fsn-share="));
    let token = token["token"].as_str().unwrap();
    let shown = [("share-token", token)];
    let read = shop.read_with(&share, "203.0.113.1", &shown).await;
    assert_eq!(read.bytes()[..], *b"secret");

    // A new password ends what was given out for the one before.
    let changed = shop.owner.call(Method::PATCH, &about(&share, ""));
    let changed = changed
        .body(r#"{"password":"another anchor"}"#)
        .send()
        .await;
    changed.expect(StatusCode::OK);
    let read = shop.read_with(&share, "203.0.113.1", &shown).await;
    read.problem(401, "share-password-required");
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM shares")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_asks_for_so_many_shares_in_an_hour_and_another_for_its_own(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, owner) = coordinator.user().await;
    let nothing = json!({"file_id": "0198e7a0-0000-7000-8000-000000000000"});
    // Each takes a while, in which another may have come back.
    let mut tried = 0;
    loop {
        let answer = make(&owner, &nothing).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            answer.problem(429, "too-many-requests");
            break;
        }
        answer.problem(404, "not-found");
        tried += 1;
        assert!(tried < 1000, "shares are made without end");
    }
    assert!(tried >= 600, "{tried}");
    let (_, other) = coordinator.user().await;
    make(&other, &nothing).await.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_share_is_its_owners_alone_to_see_and_to_end(pool: PgPool) {
    let shop = shop(pool).await;
    let share = shop.share(b"abc", json!({})).await;
    let (_, stranger) = shop.coordinator.customer().await;
    let listed = stranger.get("/api/v1/shares").await.expect(StatusCode::OK);
    assert_eq!(listed["items"], json!([]));
    let path = about(&share, "");
    stranger.delete(&path).await.problem(404, "not-found");
    let change = stranger.call(Method::PATCH, &path);
    let change = change.body(r#"{"max_downloads":1}"#).send().await;
    change.problem(404, "not-found");
    shop.visitor
        .delete(&path)
        .await
        .problem(401, "unauthorized");
    let foreign = json!({"file_id": share["file_id"]});
    make(&stranger, &foreign).await.problem(404, "not-found");

    // A key that may not read makes no link that lets others read.
    let key = shop.owner.post("/api/v1/access-keys");
    let key = key.body(r#"{"name":"a","scopes":["write","list"]}"#);
    let key = key.send().await.expect(StatusCode::CREATED);
    let made = shop.visitor.post("/api/v1/shares").from("127.0.0.1");
    let made = made.with_key(&key).body(foreign.to_string()).send().await;
    made.problem(403, "not-for-this-key");
    for wrong in [
        "BwcHBwcHBwcHBwcHBwcHBw",
        "x",
        "%00",
        "..",
        "BwcHBwcHBwcHBwcHBwcHBw==",
    ] {
        let path = format!("/api/v1/shares/{wrong}/content");
        shop.visitor.get(&path).await.problem(404, "not-found");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_that_is_taken_down_and_an_owner_who_is_suspended_end_what_is_running(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let (taken, kept) = (
        shop.share(&content(LONG), json!({})).await,
        shop.share(&content(LONG), json!({})).await,
    );
    let router = &shop.coordinator.router;
    let (one, other) = (begin(router, &taken).await, begin(router, &kept).await);
    let file = taken["file_id"].as_str().unwrap().parse().unwrap();
    let app = &shop.coordinator.app;
    let by = (&app.clock, &app.entropy);
    take_down::take_down(&app.db, by, file, "spam")
        .await
        .unwrap();
    let cut_ended = CutEnded(Arc::clone(&app.shares));
    cut_ended.step().await.unwrap();
    assert!(is_cut(one).await);
    shop.read(&taken).await.problem(410, "share-ended");
    shop.coordinator.forget().await;
    shop.read(&taken).await.problem(404, "not-found");

    sqlx::query("UPDATE users SET suspended_at = now(), suspended_reason = 'spam'")
        .execute(&pool)
        .await
        .unwrap();
    cut_ended.step().await.unwrap();
    assert!(is_cut(other).await);
    shop.read(&kept).await.problem(410, "share-ended");
    sqlx::query("UPDATE users SET suspended_at = NULL, suspended_reason = NULL")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(shop.read(&kept).await.bytes().len(), LONG);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_closed_account_leaves_no_share(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let share = shop.share(b"abc", json!({})).await;
    let user: uuid::Uuid = sqlx::query_scalar("SELECT user_id FROM shares")
        .fetch_one(&pool)
        .await
        .unwrap();
    let id = user.to_string();
    let close = ["admin", "user", "delete", &id, "--reason", "asked for"];
    succeeds(&pool, &close).await;
    let status = shop.read(&share).await.status;
    assert!([StatusCode::GONE, StatusCode::NOT_FOUND].contains(&status));
    shop.coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM shares").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_link_to_a_key_follows_it_and_one_to_a_version_does_not(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3_router = s3::router(&shop.coordinator.app).unwrap();
    let all = r#"{"name":"all","scopes":["read","write","list","delete"],"s3":true}"#;
    let s3 = S3Client::new(&s3_router, &shop.owner, all).await;
    s3.put("/b-1", "").send().await;
    let (one, two) = (content(3 * CHUNK), content(CHUNK + 1));
    s3.put("/b-1/dir/a.bin", one.clone()).send().await;
    let version: uuid::Uuid = sqlx::query_scalar("SELECT version_id FROM objects")
        .fetch_one(&pool)
        .await
        .unwrap();
    let wanted = json!({"bucket": "b-1", "key": "dir/a.bin"});
    let latest = make(&shop.owner, &wanted).await.expect(StatusCode::CREATED);
    assert_eq!(latest["name"], "a.bin");
    assert_eq!(latest["bucket"], "b-1");
    let pinned = json!({"bucket": "b-1", "key": "dir/a.bin", "version_id": version});
    let pinned = make(&shop.owner, &pinned).await.expect(StatusCode::CREATED);
    let part = shop.read_with(&latest, "192.0.2.1", &[("range", "bytes=4000-8200")]);
    assert_eq!(part.await.bytes()[..], one[4000..=8200]);
    assert_eq!(shop.read(&pinned).await.bytes()[..], one);

    s3.put("/b-1/dir/a.bin", two.clone()).send().await;
    assert_eq!(shop.read(&latest).await.bytes()[..], two);
    // Versions are not kept here.
    shop.read(&pinned).await.problem(404, "not-found");
    let running = begin(&shop.coordinator.router, &latest).await;
    s3.call(Method::DELETE, "/b-1/dir/a.bin").send().await;
    shop.read(&latest).await.problem(410, "share-ended");
    let cut_ended = CutEnded(Arc::clone(&shop.coordinator.app.shares));
    cut_ended.step().await.unwrap();
    drop(running);
    for nothing in [
        json!({"bucket": "b-1", "key": "dir/a.bin"}),
        json!({"bucket": "b-2", "key": "a"}),
        json!({"bucket": "b-1", "key": "a\0"}),
    ] {
        make(&shop.owner, &nothing).await.problem(404, "not-found");
    }
    for wrong in [
        json!({}),
        json!({"bucket": "b-1"}),
        json!({"bucket": "b-1", "key": "a", "file_id": version}),
        json!({"file_id": version, "version_id": version}),
        json!({"file_id": version, "max_downloads": 0}),
        json!({"file_id": version, "id": "short"}),
        json!({"file_id": version, "envelope": "AQ"}),
        json!({"file_id": version, "name": ""}),
    ] {
        make(&shop.owner, &wrong)
            .await
            .problem(400, "invalid-request");
    }
    // With its last share nothing of it is in the way of the bucket's end.
    s3.call(Method::DELETE, "/b-1").send().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM shares").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_sealed_share_carries_its_envelope_and_is_made_once_under_its_id(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    const ID: &str = "mZ2xv0Y4Qk2Yb1n3sFq0Zw";
    const ENVELOPE: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";
    let file = shop.owner.upload("Xq3-ciphertext", &content(100)).await;
    let wanted =
        json!({"id": ID, "file_id": file["file_id"], "envelope": ENVELOPE, "password": PASSWORD});
    let share = make(&shop.owner, &wanted).await.expect(StatusCode::CREATED);
    assert_eq!((&share["id"], &share["sealed"]), (&json!(ID), &json!(true)));
    let again = make(&shop.owner, &wanted).await.expect(StatusCode::CREATED);
    assert_eq!(again, share);
    let others = [("password", json!("another anchor")), ("name", json!("b"))];
    for (member, other) in others {
        let mut wanted = wanted.clone();
        wanted[member] = other;
        make(&shop.owner, &wanted)
            .await
            .problem(409, "share-id-taken");
    }
    let (_, stranger) = shop.coordinator.customer().await;
    let own = stranger.upload("a", b"a").await;
    let taken = json!({"id": ID, "file_id": own["file_id"]});
    make(&stranger, &taken).await.problem(409, "share-id-taken");

    let token = shop.unlock(&share, "192.0.2.1", PASSWORD).await;
    let token = token.expect(StatusCode::OK)["token"].clone();
    let facts = shop.visitor.call(Method::GET, &about(&share, ""));
    let facts = facts.header("share-token", token.as_str().unwrap());
    let facts = facts.send().await.expect(StatusCode::OK);
    assert_eq!(facts["envelope"], ENVELOPE);
    assert_eq!(facts["name"], "sealed");
    // Who reads the database opens no link.
    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT s::text FROM shares s UNION ALL SELECT w::text FROM wrapped_secrets w",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let id =
        hex::encode(base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, ID).unwrap());
    assert!(rows.len() >= 2);
    assert!(
        rows.iter()
            .all(|row| !row.contains(ID) && !row.contains(&id)),
        "{rows:?}"
    );
}
