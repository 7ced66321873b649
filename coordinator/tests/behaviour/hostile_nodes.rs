//! Nodes that lie, refuse, hang or vanish. Uploads complete with all their copies, files come back,
//! and what was sent in vain is purged.

use http::StatusCode;
use proto::{BlobId, NodeId};
use sqlx::PgPool;

use crate::support::{
    CHUNK, Client, Coordinator, Node, OnRead, OnStore, content, count, eventually, purges_of,
};

async fn stored(pool: &PgPool) -> (Coordinator, [Node; 3], Client) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    (coordinator, nodes, client)
}

async fn suspects(pool: &PgPool) -> Vec<(NodeId, String)> {
    let query = "SELECT node_id, suspect_reason FROM replicas WHERE suspect_since IS NOT NULL";
    let rows: Vec<(uuid::Uuid, String)> = sqlx::query_as(query).fetch_all(pool).await.unwrap();
    let rows = rows
        .into_iter()
        .map(|(node, reason)| (NodeId::from_uuid(node), reason));
    rows.collect()
}

/// Every chunk has its three receipts, each from another node.
async fn all_chunks_have_their_copies(pool: &PgPool) {
    let short =
        "SELECT count(*) FROM (SELECT 1 FROM chunks LEFT JOIN replicas USING (file_id, chunk_index)
         GROUP BY file_id, chunk_index HAVING count(DISTINCT node_id) <> 3) AS short";
    assert_eq!(count(pool, short).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_refuses_is_replaced_and_nothing_has_to_be_purged(pool: PgPool) {
    let (coordinator, nodes, client) = stored(&pool).await;
    let full = Node::join(&coordinator).await;
    full.on_store(OnStore::Refuse);
    let file = client.upload("a", &content(6 * CHUNK)).await;
    assert_eq!(client.content(&file).await, content(6 * CHUNK));
    all_chunks_have_their_copies(&pool).await;
    assert!(nodes.iter().all(|node| node.blobs().len() == 6));
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn when_all_disks_are_full_nothing_is_stored_and_nothing_charged(pool: PgPool) {
    let settings = ["placement.patience=1s"]; // enough to ask a node that refused once more
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.customer().await;
    let before = client.balances().await;
    nodes[1].on_store(OnStore::Refuse);
    let refused = client.upload_call("a", &content(CHUNK)).send().await;
    refused.problem(507, "insufficient-storage");
    assert_eq!(client.balances().await, before);
    coordinator.forget().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM files").await, 0);
    // The copies that two nodes took are on their way out.
    for node in &nodes {
        assert_eq!(purges_of(&pool, node.node_id).await, node.blobs());
    }
    client
        .initiate("a", CHUNK)
        .await
        .problem(507, "insufficient-storage");
    client
        .initiate("b", 1 << 37)
        .await
        .problem(507, "insufficient-storage");
    assert_eq!(client.balances().await, before);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_forged_receipt_counts_for_nothing(pool: PgPool) {
    let (coordinator, nodes, client) = stored(&pool).await;
    nodes[0].on_store(OnStore::Forge);
    let alone = client.upload_call("a", &content(CHUNK)).send().await;
    alone.problem(503, "too-few-nodes");
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 0);

    let _fourth = Node::join(&coordinator).await;
    let file = client.upload("a", &content(4 * CHUNK)).await;
    assert_eq!(client.content(&file).await, content(4 * CHUNK));
    all_chunks_have_their_copies(&pool).await;
    let of_forger =
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM replicas WHERE node_id = $1");
    let of_forger = of_forger.bind(nodes[0].node_id.as_uuid());
    assert_eq!(of_forger.fetch_one(&pool).await.unwrap(), 0);
    // It may have kept what it was sent: it is told to forget it, in time.
    assert!(!purges_of(&pool, nodes[0].node_id).await.is_empty());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_never_answers_is_overtaken_and_told_to_forget(pool: PgPool) {
    let (coordinator, nodes, client) = stored(&pool).await;
    let _fourth = Node::join(&coordinator).await;
    nodes[0].on_store(OnStore::Hang);
    let mut file = client.upload("a", &content(CHUNK)).await;
    while nodes[0].blobs().is_empty() {
        file = client.upload("a", &content(CHUNK)).await; // placement is by chance
    }
    assert_eq!(client.content(&file).await, content(CHUNK));
    all_chunks_have_their_copies(&pool).await;
    let kept: Vec<BlobId> = nodes[0].blobs();
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, kept);
    // Not at once: the store may still be on its way.
    let soonest = "SELECT extract(epoch FROM min(not_before) - now())::bigint FROM purges";
    assert!(count(&pool, soonest).await > 30);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_vanishes_in_mid_upload_is_replaced(pool: PgPool) {
    let (coordinator, nodes, client) = stored(&pool).await;
    let _fourth = Node::join(&coordinator).await;
    nodes[2].on_store(OnStore::Vanish);
    let bytes = content(20 * CHUNK);
    let file = client.upload("a", &bytes).await;
    assert_eq!(client.content(&file).await, bytes);
    all_chunks_have_their_copies(&pool).await;
    assert!(nodes[2].blobs().is_empty());
    let online = coordinator
        .visitor()
        .get("/health")
        .await
        .expect(StatusCode::OK);
    assert_eq!(online["nodes_online"], 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn wrong_bytes_are_never_served_and_make_their_replica_suspect(pool: PgPool) {
    let (_coordinator, nodes, client) = stored(&pool).await;
    let bytes = content(8 * CHUNK);
    for (conduct, reason) in [
        (OnRead::Flip, "wrong bytes"),
        (OnRead::Shorten, "wrong bytes"),
        (OnRead::Deny, "missing"),
    ] {
        let file = client.upload("a", &bytes).await;
        nodes[0].on_read(conduct);
        nodes[1].on_read(conduct);
        // Until a read has met both: which node is asked first is not for the test to say.
        eventually(|| async {
            assert_eq!(client.content(&file).await, bytes);
            let suspects = suspects(&pool).await;
            assert!(suspects.iter().all(|(node, _)| *node != nodes[2].node_id));
            let met = |node: &Node| {
                let mut suspects = suspects.iter();
                suspects.any(|(suspect, why)| *suspect == node.node_id && why == reason)
            };
            (met(&nodes[0]) && met(&nodes[1])).then_some(())
        })
        .await;
        nodes.iter().for_each(|node| node.on_read(OnRead::Give));
        let id = file["file_id"].as_str().unwrap();
        let deleted = client.delete(&format!("/api/v1/files/{id}")).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_bit_wrong_on_every_copy_is_an_error_and_no_file(pool: PgPool) {
    let (_coordinator, nodes, client) = stored(&pool).await;
    let file = client.upload("a", &content(CHUNK)).await;
    nodes.iter().for_each(|node| node.on_read(OnRead::Flip));
    client.download(&file).await.problem(503, "unreadable");
    let all = eventually(|| async {
        let suspects = suspects(&pool).await;
        (suspects.len() == 3).then_some(suspects)
    });
    all.await;
    nodes.iter().for_each(|node| node.on_read(OnRead::Give));
    assert_eq!(client.content(&file).await, content(CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_read_that_hangs_or_breaks_off_is_made_elsewhere(pool: PgPool) {
    let (_coordinator, nodes, client) = stored(&pool).await;
    let bytes = content(6 * CHUNK);
    let file = client.upload("a", &bytes).await;
    nodes[0].on_read(OnRead::Hang);
    nodes[1].on_read(OnRead::Vanish);
    assert_eq!(client.content(&file).await, bytes);
    assert_eq!(client.content(&file).await, bytes);
    // Neither has been shown to have lost anything; the silent one may be looked at for its silence.
    let looked_at = |(node, reason): &(NodeId, String)| {
        *node == nodes[0].node_id && reason == "left reads unanswered"
    };
    assert!(suspects(&pool).await.iter().all(looked_at));
}
