//! Nodes that lie after a restore of the database: whatever they put beside their blobs, nothing becomes a
//! replica that is not the chunk, whole and a copy of its own.

use bytes::Bytes;
use coordinator::durability;
use coordinator::durability::restore;
use kit::{Clock, Entropy};

use coordinator::database::Pool;
use coordinator::durability::tables::restore::nodes::Found;
use http::StatusCode;
use proto::{BlobId, FileId};
use sealing::{ChunkRef, ChunkVersion, SEALING_OVERHEAD};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::restore_mode::{begin, found_on, go_on};
use crate::support::{
    CHUNK, Client, Coordinator, Node, OnInventory, OnRead, OnStore, content, count, purges_of,
};

/// Three nodes that all hold a file of three chunks.
async fn fleet(pool: &PgPool) -> (Coordinator, [Node; 3], Client, Value) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(3 * CHUNK)).await;
    (coordinator, nodes, client, file)
}

/// The restored database does not know of this replica.
async fn forget(pool: &PgPool, node: &Node, blob: BlobId) {
    let gone = sqlx::query("DELETE FROM replicas WHERE node_id = $1 AND blob_id = $2");
    let gone = gone
        .bind(node.node_id.as_uuid())
        .bind(blob.as_bytes().to_vec());
    assert_eq!(gone.execute(pool).await.unwrap().rows_affected(), 1);
}

async fn rows(pool: &PgPool) -> i64 {
    count(pool, "SELECT count(*) FROM replicas").await
}

fn place_of(coordinator: &Coordinator, node: &Node, blob: BlobId) -> ChunkVersion {
    let place = coordinator
        .app
        .keys
        .ring
        .open_locator(&node.locator_of(blob));
    place.unwrap().place
}

/// What came of the first node, when all are gone through.
async fn found(coordinator: &Coordinator, nodes: &[Node; 3]) -> Found {
    begin(coordinator.app.db.connections()).await;
    go_on(coordinator).await;
    found_on(coordinator.app.db.connections(), nodes[0].node_id).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_honest_node_gets_its_row_back(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    let blob = nodes[0].blobs()[1];
    forget(&pool, &nodes[0], blob).await;
    let expected = Found {
        held: 3,
        known: 2,
        adopted: 1,
        ..Found::default()
    };
    assert_eq!(found(&coordinator, &nodes).await, expected);
    assert_eq!(rows(&pool).await, 9);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn garbage_behind_a_good_locator_is_not_adopted(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    let blob = nodes[0].blobs()[0];
    let locator = nodes[0].locator_of(blob);
    forget(&pool, &nodes[0], blob).await;
    nodes[0].lose(blob);
    nodes[0].hold(locator, vec![7; CHUNK + SEALING_OVERHEAD].into());
    nodes[0].hold(locator, Bytes::from_static(b"too short"));
    let expected = Found {
        held: 4,
        known: 2,
        refused: 2,
        ..Found::default()
    };
    assert_eq!(found(&coordinator, &nodes).await, expected);
    assert_eq!(rows(&pool).await, 8);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_blob_with_the_locator_of_another_is_not_adopted(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    let contents = nodes[0].contents();
    let (blob, data) = contents[0].clone();
    let others = nodes[0].locator_of(contents[1].0);
    forget(&pool, &nodes[0], blob).await;
    forget(&pool, &nodes[0], contents[1].0).await;
    nodes[0].lose(contents[1].0);
    nodes[0].hold(others, data);
    let found = found(&coordinator, &nodes).await;
    assert_eq!((found.adopted, found.refused), (0, 1));
    assert_eq!(rows(&pool).await, 7);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn another_version_of_a_chunk_is_of_an_unknown_content(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    let (blob, data) = nodes[0].contents()[0].clone();
    let mut place = place_of(&coordinator, &nodes[0], blob);
    place.version += 1;
    let master = coordinator.app.keys.ring.master();
    let locator = master
        .seal_locator(&place.into(), &mut Entropy::system().rng())
        .unwrap();
    forget(&pool, &nodes[0], blob).await;
    nodes[0].hold(locator, data);
    let found = found(&coordinator, &nodes).await;
    assert_eq!((found.adopted, found.unknown), (0, 1));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_earlier_content_with_the_locator_of_the_last_one_is_not_adopted(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client
        .initiate("a", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    client.send_chunk(&upload, 0, &[1; CHUNK]).await;
    let (_, earlier) = nodes[0].contents()[0].clone();
    let before = nodes[0].blobs();
    client.send_chunk(&upload, 0, &[2; CHUNK]).await;
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    let last = nodes[0].blobs().into_iter().find(|it| !before.contains(it));
    let last = last.unwrap();
    // Both were sealed under one key for one place, so that both open there.
    let locator = nodes[0].locator_of(last);
    nodes[0].hold(locator, earlier);
    forget(&pool, &nodes[0], last).await;
    let found = found(&coordinator, &nodes).await;
    assert_eq!((found.adopted, found.refused), (1, 1));
    for node in &nodes[1..] {
        node.on_read(OnRead::Refuse);
    }
    assert_eq!(client.content(&file).await, vec![2; CHUNK]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_does_not_give_the_bytes_or_signs_for_others_gets_no_row(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    for (on_read, on_store) in [
        (OnRead::Flip, OnStore::Keep),
        (OnRead::Shorten, OnStore::Keep),
        (OnRead::Deny, OnStore::Keep),
        (OnRead::Give, OnStore::Forge),
    ] {
        let blob = nodes[0].blobs()[0];
        let row = "DELETE FROM replicas WHERE blob_id = $1";
        let row = sqlx::query(row).bind(blob.as_bytes().to_vec());
        row.execute(&pool).await.unwrap();
        nodes[0].on_read(on_read);
        nodes[0].on_store(on_store);
        let found = found(&coordinator, &nodes).await;
        let expected = Found {
            held: 3,
            known: 2,
            refused: 1,
            ..Found::default()
        };
        assert_eq!(found, expected, "{on_read:?} {on_store:?}");
        assert_eq!(rows(&pool).await, 8);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_of_another_nodes_blob_is_no_replica(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    let (blob, data) = nodes[1].contents()[0].clone();
    nodes[0].hold(nodes[1].locator_of(blob), data);
    let found = found(&coordinator, &nodes).await;
    assert_eq!((found.held, found.known, found.refused), (4, 3, 1));
    assert_eq!(rows(&pool).await, 9);
}

/// Not a lie: a store of which the coordinator never heard.
#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_second_copy_on_one_node_does_not_count_as_another_one(pool: PgPool) {
    let (coordinator, nodes, client, file) = fleet(&pool).await;
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: FileId::from_uuid(Uuid::parse_str(file["file_id"].as_str().unwrap()).unwrap()),
            index: 0,
        },
        ..place_of(&coordinator, &nodes[0], nodes[0].blobs()[0])
    };
    let mut connection = pool.acquire().await.unwrap();
    let chunk = durability::tables::repair::with_keys(&mut connection, &[place.chunk]).await;
    let chunk = chunk.unwrap().remove(0);
    let place = ChunkVersion {
        version: chunk.kept.version,
        ..place
    };
    let master = coordinator.app.keys.ring.master();
    let key = chunk.key.open(place.chunk.file_id, &master).unwrap();
    let text = Bytes::from(content(CHUNK));
    let second = key
        .seal(place.chunk, &[text], &mut Entropy::system().rng())
        .unwrap();
    let locator = master
        .seal_locator(&place.into(), &mut Entropy::system().rng())
        .unwrap();
    nodes[0].hold(locator, second.data);
    let found = found(&coordinator, &nodes).await;
    assert_eq!((found.held, found.known, found.adopted), (4, 3, 1));
    assert_eq!(rows(&pool).await, 9);
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, [second.blob_id]);
    assert_eq!(client.content(&file).await, content(3 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_never_ends_or_tells_nonsense_holds_up_nobody_else(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool).await;
    nodes[0].on_inventory(OnInventory::NeverEnd);
    nodes[1].on_inventory(OnInventory::Disorder);
    begin(&pool).await;
    go_on(&coordinator).await;
    for why in [
        "SELECT count(*) FROM adoption_nodes WHERE detail LIKE '%does not come to an end%'",
        "SELECT count(*) FROM adoption_nodes WHERE detail LIKE '%out of order%'",
        "SELECT count(*) FROM adoption_nodes WHERE adopted_at IS NOT NULL",
    ] {
        assert_eq!(count(&pool, why).await, 1, "{why}");
    }
    restore::finish(&Pool::new(pool.clone()), true, Clock::system().now())
        .await
        .unwrap();
    assert!(!restore::stands(&Pool::new(pool.clone())).await.unwrap());
    let kept = "SELECT count(*) FROM replicas WHERE demoted_at IS NOT NULL";
    assert_eq!(count(&pool, kept).await, 0);
}
