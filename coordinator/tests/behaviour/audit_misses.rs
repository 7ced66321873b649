//! Challenges that bring no answer: what they cost, when that is forgiven, and when they are failures.

use sqlx::PgPool;

use crate::support::audit::{
    DEMOTED, HOUR, MISSED, ROUND, audit_at, fleet, kinds, of_node, penalties, rounds,
};
use crate::support::{CHUNK, OnProve, OnRead, content, count, eventually};
use kit::Clock;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_challenge_without_an_answer_is_a_miss_and_forgiven_when_the_blob_comes(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &["proofs.deadline=50ms"]).await;
    nodes[0].on_prove(OnProve::Hang);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("missed", 2)])
    );
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
    nodes[0].on_prove(OnProve::Prove); // the next round may ask already
    // One a day is forgiven, however few there are.
    audit_at(&coordinator, round + HOUR).await;
    let expected = kinds(&[("given_back", 1), ("missed", 2)]);
    assert_eq!(penalties(&pool, nodes[0].node_id).await, expected);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_answers_neither_challenges_nor_requests_for_the_blob_fails(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &["proofs.deadline=50ms"]).await;
    nodes[0].on_prove(OnProve::Hang);
    nodes[0].on_read(OnRead::Refuse);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    let failed = "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'failed'";
    for hours in 1..=2 {
        audit_at(&coordinator, round + HOUR * hours).await;
        assert_eq!(of_node(&pool, failed, nodes[0].node_id).await, 0);
    }
    audit_at(&coordinator, round + HOUR * 3).await;
    assert_eq!(of_node(&pool, failed, nodes[0].node_id).await, 1);
    // By now the next round may have asked, too.
    let missed = of_node(&pool, MISSED, nodes[0].node_id).await;
    assert!((1..=2).contains(&missed), "{missed}");
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 1);
    let metrics = &coordinator.app.proofs.metrics;
    assert_eq!(metrics.audits_failed.get(), 1);
    // The challenge, and the blob twice; on a busy machine the others are late, too.
    assert!(metrics.audits_missed.get() >= 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_cuts_the_connection_at_a_challenge_has_missed_it(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 3, &[]).await;
    nodes[0].on_prove(OnProve::Vanish);
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("missed", 3)])
    );
    // The whole blobs are waited for, not the clock: while it is away nobody asks.
    audit_at(&coordinator, begin + ROUND + HOUR).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("missed", 3)])
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        3
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_may_be_busy_once_for_each_blob_and_round(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &[]).await;
    nodes[0].on_prove(OnProve::Busy);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    assert_eq!(penalties(&pool, nodes[0].node_id).await, []);
    audit_at(&coordinator, round + HOUR).await;
    // Twice as many if the next round has asked, too.
    assert!(of_node(&pool, MISSED, nodes[0].node_id).await >= 2);
    nodes[0].on_prove(OnProve::Prove);
    audit_at(&coordinator, round + HOUR * 2).await;
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_gone_whenever_it_is_asked_fails(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let node = &nodes[0];
    node.on_prove(OnProve::Vanish);
    node.on_read(OnRead::Vanish);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    // It goes at each request, so that a piece of asking is all that an hour brings, be it of the next round.
    for hours in 1..=8 {
        node.come_back(&coordinator).await;
        audit_at(&coordinator, round + HOUR * hours).await;
        if of_node(&pool, DEMOTED, node.node_id).await == 1 {
            assert!(hours >= 3, "the whole blob is asked for three times");
            return;
        }
    }
    panic!("{:?}", penalties(&pool, node.node_id).await);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_flaps_and_holds_its_blobs_fails_nothing(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 3, &[]).await;
    let node = &nodes[0];
    for round in 1..=3 {
        let at = begin + ROUND * round;
        node.on_prove(OnProve::Vanish);
        audit_at(&coordinator, at).await;
        node.on_prove(OnProve::Prove);
        node.leave(&coordinator).await; // if it was asked before, and is still here
        node.come_back(&coordinator).await;
        audit_at(&coordinator, at + HOUR).await; // the whole blobs come
    }
    assert_eq!(of_node(&pool, DEMOTED, node.node_id).await, 0);
    let missed = "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'missed'";
    let forgiven =
        "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'given_back'";
    let (missed, forgiven) = (
        of_node(&pool, missed, node.node_id).await,
        of_node(&pool, forgiven, node.node_id).await,
    );
    assert!(missed >= 3, "{missed}");
    assert!(
        forgiven <= 2,
        "one for each day that this touches, not {forgiven}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_proves_and_leaves_reads_unanswered_is_asked_for_the_whole_blob(pool: PgPool) {
    let (coordinator, nodes, client, file, _) = fleet(&pool, 30, &[]).await;
    nodes[0].on_read(OnRead::Hang);
    // Another node answers each read; none waits until the silent one's has timed out.
    let asked = "SELECT count(*) FROM audit_follow_ups WHERE reason = 'left reads unanswered'";
    eventually(|| async {
        assert_eq!(client.content(&file).await, content(30 * CHUNK));
        (count(&pool, asked).await > 0).then_some(())
    })
    .await;
    nodes[0].drop_hanging();
    let now = Clock::system().now();
    for hours in 0..4 {
        let mut asking = std::pin::pin!(audit_at(&coordinator, now + HOUR * hours));
        loop {
            tokio::select! {
                () = &mut asking => break,
                () = nodes[0].until_hanging() => nodes[0].drop_hanging(), // as if it had timed out
            }
        }
    }
    let failed = "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'failed'";
    assert!(of_node(&pool, failed, nodes[0].node_id).await > 0);
    assert!(of_node(&pool, DEMOTED, nodes[0].node_id).await > 0);
    for honest in &nodes[1..] {
        assert_eq!(penalties(&pool, honest.node_id).await, []);
    }
}
