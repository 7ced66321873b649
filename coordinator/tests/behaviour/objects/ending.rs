//! What ends objects from outside: the end of their owner's account, and a take-down.

use std::sync::Arc;

use coordinator::bookkeeping::chart;
use coordinator::closing::jobs::EmptyClosed;
use coordinator::objects::jobs::EndLeftOvers;
use coordinator::objects::{ObjectError, copy};
use http::StatusCode;
use kit::Job as _;
use model::objects::{VersionRef, WriteCondition};
use serde_json::Value;
use sqlx::PgPool;

use super::{Shop, begin, described, holder, put_part};
use crate::closing::rows_with;
use crate::command_line::{fails, succeeds};
use crate::support::{CHUNK, balance, content, count};

async fn copy(shop: &Shop, from: &str, to: &str) {
    let source = shop.find(from, VersionRef::Latest).await.unwrap();
    let to = described(to, WriteCondition::None);
    let copied = copy::copy(shop.objects(), holder(shop.user), &source, &shop.bucket, to);
    copied.await.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_closed_account_leaves_no_bucket_and_nothing_that_was_in_one(pool: PgPool) {
    let mut shop = Shop::open(pool.clone()).await;
    shop.keep_versions(true).await;
    // More than one transaction ends.
    for number in 0..20 {
        for _ in 0..2 {
            shop.put(&format!("diary/{number}"), b"dear diary").await;
        }
    }
    copy(&shop, "diary/1", "diary/copy").await;
    shop.delete("diary/1").await;
    let upload = begin(&shop).await;
    put_part(&shop, upload, 1, &content(CHUNK)).await;
    shop.client.upload("a file beside them", b"x").await;

    let id = shop.user.to_string();
    let close = ["admin", "user", "delete", &id, "--reason", "he asked"];
    succeeds(&pool, &close).await;
    let emptying = EmptyClosed(Arc::clone(&shop.coordinator.app.closing));
    while emptying.step().await.unwrap() != kit::Step::Idle {}
    let left_over = EndLeftOvers(Arc::clone(&shop.coordinator.app.objects));
    while left_over.step().await.unwrap() != kit::Step::Idle {}
    shop.coordinator.forget().await;

    for rows in [
        "SELECT count(*) FROM buckets",
        "SELECT count(*) FROM objects",
        "SELECT count(*) FROM object_parts",
        "SELECT count(*) FROM object_changes",
        "SELECT count(*) FROM multipart_uploads",
        "SELECT count(*) FROM multipart_parts",
        "SELECT count(*) FROM files",
    ] {
        assert_eq!(count(&pool, rows).await, 0, "{rows}");
    }
    assert_eq!(rows_with(&pool, "diary").await, Vec::<String>::new());
    for account in [
        chart::available(shop.user),
        chart::upload_hold(shop.user),
        chart::escrow(shop.user),
    ] {
        assert_eq!(balance(&pool, account).await, 0);
    }
    succeeds(&pool, &["ledger", "verify"]).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_of_an_object_is_found_by_its_key_and_taken_down_with_all_that_shows_it(
    pool: PgPool,
) {
    let mut shop = Shop::open(pool.clone()).await;
    shop.keep_versions(true).await;
    shop.put("k", b"before").await;
    shop.put("k", &content(3 * CHUNK)).await;
    copy(&shop, "k", "a copy").await;
    let json = ["--output", "json"];
    let find = [&["admin", "file", "find", "a-bucket", "k"][..], &json].concat();
    let found: Value = serde_json::from_str(&succeeds(&pool, &find).await).unwrap();
    assert_eq!(found["items"].as_array().unwrap().len(), 2);
    assert_eq!(found["items"][0]["is_latest"], true);
    let id = found["items"][0]["file_id"].as_str().unwrap();
    let show = [&["admin", "file", "show", id][..], &json].concat();
    let shown: Value = serde_json::from_str(&succeeds(&pool, &show).await).unwrap();
    assert_eq!(shown["user_id"], shop.user.to_string());
    let keys = shown["objects"].as_array().unwrap().iter();
    let keys: Vec<_> = keys.map(|place| place["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a copy", "k"]);

    let take_down = ["admin", "file", "take-down", id, "--reason", "an order"];
    succeeds(&pool, &take_down).await;
    let gone = shop.find("a copy", VersionRef::Latest).await;
    assert!(matches!(gone, Err(ObjectError::NoSuchKey)));
    assert_eq!(shop.content("k").await, b"before");
    let file = format!("/api/v1/files/{id}");
    let gone = shop.client.get(&file).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let again = fails(&pool, &take_down).await;
    assert!(again.contains("there is no such file"), "{again}");
    let shown: Value = serde_json::from_str(&succeeds(&pool, &show).await).unwrap();
    assert_eq!(shown["state"], "gone");
    assert_eq!(shown["decisions"][0]["reason"], "an order");
    shop.coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 1);
    succeeds(&pool, &["ledger", "verify"]).await;
}
