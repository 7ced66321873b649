//! Rounds of the audit: who is asked when, across crashes, clocks, absences and several coordinators.

use coordinator::proofs::audit;
use coordinator::proofs::tables::audit_schedule;
use coordinator::proofs::tables::audit_schedule::Lease;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use proto::NodeId;
use sqlx::PgPool;

use crate::support::audit::{
    HOUR, PASSED, ROUND, audit_at, fleet, of_node, penalties, rounds, state,
};
use crate::support::{OnProve, count};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_replica_is_asked_for_once_a_round_and_a_hundred_passes_end_probation(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 40, &[]).await;
    rounds(&coordinator, begin, 1..=2).await;
    for node in &nodes {
        assert_eq!(of_node(&pool, PASSED, node.node_id).await, 80);
        assert_eq!(
            state(&coordinator, node.node_id).await["state"],
            "probation"
        );
    }
    rounds(&coordinator, begin, 3..=3).await;
    for node in &nodes {
        assert_eq!(of_node(&pool, PASSED, node.node_id).await, 120);
        let node = state(&coordinator, node.node_id).await;
        assert_eq!(node["state"], "active");
        assert_eq!(node["score_ppm"], 1_000_000);
        let history = node["state_history"].as_array().unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(
            (&history[0]["from"], &history[0]["to"]),
            (&"probation".into(), &"active".into())
        );
        assert!(
            history[0]["reason"]
                .as_str()
                .unwrap()
                .contains("challenges passed")
        );
    }
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_penalties").await,
        0
    );
    let metrics = &coordinator.app.proofs.metrics;
    assert_eq!(metrics.audits_passed.get(), 3 * 120);
    assert_eq!(metrics.audits_failed.get() + metrics.audits_missed.get(), 0);

    let id = file["file_id"].as_str().unwrap();
    let durability = client.get(&format!("/api/v1/files/{id}/durability")).await;
    let durability = durability.expect(StatusCode::OK);
    assert_eq!(durability["replication_target"], 3);
    assert_eq!(durability["min_healthy"], 3);
    let chunks = durability["chunks"].as_array().unwrap();
    assert_eq!(chunks.len(), 40);
    for replica in chunks
        .iter()
        .flat_map(|chunk| chunk["replicas"].as_array().unwrap())
    {
        assert_eq!(replica["healthy"], true);
        assert_eq!(replica["last_proof"]["outcome"], "passed");
    }
}

/// When the first message of a node's round is due.
async fn first_message(pool: &PgPool, node: NodeId) -> Timestamp {
    let query = "SELECT due_at FROM audit_schedule WHERE node_id = $1 AND next_message = 0";
    let query = sqlx::query_scalar(query).bind(node.as_uuid());
    let due: jiff_sqlx::Timestamp = query.fetch_one(pool).await.unwrap();
    due.to_jiff()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_crash_in_mid_round_neither_skips_nor_doubles_a_replica(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    let node = nodes[0].node_id;
    // When half of the round is over, all of it may have been asked already, by chance.
    audit_at(&coordinator, first_message(&pool, node).await).await;
    let asked = of_node(&pool, PASSED, node).await;
    assert!(
        (1..60).contains(&asked),
        "{asked}: the rest of the round comes later"
    );
    // Another coordinator takes the node's turn, asks, and dies before it has written anything.
    let crash = begin + ROUND - SignedDuration::from_millis(1);
    let lease = Lease {
        id: uuid::Uuid::from_u128(7),
        until: begin + ROUND,
    };
    let mut connection = pool.acquire().await.unwrap();
    let taken = audit_schedule::take_due(&mut connection, &[node], crash, lease, 1).await;
    assert_eq!(taken.unwrap().len(), 1);
    drop(connection);
    audit_at(&coordinator, crash).await;
    assert_eq!(
        of_node(&pool, PASSED, node).await,
        asked,
        "the dead one's lease still holds"
    );
    assert_eq!(of_node(&pool, PASSED, nodes[1].node_id).await, 60);
    audit_at(&coordinator, lease.until).await;
    let distinct =
        "SELECT count(*) FROM replicas WHERE node_id = $1 AND last_proof_outcome = 'passed'";
    assert_eq!(of_node(&pool, distinct, node).await, 60);
    assert_eq!(of_node(&pool, PASSED, node).await, 60);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn several_workers_on_one_database_ask_for_each_replica_once(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    let at = begin + ROUND;
    let now = || at;
    let step = || audit::step(&coordinator.app.proofs, &now);
    let (a, b, c) = tokio::join!(step(), step(), step());
    a.and(b).and(c).unwrap();
    audit_at(&coordinator, at).await;
    for node in &nodes {
        let first_round =
            "SELECT count(*) FROM replicas WHERE node_id = $1 AND last_proof_at IS NOT NULL";
        assert_eq!(of_node(&pool, first_round, node.node_id).await, 60);
        assert_eq!(of_node(&pool, PASSED, node.node_id).await, 60);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_was_away_for_a_whole_interval_is_asked_for_everything_at_once(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    audit_at(&coordinator, begin + ROUND * 5).await;
    for node in &nodes {
        let sum = of_node(&pool, PASSED, node.node_id).await;
        assert!(
            sum >= 120,
            "{sum}: the round it stayed away from, and the one that is on"
        );
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_replica_that_is_deleted_while_it_is_asked_for_is_held_against_nobody(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 2, &["proofs.deadline=5s"]).await;
    for node in &nodes {
        node.on_prove(OnProve::Hang);
    }
    let app = &coordinator.app;
    let at = begin + ROUND;
    let now = move || at;
    let asking = audit::step(&app.proofs, &now);
    let deleting = async {
        for node in &nodes {
            node.until_hanging().await;
        }
        let id = file["file_id"].as_str().unwrap();
        let deleted = client.delete(&format!("/api/v1/files/{id}")).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        while coordinator::files::delete::forget_some(&app.files)
            .await
            .unwrap()
        {}
        for node in &nodes {
            node.drop_hanging(); // the streams end: a miss, were the replica still there
        }
    };
    let (asked, ()) = tokio::join!(asking, deleting);
    asked.unwrap();
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_penalties").await,
        0
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_leaves_and_returns_within_a_round_is_asked_for_what_it_missed(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    let (node, other) = (&nodes[0], nodes[1].node_id);
    audit_at(&coordinator, first_message(&pool, node.node_id).await).await;
    let asked = of_node(&pool, PASSED, node.node_id).await;
    assert!((1..60).contains(&asked), "{asked}");
    node.leave(&coordinator).await;
    let end = begin + ROUND - SignedDuration::from_millis(1);
    audit_at(&coordinator, end).await;
    assert_eq!(of_node(&pool, PASSED, node.node_id).await, asked);
    assert_eq!(
        of_node(&pool, PASSED, other).await,
        60,
        "others are asked meanwhile"
    );
    node.come_back(&coordinator).await;
    // At once, without a minute going by.
    audit_at(&coordinator, end).await;
    assert_eq!(of_node(&pool, PASSED, node.node_id).await, 60);
    audit_at(&coordinator, begin + ROUND).await;
    for node in [node.node_id, other] {
        assert_eq!(of_node(&pool, PASSED, node).await, 60);
        assert_eq!(penalties(&pool, node).await, []);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_clock_that_is_set_back_or_forward_by_an_hour_neither_skips_nor_doubles(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    for hours in [2, 1, 3, 2, 3, 4, 3, 4] {
        audit_at(&coordinator, begin + HOUR * hours).await;
    }
    for node in &nodes {
        assert_eq!(of_node(&pool, PASSED, node.node_id).await, 60);
    }
    for hours in [5, 4, 6, 8, 7] {
        audit_at(&coordinator, begin + HOUR * hours).await;
    }
    for node in &nodes {
        assert_eq!(of_node(&pool, PASSED, node.node_id).await, 120);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_whose_clock_is_ahead_drops_no_evidence(pool: PgPool) {
    let days = |parent: &'static str| {
        let count = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::text::regclass",
        );
        count.bind(parent).fetch_one(&pool)
    };
    let keep = async |at: &'static str| {
        sqlx::query(at).execute(&pool).await.unwrap();
    };
    keep("SELECT audit_keep_partitions(now())").await;
    let before = days("audit_statements").await.unwrap();
    keep("SELECT audit_keep_partitions(now() + interval '200 days')").await;
    assert_eq!(days("audit_statements").await.unwrap(), before + 3);
}
