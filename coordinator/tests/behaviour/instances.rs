//! Copies of a node's data directory, of which one is the node.

use coordinator::database::Pool;
use coordinator::fleet::jobs::RecordLiveness;
use coordinator::fleet::registration;
use http::StatusCode;
use kit::Job;
use model::node_state::NetworkPrefix;
use network::{Keypair, NetworkEvent, start};
use proto::{DeferredPurges, HelloAnswer, HelloReport, Instance, InstanceId, NodeId, PeerId};
use sqlx::PgPool;
use std::net::IpAddr;
use std::sync::Arc;

use crate::support::{
    Coordinator, Node, eventually, node_config, registration as registration_body, soon,
};

fn id(number: u8) -> InstanceId {
    InstanceId::from_bytes([number; 16])
}

fn report(node_id: NodeId, instance: Option<(u8, &[u8])>) -> HelloReport {
    HelloReport {
        node_id,
        software: "test/1".to_owned(),
        capacity_bytes: 1000,
        used_bytes: 0,
        free_bytes: 1000,
        blob_count: 0,
        draining: false,
        instance: instance.map(|(number, earlier)| Instance {
            id: id(number),
            earlier: earlier.iter().copied().map(id).collect(),
        }),
        deferred: DeferredPurges::NONE,
    }
}

async fn hello(
    coordinator: &Coordinator,
    (node_id, peer): (NodeId, PeerId),
    instance: Option<(u8, &[u8])>,
) -> HelloAnswer {
    let nodes = &coordinator.app.nodes;
    let from: Option<IpAddr> = Some([127, 0, 0, 1].into());
    let report = report(node_id, instance);
    registration::hello(nodes, peer, from, report)
        .await
        .unwrap()
}

#[track_caller]
fn taken(answer: &HelloAnswer) {
    assert_eq!((answer.rejection.as_deref(), answer.hang_up), (None, false));
}

#[track_caller]
fn refused(answer: &HelloAnswer, expected: &str) {
    let rejection = answer.rejection.as_deref().unwrap();
    assert!(rejection.contains(expected), "{rejection}");
    assert!(answer.hang_up);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_two_copies_of_a_data_directory_the_second_is_refused_until_it_registers_anew(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool).await;
    let (client, keypair) = (coordinator.visitor(), Keypair::generate_ed25519());
    let peer = keypair.public().to_peer_id();
    let register = async || {
        let body = registration_body(&client, &keypair, "a node").await;
        let registered = client.post("/api/v1/nodes/register").body(body.to_string());
        let registered = registered.send().await.expect(StatusCode::CREATED);
        registered["node_id"].as_str().unwrap().parse().unwrap()
    };
    let node: (NodeId, PeerId) = (register().await, peer);
    taken(&hello(&coordinator, node, Some((1, &[]))).await);
    // Restarted, and restarted again; and the same as often as it connects.
    taken(&hello(&coordinator, node, Some((2, &[1]))).await);
    taken(&hello(&coordinator, node, Some((3, &[1, 2]))).await);
    taken(&hello(&coordinator, node, Some((3, &[1, 2]))).await);

    let copy: Option<(u8, &[u8])> = Some((4, &[1, 2]));
    refused(&hello(&coordinator, node, copy).await, "has been in use");
    taken(&hello(&coordinator, node, Some((3, &[1, 2]))).await);
    // A node of the release before says nothing of all this, and is taken.
    taken(&hello(&coordinator, node, None).await);

    assert_eq!(register().await, node.0);
    taken(&hello(&coordinator, node, copy).await);
    refused(
        &hello(&coordinator, node, Some((3, &[1, 2]))).await,
        "has been in use",
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_of_a_connected_node_is_refused_while_that_one_is_here(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let keypair = Keypair::generate_ed25519();
    let client = coordinator.visitor();
    let body = registration_body(&client, &keypair, "a node").await;
    let registered = client.post("/api/v1/nodes/register").body(body.to_string());
    let registered = registered.send().await.expect(StatusCode::CREATED);
    let node_id: NodeId = registered["node_id"].as_str().unwrap().parse().unwrap();
    let node = (node_id, keypair.public().to_peer_id());
    let peer = coordinator.app.fleet.network().local_peer_id();
    let connect = async || {
        let mut network = start(node_config(keypair.clone())).await.unwrap();
        network.handle.dial(peer, coordinator.addrs.clone()).await;
        let connected = async {
            let is_it = |event: &NetworkEvent| matches!(event, NetworkEvent::Connected { .. });
            while !is_it(&network.events.recv().await.unwrap()) {}
        };
        soon(connected).await;
        network
    };
    let fleet = Arc::clone(&coordinator.app.fleet);
    let connections = async |wanted: u32| {
        eventually(|| async { (fleet.connections(&node.1) == wanted).then_some(()) }).await;
    };
    let first = connect().await;
    connections(1).await;
    taken(&hello(&coordinator, node, Some((1, &[]))).await);
    let _second = connect().await;
    connections(2).await;
    let copy: Option<(u8, &[u8])> = Some((2, &[1]));
    refused(
        &hello(&coordinator, node, copy).await,
        "connected from elsewhere",
    );
    assert_eq!(fleet.member(node_id).unwrap().instance, Some(id(1)));

    first.handle.shutdown().await;
    connections(1).await;
    taken(&hello(&coordinator, node, copy).await);
    assert_eq!(fleet.member(node_id).unwrap().instance, Some(id(2)));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_has_lost_his_place_at_another_coordinator_or_was_removed_is_hung_up_on(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let nodes = [
        Node::join(&coordinator).await,
        Node::join(&coordinator).await,
    ];
    let (replaced, removed) = (&nodes[0], &nodes[1]);
    let place = (replaced.node_id, replaced.peer_id());
    taken(&hello(&coordinator, place, Some((1, &[]))).await);
    let liveness = RecordLiveness(Arc::clone(&coordinator.app.nodes));
    liveness.step().await.unwrap();
    let fleet = &coordinator.app.fleet;
    assert!(
        nodes
            .iter()
            .all(|node| fleet.member(node.node_id).is_some())
    );

    sqlx::query("UPDATE nodes SET instance = gen_random_uuid() WHERE node_id = $1")
        .bind(replaced.node_id.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("DELETE FROM nodes WHERE node_id = $1")
        .bind(removed.node_id.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    liveness.step().await.unwrap();
    for node in &nodes {
        assert!(fleet.member(node.node_id).is_none());
        let peer = node.peer_id();
        eventually(|| async { (fleet.connections(&peer) == 0).then_some(()) }).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_a_node_came_from_is_kept_for_the_next_start(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let node = Node::join(&coordinator).await;
    let known = coordinator::fleet::peers::known_addresses(&Pool::new(pool))
        .await
        .unwrap();
    assert_eq!(known, [IpAddr::from([127, 0, 0, 1])]);
    let member = coordinator.app.fleet.member(node.node_id).unwrap();
    assert_eq!(
        member.domains().prefix,
        NetworkPrefix::of(IpAddr::from([127, 0, 0, 1]))
    );
}
