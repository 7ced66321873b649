//! What is done by time and for good, while the database and the coordinator do not agree on the time.

use http::StatusCode;
use jiff::SignedDuration;
use kit::{Clock, SimulatedClock};
use sqlx::PgPool;

use crate::support::{Coordinator, Node, count, eventually};

const EXPIRED: &str =
    "SELECT count(*) FROM files WHERE state = 'deleted' OR deleted_at IS NOT NULL";

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn no_file_ends_while_the_database_is_forty_days_ahead_and_it_ends_when_both_agree(
    pool: PgPool,
) {
    let (now, days) = (Clock::system().now(), SignedDuration::from_hours(24));
    let clock = SimulatedClock::new(now);
    let settings = ["money.trial_microcredits=0"];
    let coordinator = Coordinator::at(pool.clone(), &settings, Clock::from(&clock)).await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    client.upload("a file", b"of a month").await;
    for statement in [
        "UPDATE files SET created_at = now() - interval '40 days', completed_at = now() - interval '40 days',
                          paid_until = now() - interval '1 minute', renew_at = now() - interval '1 day'",
        "UPDATE accounts SET balance_microcredits = 0 WHERE account = 'available'",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }

    clock.set(now - days * 40);
    let statuses = coordinator.start_workers();
    let waits = ["file-charges", "disqualification", "settlement"];
    for name in waits {
        let status = || statuses.snapshot().into_iter().find(|job| job.name == name);
        let waiting = eventually(|| async { status().filter(|job| job.waits_for.is_some()) }).await;
        let reason = "database and coordinator to agree on the time";
        assert_eq!(
            (waiting.waits_for, waiting.runs),
            (Some(reason), 0),
            "{name}"
        );
    }
    assert_eq!(count(&pool, EXPIRED).await, 0);
    let health = coordinator.visitor().get("/health").await;
    let health = health.expect(StatusCode::OK);
    let apart = health["clocks_apart_seconds"].as_i64().unwrap();
    assert!((apart - 40 * 86_400).abs() < 600, "{apart}");

    clock.set(Clock::system().now());
    eventually(|| async { (count(&pool, EXPIRED).await == 1).then_some(()) }).await;
    let health = coordinator.visitor().get("/health").await;
    assert!(health.expect(StatusCode::OK)["clocks_apart_seconds"].is_null());
}
