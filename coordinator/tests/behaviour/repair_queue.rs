//! Which chunks are repaired first, and what comes of one that two coordinators have taken.

use std::time::Duration;

use coordinator::durability;
use coordinator::durability::repair;

use sqlx::PgPool;

use crate::repair::{chunks_with, earnings_are_right, fleet, goes_away, repair_all};
use crate::support::{count, wait_for_locks};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn several_coordinators_share_the_work_and_no_chunk_gets_too_many_copies(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 60, &[]).await;
    goes_away(&pool, nodes[0].node_id).await;
    let app = &coordinator.app;
    let one = async {
        while repair::scan(&app.durability).await.unwrap() {}
        while repair::step(&app.durability).await.unwrap() {}
    };
    let other = async {
        while repair::scan(&app.durability).await.unwrap() {}
        while repair::step(&app.durability).await.unwrap() {}
    };
    tokio::join!(one, other);
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 60);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_two_have_taken_ends_with_three_replicas(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 10, &[]).await;
    goes_away(&pool, nodes[0].node_id).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    // As if the lease of the first were over: both take every chunk.
    let app = &coordinator.app;
    let again = async {
        tokio::task::yield_now().await;
        sqlx::query("UPDATE chunks_to_repair SET not_before = now()")
            .execute(&pool)
            .await
            .unwrap();
        repair::step(&app.durability).await
    };
    let (one, other) = tokio::join!(repair::step(&app.durability), again);
    one.unwrap();
    other.unwrap();
    repair_all(&coordinator).await;
    assert_eq!(
        (chunks_with(&pool, 3).await, chunks_with(&pool, 4).await),
        (10, 0)
    );
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn two_that_have_taken_a_chunk_do_not_put_two_copies_on_the_node_that_is_left(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 30, &[]).await;
    for node in &nodes[..3] {
        node.leave(&coordinator).await;
        goes_away(&pool, node.node_id).await;
    }
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    // Neither can end before both have stored what they made.
    let mut gate = pool.begin().await.unwrap();
    let lock = "SELECT FROM chunks FOR UPDATE";
    sqlx::query(lock).execute(&mut *gate).await.unwrap();
    let app = &coordinator.app;
    let other = async {
        wait_for_locks(&pool, 1).await;
        // As if the lease of the first were over.
        let again = "UPDATE chunks_to_repair SET not_before = now()";
        sqlx::query(again).execute(&pool).await.unwrap();
        repair::step(&app.durability).await
    };
    let open = async {
        wait_for_locks(&pool, 2).await;
        gate.commit().await.unwrap();
    };
    let (one, other, ()) = tokio::join!(repair::step(&app.durability), other, open);
    one.unwrap();
    other.unwrap();
    let in_vain = count(&pool, "SELECT count(*) FROM purges").await;
    assert!(in_vain > 0, "both made the same copies");
    repair_all(&coordinator).await;
    let twice = "SELECT count(*) FROM (
             SELECT 1 FROM replicas WHERE demoted_at IS NULL
             GROUP BY file_id, chunk_index, node_id HAVING count(*) > 1) AS twice";
    assert_eq!(count(&pool, twice).await, 0);
    let waiting = "SELECT count(*) FROM chunks_to_repair";
    assert_eq!(count(&pool, waiting).await, 30, "two nodes are no three");
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_was_put_off_is_due_when_it_loses_another_copy(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 30, &[]).await;
    goes_away(&pool, nodes[0].node_id).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    let put_off = "UPDATE chunks_to_repair SET attempts = 7, not_before = now() + interval '5 min'";
    sqlx::query(put_off).execute(&pool).await.unwrap();
    goes_away(&pool, nodes[1].node_id).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    let due = |healthy: &'static str| count(&pool, healthy);
    let of_both = due("SELECT count(*) FROM chunks_to_repair WHERE healthy = 1").await;
    assert!(of_both > 0);
    let urgent = "SELECT count(*) FROM chunks_to_repair
         WHERE healthy = 1 AND attempts = 0 AND not_before <= now()";
    assert_eq!(due(urgent).await, of_both);
    let patient = "SELECT count(*) FROM chunks_to_repair WHERE healthy = 2 AND attempts = 7
         AND not_before > now() + interval '4 min'";
    assert!(due(patient).await > 0, "what has not changed waits on");
    // The most urgent are taken first.
    let mut connection = pool.acquire().await.unwrap();
    let all_due = "UPDATE chunks_to_repair SET not_before = now() - interval '1 s' * healthy";
    sqlx::query(all_due).execute(&pool).await.unwrap();
    let taken =
        durability::tables::repair::take(&mut connection, of_both, 3, Duration::from_secs(60))
            .await;
    assert!(taken.unwrap().iter().all(|queued| queued.margin == 1));
}
