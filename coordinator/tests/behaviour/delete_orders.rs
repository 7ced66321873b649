//! A coordinator's key in other hands, or a mistake: what nodes were ordered to delete is not held against them, and
//! what they put off comes back.

use coordinator::blobs;
use coordinator::database::Pool;
use coordinator::durability::purge_undo;
use coordinator::keys::network_document;
use coordinator::proofs::fresh_receipts;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kit::Clock;
use network::Keypair;
use proto::{
    BlobId, Delete, DeleteOrder, Deletion, DeletionMode, Judgement, NodeId, Parties,
    ProofStatement, SignedOrder,
};
use sqlx::PgPool;

use crate::support::audit::{DEMOTED, audit_at, fleet, kinds, of_node, penalties, rounds, state};
use crate::support::{CHUNK, Coordinator, Node, content, count, eventually, soon};

fn purges(blobs: &[BlobId]) -> Vec<Deletion> {
    let purge = |blob_id: &BlobId| Deletion {
        blob_id: *blob_id,
        mode: DeletionMode::Purge,
    };
    blobs.iter().map(purge).collect()
}

/// As a thief of its keys would, past the database.
async fn order_purge(coordinator: &Coordinator, node: &Node, blobs: &[BlobId]) {
    let app = &coordinator.app;
    let now = Clock::system().now();
    let order = app
        .keys
        .ring
        .order(node.peer_id(), purges(blobs), now)
        .unwrap();
    let told = app.fleet.network().call::<Delete>(node.peer_id(), order);
    soon(told).await.unwrap();
}

/// An order of this key to this node, which it shows from now on for what it lacks.
fn make_up(coordinator: &Coordinator, node: &Node, key: &Keypair, at: Timestamp) {
    let parties = Parties {
        network_id: coordinator.app.keys.ring.network_id,
        coordinator: key.public().to_peer_id(),
        node: node.peer_id(),
    };
    let at = at.as_millisecond().unsigned_abs();
    let order = DeleteOrder::new(parties, at, purges(&node.blobs())).unwrap();
    node.shows(vec![order.sign(key).unwrap()]);
}

fn lose_all(node: &Node) {
    for blob in node.blobs() {
        node.lose(blob);
    }
}

async fn judgements(pool: &PgPool, node: NodeId) -> Vec<Judgement> {
    let query = "SELECT statement FROM audit_statements WHERE node_id = $1";
    let rows = sqlx::query_scalar(query).bind(node.as_uuid());
    let rows: Vec<Vec<u8>> = rows.fetch_all(pool).await.unwrap();
    let statements = rows
        .iter()
        .map(|row| ProofStatement::from_bytes(row).unwrap());
    statements
        .flat_map(|statement| statement.verdict.judgements)
        .collect()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_obeyed_an_order_to_delete_is_not_blamed_and_its_chunks_are_repaired(
    pool: PgPool,
) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 6, &[]).await;
    let obedient = &nodes[0];
    order_purge(&coordinator, obedient, &obedient.blobs()).await;
    assert_eq!(obedient.blobs(), []);
    rounds(&coordinator, begin, 1..=3).await;

    assert_eq!(of_node(&pool, DEMOTED, obedient.node_id).await, 6);
    assert_eq!(penalties(&pool, obedient.node_id).await, []);
    let after = state(&coordinator, obedient.node_id).await;
    assert_eq!(after["score_ppm"], 1_000_000);
    assert_eq!(after["on_hold"], false);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM chunks_to_repair").await,
        6
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
    // The signed verdict says it as well, and the order stands beside it.
    let said = judgements(&pool, obedient.node_id).await;
    assert!(said.contains(&Judgement::Ordered), "{said:?}");
    assert!(!said.contains(&Judgement::Failed), "{said:?}");
    let path = format!("/api/v1/nodes/{}/proofs", obedient.node_id);
    let request = coordinator.visitor().call(Method::GET, &path);
    let request = request.header("x-api-key", &obedient.api_key).send();
    let page = request.await.expect(StatusCode::OK);
    let items = page["items"].as_array().unwrap();
    let shown = items.iter().find(|item| !item["orders"].is_null()).unwrap();
    let shown = serde_json::from_value(shown["orders"][0].clone()).unwrap();
    assert_eq!(SignedOrder::try_from(&shown).unwrap(), obedient.orders()[0]);
    assert_eq!(client.content(&file).await, content(6 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_order_excuses_after_its_coordinator_has_been_taken_out(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 3, &[]).await;
    let app = &coordinator.app;
    let stolen = Keypair::generate_ed25519();
    let peer_id = stolen.public().to_peer_id().to_string();
    sqlx::query("INSERT INTO coordinators (peer_id, addrs) VALUES ($1, '{}')")
        .bind(&peer_id)
        .execute(&pool)
        .await
        .unwrap();
    make_up(&coordinator, &nodes[0], &stolen, Clock::system().now());
    lose_all(&nodes[0]);
    let now = Clock::system().now();
    network_document::remove(&Pool::new(pool.clone()), &app.keys.ring, &peer_id, now)
        .await
        .unwrap();
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(penalties(&pool, nodes[0].node_id).await, []);
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_order_that_no_coordinator_gave_is_no_excuse(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 3, &[]).await;
    let stranger = Keypair::generate_ed25519();
    make_up(&coordinator, &nodes[0], &stranger, Clock::system().now());
    lose_all(&nodes[0]);
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("failed", 3)])
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_order_from_before_the_receipt_or_the_last_proof_is_no_excuse(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 3, &[]).await;
    let key = coordinator.app.keys.ring.identity.clone();
    // The nodes of these tests sign that they stored everything in November 2023.
    let long_ago = Timestamp::from_second(1_600_000_000).unwrap();
    make_up(&coordinator, &nodes[0], &key, long_ago);
    lose_all(&nodes[0]);
    make_up(
        &coordinator,
        &nodes[1],
        &key,
        begin + SignedDuration::from_mins(1),
    );
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(penalties(&pool, nodes[1].node_id).await, []);
    lose_all(&nodes[1]);
    rounds(&coordinator, begin, 2..=2).await;
    for node in &nodes[..2] {
        assert_eq!(
            penalties(&pool, node.node_id).await,
            kinds(&[("failed", 3)])
        );
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_order_shown_to_a_read_is_no_reason_to_blame_either(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 2, &[]).await;
    order_purge(&coordinator, &nodes[0], &nodes[0].blobs()).await;
    eventually(|| async {
        assert_eq!(client.content(&file).await, content(2 * CHUNK));
        let waiting = "SELECT count(*) FROM audit_follow_ups";
        (count(&pool, waiting).await > 0).then_some(())
    })
    .await;
    audit_at(&coordinator, begin + SignedDuration::from_mins(1)).await;
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(penalties(&pool, nodes[0].node_id).await, []);
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 2);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_nodes_put_off_is_seen_at_once_and_an_undo_brings_all_of_it_back(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 8, &[]).await;
    let app = &coordinator.app;
    // What newcomers have signed for is challenged now and not later: a proof brings a blob back from the trash.
    fresh_receipts::check(&app.proofs, begin).await.unwrap();
    audit_at(&coordinator, begin).await;
    let before: Vec<_> = nodes.iter().map(Node::blobs).collect();
    // The last puts everything off: no chunk is gone from all three.
    let passed = [2, 2, 0];
    for (node, passed) in nodes.iter().zip(passed) {
        node.brake(passed);
        order_purge(&coordinator, node, &node.blobs()).await;
        assert_eq!(node.trash().len(), 8 - passed);
        assert!(node.beat(&coordinator).await);
    }
    let since = Clock::system().now() - SignedDuration::from_mins(1);
    coordinator.start_workers();
    let braked = eventually(|| async {
        let mut connection = pool.acquire().await.unwrap();
        let braked = blobs::tables::brakes::list(&mut connection).await.unwrap();
        (braked.len() == 3).then_some(braked)
    })
    .await;
    let put_off: u64 = braked.iter().map(|node| node.blobs).sum();
    assert_eq!(put_off, 20, "{braked:?}");
    let metrics = &app.blobs.metrics;
    eventually(|| async { (metrics.braked_nodes.get() == 3).then_some(()) }).await;
    assert_eq!(metrics.deferred_purges.get(), 20);

    let begun = purge_undo::begin(&Pool::new(pool.clone()), since, None)
        .await
        .unwrap();
    assert_eq!(begun.nodes, 3);
    for ((node, before), passed) in nodes.iter().zip(&before).zip(passed) {
        node.until(|held| held.len() == 8 - passed).await;
        assert!(node.blobs().iter().all(|blob| before.contains(blob)));
        assert_eq!(node.trash(), []);
    }
    eventually(|| async {
        let mut connection = pool.acquire().await.unwrap();
        let list = coordinator::durability::tables::purge_undos::list(&mut connection);
        let list = list.await.unwrap();
        let done = list.iter().all(|undo| undo.done_at.is_some());
        let restored: u64 = list.iter().map(|undo| undo.restored).sum();
        (done && restored == 20).then_some(())
    })
    .await;
    assert_eq!(client.content(&file).await, content(8 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_undo_takes_back_what_nodes_were_not_told_yet_and_only_from_since_then(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    nodes[0].leave(&coordinator).await;
    let enqueue = "INSERT INTO purges (node_id, blob_id, mode, created_at) VALUES ($1, $2, 'purge', $3::timestamptz)";
    for (n, at) in [(1_u8, "2026-01-01"), (2, "now"), (3, "now")] {
        sqlx::query(enqueue)
            .bind(nodes[0].node_id.as_uuid())
            .bind(vec![n; 32])
            .bind(at)
            .execute(&pool)
            .await
            .unwrap();
    }
    let since = Clock::system().now() - SignedDuration::from_hours(1);
    let begun = purge_undo::begin(&Pool::new(pool.clone()), since, Some(nodes[0].node_id))
        .await
        .unwrap();
    assert_eq!((begun.nodes, begun.taken_back), (1, 2));
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 1);
    let nobody = NodeId::from_bytes([9; 16]);
    let begun = purge_undo::begin(&Pool::new(pool.clone()), since, Some(nobody))
        .await
        .unwrap();
    assert_eq!(begun.nodes, 0);
}
