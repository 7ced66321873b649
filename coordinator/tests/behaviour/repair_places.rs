//! Whole chunks that stand in a bad place, because a repair found no better one.

use coordinator::durability;
use coordinator::durability::repair;

use proto::NodeId;
use sqlx::PgPool;

use crate::repair::{chunks_with, earnings_are_right, fleet, queue, repair_all};
use crate::support::{Coordinator, Node, count};

/// The nodes stand in these regions from now on, and everything is to be gone through.
async fn stand_in(coordinator: &Coordinator, pool: &PgPool, nodes: &[Node], regions: &[&str]) {
    for (node, region) in nodes.iter().zip(regions) {
        node.leave(coordinator).await;
        sqlx::query("UPDATE nodes SET region = $2 WHERE node_id = $1")
            .bind(node.node_id.as_uuid())
            .bind(region)
            .execute(pool)
            .await
            .unwrap();
        node.come_back(coordinator).await;
    }
    scan_everything(pool, nodes).await;
}

async fn scan_everything(pool: &PgPool, nodes: &[Node]) {
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node_id).collect();
    let mut connection = pool.acquire().await.unwrap();
    durability::tables::repair::schedule_scans(&mut connection, &ids)
        .await
        .unwrap();
}

/// Chunks that have replicas on both of the first two nodes.
async fn on_both(pool: &PgPool, nodes: &[Node]) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT count(*) FROM replicas one JOIN replicas other USING (file_id, chunk_index)
         WHERE one.node_id = $1 AND other.node_id = $2",
    );
    let query = query
        .bind(nodes[0].node_id.as_uuid())
        .bind(nodes[1].node_id.as_uuid());
    query.fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_whole_chunk_in_a_bad_place_moves_to_a_better_one_and_then_stays(pool: PgPool) {
    let settings = ["placement.distinct_domains=true"];
    let (coordinator, nodes, client, file, text) = fleet(&pool, 40, &settings).await;
    assert!(on_both(&pool, &nodes).await > 0);
    stand_in(&coordinator, &pool, &nodes, &["a", "a", "b", "c", "d"]).await;
    repair_all(&coordinator).await;
    assert_eq!(on_both(&pool, &nodes).await, 0);
    assert_eq!(chunks_with(&pool, 3).await, 40);
    assert_eq!(queue(&pool).await, []);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;

    let before = count(&pool, "SELECT count(*) FROM purges").await;
    scan_everything(&pool, &nodes).await;
    repair_all(&coordinator).await;
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, before);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_in_a_bad_place_stays_where_there_is_no_better_one(pool: PgPool) {
    let settings = ["placement.distinct_domains=true"];
    let (coordinator, nodes, _, _, _) = fleet(&pool, 40, &settings).await;
    let before = on_both(&pool, &nodes).await;
    assert!(before > 0);
    stand_in(&coordinator, &pool, &nodes, &["a"; 5]).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    assert_eq!(queue(&pool).await, []);
    assert_eq!(on_both(&pool, &nodes).await, before);
}
