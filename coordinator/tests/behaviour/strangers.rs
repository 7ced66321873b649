//! Peers that are not registered, and those that are.

use http::StatusCode;
use network::{CallError, Keypair, Network, NetworkEvent, RefusalReason, start};
use proto::{Heartbeat, HeartbeatReport, NodeActivity};
use sqlx::PgPool;

use crate::support::{Coordinator, Node, node_config, registration, soon};

/// A peer that has dialled the coordinator, as far as it can tell.
async fn dialled(coordinator: &Coordinator, keypair: &Keypair) -> Network {
    let config = node_config(keypair.clone());
    let mut network = start(config).await.unwrap();
    let peer = coordinator.app.fleet.network().local_peer_id();
    network.handle.dial(peer, coordinator.addrs.clone()).await;
    until(&mut network, |event| {
        matches!(event, NetworkEvent::Connected { .. })
    })
    .await;
    network
}

async fn until(network: &mut Network, wanted: impl Fn(&NetworkEvent) -> bool) {
    let found = async { while !wanted(&network.events.recv().await.unwrap()) {} };
    soon(found).await;
}

async fn heartbeat(coordinator: &Coordinator, network: &Network) -> Result<(), CallError> {
    let report = HeartbeatReport {
        capacity_bytes: 1,
        used_bytes: 0,
        free_bytes: 1,
        blob_count: 0,
        activity: NodeActivity::Running,
        deferred: proto::DeferredPurges::NONE,
    };
    let peer = coordinator.app.fleet.network().local_peer_id();
    let answer = soon(network.handle.call::<Heartbeat>(peer, report)).await;
    answer.map(|_| ())
}

fn refused(coordinator: &Coordinator) -> u64 {
    let refusals = coordinator.app.fleet.network().refusals();
    refusals.of(RefusalReason::Stranger)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_peer_that_is_not_registered_is_hung_up_on_until_it_registers(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let keypair = Keypair::generate_ed25519();
    let mut stranger = dialled(&coordinator, &keypair).await;
    until(&mut stranger, |event| {
        matches!(event, NetworkEvent::Disconnected { .. })
    })
    .await;
    assert_eq!(refused(&coordinator), 1);

    let client = coordinator.visitor();
    let body = registration(&client, &keypair, "a node").await;
    let registered = client.post("/api/v1/nodes/register").body(body.to_string());
    registered.send().await.expect(StatusCode::CREATED);
    let addrs = coordinator.addrs.clone();
    let peer = coordinator.app.fleet.network().local_peer_id();
    stranger.handle.dial(peer, addrs).await;
    until(&mut stranger, |event| {
        matches!(event, NetworkEvent::Connected { .. })
    })
    .await;
    heartbeat(&coordinator, &stranger).await.unwrap();
    assert_eq!(refused(&coordinator), 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_registered_with_another_coordinator_is_let_in_at_once(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let keypair = Keypair::generate_ed25519();
    // What the other coordinator does, as far as this one can see it.
    sqlx::query(
        "INSERT INTO nodes (node_id, peer_id, name, capacity_bytes, api_key_hash)
         VALUES ($1, $2, 'a node', 1000000, $3)",
    )
    .bind(uuid::Uuid::from_u128(7))
    .bind(keypair.public().to_peer_id().to_string())
    .bind(&[7_u8; 32][..])
    .execute(&pool)
    .await
    .unwrap();
    let node = dialled(&coordinator, &keypair).await;
    heartbeat(&coordinator, &node).await.unwrap();
    assert_eq!(refused(&coordinator), 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_stranger_that_is_learnt_is_not_served(pool: PgPool) {
    let coordinator = Coordinator::with(pool, &["p2p.auth_mode=learn"]).await;
    only_registered_nodes_are_served(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_stranger_that_nobody_asks_who_it_is_is_not_served(pool: PgPool) {
    let coordinator = Coordinator::with(pool, &["p2p.auth_mode=off"]).await;
    only_registered_nodes_are_served(&coordinator).await;
}

async fn only_registered_nodes_are_served(coordinator: &Coordinator) {
    let stranger = dialled(coordinator, &Keypair::generate_ed25519()).await;
    for _ in 0..3 {
        let refused = heartbeat(coordinator, &stranger).await;
        assert!(matches!(refused, Err(CallError::Io(_))), "{refused:?}");
    }
    let _node = Node::join(coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_admin_sees_the_peers_and_nobody_else_does(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let node = Node::join(&coordinator).await;
    let (user, client) = coordinator.user().await;
    client
        .get("/api/v1/admin/peers")
        .await
        .problem(403, "admins-only");
    coordinator
        .visitor()
        .get("/api/v1/admin/peers")
        .await
        .problem(401, "unauthorized");

    let admin = coordinator.admin(user).await;
    let peers = admin
        .get("/api/v1/admin/peers")
        .await
        .expect(StatusCode::OK);
    let peers = peers["items"].as_array().unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0]["state"], "connected");
    assert_eq!(peers[0]["responsive"], true);
    assert_eq!(peers[0]["node_id"], node.node_id.to_string());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_admin_sees_the_jobs_and_nobody_else_does(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    client
        .get(api::paths::JOBS)
        .await
        .problem(403, "admins-only");
    coordinator
        .visitor()
        .get(api::paths::JOBS)
        .await
        .problem(401, "unauthorized");
    let jobs = coordinator
        .admin(user)
        .await
        .get(api::paths::JOBS)
        .await
        .expect(StatusCode::OK);
    assert!(jobs["items"].is_array(), "{jobs}");
}
