//! Uptime as coordinators sample it, write it down, and settle it.

use std::sync::Arc;
use std::time::Duration;

use coordinator::bookkeeping::tables::days;
use coordinator::fleet::uptime_sampler::{self, UptimeSampler};
use coordinator::{billing, fleet};

use jiff::{SignedDuration, Timestamp};
use kit::{Clock, Entropy};
use model::day::Day;
use model::money::PricePerGbMonth;
use proto::{NodeId, PeerId};
use rules::uptime::{Rule, SETTLING, Stretch};
use sqlx::PgPool;

use crate::support::audit::of_node;
use crate::support::economy::{
    GB, first_midnight, hours, idle_node, rich_user, set_clock, settle_at, store, three_nodes,
    verified,
};
use crate::support::{Coordinator, count, eventually};

fn seconds(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// A coordinator that samples each node every five seconds and writes it down at once.
struct Watcher<'a> {
    pool: &'a PgPool,
    sampler: UptimeSampler,
    id: PeerId,
    from: Timestamp,
}

impl<'a> Watcher<'a> {
    fn new(pool: &'a PgPool, from: Timestamp) -> Self {
        Self {
            pool,
            sampler: UptimeSampler::new(Duration::ZERO),
            id: PeerId::random(),
            from,
        }
    }

    async fn watch(&self, range: std::ops::Range<i64>, nodes: &[(NodeId, bool)]) {
        let mut connection = self.pool.acquire().await.unwrap();
        for second in range.step_by(5) {
            // The clock stands still while a sample gets older: it is late enough for that to leave no window.
            set_clock(self.pool, seconds(self.from, second + 4)).await;
            for (node, answered) in nodes {
                self.sampler.note(*node, Duration::ZERO, *answered);
            }
            self.sampler.write(&mut connection, &self.id).await.unwrap();
        }
    }
}

async fn uptime_by(pool: &PgPool, node: NodeId, from: Timestamp, length: i64, rule: Rule) -> i64 {
    let mut connection = pool.acquire().await.unwrap();
    let stretch = Stretch::new(from, seconds(from, length));
    let uptime = fleet::tables::uptime::uptime_ppm(&mut connection, node, stretch, rule).await;
    i64::from(uptime.unwrap())
}

async fn uptime(pool: &PgPool, node: NodeId, from: Timestamp, length: i64) -> i64 {
    uptime_by(pool, node, from, length, Rule::CURRENT).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_is_up_when_any_coordinator_hears_it_and_only_while_one_asks(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let (steady, leaving) = (idle_node(&pool).await, idle_node(&pool).await);
    let (one, other) = (Watcher::new(&pool, midnight), Watcher::new(&pool, midnight));
    // Both hear it for 200 s, then only the other one does for 200 s, then nobody for 200 s.
    one.watch(0..200, &[(steady, true), (leaving, true)]).await;
    other
        .watch(0..400, &[(steady, true), (leaving, true)])
        .await;
    one.watch(200..600, &[(steady, true), (leaving, false)])
        .await;
    // And then nobody asks for 400 s.
    assert_eq!(uptime(&pool, steady, midnight, 1000).await, 1_000_000);
    let measured = uptime(&pool, leaving, midnight, 1000).await;
    // Around a change the two are looked at together, 80 s at a time.
    assert!((measured - 666_666).abs() < 80_000, "{measured}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn samples_add_up_across_writes_and_restarts_and_a_byte_holds_fifteen(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let node = idle_node(&pool).await;
    let mut watcher = Watcher::new(&pool, midnight);
    for answered in [true, false, true, false, false] {
        watcher.sampler = UptimeSampler::new(Duration::ZERO);
        watcher.watch(0..5, &[(node, answered)]).await;
    }
    assert_eq!(uptime(&pool, node, midnight, 10).await, 400_000);
    for _ in 0..30 {
        watcher.watch(0..5, &[(node, true)]).await;
    }
    let rows = "SELECT count(*) FROM uptime_samples";
    assert_eq!(count(&pool, rows).await, 1);
    assert_eq!(uptime(&pool, node, midnight, 10).await, 800_000, "12 of 15");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nothing_is_added_to_a_day_that_has_been_cut_off(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let node = idle_node(&pool).await;
    let mut connection = pool.acquire().await.unwrap();
    let (last, _) = days::last_day(&mut connection).await.unwrap();
    let day = Day {
        label: "a short day".to_owned(),
        starts_at: midnight,
        ends_at: seconds(midnight, 50),
    };
    let pay = PricePerGbMonth::from_microcredits(1);
    let cut =
        billing::tables::settlement::insert_day(&mut connection, last + 1, &day, pay, None).await;
    cut.unwrap();
    // A coordinator that was held up tells only now what it saw before the end.
    let watcher = Watcher::new(&pool, midnight);
    watcher.watch(40..55, &[(node, false)]).await;
    assert_eq!(uptime(&pool, node, midnight, 50).await, 1_000_000);
    assert_eq!(uptime(&pool, node, seconds(midnight, 50), 10).await, 0);
}

/// Takes samples as the job does, until there are some of each of these nodes.
async fn sampled(coordinator: &Coordinator, nodes: &[NodeId]) {
    let app = &coordinator.app;
    let sampler = Arc::new(UptimeSampler::new(Duration::ZERO));
    let mut rng = Entropy::system().rng();
    let mut connection = app.db.acquire().await.unwrap();
    sampler.list(&mut connection, &mut rng).await.unwrap();
    let coordinator = app.fleet.network().local_peer_id();
    eventually(|| async {
        uptime_sampler::sample(&sampler, &app.fleet, &mut Entropy::system().rng());
        let mut connection = app.db.acquire().await.unwrap();
        sampler.write(&mut connection, &coordinator).await.unwrap();
        let seen = "SELECT count(*) FROM uptime_samples WHERE node_id = $1";
        for node in nodes {
            if of_node(app.db.connections(), seen, *node).await == 0 {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nodes_that_are_connected_answer_and_one_that_has_gone_is_absent(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let began = Clock::system().now();
    nodes[0].leave(&coordinator).await;
    let ids = nodes.each_ref().map(|node| node.node_id);
    sampled(&coordinator, &ids).await;
    let from = seconds(began, -20);
    assert_eq!(uptime(&pool, ids[0], from, 600).await, 0);
    for present in &ids[1..] {
        assert_eq!(uptime(&pool, *present, from, 600).await, 1_000_000);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_has_just_started_does_not_judge(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let app = &coordinator.app;
    let sampler = Arc::new(UptimeSampler::new(SETTLING));
    assert!(!sampler.has_settled());
    let mut connection = pool.acquire().await.unwrap();
    let mut rng = Entropy::system().rng();
    sampler.list(&mut connection, &mut rng).await.unwrap();
    for _ in 0..1000 {
        uptime_sampler::sample(&sampler, &app.fleet, &mut rng);
        tokio::task::yield_now().await;
    }
    let id = app.fleet.network().local_peer_id();
    sampler.write(&mut connection, &id).await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM uptime_samples").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_uptime_of_a_settled_day_is_worked_out_anew_by_the_rule_that_it_was_settled_by(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, 1_000_000_000).await;
    store(app, user, &nodes, GB).await;
    let watcher = Watcher::new(&pool, midnight);
    watcher
        .watch(0..300, &[(nodes[0], true), (nodes[1], true)])
        .await;
    watcher
        .watch(300..600, &[(nodes[0], false), (nodes[1], true)])
        .await;
    // What a coordinator of the release before has written of the third.
    for (who, seen) in [(NodeId::from_uuid(uuid::Uuid::nil()), -1i64), (nodes[2], 0)] {
        sqlx::query("INSERT INTO uptime_windows (slot, node_id, seen) VALUES ($1, $2, $3)")
            .bind(midnight.as_millisecond() / 640_000 + 10)
            .bind(who.as_uuid())
            .bind(seen)
            .execute(&pool)
            .await
            .unwrap();
    }
    settle_at(app, hours(midnight, 24)).await;
    let settled = "SELECT uptime_ppm::bigint FROM node_meters WHERE node_id = $1";
    // Half of what was sampled, and the 64 windows in which an old coordinator has not seen it.
    let first = of_node(&pool, settled, nodes[0]).await;
    assert!((230_000..=260_000).contains(&first), "{first}");
    assert_eq!(of_node(&pool, settled, nodes[2]).await, 0);
    verified(&coordinator).await;

    // A day that such a coordinator has settled is checked by its rule. On the day before nobody was looking.
    let by_old = "UPDATE node_days SET uptime_rule = NULL WHERE node_id = $1 AND uptime_ppm = 0";
    let by_windows = uptime_by(&pool, nodes[2], midnight, 86_400, Rule::Windows).await;
    assert_eq!(by_windows, 0);
    sqlx::query(by_old)
        .bind(nodes[2].as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    verified(&coordinator).await;
}
