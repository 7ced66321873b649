//! The outbox: what nodes have to forget is told once at a time, and again until they acknowledge.

use std::collections::HashSet;
use std::time::Duration;

use coordinator::blobs;
use coordinator::blobs::tables::purges::Purge;
use futures::future::join_all;
use proto::{BlobId, DeletionMode, NodeId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{count, purges_of, soon};

const LEASE: Duration = Duration::from_secs(30);

fn node(n: u128) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(n))
}

fn blobs(count: u32) -> Vec<BlobId> {
    (0..count).map(|n| BlobId::of(&n.to_le_bytes())).collect()
}

async fn enqueue(pool: &PgPool, node: NodeId, blobs: &[BlobId], delay: Duration) {
    let rows: Vec<_> = blobs.iter().map(|blob| (node, *blob)).collect();
    let mut connection = pool.acquire().await.unwrap();
    let enqueued = blobs::tables::purges::enqueue(&mut connection, &rows, delay).await;
    enqueued.unwrap();
}

async fn take(pool: &PgPool, node: NodeId, limit: i64) -> Vec<Purge> {
    let mut connection = pool.acquire().await.unwrap();
    let taken = blobs::tables::purges::take_due(&mut connection, node, limit, LEASE).await;
    taken.unwrap()
}

/// As if this many seconds had passed.
async fn pass(pool: &PgPool, seconds: f64) {
    sqlx::query("UPDATE purges SET not_before = not_before - make_interval(secs => $1)")
        .bind(seconds)
        .execute(pool)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_taken_is_out_of_reach_until_its_lease_ends(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(3), Duration::ZERO).await;
    let taken = take(&pool, node(1), 10).await;
    assert_eq!(taken.len(), 3);
    assert!(taken.iter().all(|purge| purge.mode == DeletionMode::Purge));
    assert_eq!(take(&pool, node(1), 10).await, []);
    pass(&pool, 29.0).await;
    assert_eq!(take(&pool, node(1), 10).await, []);
    pass(&pool, 2.0).await;
    assert_eq!(take(&pool, node(1), 10).await.len(), 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_attempt_doubles_the_pause_up_to_a_bound(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(1), Duration::ZERO).await;
    for doubled in [1, 2, 4, 8, 16, 32, 64, 64, 64] {
        assert_eq!(take(&pool, node(1), 1).await.len(), 1);
        pass(&pool, f64::from(30 * doubled - 2)).await;
        assert_eq!(take(&pool, node(1), 1).await, [], "after {doubled} leases");
        pass(&pool, 2.0).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_fails_for_years_is_still_asked(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(1), Duration::ZERO).await;
    for attempts in [1_023, 1_024, 100_000, i32::MAX - 1] {
        sqlx::query("UPDATE purges SET attempts = $1, not_before = now()")
            .bind(attempts)
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(take(&pool, node(1), 1).await.len(), 1, "{attempts}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn several_takers_never_get_the_same_row(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(200), Duration::ZERO).await;
    let takers = (0..20).map(|_| take(&pool, node(1), 10));
    let taken: Vec<Purge> = soon(join_all(takers)).await.into_iter().flatten().collect();
    let different: HashSet<BlobId> = taken.iter().map(|purge| purge.blob_id).collect();
    assert_eq!((taken.len(), different.len()), (200, 200));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn rows_that_another_taker_is_at_are_passed_over(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(10), Duration::ZERO).await;
    let mut first = pool.begin().await.unwrap();
    let taken = blobs::tables::purges::take_due(&mut first, node(1), 4, LEASE).await;
    assert_eq!(taken.unwrap().len(), 4);
    assert_eq!(soon(take(&pool, node(1), 10)).await.len(), 6);
    first.rollback().await.unwrap();
    assert_eq!(take(&pool, node(1), 10).await.len(), 4);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_acknowledged_purge_is_gone_and_the_others_stay(pool: PgPool) {
    let blobs = blobs(3);
    enqueue(&pool, node(1), &blobs, Duration::ZERO).await;
    enqueue(&pool, node(2), &blobs, Duration::ZERO).await;
    let mut connection = pool.acquire().await.unwrap();
    let done = blobs::tables::purges::acknowledge(&mut connection, node(1), &blobs[..2]).await;
    done.unwrap();
    assert_eq!(purges_of(&pool, node(1)).await, blobs[2..]);
    assert_eq!(purges_of(&pool, node(2)).await.len(), 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_store_that_may_be_under_way_is_not_purged_before_it_must_have_ended(pool: PgPool) {
    enqueue(&pool, node(1), &blobs(1), Duration::from_secs(120)).await;
    let online = [node(1), node(2)];
    let mut connection = pool.acquire().await.unwrap();
    let due = blobs::tables::purges::nodes_with_due(&mut connection, &online).await;
    assert_eq!(due.unwrap(), []);
    assert_eq!(take(&pool, node(1), 1).await, []);
    pass(&pool, 121.0).await;
    let due = blobs::tables::purges::nodes_with_due(&mut connection, &online).await;
    assert_eq!(due.unwrap(), [node(1)]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_purge_goes_before_what_was_only_to_be_trashed(pool: PgPool) {
    let blobs = blobs(1);
    sqlx::query("INSERT INTO purges (node_id, blob_id, mode) VALUES ($1, $2, 'trash')")
        .bind(node(1).as_uuid())
        .bind(&blobs[0].as_bytes()[..])
        .execute(&pool)
        .await
        .unwrap();
    enqueue(&pool, node(1), &blobs, Duration::ZERO).await;
    assert_eq!(take(&pool, node(1), 1).await[0].mode, DeletionMode::Purge);
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 1);
}
