//! The end of an account: what goes, what stays for the books, and what its owner can take along.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use coordinator::bookkeeping::chart;
use coordinator::closing::jobs::EmptyClosed;
use flate2::read::GzDecoder;
use http::{Method, StatusCode};
use kit::Job as _;
use model::ids::UserId;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::command_line::{fails, succeeds};
use crate::support::{Answer, CHUNK, Client, Coordinator, Node, balance, content, count};

const PASSWORD: &str = "violet anchor 72 cloud";

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

/// An account with credits for 10 USD, as one opens it: its id, its client and its tokens.
async fn customer(coordinator: &Coordinator, email: &str) -> (UserId, Client, Value) {
    let visitor = coordinator.visitor();
    let credentials = json!({"email": email, "password": PASSWORD});
    let made = post(&visitor, "register", &credentials).await;
    let made = made.expect(StatusCode::CREATED);
    let id: uuid::Uuid = made["user_id"].as_str().unwrap().parse().unwrap();
    let tokens = post(&visitor, "login", &credentials).await;
    let tokens = tokens.expect(StatusCode::OK);
    let client = visitor.with_token(tokens["access_token"].as_str().unwrap());
    let bought = post(&client, "credits/purchase", &json!({"amount_usd": 10})).await;
    bought.expect(StatusCode::CREATED);
    (UserId::from_uuid(id), client, tokens)
}

async fn delete(client: &Client, password: &str) -> Answer {
    let call = client.call(Method::DELETE, "/api/v1/auth/me");
    let body = json!({"password": password});
    call.body(body.to_string()).send().await
}

/// Every value of every column of these tables that holds the text.
pub(crate) async fn rows_with(pool: &PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut found = Vec::new();
    for table in tables {
        let query = format!("SELECT count(*) FROM \"{table}\" t WHERE position($1 in t::text) > 0");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(text)
            .fetch_one(pool)
            .await
            .unwrap();
        if rows > 0 {
            found.push(table);
        }
    }
    found
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_deleted_account_leaves_nothing_that_says_whose_it_was_and_its_credits_are_income(
    pool: PgPool,
) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client, tokens) = customer(&coordinator, "gone@example.com").await;
    for number in 0..3 {
        client
            .upload(&format!("diary {number}"), &content(CHUNK))
            .await;
    }
    let begun = client.initiate("diary unfinished", 2 * CHUNK).await;
    begun.expect(StatusCode::CREATED);
    let me = client.get("/api/v1/auth/me").await.expect(StatusCode::OK);
    assert_eq!(me["forfeited_by_deletion_microcredits"], 1_000_000_000);

    let refused = delete(&client, "violet anchor 73 cloud").await;
    refused.problem(401, "wrong-credentials");
    let deleted = delete(&client, PASSWORD).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    // Whoever did not hear that, and asks again, hears that there is nobody left.
    delete(&client, PASSWORD).await.problem(401, "unauthorized");
    let credentials = json!({"email": "gone@example.com", "password": PASSWORD});
    let visitor = coordinator.visitor();
    post(&visitor, "login", &credentials)
        .await
        .problem(401, "wrong-credentials");
    let renew = json!({"refresh_token": tokens["refresh_token"]});
    post(&visitor, "refresh", &renew)
        .await
        .problem(401, "bad-refresh-token");
    coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 0);
    assert_eq!(count(&pool, "SELECT count(*) FROM uploads").await, 0);
    for text in ["gone@example.com", "diary"] {
        assert_eq!(rows_with(&pool, text).await, Vec::<String>::new(), "{text}");
    }
    for account in [
        chart::available(user),
        chart::upload_hold(user),
        chart::escrow(user),
    ] {
        assert_eq!(balance(&pool, account).await, 0);
    }
    let forfeited = "SELECT count(*) FROM transfers WHERE kind = 'forfeit'";
    assert_eq!(count(&pool, forfeited).await, 1);
    succeeds(&pool, &["ledger", "verify"]).await;
    // The address is free again, and is another account.
    let again = post(&visitor, "register", &credentials).await;
    let again = again.expect(StatusCode::CREATED);
    assert_ne!(again["user_id"], user.to_string());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_whose_nodes_keep_files_of_others_cannot_be_deleted_until_they_have_left(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client, _) = customer(&coordinator, "operator@example.com").await;
    let node = Node::join(&coordinator).await;
    let own = "UPDATE nodes SET operator_id = $1, name = 'attic of operator', last_seen_at = now()";
    sqlx::query(own)
        .bind(user.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    let refused = delete(&client, PASSWORD).await;
    let told = refused.problem(409, "has-nodes");
    assert_eq!(told["nodes"], 1);
    let by = [
        "admin",
        "user",
        "delete",
        "operator@example.com",
        "--reason",
        "he asked",
    ];
    let refused = fails(&pool, &by).await;
    assert!(
        refused.contains("1 nodes of the account have not left"),
        "{refused}"
    );
    sqlx::query("UPDATE nodes SET state = 'drained'")
        .execute(&pool)
        .await
        .unwrap();
    succeeds(&pool, &by).await;
    assert_eq!(
        rows_with(&pool, "operator@example.com").await,
        Vec::<String>::new()
    );
    assert_eq!(rows_with(&pool, "attic").await, Vec::<String>::new());
    let parted = "SELECT count(*) FROM nodes WHERE operator_id IS NULL";
    assert_eq!(count(&pool, parted).await, 1);
    drop(node);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_comes_to_a_closed_account_after_all_is_ended_by_the_job(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client, _) = customer(&coordinator, "late@example.com").await;
    client.upload("late", &content(CHUNK)).await;
    // As if it had come to its end a moment after everything was ended.
    let close = "UPDATE users SET closed_at = now() - interval '1 day', suspended_at = now(), suspended_reason = 'closed'";
    sqlx::query(close).execute(&pool).await.unwrap();
    let job = EmptyClosed(Arc::clone(&coordinator.app.closing));
    job.step().await.unwrap();
    let emptied = "SELECT count(*) FROM users WHERE emptied_at IS NOT NULL";
    assert_eq!(count(&pool, emptied).await, 1);
    assert_eq!(balance(&pool, chart::available(user)).await, 0);
    let ready = "SELECT count(*) FROM files WHERE state = 'ready'";
    assert_eq!(count(&pool, ready).await, 0);
}

/// The documents of an archive, by their names.
fn documents(archive: &[u8]) -> BTreeMap<String, Value> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, serde_json::from_str(&text).unwrap())
    });
    entries.collect()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn all_that_is_kept_about_an_account_comes_as_one_archive(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client, _) = customer(&coordinator, "me@example.com").await;
    let (_, other, _) = customer(&coordinator, "other@example.com").await;
    other.upload("not mine", &content(10)).await;
    let names: Vec<String> = (0..501).map(|number| format!("file {number}")).collect();
    let first = client.upload(&names[0], &content(CHUNK)).await;
    // As many as make a second document, without as many uploads.
    let copy = "INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size_bytes,
                                   replication, state, completed_at, paid_until, paid_microcredits, price_microcredits)
                SELECT gen_random_uuid(), user_id, 'file ' || number, content_type, size_bytes, chunk_count,
                       chunk_size_bytes, replication, state, completed_at, paid_until, 0, price_microcredits
                FROM files, generate_series(1, 500) AS number WHERE filename = 'file 0'";
    sqlx::query(copy).execute(&pool).await.unwrap();
    let own = "WITH bucket AS (INSERT INTO buckets (bucket_id, user_id, name, change_seq)
                    VALUES (gen_random_uuid(), $1, 'pictures', 501) RETURNING bucket_id),
                    objects AS (INSERT INTO objects (bucket_id, key, version_id, is_latest, is_null, etag, content_type,
                                                     change_seq, created_at)
                    SELECT bucket_id, 'sea/' || n, gen_random_uuid(), true, true, 'e', 'image/png', n, now()
                    FROM bucket, generate_series(1, 501) AS n),
                    node AS (UPDATE nodes SET operator_id = $1
                             WHERE node_id = (SELECT node_id FROM nodes LIMIT 1) RETURNING node_id),
                    moved AS (SELECT transfer_id FROM transfers LIMIT 1),
                    payout AS (INSERT INTO payouts (payout_id, node_id, amount_microcredits, amount_cents, idempotency_key,
                                                    transfer_id, try_at)
                    SELECT gen_random_uuid(), node_id, 70000, 7, 'k', transfer_id, now() FROM node, moved)
               INSERT INTO payout_destinations (user_id, destination_id, provider, account)
               VALUES ($1, gen_random_uuid(), 'mock', 'acct_7')";
    let own = sqlx::query(own).bind(user.as_uuid());
    own.execute(&pool).await.unwrap();
    let taken = client.get("/api/v1/auth/me/export").await;
    assert_eq!(taken.status, StatusCode::OK);
    assert_eq!(taken.header("content-type"), "application/gzip");
    let documents = documents(taken.bytes());
    assert_eq!(documents["account.json"]["email"], "me@example.com");
    assert_eq!(documents["account.json"]["user_id"], user.to_string());
    let files = documents
        .iter()
        .filter(|(name, _)| name.starts_with("files/"));
    let listed: Vec<&Value> = files
        .flat_map(|(_, page)| page.as_array().unwrap())
        .collect();
    assert_eq!(listed.len(), names.len());
    assert!(
        listed
            .iter()
            .any(|file| file["file_id"] == first["file_id"])
    );
    assert!(listed.iter().all(|file| file["filename"] != "not mine"));
    let bought = documents["transactions/000001.json"].as_array().unwrap();
    assert!(bought.iter().any(|transfer| transfer["kind"] == "purchase"));
    assert_eq!(documents["buckets.json"][0]["name"], "pictures");
    let pages = [
        "objects/pictures/000001.json",
        "objects/pictures/000002.json",
    ];
    let keys = pages.map(|page| documents[page].as_array().unwrap().len());
    assert_eq!(keys.iter().sum::<usize>(), 501);
    let purchases = documents["purchases/000001.json"].as_array().unwrap();
    assert_eq!(purchases.len(), 1);
    assert_eq!(purchases[0]["amount_cents"], 1000);
    let payouts = documents["payouts/000001.json"].as_array().unwrap();
    assert_eq!(payouts.len(), 1);
    assert_eq!(payouts[0]["amount_microcredits"], 70_000);
    assert_eq!(documents["payout_destination.json"]["account"], "acct_7");
    let sessions = documents["sessions.json"].as_array().unwrap();
    assert_eq!(sessions.len(), 1);
    let told = documents["events/000001.json"].as_array().unwrap();
    assert!(told.iter().any(|event| event["kind"] == "login"));
    let text = serde_json::to_string(&documents).unwrap();
    assert!(!text.contains("argon2"), "no secret leaves");
    for _ in 0..5 {
        client.get("/api/v1/auth/me/export").await;
    }
    let refused = client.get("/api/v1/auth/me/export").await;
    refused.problem(429, "too-many-requests");
}
