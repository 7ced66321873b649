//! Deleting: unreadable at once, refunded to the micro-credit, forgotten by every node in time.

use coordinator::bookkeeping::chart;
use coordinator::files::delete;
use http::StatusCode;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{CHUNK, Client, Coordinator, content, count, purges_of, total};

const CREDITS: i64 = 1_000_000_000;

async fn delete(client: &Client, file: &Value) -> StatusCode {
    let id = file["file_id"].as_str().unwrap();
    client.delete(&format!("/api/v1/files/{id}")).await.status
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_deleted_file_is_gone_with_its_key_and_its_blobs(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(3 * CHUNK)).await;
    let kept = client.upload("kept", &content(CHUNK)).await;
    assert_eq!(delete(&client, &file).await, StatusCode::NO_CONTENT);
    assert_eq!(count(&pool, "SELECT count(*) FROM data_keys").await, 1);
    client.download(&file).await.problem(404, "not-found");
    assert_eq!(delete(&client, &file).await, StatusCode::NOT_FOUND);
    coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 3);
    for node in &nodes {
        assert_eq!(purges_of(&pool, node.node_id).await.len(), 3);
    }

    coordinator.start_workers();
    for node in &nodes {
        node.until(|blobs| blobs.len() == 1).await;
    }
    crate::support::eventually(|| async {
        (count(&pool, "SELECT count(*) FROM purges").await == 0).then_some(())
    })
    .await;
    assert_eq!(client.content(&kept).await, content(CHUNK));
}

/// What users have paid, and what rounding up has added.
async fn paid(pool: &PgPool) -> i64 {
    total(pool, chart::INCOME).await + total(pool, chart::ROUNDING).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_not_used_of_the_price_comes_back(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    const SIZE: usize = 99_999; // and a name of one byte: 375 µc for a month of 30 days
    for (days, used) in [
        (0, 0..=1),
        (12, 150..=151),
        (29, 363..=363),
        (31, 375..=375),
        (99, 375..=375),
    ] {
        let before = paid(&pool).await;
        let file = client.upload("a", &content(SIZE)).await;
        assert_eq!(client.balances().await.2, 375);
        sqlx::query("UPDATE files SET completed_at = now() - make_interval(days => $1)")
            .bind(days)
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(delete(&client, &file).await, StatusCode::NO_CONTENT);
        let income = paid(&pool).await - before;
        assert!(used.contains(&income), "{days} days: {income}");
        let paid = paid(&pool).await;
        assert_eq!(client.balances().await, (CREDITS - paid, 0, 0));
    }
    assert_eq!(total(&pool, chart::escrow(user)).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn deleting_twice_at_once_refunds_once(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(CHUNK)).await;
    let (first, second) = tokio::join!(delete(&client, &file), delete(&client, &file));
    let mut statuses = [first.as_u16(), second.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404]);
    let paid = paid(&pool).await;
    assert_eq!(client.balances().await, (CREDITS - paid, 0, 0));
    assert_eq!(
        count(&pool, "SELECT sum(file_count)::bigint FROM users").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_huge_file_is_gone_at_once_and_its_chunks_follow_in_batches(pool: PgPool) {
    const CHUNKS: i64 = 2500;
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(CHUNK)).await;
    let more = "WITH chunk AS (
             INSERT INTO chunks SELECT file_id, n, version, size_bytes, sha256
             FROM chunks, generate_series(1, $1::int - 1) AS n RETURNING file_id, chunk_index)
         INSERT INTO replicas
         SELECT $2, sha256(chunk_index::text::bytea), file_id, chunk_index, 0, sha512('')
         FROM chunk";
    let node = nodes[0].node_id.as_uuid();
    let more = sqlx::query(more).bind(CHUNKS as i32).bind(node);
    more.execute(&pool).await.unwrap();

    assert_eq!(delete(&client, &file).await, StatusCode::NO_CONTENT);
    client.download(&file).await.problem(404, "not-found");
    assert_eq!(client.balances().await.2, 0);
    let chunks = "SELECT count(*) FROM chunks";
    assert_eq!(count(&pool, chunks).await, CHUNKS);
    let mut before = CHUNKS;
    while delete::forget_some(&coordinator.app.files).await.unwrap() {
        let left = count(&pool, chunks).await;
        assert!((1..=1000).contains(&(before - left)), "{before} -> {left}");
        let replicas = count(&pool, "SELECT count(*) FROM replicas").await;
        let purges = count(&pool, "SELECT count(*) FROM purges").await;
        assert_eq!(replicas + purges, CHUNKS - 1 + 3);
        before = left;
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 0);
}
