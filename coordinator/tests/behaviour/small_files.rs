//! Files of one chunk in one request: many share a transaction, and each is decided by itself.

use std::collections::HashSet;

use coordinator::bookkeeping::chart;
use futures::future::join_all;
use http::StatusCode;
use sqlx::PgPool;

use crate::support::{
    CHUNK, Client, Coordinator, balance, content, count, eventually, price, purges_of, soon, total,
    waits_for_lock,
};

async fn blobs_are_known(pool: &PgPool, nodes: &[crate::support::Node; 3], files: i64) {
    assert_eq!(
        count(pool, "SELECT count(*) FROM replicas").await,
        3 * files
    );
    for node in nodes {
        let purges = purges_of(pool, node.node_id).await.len();
        assert_eq!(node.blobs().len(), files as usize + purges);
    }
}

fn upload(
    client: &Client,
    n: u8,
    key: Option<&str>,
) -> impl Future<Output = crate::support::Answer> {
    let mut call = client.upload_call("a", &[n; CHUNK]);
    if let Some(key) = key {
        call = call.header("idempotency-key", key);
    }
    call.send()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn many_at_once_take_exactly_what_the_account_has(pool: PgPool) {
    const AFFORDED: i64 = 5;
    let settings = ["money.trial_microcredits=0"];
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (user, client) = coordinator.user().await;
    let credits = AFFORDED * price("a", CHUNK) + price("a", CHUNK) / 2;
    let bought = [
        (chart::OUTSIDE, -credits),
        (chart::available(user), credits),
    ];
    crate::support::post(&pool, "credits", &bought)
        .await
        .unwrap();

    let uploads = (0..16).map(|n| upload(&client, n, None));
    let answers = soon(join_all(uploads)).await;
    let (stored, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(stored.len() as i64, AFFORDED);
    for answer in refused {
        answer.problem(402, "insufficient-credits");
    }
    assert_eq!(
        balance(&pool, chart::available(user)).await,
        price("a", CHUNK) / 2
    );
    let paid = AFFORDED * price("a", CHUNK);
    assert_eq!(balance(&pool, chart::escrow(user)).await, paid);
    assert_eq!(total(&pool, chart::escrow(user)).await, paid);
    let counted = "SELECT sum(file_count)::bigint FROM users";
    assert_eq!(count(&pool, counted).await, AFFORDED);
    blobs_are_known(&pool, &nodes, AFFORDED).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_trial_allowance_pays_for_the_first_files_of_an_empty_account(pool: PgPool) {
    let trial = 2 * price("a", CHUNK) + 1;
    let settings = [format!("money.trial_microcredits={trial}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (user, client) = coordinator.user().await;
    let answers = soon(join_all((0..4).map(|n| upload(&client, n, None)))).await;
    let stored = answers.iter().filter(|a| a.status == StatusCode::CREATED);
    assert_eq!(stored.count(), 2);
    assert_eq!(total(&pool, chart::INCOME).await, -2 * price("a", CHUNK));
    assert_eq!(
        balance(&pool, chart::escrow(user)).await,
        2 * price("a", CHUNK)
    );
    assert_eq!(balance(&pool, chart::available(user)).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_idempotency_key_makes_one_file_however_often_it_is_sent(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let answers = soon(join_all((0..8).map(|_| upload(&client, 7, Some("k"))))).await;
    let ids: HashSet<String> = answers
        .into_iter()
        .map(|answer| answer.expect(StatusCode::CREATED)["file_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(client.balances().await.2, price("a", CHUNK));
    blobs_are_known(&pool, &nodes, 1).await;

    let again = upload(&client, 7, Some("k"))
        .await
        .expect(StatusCode::CREATED);
    assert!(ids.contains(&again["file_id"].to_string()));
    let other = client.upload_call("b", b"x").header("idempotency-key", "k");
    other.send().await.problem(422, "idempotency-key-reused");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_key_twice_in_one_transaction_is_one_file_and_spoils_no_other(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let (_, stranger) = coordinator.customer().await;
    let mut other = pool.begin().await.unwrap();
    let lock = "LOCK TABLE replicas IN SHARE MODE";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    let sent = |client: &Client, n, key| {
        let client = client.clone();
        tokio::spawn(async move { upload(&client, n, key).await })
    };
    let first = sent(&client, 0, None);
    soon(waits_for_lock(&pool)).await; // the next ones gather behind it
    let same = [sent(&client, 1, Some("k")), sent(&client, 1, Some("k"))];
    let own = sent(&stranger, 1, Some("k"));
    eventually(|| async { (nodes[0].blobs().len() == 4).then_some(()) }).await;
    other.rollback().await.unwrap();

    soon(first).await.unwrap().expect(StatusCode::CREATED);
    let own = soon(own).await.unwrap().expect(StatusCode::CREATED);
    let mut ids = HashSet::new();
    for answer in same {
        let file = soon(answer).await.unwrap().expect(StatusCode::CREATED);
        ids.insert(file["file_id"].to_string());
    }
    assert_eq!(ids.len(), 1);
    assert!(!ids.contains(&own["file_id"].to_string()));
    assert_eq!(client.balances().await.2, 2 * price("a", CHUNK));
    blobs_are_known(&pool, &nodes, 3).await;
}

/// A name that the database will not have, whatever is tried: in the place of whatever limit nobody has thought of.
async fn refuse_names(pool: &PgPool, name: &'static str) {
    let limit = format!("ALTER TABLE files ADD CONSTRAINT odd CHECK (filename <> '{name}')");
    sqlx::query(sqlx::AssertSqlSafe(limit))
        .execute(pool)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_that_the_database_refuses_spoils_no_other_of_its_transaction(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    refuse_names(&pool, "poison").await;
    let (_, client) = coordinator.customer().await;
    let (_, poisoner) = coordinator.customer().await;
    let mut other = pool.begin().await.unwrap();
    let lock = "LOCK TABLE replicas IN SHARE MODE";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    let sent = |client: &Client, name: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.upload_call(name, &[7; CHUNK]).send().await })
    };
    let first = sent(&client, "first");
    soon(waits_for_lock(&pool)).await; // the next ones gather behind it
    let good: Vec<_> = (0..7).map(|_| sent(&client, "good")).collect();
    let bad: Vec<_> = (0..2).map(|_| sent(&poisoner, "poison")).collect();
    eventually(|| async { (nodes[0].blobs().len() == 10).then_some(()) }).await;
    other.rollback().await.unwrap();

    soon(first).await.unwrap().expect(StatusCode::CREATED);
    for answer in good {
        let file = soon(answer).await.unwrap().expect(StatusCode::CREATED);
        assert_eq!(client.content(&file).await, [7; CHUNK][..]);
    }
    for answer in bad {
        let refused = soon(answer).await.unwrap();
        refused.problem(400, "invalid-request");
    }
    assert_eq!(client.balances().await.2, 8 * price("good-0", CHUNK));
    assert_eq!(poisoner.balances().await, (1_000_000_000, 0, 0));
    let purged = "SELECT count(*) FROM purges";
    eventually(|| async { (count(&pool, purged).await == 6).then_some(()) }).await;
    blobs_are_known(&pool, &nodes, 8).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_survives_that_the_database_drops_its_transaction(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let mut other = pool.begin().await.unwrap();
    let lock = "LOCK TABLE replicas IN SHARE MODE";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    let uploading = tokio::spawn({
        let client = client.clone();
        async move { upload(&client, 1, None).await }
    });
    soon(waits_for_lock(&pool)).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(count(&pool, end).await, 1);
    other.rollback().await.unwrap();
    let file = soon(uploading).await.unwrap().expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, [1; CHUNK][..]);
    assert_eq!(client.balances().await.2, price("a", CHUNK));
    blobs_are_known(&pool, &nodes, 1).await;
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_of_one_piece_opens_no_session_and_one_byte_more_does(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let uploads = "SELECT count(*) FROM uploads";
    for (size, sessions) in [(0, 0), (1, 0), (CHUNK, 0), (CHUNK + 1, 1)] {
        let file = client.upload("a", &content(size)).await;
        assert_eq!(client.content(&file).await, content(size));
        assert_eq!(count(&pool, uploads).await, sessions, "{size} bytes");
    }
    let deleted = "SELECT count(*) FROM files WHERE state = 'deleted'";
    let files = client.get("/api/v1/files").await.expect(StatusCode::OK);
    for file in files["items"].as_array().unwrap() {
        let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
        assert_eq!(client.delete(&path).await.status, StatusCode::NO_CONTENT);
    }
    eventually(|| async { (count(&pool, deleted).await == 4).then_some(()) }).await;
    assert_eq!(client.balances().await.2, 0);
}
