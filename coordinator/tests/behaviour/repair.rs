//! Repair, against nodes that leave, come back, drain, lose blobs and hang. The workers' steps are taken one
//! by one, so that each test says what happens when.

use std::collections::BTreeSet;

use coordinator::compose::FACTS;
use coordinator::durability::{demotion, repair};
use coordinator::files::delete;
use coordinator::fleet::guard;
use coordinator::fleet::node_status::NodeStates;
use coordinator::proofs::audit;
use coordinator::{durability, fleet};
use kit::{Clock, Entropy};
use model::scheme::Scheme;
use rules::reputation::StateChange;

use coordinator::database::Pool;
use coordinator::fleet::tables::node_status::Cause;
use http::StatusCode;
use jiff::SignedDuration;
use model::ids::FileId;
use model::node_state::NodeState;
use proto::{BlobId, NodeId};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::economy::verified;
use crate::support::{
    CHUNK, Client, Coordinator, Node, OnRead, OnStore, content, count, purges_of,
};

/// Five nodes, and a file of `chunks` chunks on three of them each.
pub(crate) async fn fleet(
    pool: &PgPool,
    chunks: usize,
    settings: &[&str],
) -> (Coordinator, Vec<Node>, Client, Value, Vec<u8>) {
    let coordinator = Coordinator::with(pool.clone(), settings).await;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    let text = content(chunks * CHUNK);
    let file = client.upload("a", &text).await;
    (coordinator, nodes, client, file, text)
}

/// Everything that is due: scans, then whatever they and demotions have found.
pub(crate) async fn repair_all(coordinator: &Coordinator) {
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    while repair::step(&coordinator.app.durability).await.unwrap() {}
}

/// What the liveness worker writes down when a node has been offline for longer than the grace.
pub(crate) async fn goes_away(pool: &PgPool, node: NodeId) {
    set_presence(
        pool,
        node,
        "UPDATE nodes SET offline_since = now(), away_since = now() WHERE node_id = $1",
    )
    .await;
}

pub(crate) async fn comes_back(pool: &PgPool, node: NodeId) {
    set_presence(
        pool,
        node,
        "UPDATE nodes SET offline_since = NULL, away_since = NULL WHERE node_id = $1",
    )
    .await;
}

async fn set_presence(pool: &PgPool, node: NodeId, update: &'static str) {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(update)
        .bind(node.as_uuid())
        .execute(&mut *transaction)
        .await
        .unwrap();
    durability::tables::repair::schedule_scans(&mut transaction, &[node])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

pub(crate) async fn enters(pool: &PgPool, node: NodeId, to: NodeState) {
    let now = Clock::system().now();
    let change = StateChange {
        to,
        reason: "a test".to_owned(),
    };
    let states = NodeStates {
        facts: FACTS,
        entropy: Entropy::system(),
    };
    let mut transaction = pool.begin().await.unwrap();
    states
        .enter(&mut transaction, node, &change, Cause::Operator, now)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// Chunks by how many replicas they have that are neither demoted nor on a node that is away.
pub(crate) async fn chunks_with(pool: &PgPool, replicas: i64) -> i64 {
    let query = sqlx::query_scalar(
        "SELECT count(*) FROM (
             SELECT 1 FROM chunks JOIN replicas USING (file_id, chunk_index) JOIN nodes USING (node_id)
             WHERE demoted_at IS NULL AND away_since IS NULL
             GROUP BY file_id, chunk_index HAVING count(DISTINCT node_id) = $1) AS chunk",
    );
    query.bind(replicas).fetch_one(pool).await.unwrap()
}

pub(crate) async fn held_by(pool: &PgPool, node: NodeId) -> i64 {
    let query = sqlx::query_scalar("SELECT count(*) FROM replicas WHERE node_id = $1");
    query.bind(node.as_uuid()).fetch_one(pool).await.unwrap()
}

/// What waits: healthy replicas, attempts in vain, and whether it is put off.
pub(crate) async fn queue(pool: &PgPool) -> Vec<(i32, i32, bool)> {
    let query =
        "SELECT healthy, attempts, not_before > now() FROM chunks_to_repair ORDER BY 1, 2, 3";
    sqlx::query_as(query).fetch_all(pool).await.unwrap()
}

/// The events say of every node what its replicas say, and of no chunk do more earn than were paid for.
pub(crate) async fn earnings_are_right(coordinator: &Coordinator) {
    let pool = coordinator.app.db.connections();
    let differing = "SELECT count(*) FROM (
             SELECT file_id, node_id, sum(change) AS bytes
             FROM earning_events, unnest(node_ids, bytes) AS changes (node_id, change)
             GROUP BY file_id, node_id HAVING sum(change) <> 0) AS told
         FULL JOIN (
             SELECT file_id, node_id, sum(piece_bytes(chunks.size_bytes, data_pieces)) AS bytes
             FROM replicas JOIN chunks USING (file_id, chunk_index) JOIN files USING (file_id)
             WHERE earns AND state = 'ready' GROUP BY file_id, node_id) AS held USING (file_id, node_id)
         WHERE told.bytes IS DISTINCT FROM held.bytes";
    assert_eq!(count(pool, differing).await, 0);
    let earners = "SELECT count(*) FROM (
             SELECT count(*) FILTER (WHERE earns AND demoted_at IS NULL) AS earning, count(*) FILTER (WHERE earns) AS all,
                    replication
             FROM replicas JOIN files USING (file_id) GROUP BY file_id, chunk_index, replication) AS chunk
         WHERE earning <> replication OR \"all\" <> replication";
    assert_eq!(count(pool, earners).await, 0);
    verified(coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_a_lost_node_held_is_copied_to_others_which_earn_for_it(pool: PgPool) {
    let (coordinator, mut nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    let lost = nodes.remove(0);
    let lost_id = lost.node_id;
    assert!(held_by(&pool, lost_id).await > 0);
    drop(lost);
    goes_away(&pool, lost_id).await;
    assert!(chunks_with(&pool, 3).await < 20);
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 20);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM chunks_to_repair").await,
        0
    );
    let id = file["file_id"].as_str().unwrap();
    let durability = client.get(&format!("/api/v1/files/{id}/durability")).await;
    assert_eq!(durability.expect(StatusCode::OK)["min_healthy"], 3);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_returns_brings_its_replicas_back_and_what_is_too_much_goes(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    let node = nodes[0].node_id;
    goes_away(&pool, node).await;
    repair_all(&coordinator).await;
    comes_back(&pool, node).await;
    assert!(chunks_with(&pool, 4).await > 0);
    repair_all(&coordinator).await;
    assert_eq!(
        (chunks_with(&pool, 3).await, chunks_with(&pool, 4).await),
        (20, 0)
    );
    let trash = count(&pool, "SELECT count(*) FROM purges WHERE mode = 'trash'").await;
    assert_eq!(trash, count(&pool, "SELECT count(*) FROM purges").await);
    assert!(trash > 0);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_back_before_anything_was_copied_keeps_what_it_has(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 10, &[]).await;
    let held = held_by(&pool, nodes[0].node_id).await;
    goes_away(&pool, nodes[0].node_id).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    assert_eq!(
        count(
            &pool,
            "SELECT count(*) FROM chunks_to_repair WHERE healthy = 2"
        )
        .await,
        held
    );
    comes_back(&pool, nodes[0].node_id).await;
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, nodes[0].node_id).await, held);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 30);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM chunks_to_repair").await,
        0
    );
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_draining_node_is_emptied_and_read_from_meanwhile(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    let node = &nodes[0];
    // Nobody else can be read: the copies come from the node that leaves.
    let held: BTreeSet<BlobId> = node.blobs().into_iter().collect();
    enters(&pool, node.node_id, NodeState::Draining).await;
    let mut standing = coordinator
        .app
        .fleet
        .member(node.node_id)
        .unwrap()
        .standing();
    standing.state = NodeState::Draining; // as the liveness worker tells
    coordinator
        .app
        .fleet
        .member(node.node_id)
        .unwrap()
        .set_standing(standing);
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, node.node_id).await, 0);
    let told: BTreeSet<BlobId> = purges_of(&pool, node.node_id).await.into_iter().collect();
    assert_eq!(told, held);
    assert_eq!(chunks_with(&pool, 3).await, 20);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_drain_that_finds_no_room_leaves_everything_where_it_is(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 5, &[]).await;
    let held = held_by(&pool, nodes[0].node_id).await;
    for node in &nodes {
        node.on_store(OnStore::Refuse);
    }
    enters(&pool, nodes[0].node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, nodes[0].node_id).await, held);
    earnings_are_right(&coordinator).await;
    let waiting = "SELECT count(*) FROM chunks_to_repair WHERE healthy = 3 AND attempts = 1 AND not_before > now()";
    assert_eq!(count(&pool, waiting).await, held);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn wrong_bytes_are_never_the_source_of_a_copy(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 1, &[]).await;
    let holders: Vec<&Node> = nodes
        .iter()
        .filter(|node| !node.blobs().is_empty())
        .collect();
    holders[1].on_read(OnRead::Flip);
    goes_away(&pool, holders[0].node_id).await;
    coordinator.app.fleet.remove_peer(&holders[0].peer_id());
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 1);
    // Whoever asks for the file now gets it from the copy or not at all.
    holders[0].on_read(OnRead::Deny);
    holders[2].on_read(OnRead::Deny);
    assert!(client.content(&file).await == text);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_blob_that_rotted_is_replaced_on_its_own_node_when_there_is_no_other(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let text = content(3 * CHUNK);
    let file = client.upload("a", &text).await;
    let rotten = nodes[0].blobs()[0];
    let (node, blobs) = (nodes[0].node_id, [rotten]);
    let lost = audit::loss_reported(
        &coordinator.app.proofs,
        node,
        &blobs,
        "rot",
        Clock::system().now(),
    );
    assert_eq!(lost.await.unwrap(), 1);
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 3);
    assert_eq!(
        held_by(&pool, nodes[0].node_id).await,
        4,
        "the audit still counts the lost one"
    );
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_of_a_disqualified_node_are_copied_and_its_rows_go(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 10, &[]).await;
    enters(&pool, nodes[0].node_id, NodeState::Disqualified).await;
    while demotion::demote_some(&coordinator.app.durability, Clock::system().now())
        .await
        .unwrap()
    {}
    coordinator.app.fleet.remove_peer(&nodes[0].peer_id());
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, nodes[0].node_id).await, 0);
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, []);
    assert_eq!(chunks_with(&pool, 3).await, 10);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_that_is_deleted_while_it_is_copied_leaves_nothing_behind(pool: PgPool) {
    let (coordinator, nodes, client, file, _) = fleet(&pool, 1, &[]).await;
    let (holders, free): (Vec<&Node>, Vec<&Node>) =
        nodes.iter().partition(|node| !node.blobs().is_empty());
    for node in &free {
        node.on_store(OnStore::Hang);
    }
    goes_away(&pool, holders[0].node_id).await;
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    let deleting = async {
        tokio::select! {
            () = free[0].until_hanging() => {}
            () = free[1].until_hanging() => {}
        }
        let id = file["file_id"].as_str().unwrap();
        let deleted = client.delete(&format!("/api/v1/files/{id}")).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        while delete::forget_some(&coordinator.app.files).await.unwrap() {}
        for node in &free {
            node.on_store(OnStore::Keep);
            node.drop_hanging();
        }
    };
    let (step, ()) = tokio::join!(repair::step(&coordinator.app.durability), deleting);
    step.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 0);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM chunks_to_repair").await,
        0
    );
    for node in &nodes {
        assert_eq!(purges_of(&pool, node.node_id).await, node.blobs());
    }
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn while_much_of_the_fleet_fails_only_last_copies_are_saved(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 30, &[]).await;
    let now = Clock::system().now();
    let alarm = rules::fleet_guard::Alarm {
        raised_at: now,
        until: now + SignedDuration::from_hours(1),
    };
    let health = rules::fleet_guard::FleetHealth {
        nodes: 20,
        troubled: 5,
    };
    let mut connection = pool.acquire().await.unwrap();
    fleet::tables::node_status::raise_alarm(&mut connection, &alarm, health)
        .await
        .unwrap();
    goes_away(&pool, nodes[0].node_id).await;
    goes_away(&pool, nodes[1].node_id).await;
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 1).await, 0);
    assert!(
        count(
            &pool,
            "SELECT count(*) FROM chunks_to_repair WHERE healthy = 2"
        )
        .await
            > 0
    );

    assert!(
        guard::end_alarm(
            &Pool::new(pool.clone()),
            "it was the switch",
            Clock::system().now()
        )
        .await
        .unwrap()
    );
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 30, "{:?}", queue(&pool).await);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_that_is_not_complete_is_repaired_and_earns_once_it_is(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    let text = content(CHUNK);
    let upload = client
        .initiate("a", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    client
        .send_chunk(&upload, 0, &text)
        .await
        .expect(StatusCode::OK);
    let holder = nodes.iter().find(|node| !node.blobs().is_empty()).unwrap();
    let (node, blobs) = (holder.node_id, holder.blobs());
    let lost = audit::loss_reported(
        &coordinator.app.proofs,
        node,
        &blobs,
        "rot",
        Clock::system().now(),
    );
    lost.await.unwrap();
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 1);

    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    sqlx::query("UPDATE chunks_to_repair SET not_before = now()")
        .execute(&pool)
        .await
        .unwrap();
    repair_all(&coordinator).await;
    assert_eq!(
        count(&pool, "SELECT count(*) FROM chunks_to_repair").await,
        0
    );
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_database_finds_the_chunks_that_the_rule_would_act_on(pool: PgPool) {
    let (_coordinator, nodes, _, file, _) = fleet(&pool, 1, &[]).await;
    assert_eq!(nodes.len(), 5);
    let file: FileId = file["file_id"].as_str().unwrap().parse().unwrap();
    let more = "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, earns)
                SELECT node_id, sha256(node_id::text::bytea), $1, 0, 0, decode(repeat('00', 64), 'hex'), false
                FROM nodes WHERE node_id NOT IN (SELECT node_id FROM replicas)";
    sqlx::query(more)
        .bind(file.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    the_database_goes_by_the_rule(&pool, file, Scheme::copies(3)).await;
}

/// Whatever becomes of the rows of the file's first chunk.
pub(crate) async fn the_database_goes_by_the_rule(pool: &PgPool, file: FileId, scheme: Scheme) {
    let chunk = sealing::ChunkRef {
        file_id: file,
        index: 0,
    };
    for seed in 0..300_i32 {
        let mut transaction = pool.begin().await.unwrap();
        // A part of the rows, in any states.
        sqlx::query("SELECT setseed($1)")
            .bind(f64::from(seed) / 300.0)
            .execute(&mut *transaction)
            .await
            .unwrap();
        for change in [
            "UPDATE nodes SET offline_since = CASE WHEN random() < 0.3 THEN now() END,
                    state = (ARRAY['active', 'active', 'suspended', 'draining', 'drained', 'disqualified'])
                            [1 + floor(random() * 6)]",
            "UPDATE nodes SET away_since = CASE WHEN random() < 0.5 THEN offline_since END",
            "UPDATE replicas SET demoted_at = now() - interval '40 days' * random(), demoted_reason = 'x'
             WHERE random() < 0.2",
            "DELETE FROM replicas WHERE random() < 0.2",
        ] {
            sqlx::query(change).execute(&mut *transaction).await.unwrap();
        }
        let replicas = durability::tables::repair::replicas(&mut transaction, &[chunk])
            .await
            .unwrap();
        let replicas: Vec<_> = replicas.into_iter().map(|(_, replica)| replica).collect();
        let health = rules::repair::health(&replicas, scheme);
        let plan = rules::repair::plan(&replicas, scheme, Clock::system().now());
        let told: (i64, i64, i64, i64) =
            sqlx::query_as("SELECT healthy, margin, missing, too_many FROM chunk_health($1, 0)")
                .bind(file.as_uuid())
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
        let ruled = (
            health.healthy as i64,
            i64::from(scheme.margin(health.healthy as u32)),
            health.missing.len() as i64,
            plan.remove.len() as i64,
        );
        assert_eq!(told, ruled, "seed {seed}: {replicas:#?}");
        transaction.rollback().await.unwrap();
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_scan_passes_over_a_chunk_that_another_transaction_works_on(pool: PgPool) {
    let (coordinator, mut nodes, ..) = fleet(&pool, 20, &[]).await;
    let lost = nodes.remove(0).node_id;
    goes_away(&pool, lost).await;
    let held = held_by(&pool, lost).await;
    let mut other = pool.begin().await.unwrap();
    let lock = "SELECT FROM chunks JOIN replicas r USING (file_id, chunk_index)
         WHERE r.node_id = $1 LIMIT 1 FOR UPDATE OF chunks";
    sqlx::query(lock)
        .bind(lost.as_uuid())
        .execute(&mut *other)
        .await
        .unwrap();
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    assert_eq!(queue(&pool).await.len() as i64, held - 1);
    // The other may have the node scanned, which waits for no scan that waits for it.
    durability::tables::repair::schedule_scans(&mut other, &[lost])
        .await
        .unwrap();
    other.commit().await.unwrap();
    while repair::scan(&coordinator.app.durability).await.unwrap() {}
    assert_eq!(queue(&pool).await.len() as i64, held);
}
