//! Which nodes are there, as coordinators agree through the database.

use std::time::Duration;

use coordinator::compose::FACTS;
use coordinator::facts::Fact;
use coordinator::fleet;
use coordinator::fleet::registration;

use coordinator::fleet::tables::presence::Changes;
use jiff::{SignedDuration, Timestamp};
use network::{DisconnectReason, NetworkEvent};
use proto::{HelloReport, NodeId};
use sqlx::PgPool;

use crate::support::economy::idle_node;
use crate::support::{Coordinator, count};

const GRACE: Duration = Duration::from_secs(900);
const SETTLING: Duration = Duration::from_secs(60);

/// What a coordinator concludes that has been looking for so many seconds.
async fn look(pool: &PgPool, watching_for: i64, grace: Duration) -> Changes {
    let mut transaction = pool.begin().await.unwrap();
    let now: Timestamp = fleet::tables::presence::now(&mut transaction)
        .await
        .unwrap();
    let since = now - SignedDuration::from_secs(watching_for);
    let changes = fleet::tables::presence::update(&mut transaction, since, SETTLING, grace)
        .await
        .unwrap();
    let nodes = changes.nodes();
    let fact = Fact::PresenceChanged { nodes: &nodes };
    FACTS.tell(&mut transaction, fact).await.unwrap();
    transaction.commit().await.unwrap();
    changes
}

async fn seen(pool: &PgPool, node: NodeId, seconds_ago: f64) {
    let update =
        "UPDATE nodes SET last_seen_at = now() - make_interval(secs => $2) WHERE node_id = $1";
    sqlx::query(update)
        .bind(node.as_uuid())
        .bind(seconds_ago)
        .execute(pool)
        .await
        .unwrap();
}

/// As if so many seconds had passed since it went offline.
async fn pass(pool: &PgPool, seconds: f64) {
    let update = "UPDATE nodes SET offline_since = offline_since - make_interval(secs => $1)";
    sqlx::query(update)
        .bind(seconds)
        .execute(pool)
        .await
        .unwrap();
}

const SCANS_DUE: &str = "SELECT count(*) FROM repair_scans WHERE due_at <= now()";

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_silent_node_is_offline_and_after_the_grace_away_and_both_start_a_scan(pool: PgPool) {
    let node = idle_node(&pool).await;
    assert!(
        look(&pool, 1000, GRACE).await.is_empty(),
        "it was never here"
    );
    seen(&pool, node, 19.0).await;
    assert!(
        look(&pool, 1000, GRACE).await.is_empty(),
        "late, but not yet silent"
    );
    assert_eq!(count(&pool, SCANS_DUE).await, 0);
    seen(&pool, node, 21.0).await;
    assert_eq!(look(&pool, 1000, GRACE).await.offline, [node]);
    assert_eq!(count(&pool, SCANS_DUE).await, 1);
    sqlx::query("DELETE FROM repair_scans")
        .execute(&pool)
        .await
        .unwrap();

    pass(&pool, 890.0).await;
    assert!(look(&pool, 1000, GRACE).await.is_empty());
    pass(&pool, 20.0).await;
    assert_eq!(look(&pool, 1000, GRACE).await.away, [node]);
    assert!(look(&pool, 1000, GRACE).await.is_empty(), "told once");
    assert_eq!(count(&pool, SCANS_DUE).await, 1);
    sqlx::query("DELETE FROM repair_scans")
        .execute(&pool)
        .await
        .unwrap();

    seen(&pool, node, 1.0).await;
    assert_eq!(look(&pool, 1000, GRACE).await.back, [node]);
    assert_eq!(count(&pool, SCANS_DUE).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn without_a_grace_a_silent_node_is_away_at_once(pool: PgPool) {
    let node = idle_node(&pool).await;
    seen(&pool, node, 25.0).await;
    let changes = look(&pool, 1000, Duration::ZERO).await;
    assert_eq!((changes.offline, changes.away), (vec![node], vec![node]));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_has_just_begun_to_look_waits_for_nodes_it_has_not_seen(pool: PgPool) {
    let node = idle_node(&pool).await;
    // Away for an hour: or it was the coordinator that was.
    seen(&pool, node, 3600.0).await;
    assert!(look(&pool, 0, GRACE).await.is_empty());
    assert!(look(&pool, 59, GRACE).await.is_empty());
    assert_eq!(look(&pool, 61, GRACE).await.offline, [node]);
    // The grace begins only now.
    assert!(look(&pool, 61, GRACE).await.is_empty());
    // One that was here since is known to have left.
    let other = idle_node(&pool).await;
    seen(&pool, other, 25.0).await;
    assert_eq!(look(&pool, 30, GRACE).await.offline, [other]);
}

/// What a coordinator concludes from the connections that it has lost and has.
async fn connections(pool: &PgPool, lost: &[NodeId], connected: &[NodeId]) -> Changes {
    let mut transaction = pool.begin().await.unwrap();
    let changes = fleet::tables::presence::update_connections(
        &mut transaction,
        lost,
        connected,
        Duration::ZERO,
    )
    .await
    .unwrap();
    let nodes = changes.nodes();
    let fact = Fact::PresenceChanged { nodes: &nodes };
    FACTS.tell(&mut transaction, fact).await.unwrap();
    transaction.commit().await.unwrap();
    changes
}

/// As if so many seconds had passed since its connection was lost.
async fn pass_since_loss(pool: &PgPool, seconds: f64) {
    let update = "UPDATE nodes SET lost_at = lost_at - make_interval(secs => $1)";
    sqlx::query(update)
        .bind(seconds)
        .execute(pool)
        .await
        .unwrap();
}

async fn any_lost(pool: &PgPool) -> bool {
    let mut connection = pool.acquire().await.unwrap();
    fleet::tables::presence::any_lost(&mut connection)
        .await
        .unwrap()
}

/// The node's coordinator writes that it heard of it just now.
async fn reports(pool: &PgPool, node: NodeId) {
    let report = fleet::tables::nodes::NodeReport {
        id: node,
        capacity_bytes: 1,
        used_bytes: 0,
        free_bytes: 1,
        blob_count: 0,
        heard_ago: Duration::ZERO,
    };
    let mut connection = pool.acquire().await.unwrap();
    fleet::tables::nodes::record_reports(&mut connection, &[report])
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_lost_connection_is_enough_when_no_coordinator_has_another(pool: PgPool) {
    let node = idle_node(&pool).await;
    seen(&pool, node, 1.0).await;
    assert!(connections(&pool, &[node], &[]).await.is_empty());
    assert!(any_lost(&pool).await);
    pass_since_loss(&pool, 1.5).await;
    assert!(
        connections(&pool, &[], &[]).await.is_empty(),
        "it may be on its way back"
    );
    pass_since_loss(&pool, 1.0).await;
    let changes = connections(&pool, &[], &[]).await;
    assert_eq!((changes.offline, changes.away), (vec![node], vec![node]));
    assert_eq!(count(&pool, SCANS_DUE).await, 1);
    assert!(!any_lost(&pool).await, "told once");
    // It was heard of a moment ago, but before it was lost.
    assert!(look(&pool, 1000, GRACE).await.is_empty());

    reports(&pool, node).await;
    assert_eq!(look(&pool, 1000, GRACE).await.back, [node]);
    assert!(connections(&pool, &[], &[]).await.is_empty());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_still_has_a_connection_takes_the_loss_of_another_back(pool: PgPool) {
    let node = idle_node(&pool).await;
    seen(&pool, node, 1.0).await;
    connections(&pool, &[node], &[]).await;
    pass_since_loss(&pool, 5.0).await;
    assert!(connections(&pool, &[], &[node]).await.is_empty());
    assert!(!any_lost(&pool).await);
    // A heartbeat that came since does as well.
    connections(&pool, &[node], &[]).await;
    pass_since_loss(&pool, 5.0).await;
    reports(&pool, node).await;
    assert!(connections(&pool, &[], &[]).await.is_empty());
    assert!(!any_lost(&pool).await);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn old_news_of_a_connection_puts_out_no_node_that_has_another(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let fleet = &coordinator.app.fleet;
    let peer = fleet.member(nodes[0].node_id).unwrap().peer_id;
    let lost = NetworkEvent::Disconnected {
        peer,
        reason: DisconnectReason::Closed,
    };
    coordinator.news.send(lost).await.unwrap();
    nodes[1].leave(&coordinator).await; // told later, and known by now
    assert!(fleet.is_online(nodes[0].node_id));
    let lost: Vec<NodeId> = fleet.lost().into_keys().collect();
    assert_eq!(lost, [nodes[1].node_id]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_hello_that_is_read_after_its_connection_is_gone_lets_nobody_in(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let app = &coordinator.app;
    let member = app.fleet.member(nodes[0].node_id).unwrap();
    nodes[0].leave(&coordinator).await;
    app.fleet.lost_is_known(&app.fleet.lost());
    let hello = HelloReport {
        node_id: nodes[0].node_id,
        software: "test/1".to_owned(),
        capacity_bytes: 1000,
        used_bytes: 0,
        free_bytes: 1000,
        blob_count: 0,
        draining: false,
        deferred: proto::DeferredPurges::NONE,
        instance: None,
    };
    let answer = registration::hello(&app.nodes, member.peer_id, None, hello).await;
    assert_eq!(answer.unwrap().rejection, None);
    assert!(app.fleet.member(nodes[0].node_id).is_none());
    assert!(app.fleet.lost().contains_key(&nodes[0].node_id));
}
