//! Uptime as coordinators see it, look by look.

use coordinator::bookkeeping::tables::days;
use std::time::Duration;

use coordinator::fleet::uptime_sampler::UptimeSampler;
use coordinator::{billing, fleet};

use jiff::{SignedDuration, Timestamp};
use model::day::Day;
use model::money::PricePerGbMonth;
use proto::NodeId;
use rules::uptime::{SETTLING, Stretch};
use sqlx::PgPool;

use crate::support::count;
use crate::support::economy::{first_midnight, idle_node, set_clock};

fn seconds(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap()
}

/// One coordinator that looks every five seconds.
async fn watch(
    pool: &PgPool,
    lookout: &UptimeSampler,
    from: Timestamp,
    range: std::ops::Range<i64>,
    online: &[NodeId],
) {
    let mut connection = pool.acquire().await.unwrap();
    for second in range.step_by(5) {
        set_clock(pool, seconds(from, second)).await;
        lookout.look(&mut connection, online).await.unwrap();
    }
}

async fn uptime(pool: &PgPool, node: NodeId, from: Timestamp, length: i64) -> i64 {
    let mut connection = pool.acquire().await.unwrap();
    let stretch = Stretch::new(from, seconds(from, length));
    let uptime = fleet::tables::uptime::uptime_ppm(&mut connection, node, stretch).await;
    i64::from(uptime.unwrap())
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_is_up_when_any_coordinator_sees_it_and_only_while_one_looks(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let (steady, leaving) = (idle_node(&pool).await, idle_node(&pool).await);
    let (one, other) = (
        UptimeSampler::new(Duration::ZERO),
        UptimeSampler::new(Duration::ZERO),
    );
    // Both see it for 200 s, then only the other one does for 200 s, then nobody for 200 s.
    watch(&pool, &one, midnight, 0..200, &[steady, leaving]).await;
    watch(&pool, &other, midnight, 0..400, &[steady, leaving]).await;
    watch(&pool, &one, midnight, 200..600, &[steady]).await;
    // And then nobody looks for 400 s.
    assert_eq!(uptime(&pool, steady, midnight, 1000).await, 1_000_000);
    let measured = uptime(&pool, leaving, midnight, 1000).await;
    assert!((measured - 666_666).abs() < 20_000, "{measured}"); // a window is a sixtieth here
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_has_just_started_or_sees_nobody_does_not_judge(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let node = idle_node(&pool).await;
    watch(
        &pool,
        &UptimeSampler::new(SETTLING),
        midnight,
        0..60,
        &[node],
    )
    .await;
    watch(
        &pool,
        &UptimeSampler::new(Duration::ZERO),
        midnight,
        0..60,
        &[],
    )
    .await;
    assert_eq!(count(&pool, "SELECT count(*) FROM uptime_windows").await, 0);
    assert_eq!(uptime(&pool, node, midnight, 60).await, 1_000_000);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nothing_is_added_to_a_day_that_has_been_cut_off(pool: PgPool) {
    let midnight = first_midnight(&pool).await;
    let (here, away) = (idle_node(&pool).await, idle_node(&pool).await);
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
    // A coordinator that was held up tells only now what it saw since before the end.
    let lookout = UptimeSampler::new(Duration::ZERO);
    for second in [40, 60] {
        set_clock(&pool, seconds(midnight, second)).await;
        lookout.look(&mut connection, &[here]).await.unwrap();
    }
    assert_eq!(uptime(&pool, away, midnight, 50).await, 1_000_000);
    assert_eq!(uptime(&pool, away, seconds(midnight, 50), 10).await, 0);
}
