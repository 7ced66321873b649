//! After a restore of the database: what was moved since the backup is found again, nobody is blamed for
//! what the database has forgotten, and nothing is taken away meanwhile. The steps of the worker are taken
//! one by one, where the test is not about what the others do.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use coordinator::durability;
use coordinator::durability::restore;
use coordinator::proofs::audit;
use kit::{Clock, Entropy};

use coordinator::durability::tables::restore::nodes::Found;
use http::StatusCode;
use model::ids::FileId;
use model::node_state::NodeState;
use proto::{BlobId, Locator, NodeId};
use sealing::{ChunkRef, ChunkVersion, MasterKey};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::repair::{
    chunks_with, comes_back, earnings_are_right, enters, fleet, goes_away, held_by, repair_all,
};
use crate::support::{CHUNK, Coordinator, Node, OnInventory, content, count, purges_of};

/// What a backup remembers of where replicas are.
pub(crate) async fn back_up(pool: &PgPool) {
    let copies = "CREATE TABLE old_replicas AS TABLE replicas;
         CREATE TABLE old_events AS TABLE earning_events;
         CREATE TABLE old_purges AS TABLE purges;
         CREATE TABLE old_queue AS TABLE chunks_to_repair;
         CREATE TABLE old_nodes AS TABLE nodes";
    sqlx::raw_sql(copies).execute(pool).await.unwrap();
}

pub(crate) async fn restore(coordinator: &Coordinator) {
    let back = "DELETE FROM replicas; INSERT INTO replicas SELECT * FROM old_replicas;
         DELETE FROM purges; INSERT INTO purges SELECT * FROM old_purges;
         DELETE FROM chunks_to_repair; INSERT INTO chunks_to_repair SELECT * FROM old_queue;
         ALTER TABLE earning_events DISABLE TRIGGER USER;
         DELETE FROM earning_events WHERE event_id NOT IN (SELECT event_id FROM old_events);
         ALTER TABLE earning_events ENABLE TRIGGER USER;
         DELETE FROM drains;
         UPDATE nodes n SET state = o.state, state_reason = o.state_reason,
                            offline_since = NULL, away_since = NULL
         FROM old_nodes o WHERE n.node_id = o.node_id";
    let pool = coordinator.app.db.connections();
    sqlx::raw_sql(back).execute(pool).await.unwrap();
}

pub(crate) async fn begin(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    assert!(
        restore::begin(
            &mut connection,
            Entropy::system().uuid_v7(Clock::system().now())
        )
        .await
        .unwrap()
    );
}

/// As much as can be done now.
pub(crate) async fn go_on(coordinator: &Coordinator) {
    let again = "UPDATE adoption_nodes SET due_at = now()";
    sqlx::query(again)
        .execute(coordinator.app.db.connections())
        .await
        .unwrap();
    while restore::step(&coordinator.app.durability).await.unwrap() {}
}

/// From the beginning to the end.
pub(crate) async fn adopt_all(coordinator: &Coordinator) {
    begin(coordinator.app.db.connections()).await;
    go_on(coordinator).await;
    assert!(!restore::stands(&coordinator.app.db).await.unwrap());
}

pub(crate) async fn found_on(pool: &PgPool, node: NodeId) -> Found {
    let mut connection = pool.acquire().await.unwrap();
    let last = durability::tables::restore::last(&mut connection)
        .await
        .unwrap()
        .unwrap();
    let nodes = durability::tables::restore::nodes::list(&mut connection, last.id).await;
    let status = nodes.unwrap().into_iter().find(|it| it.node_id == node);
    status.unwrap().found
}

pub(crate) async fn adopted(pool: &PgPool) -> i64 {
    count(
        pool,
        "SELECT coalesce(sum(adopted), 0)::bigint FROM adoption_nodes",
    )
    .await
}

/// No proof failed, none was missed, nothing reported, and every score is as it was.
pub(crate) async fn nobody_is_blamed(pool: &PgPool) {
    let penalties = "SELECT count(*) FROM audit_penalties";
    assert_eq!(count(pool, penalties).await, 0);
    let scores = "SELECT count(*) FROM nodes WHERE score_beta > 0 OR last_failure_at IS NOT NULL";
    assert_eq!(count(pool, scores).await, 0);
}

pub(crate) async fn demoted(pool: &PgPool) -> i64 {
    let demoted = "SELECT count(*) FROM replicas WHERE demoted_at IS NOT NULL";
    count(pool, demoted).await
}

/// A blob of a file that the database does not know.
pub(crate) fn hold_unknown(coordinator: &Coordinator, node: &Node, n: u32) -> BlobId {
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: FileId::from_uuid(Uuid::from_u128(7)),
            index: n,
        },
        version: 1,
    };
    let master = coordinator.app.keys.ring.master();
    let locator = master
        .seal_locator(&place.into(), &mut Entropy::system().rng())
        .unwrap();
    node.hold(locator, Bytes::from(format!("blob {n}")))
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn copies_that_a_drain_moved_after_the_backup_are_found_and_earn(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    let left = &nodes[0];
    let held = held_by(&pool, left.node_id).await;
    assert!(held > 0);
    back_up(&pool).await;
    enters(&pool, left.node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, left.node_id).await, 0);
    for blob in left.blobs() {
        left.lose(blob);
    }
    restore(&coordinator).await;
    assert_eq!(held_by(&pool, left.node_id).await, held);

    adopt_all(&coordinator).await;
    assert_eq!(adopted(&pool).await, held);
    assert_eq!(held_by(&pool, left.node_id).await, 0);
    assert_eq!(chunks_with(&pool, 3).await, 20);
    let gone = found_on(&pool, left.node_id).await;
    assert_eq!((gone.held, gone.missing.cast_signed()), (0, held));
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
    // The receipts are the nodes' own, for the blobs that they hold.
    let path = format!(
        "/api/v1/files/{}/receipts",
        file["file_id"].as_str().unwrap()
    );
    let receipts = client.get(&path).await.expect(StatusCode::OK);
    assert_eq!(receipts["items"].as_array().unwrap().len(), 60);
    assert_eq!(demoted(&pool).await, 0);
    nobody_is_blamed(&pool).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_repair_made_and_trim_took_since_the_backup_comes_to_as_many_as_were_promised(
    pool: PgPool,
) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    back_up(&pool).await;
    goes_away(&pool, nodes[0].node_id).await;
    repair_all(&coordinator).await;
    comes_back(&pool, nodes[0].node_id).await;
    repair_all(&coordinator).await;
    // What trim took away is in the nodes' trash.
    for node in &nodes {
        for blob in purges_of(&pool, node.node_id).await {
            node.throw_away(blob);
        }
    }
    let in_trash: usize = nodes.iter().map(|node| node.trash().len()).sum();
    assert!(in_trash > 0);
    restore(&coordinator).await;

    adopt_all(&coordinator).await;
    assert!(nodes.iter().all(|node| node.trash().is_empty()));
    // Repair finds by itself what is too much now.
    assert!(chunks_with(&pool, 4).await > 0);
    repair_all(&coordinator).await;
    assert_eq!(
        (chunks_with(&pool, 3).await, chunks_with(&pool, 4).await),
        (20, 0)
    );
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
    nobody_is_blamed(&pool).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_nothing_was_moved_nothing_changes_but_that_the_trash_gives_back(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 20, &[]).await;
    let held = held_by(&pool, nodes[0].node_id).await.unsigned_abs();
    let blobs = nodes[0].blobs();
    nodes[0].throw_away(blobs[0]);
    nodes[0].on_inventory(OnInventory::TellSlowly(2));
    adopt_all(&coordinator).await;
    let expected = Found {
        held,
        known: held,
        restored: 1,
        ..Found::default()
    };
    assert_eq!(found_on(&pool, nodes[0].node_id).await, expected);
    assert_eq!(nodes[0].blobs(), blobs);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 60);
    assert_eq!(adopted(&pool).await, 0);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn rows_without_blobs_go_without_blame_and_their_chunks_are_repaired(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    let lost = nodes[0].blobs();
    for blob in &lost {
        nodes[0].lose(*blob);
    }
    adopt_all(&coordinator).await;
    assert_eq!(held_by(&pool, nodes[0].node_id).await, 0);
    assert_eq!(demoted(&pool).await, 0);
    assert_eq!(chunks_with(&pool, 2).await, lost.len() as i64);
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 20);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
    while audit::step(&coordinator.app.proofs, &|| Clock::system().now())
        .await
        .unwrap()
    {}
    nobody_is_blamed(&pool).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_last_row_of_a_chunk_that_nobody_holds_stays_and_nobody_is_asked_for_it(pool: PgPool) {
    let (coordinator, nodes, client, _, _) = fleet(&pool, 1, &[]).await;
    // It was deleted after the backup.
    for node in &nodes {
        for blob in node.blobs() {
            node.lose(blob);
        }
    }
    let kept = client.upload("b", &content(CHUNK)).await;
    adopt_all(&coordinator).await;
    let left = "SELECT count(*) FROM replicas WHERE demoted_reason LIKE 'no node held a copy%'";
    assert_eq!(count(&pool, left).await, 1);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 4);
    let lost = "SELECT lost_chunks FROM adoptions";
    assert_eq!(count(&pool, lost).await, 1);
    for _ in 0..3 {
        let due = "UPDATE audit_schedule SET due_at = now() - interval '5 h', window_ends_at = now() - interval '5 h'";
        sqlx::query(due).execute(&pool).await.unwrap();
        while audit::step(&coordinator.app.proofs, &|| Clock::system().now())
            .await
            .unwrap()
        {}
    }
    nobody_is_blamed(&pool).await;
    assert_eq!(client.content(&kept).await, content(CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn blobs_of_files_that_the_database_does_not_know_are_left_alone_and_counted(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 2, &[]).await;
    let (held, known) = (nodes[0].blobs().len() as u64, nodes[0].blobs().len() as u64);
    let unknown: Vec<BlobId> = (0..3)
        .map(|n| hold_unknown(&coordinator, &nodes[0], n))
        .collect();
    nodes[0].throw_away(unknown[2]);
    nodes[0].hold(Locator::from_bytes([9; 64]), Bytes::from_static(b"foreign"));
    adopt_all(&coordinator).await;
    let expected = Found {
        held: held + 4,
        known,
        unknown: 3,
        unreadable: 1,
        ..Found::default()
    };
    assert_eq!(found_on(&pool, nodes[0].node_id).await, expected);
    assert_eq!(nodes[0].trash(), [unknown[2]]);
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 6);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_of_an_upload_that_was_open_at_the_backup_are_found_too(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    let text = content(2 * CHUNK);
    let upload: Value = client
        .initiate("a", 2 * CHUNK)
        .await
        .expect(StatusCode::CREATED);
    client.send_chunk(&upload, 0, &text[..CHUNK]).await;
    back_up(&pool).await;
    let left = nodes.iter().find(|node| !node.blobs().is_empty()).unwrap();
    enters(&pool, left.node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    for blob in left.blobs() {
        left.lose(blob);
    }
    restore(&coordinator).await;
    adopt_all(&coordinator).await;
    assert_eq!(adopted(&pool).await, 1);
    client.send_chunk(&upload, 1, &text[CHUNK..]).await;
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, text);
    let put_off = "UPDATE chunks_to_repair SET not_before = now()";
    sqlx::query(put_off).execute(&pool).await.unwrap();
    repair_all(&coordinator).await;
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_master_key_that_was_put_to_use_after_the_backup_still_opens_locators(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 20, &[]).await;
    let (blob, data) = nodes[0].contents()[0].clone();
    let place = coordinator
        .app
        .keys
        .ring
        .open_locator(&nodes[0].locator_of(blob));
    let file = coordinator.keys_dir.path().join("master-2.key");
    std::fs::write(&file, hex::encode([7; 32])).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let master = MasterKey::new("master-2".to_owned(), Zeroizing::new([7; 32])).unwrap();
    let locator = master.seal_locator(&place.unwrap(), &mut Entropy::system().rng());
    nodes[0].hold(locator.unwrap(), data);
    let row = "DELETE FROM replicas WHERE blob_id = $1";
    let row = sqlx::query(row).bind(blob.as_bytes().to_vec());
    row.execute(&pool).await.unwrap();
    adopt_all(&coordinator).await;
    let found = found_on(&pool, nodes[0].node_id).await;
    assert_eq!((found.adopted, found.unreadable), (1, 0));
}
