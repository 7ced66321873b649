//! The course of restore mode: who is waited for, what rests meanwhile, and what a crash or a second
//! coordinator changes.

use std::time::Duration;

use coordinator::durability::{reconcile, restore};
use coordinator::fleet::registration;
use coordinator::proofs::audit;
use coordinator::{blobs, durability};
use kit::{Clock, Entropy};

use coordinator::database::Pool;
use coordinator::durability::tables::restore::nodes::Lease;
use http::StatusCode;
use model::node_state::NodeState;
use network::Keypair;
use proto::{BlobId, HelloReport, NodeId};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::repair::{
    chunks_with, comes_back, earnings_are_right, enters, fleet, goes_away, held_by, repair_all,
};
use crate::restore_mode::{
    adopt_all, adopted, back_up, begin, demoted, found_on, go_on, hold_unknown, nobody_is_blamed,
    restore,
};
use crate::support::{
    CHUNK, Client, Coordinator, Node, OnInventory, OnRead, content, count, eventually, registration,
};

const MINUTE: Duration = Duration::from_secs(60);

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn while_it_stands_nobody_is_told_to_forget_asked_demoted_or_compared(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(
        &pool,
        5,
        &[
            "repair.interval=1s",
            "reconcile.interval=2s",
            "repair.grace=0s",
        ],
    )
    .await;
    let doomed = client.upload("doomed", &content(CHUNK)).await;
    let path = format!("/api/v1/files/{}", doomed["file_id"].as_str().unwrap());
    assert!(client.delete(&path).await.status.is_success());
    coordinator.forget().await;
    let unknown = hold_unknown(&coordinator, &nodes[0], 1);
    let lost = nodes[0].blobs().into_iter().find(|blob| *blob != unknown);
    nodes[0].lose(lost.unwrap());
    nodes[0].ages(Duration::from_secs(25 * 3600));
    let before: Vec<_> = nodes.iter().map(Node::blobs).collect();
    let purges = count(&pool, "SELECT count(*) FROM purges").await;
    assert_eq!(purges, 3);
    let due = "UPDATE audit_schedule SET due_at = now() - interval '5 h', window_ends_at = now() - interval '5 h'";
    sqlx::query(due).execute(&pool).await.unwrap();
    // One node is away, so it does not end by itself.
    nodes[4].leave(&coordinator).await;
    begin(&pool).await;
    coordinator.start_workers();

    // Each worker has had its turn when the slowest of them has, twice.
    let seen = async || {
        let seen = "SELECT coalesce(extract(epoch FROM max(last_seen_at)), 0)::bigint FROM nodes";
        count(&pool, seen).await
    };
    for _ in 0..2 {
        let last = eventually(|| async { Some(seen().await) }).await;
        eventually(|| async { (seen().await > last + 4).then_some(()) }).await;
    }
    let gone_through = "SELECT count(*) FROM adoption_nodes WHERE adopted_at IS NOT NULL";
    assert_eq!(count(&pool, gone_through).await, 4);
    let after: Vec<_> = nodes.iter().map(Node::blobs).collect();
    assert_eq!(before, after);
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, purges);
    for untouched in [
        "SELECT count(*) FROM audit_statements",
        "SELECT count(*) FROM reconcile_schedule",
        "SELECT count(*) FROM replicas WHERE demoted_at IS NOT NULL",
        "SELECT count(*) FROM repair_scans WHERE due_at > now()",
    ] {
        assert_eq!(count(&pool, untouched).await, 0, "{untouched}");
    }
    let noted = nodes[1].report_loss(&coordinator, &nodes[1].blobs()).await;
    assert!(noted.is_err(), "it is to report again later");
    assert_eq!(coordinator.app.durability.metrics.restore_mode.get(), 1);
    // Files go up and down meanwhile.
    assert!(client.content(&file).await == text);
    let new = client.upload("new", &content(CHUNK)).await;
    assert_eq!(client.content(&new).await, content(CHUNK));

    nodes[4].come_back(&coordinator).await;
    eventually(|| async {
        (!restore::stands(&Pool::new(pool.clone())).await.unwrap()).then_some(())
    })
    .await;
    // Everything goes on.
    eventually(|| async {
        (count(&pool, "SELECT count(*) FROM audit_statements").await > 0).then_some(())
    })
    .await;
    eventually(|| async { (chunks_with(&pool, 3).await == 6).then_some(()) }).await;
    let told = "SELECT count(*) FROM purges WHERE mode = 'purge'";
    eventually(|| async { (count(&pool, told).await == 0).then_some(()) }).await;
    assert_eq!(demoted(&pool).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_run_that_broke_off_goes_on_where_it_was_and_counts_nothing_twice(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    back_up(&pool).await;
    enters(&pool, nodes[0].node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    restore(&coordinator).await; // nobody has told the node yet: it still holds everything
    let node = &nodes[1];
    node.on_inventory(OnInventory::TellSlowly(3));
    node.on_read(OnRead::Refuse);
    begin(&pool).await;
    go_on(&coordinator).await;
    let broken = "SELECT count(*) FROM adoption_nodes
         WHERE adopted_at IS NULL AND attempts > 0 AND detail LIKE '%cannot read it now%'";
    assert_eq!(count(&pool, broken).await, 1);
    assert!(restore::stands(&Pool::new(pool.clone())).await.unwrap());

    // The second coordinator waits while the first one, which is dead, holds its lease.
    node.on_read(OnRead::Give);
    let dead = "UPDATE adoption_nodes SET lease_id = gen_random_uuid(),
                leased_until = now() + interval '1 min' WHERE adopted_at IS NULL";
    sqlx::query(dead).execute(&pool).await.unwrap();
    go_on(&coordinator).await;
    assert!(restore::stands(&Pool::new(pool.clone())).await.unwrap());
    let over = "UPDATE adoption_nodes SET leased_until = now() WHERE adopted_at IS NULL";
    sqlx::query(over).execute(&pool).await.unwrap();
    go_on(&coordinator).await;
    assert!(!restore::stands(&Pool::new(pool.clone())).await.unwrap());

    let found = found_on(&pool, node.node_id).await;
    assert_eq!(found.held, node.blobs().len() as u64);
    assert_eq!(found.known + found.adopted, found.held);
    assert!(found.adopted > 0);
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 20);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn blobs_that_a_node_cannot_read_hold_the_others_up_for_minutes_and_not_for_ever(
    pool: PgPool,
) {
    let (coordinator, nodes, ..) = fleet(&pool, 20, &[]).await;
    back_up(&pool).await;
    enters(&pool, nodes[0].node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    restore(&coordinator).await;
    nodes[1].on_read(OnRead::Refuse);
    begin(&pool).await;
    let mut tries = 0;
    while restore::stands(&Pool::new(pool.clone())).await.unwrap() {
        tries += 1;
        assert!(tries < 10);
        let waited = "UPDATE adoption_nodes SET due_at = now() WHERE adopted_at IS NULL";
        sqlx::query(waited).execute(&pool).await.unwrap();
        go_on(&coordinator).await;
    }
    assert!(tries > 5, "{tries}");
    let found = found_on(&pool, nodes[1].node_id).await;
    assert!(found.refused > 0 && found.adopted == 0, "{found:?}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn coordinators_share_the_nodes_and_one_that_lost_its_lease_writes_nothing(pool: PgPool) {
    let (_coordinator, nodes, _, _, _) = fleet(&pool, 1, &[]).await;
    begin(&pool).await;
    let mut connection = pool.acquire().await.unwrap();
    let restore_mode = durability::tables::restore::standing(&mut connection)
        .await
        .unwrap();
    let restore_mode = restore_mode.unwrap().id;
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node_id).collect();
    durability::tables::restore::nodes::enter(&mut connection, restore_mode, &ids)
        .await
        .unwrap();
    let (mine, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let take = async |lease, limit| {
        let mut connection = pool.acquire().await.unwrap();
        let (connection, ids) = (&mut *connection, &ids);
        let taken = durability::tables::restore::nodes::take_due(
            connection,
            restore_mode,
            ids,
            lease,
            MINUTE,
            limit,
        )
        .await;
        taken.unwrap()
    };
    let (first, second) = (take(mine, 2).await, take(theirs, 10).await);
    assert_eq!((first.len(), second.len()), (2, 3));
    assert_eq!(take(theirs, 10).await, []);
    sqlx::query("UPDATE adoption_nodes SET leased_until = now()")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(take(theirs, 10).await.len(), 5);
    let mut keep = async |id| {
        let lease = Lease {
            restore_mode,
            node: first[0].node_id,
            id,
        };
        let kept = durability::tables::restore::nodes::renew(&mut connection, &lease, MINUTE).await;
        kept.unwrap()
    };
    assert!(!keep(mine).await);
    assert!(keep(theirs).await);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nodes_that_do_not_come_back_are_waited_for_until_an_administrator_says_otherwise(
    pool: PgPool,
) {
    let (coordinator, nodes, client, file, text) = fleet(&pool, 20, &[]).await;
    back_up(&pool).await;
    goes_away(&pool, nodes[0].node_id).await;
    repair_all(&coordinator).await;
    let copies = "SELECT count(*) FROM replicas r WHERE NOT EXISTS
         (SELECT FROM old_replicas o WHERE o.node_id = r.node_id AND o.blob_id = r.blob_id)";
    let copies = count(&pool, copies).await;
    restore(&coordinator).await;
    nodes[0].leave(&coordinator).await;
    begin(&pool).await;
    go_on(&coordinator).await;
    assert!(restore::stands(&Pool::new(pool.clone())).await.unwrap());
    let waits = restore::finish(&Pool::new(pool.clone()), false, Clock::system().now())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        waits.contains("1 left") && waits.contains("a node"),
        "{waits}"
    );
    assert!(waits.contains("--without-missing-nodes"), "{waits}");

    restore::finish(&Pool::new(pool.clone()), true, Clock::system().now())
        .await
        .unwrap();
    assert!(!restore::stands(&Pool::new(pool.clone())).await.unwrap());
    assert_eq!(adopted(&pool).await, copies);
    assert_eq!(
        chunks_with(&pool, 3).await,
        20,
        "without those of the missing node"
    );
    earnings_of_absent(&pool, nodes[0].node_id).await;
    assert!(client.content(&file).await == text);
    repair_all(&coordinator).await;
    earnings_are_right(&coordinator).await;
}

/// A database of before repair moved what a node held, and restore mode ended without that node.
async fn ended_without(pool: &PgPool) -> (Coordinator, Vec<Node>, Client, Value, Vec<u8>) {
    let (coordinator, nodes, client, file, text) = fleet(pool, 6, &[]).await;
    back_up(pool).await;
    goes_away(pool, nodes[0].node_id).await;
    repair_all(&coordinator).await;
    restore(&coordinator).await;
    nodes[0].leave(&coordinator).await;
    begin(pool).await;
    go_on(&coordinator).await;
    restore::finish(&Pool::new(pool.clone()), true, Clock::system().now())
        .await
        .unwrap();
    (coordinator, nodes, client, file, text)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_it_ended_without_stays_out_until_it_is_begun_again(pool: PgPool) {
    let (coordinator, nodes, client, file, text) = ended_without(&pool).await;
    let node = &nodes[0];
    let refusal = node.come_in_vain(&coordinator).await;
    assert!(refusal.contains("`coordinator restore begin`"), "{refusal}");
    assert!(!node.beat(&coordinator).await, "no way in by a heartbeat");
    assert!(coordinator.app.fleet.member(node.node_id).is_none());
    assert!(client.content(&file).await == text);

    let drain = format!("/api/v1/nodes/{}/drain", node.node_id);
    let drain = coordinator
        .visitor()
        .post(&drain)
        .header("x-api-key", &node.api_key);
    let answer = drain.send().await.expect(StatusCode::CONFLICT);
    assert!(
        answer["type"]
            .as_str()
            .unwrap()
            .ends_with("awaits-adoption"),
        "{answer}"
    );

    let held = held_by(&pool, node.node_id).await;
    begin(&pool).await;
    node.come_in(&coordinator).await;
    go_on(&coordinator).await;
    assert!(!restore::stands(&Pool::new(pool.clone())).await.unwrap());
    assert_eq!(found_on(&pool, node.node_id).await.known, held as u64);
    assert!(node.beat(&coordinator).await);
    assert!(coordinator.app.fleet.is_online(node.node_id));
    comes_back(&pool, node.node_id).await;
    repair_all(&coordinator).await;
    assert_eq!(chunks_with(&pool, 3).await, 6);
    earnings_are_right(&coordinator).await;
    nobody_is_blamed(&pool).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_connected_node_that_it_ended_without_is_put_out_and_not_blamed_meanwhile(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 6, &[]).await;
    let node = &nodes[0];
    begin(&pool).await;
    node.on_inventory(OnInventory::Disorder);
    go_on(&coordinator).await;
    restore::finish(&Pool::new(pool.clone()), true, Clock::system().now())
        .await
        .unwrap();
    assert!(
        coordinator.app.fleet.is_online(node.node_id),
        "until it is noticed"
    );

    for blob in node.blobs() {
        node.lose(blob);
    }
    ask_all(&coordinator).await; // enters the nodes
    let due = "UPDATE audit_schedule SET due_at = now() - interval '5 h', window_ends_at = now() - interval '5 h'";
    sqlx::query(due).execute(&pool).await.unwrap();
    ask_all(&coordinator).await;
    let asked = "SELECT count(*) FROM audit_statements";
    assert!(count(&pool, asked).await > 0);
    nobody_is_blamed(&pool).await;
    let mut connection = pool.acquire().await.unwrap();
    let ids = [node.node_id];
    let purge = [(node.node_id, BlobId::of(b"a blob"))];
    blobs::tables::purges::enqueue(&mut connection, &purge, Duration::ZERO)
        .await
        .unwrap();
    let told = blobs::tables::purges::nodes_with_due(&mut connection, &ids).await;
    assert_eq!(told.unwrap(), [], "it is told to forget nothing");
    comparison_is_due(&pool, node.node_id).await;
    node.on_inventory(OnInventory::Tell);
    reconcile::step(&coordinator.app.durability).await.unwrap();
    let failed = "SELECT count(*) FROM reconcile_schedule WHERE outcome = 'failed'";
    assert_eq!(count(&pool, failed).await, 1);

    coordinator.start_workers();
    eventually(|| async {
        let member = coordinator.app.fleet.member(node.node_id);
        member.is_none().then_some(())
    })
    .await;
    assert_eq!(coordinator.app.fleet.online().len(), 4);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_registers_with_blobs_after_it_has_ended_is_kept_out(pool: PgPool) {
    let (coordinator, _nodes, _, _, _) = fleet(&pool, 1, &[]).await;
    let comes = async |blob_count| {
        let keypair = Keypair::generate_ed25519();
        let client = coordinator.visitor();
        let body = registration(&client, &keypair, "newcomer").await;
        let registered = client.post("/api/v1/nodes/register").body(body.to_string());
        let registered = registered.send().await.expect(StatusCode::CREATED);
        let hello = HelloReport {
            node_id: registered["node_id"].as_str().unwrap().parse().unwrap(),
            software: "test/1".to_owned(),
            capacity_bytes: 1000,
            used_bytes: 0,
            free_bytes: 1000,
            blob_count,
            draining: false,
            deferred: proto::DeferredPurges::NONE,
            instance: None,
        };
        let peer = keypair.public().to_peer_id();
        let answer = registration::hello(&coordinator.app.nodes, peer, None, hello).await;
        answer.unwrap().rejection.is_some()
    };
    assert!(!comes(7).await, "there was no restore");
    let gone = "UPDATE nodes SET state = 'drained' WHERE name = 'newcomer'";
    sqlx::query(gone).execute(&pool).await.unwrap();
    adopt_all(&coordinator).await;
    assert!(comes(7).await);
    assert!(!comes(0).await, "it is new");
    begin(&pool).await;
    assert!(!comes(7).await);
}

async fn comparison_is_due(pool: &PgPool, node: NodeId) {
    let mut connection = pool.acquire().await.unwrap();
    let entered = durability::tables::reconcile::enter(&mut connection, &[node], MINUTE).await;
    entered.unwrap();
    let due = durability::tables::reconcile::make_due(&mut connection, node, true).await;
    due.unwrap();
}

async fn ask_all(coordinator: &Coordinator) {
    while audit::step(&coordinator.app.proofs, &|| Clock::system().now())
        .await
        .unwrap()
    {}
}

/// Others have taken the place of what it held.
async fn earnings_of_absent(pool: &PgPool, node: NodeId) {
    let earns =
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM replicas WHERE node_id = $1 AND earns");
    let earns = earns.bind(node.as_uuid()).fetch_one(pool).await.unwrap();
    assert_eq!(earns, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_comparison_that_was_under_way_when_it_began_writes_nothing(pool: PgPool) {
    let (coordinator, nodes, _, _, _) = fleet(&pool, 2, &[]).await;
    hold_unknown(&coordinator, &nodes[0], 1);
    nodes[0].ages(Duration::from_secs(25 * 3600));
    comparison_is_due(&pool, nodes[0].node_id).await;
    begin(&pool).await;
    reconcile::step(&coordinator.app.durability).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    let failed = "SELECT count(*) FROM reconcile_schedule WHERE outcome = 'failed'";
    assert_eq!(count(&pool, failed).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn it_is_begun_once_and_can_be_begun_again_when_it_has_ended(pool: PgPool) {
    let (coordinator, _nodes, _, _, _) = fleet(&pool, 2, &[]).await;
    begin(&pool).await;
    let mut connection = pool.acquire().await.unwrap();
    assert!(
        !restore::begin(
            &mut connection,
            Entropy::system().uuid_v7(Clock::system().now())
        )
        .await
        .unwrap()
    );
    go_on(&coordinator).await;
    assert!(!restore::stands(&Pool::new(pool.clone())).await.unwrap());
    adopt_all(&coordinator).await;
    assert_eq!(count(&pool, "SELECT count(*) FROM adoptions").await, 2);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 6);
}
