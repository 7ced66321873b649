//! Nodes that leave in order: who may ask, what it takes, what they get for it.

use std::time::Duration;

use coordinator::billing;
use coordinator::compose::FACTS;
use coordinator::durability::{demotion, drain};
use coordinator::fleet::node_status::NodeStates;
use coordinator::proofs::demotion::demote;
use kit::{Clock, Entropy};
use rules::reputation::StateChange;

use coordinator::database::Pool;
use coordinator::fleet::tables::node_status::Cause;
use http::{Method, StatusCode};
use jiff::Timestamp;
use model::node_state::NodeState;
use proto::{BlobId, NodeId};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::economy::{
    GB, RICH, days, first_midnight, idle_node, of_node, rich_user, settle_at, store, three_nodes,
    verified,
};
use crate::support::{Answer, CHUNK, Coordinator, Node, content, count};

async fn call(coordinator: &Coordinator, node: &Node, method: Method, path: &str) -> Answer {
    let path = format!("/api/v1/nodes/{}/drain{path}", node.node_id);
    let call = coordinator.visitor().call(method, &path);
    call.header("x-api-key", &node.api_key).send().await
}

async fn begin(coordinator: &Coordinator, node: &Node) -> Value {
    let answer = call(coordinator, node, Method::POST, "").await;
    answer.expect(StatusCode::ACCEPTED)
}

async fn progress(coordinator: &Coordinator, node: &Node) -> Value {
    let answer = call(coordinator, node, Method::GET, "").await;
    answer.expect(StatusCode::OK)
}

/// As repair does it in the end, but nobody stores the successor.
async fn move_everything(pool: &PgPool, node: NodeId) {
    let mut transaction = pool.begin().await.unwrap();
    let blobs: Vec<Vec<u8>> = sqlx::query_scalar("SELECT blob_id FROM replicas WHERE node_id = $1")
        .bind(node.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
    let ids: Vec<BlobId> = blobs
        .iter()
        .map(|blob| BlobId::try_from(&blob[..]).unwrap())
        .collect();
    let stopped = billing::tables::earnings::stop_all(&mut transaction, node, &ids, "drain").await;
    stopped.unwrap();
    sqlx::query("DELETE FROM replicas WHERE node_id = $1")
        .bind(node.as_uuid())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

fn a_minute_later() -> Timestamp {
    Clock::system().now() + Duration::from_secs(60)
}

async fn finish(coordinator: &Coordinator) {
    let finished = drain::finish_some(&coordinator.app.durability, a_minute_later()).await;
    finished.unwrap();
}

async fn state(coordinator: &Coordinator, node: NodeId) -> Value {
    let path = format!("/api/v1/nodes/{node}");
    let answer = coordinator.visitor().get(&path).await;
    answer.expect(StatusCode::OK)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_whose_copies_can_go_nowhere_is_not_drained_and_is_told_so(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, customer) = coordinator.customer().await;
    customer.upload("a", &content(3 * CHUNK)).await;
    let plan = call(&coordinator, &node, Method::GET, "/plan").await;
    let plan = plan.expect(StatusCode::OK);
    assert_eq!(
        (&plan["blobs"], &plan["possible"]),
        (&3.into(), &false.into())
    );
    assert!(
        plan["obstacle"].as_str().unwrap().contains("3 of 3"),
        "{plan}"
    );
    let refused = call(&coordinator, &node, Method::POST, "").await;
    let refused = refused.problem(503, "too-few-nodes");
    assert_eq!(refused["stuck_chunks"], 3);
    assert_eq!(
        state(&coordinator, node.node_id).await["state"],
        "probation"
    );
    call(&coordinator, &node, Method::GET, "")
        .await
        .problem(404, "not-found");
    // With a fourth there is a place for all.
    let _fourth = Node::join(&coordinator).await;
    let plan = call(&coordinator, &node, Method::GET, "/plan").await;
    let plan = plan.expect(StatusCode::OK);
    assert_eq!(
        (&plan["eligible_nodes"], &plan["possible"]),
        (&3.into(), &true.into())
    );
    begin(&coordinator, &node).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_fleet_without_room_says_how_many_bytes_are_missing(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let elsewhere = [idle_node(&pool).await, idle_node(&pool).await];
    let user = rich_user(&pool, RICH).await;
    for _ in 0..3 {
        let nodes = [node.node_id, elsewhere[0], elsewhere[1]];
        store(&coordinator.app, user, &nodes, GB).await;
    }
    let needed = 3 * (u64::from(GB) + 28);
    let room = 2 << 30;
    let refused = call(&coordinator, &node, Method::POST, "").await;
    let refused = refused.problem(507, "insufficient-storage");
    assert_eq!(refused["missing_bytes"], needed - room);
    assert_eq!(refused["needed_bytes"], needed);
    let plan = call(&coordinator, &node, Method::GET, "/plan").await;
    assert_eq!(plan.json()["missing_bytes"], needed - room);
    assert_eq!(count(&pool, "SELECT count(*) FROM drains").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_draining_node_gets_nothing_new_and_has_drained_when_it_is_empty(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let _fourth = Node::join(&coordinator).await;
    let (_, customer) = coordinator.customer().await;
    customer.upload("before", &content(8 * CHUNK)).await;
    let held = node.blobs();
    assert!(!held.is_empty());

    let first = begin(&coordinator, &node).await;
    assert_eq!(first["state"], "draining");
    assert_eq!(first["blobs"], held.len());
    let again = begin(&coordinator, &node).await;
    assert_eq!(again["started_at"], first["started_at"]);
    let file = customer.upload("while", &content(8 * CHUNK)).await;
    assert_eq!(node.blobs(), held);
    customer.content(&file).await;
    let seen = state(&coordinator, node.node_id).await;
    assert_eq!(seen["state"], "draining");
    assert_eq!(seen["state_history"][0]["cause"], "operator");
    let audited = "SELECT count(*) FROM audit_schedule";
    assert_eq!(count(&pool, audited).await, 4);

    finish(&coordinator).await;
    assert_eq!(state(&coordinator, node.node_id).await["state"], "draining");
    move_everything(&pool, node.node_id).await;
    let now = progress(&coordinator, &node).await;
    assert_eq!(
        (&now["blobs_left"], &now["bytes_left"]),
        (&0.into(), &0.into())
    );
    // Not before every coordinator has heard of it.
    drain::finish_some(&coordinator.app.durability, Clock::system().now())
        .await
        .unwrap();
    assert_eq!(state(&coordinator, node.node_id).await["state"], "draining");
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, node.node_id).await["state"], "drained");
    assert_eq!(count(&pool, audited).await, 3);
    let statement = progress(&coordinator, &node).await;
    assert_eq!(statement["state"], "drained");
    assert!(statement["ended_at"].is_string());

    // That is final.
    let late = call(&coordinator, &node, Method::DELETE, "").await;
    late.problem(409, "not-draining");
    assert_eq!(begin(&coordinator, &node).await["state"], "drained");
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_held_back_comes_back_with_the_settlement_after_the_drain(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let app = &coordinator.app;
    let midnight = first_midnight(&pool).await;
    let user = rich_user(&pool, RICH).await;
    let others = three_nodes(&pool).await;
    store(app, user, &[node.node_id, others[0], others[1]], GB).await;
    settle_at(app, days(midnight, 3)).await;
    let (held, available) = of_node(&pool, node.node_id).await;
    assert!(held > 0);
    let plan = call(&coordinator, &node, Method::GET, "/plan").await;
    assert_eq!(plan.json()["returned_microcredits"], held);
    assert_eq!(plan.json()["forfeited_microcredits"], 0);

    begin(&coordinator, &node).await;
    settle_at(app, days(midnight, 4)).await;
    let (held_on, _) = of_node(&pool, node.node_id).await;
    assert!(
        held_on > held,
        "it earns, and is held back from, while it drains"
    );
    move_everything(&pool, node.node_id).await;
    finish(&coordinator).await;
    settle_at(app, days(midnight, 5)).await;
    let (none, all) = of_node(&pool, node.node_id).await;
    assert_eq!(none, 0);
    assert!(all >= available + held_on, "{all}");
    let statement = progress(&coordinator, &node).await;
    assert_eq!(statement["earned_microcredits"], all);
    assert_eq!(statement["available_microcredits"], all);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn only_the_node_and_its_operator_may_ask(pool: PgPool) {
    let (coordinator, [node, other, _]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (operator, client) = coordinator.user().await;
    sqlx::query("UPDATE nodes SET operator_id = $1 WHERE node_id = $2")
        .bind(operator.as_uuid())
        .bind(node.node_id.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    let path = format!("/api/v1/nodes/{}/drain", node.node_id);
    let (_, stranger) = coordinator.user().await;
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let foreign = stranger.call(method.clone(), &path).send().await;
        foreign.problem(403, "forbidden");
        let neighbour = coordinator.visitor().call(method, &path);
        let neighbour = neighbour.header("x-api-key", &other.api_key).send().await;
        neighbour.problem(403, "forbidden");
    }
    let foreign = stranger.get(&format!("{path}/plan")).await;
    foreign.problem(403, "forbidden");
    let asked = client.post(&path).send().await;
    assert_eq!(asked.expect(StatusCode::ACCEPTED)["state"], "draining");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_drain_that_is_called_off_leaves_the_node_as_its_score_makes_it(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    begin(&coordinator, &node).await;
    let cancelled = call(&coordinator, &node, Method::DELETE, "").await;
    let cancelled = cancelled.expect(StatusCode::OK);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["ended_at"].is_string());
    let seen = state(&coordinator, node.node_id).await;
    assert_eq!(seen["state"], "probation");
    // Three nodes, three copies: it is needed, and it takes them.
    let (_, customer) = coordinator.customer().await;
    customer.upload("a", &content(CHUNK)).await;
    assert_eq!(node.blobs().len(), 1);
    let again = call(&coordinator, &node, Method::DELETE, "").await;
    assert_eq!(again.problem(409, "not-draining")["state"], "probation");
}

async fn change_state(pool: &PgPool, node: NodeId, to: NodeState) {
    let mut connection = pool.acquire().await.unwrap();
    let now = Clock::system().now();
    let change = StateChange {
        to,
        reason: "a test".to_owned(),
    };
    let states = NodeStates {
        facts: FACTS,
        entropy: Entropy::system(),
    };
    let changed = states
        .enter(&mut connection, node, &change, Cause::Audit, now)
        .await;
    changed.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_disqualified_on_its_way_out_has_not_drained(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    begin(&coordinator, &node).await;
    change_state(&pool, node.node_id, NodeState::Disqualified).await;
    finish(&coordinator).await;
    assert_eq!(progress(&coordinator, &node).await["state"], "disqualified");
    let again = call(&coordinator, &node, Method::POST, "").await;
    again.problem(403, "node-disqualified");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_that_ends_on_a_drained_node_sets_it_draining_again(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    begin(&coordinator, &node).await;
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, node.node_id).await["state"], "drained");
    let others = three_nodes(&pool).await;
    let user = rich_user(&pool, RICH).await;
    let nodes = [node.node_id, others[0], others[1]];
    store(&coordinator.app, user, &nodes, 1000).await;
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, node.node_id).await["state"], "draining");
    assert_eq!(progress(&coordinator, &node).await["blobs_left"], 1);
    move_everything(&pool, node.node_id).await;
    let later = a_minute_later() + Duration::from_secs(60);
    drain::finish_some(&coordinator.app.durability, later)
        .await
        .unwrap();
    assert_eq!(state(&coordinator, node.node_id).await["state"], "drained");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn copies_that_failed_keep_their_node_only_until_their_chunks_are_mended(pool: PgPool) {
    let (coordinator, [node, _second, _third]) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let _fourth = Node::join(&coordinator).await;
    let (_, customer) = coordinator.customer().await;
    customer.upload("a", &content(8 * CHUNK)).await;
    begin(&coordinator, &node).await;
    let mut connection = pool.acquire().await.unwrap();
    let why = "its proof was wrong";
    let (id, blobs) = (node.node_id, node.blobs());
    let demoted = demote(
        &mut connection,
        &FACTS,
        id,
        &blobs,
        why,
        Clock::system().now(),
    )
    .await;
    assert_eq!(demoted.unwrap().len(), blobs.len());
    assert_eq!(progress(&coordinator, &node).await["blobs_left"], 0);
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, id).await["state"], "draining");
    let mended = "DELETE FROM chunks_to_repair";
    sqlx::query(mended).execute(&pool).await.unwrap();
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, id).await["state"], "drained");
    finish(&coordinator).await;
    assert_eq!(state(&coordinator, id).await["state"], "drained");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn replicas_of_a_restored_node_count_again_but_for_those_that_failed(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (app, node) = (&coordinator.app, nodes[0].node_id);
    let (_, customer) = coordinator.customer().await;
    let file = customer.upload("a", &content(4 * CHUNK)).await;
    let blobs = nodes[0].blobs();
    let mut connection = pool.acquire().await.unwrap();
    let why = "its proof was wrong";
    let demoted = demote(
        &mut connection,
        &FACTS,
        node,
        &blobs[..1],
        why,
        Clock::system().now(),
    )
    .await;
    assert_eq!(demoted.unwrap().len(), 1);
    drop(connection);
    change_state(&pool, node, NodeState::Disqualified).await;
    while demotion::demote_some(&app.durability, Clock::system().now())
        .await
        .unwrap()
    {}
    let demoted = "SELECT count(*) FROM replicas WHERE demoted_at IS NOT NULL AND NOT earns";
    assert_eq!(count(&pool, demoted).await, 4);

    let restored = app
        .durability
        .node_states
        .restore(
            &Pool::new(pool.clone()),
            node,
            "the disk was unplugged",
            Clock::system().now(),
        )
        .await;
    assert_eq!(restored.unwrap(), NodeState::Disqualified);
    while demotion::demote_some(&app.durability, Clock::system().now())
        .await
        .unwrap()
    {}
    assert_eq!(count(&pool, demoted).await, 1);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM replicas WHERE earns").await,
        11
    );
    let id = file["file_id"].as_str().unwrap();
    let durability = customer
        .get(&format!("/api/v1/files/{id}/durability"))
        .await;
    let durability = durability.expect(StatusCode::OK);
    let healthy = durability["chunks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chunk| {
            let replicas = chunk["replicas"].as_array().unwrap().iter();
            replicas
                .filter(|replica| replica["healthy"] == true)
                .count()
        });
    let mut healthy: Vec<usize> = healthy.collect();
    healthy.sort_unstable();
    assert_eq!(healthy, [2, 3, 3, 3]);
    verified(&coordinator).await;
}
