//! Days of storage become charges and pay, to the micro-credit.

use coordinator::billing;
use coordinator::billing::settlement;
use coordinator::bookkeeping::tables::days as ledger_days;
use coordinator::files::{delete, renewal};

use coordinator::bookkeeping::chart;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use model::ids::{FileId, UserId};
use proto::{BlobId, NodeId};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::economy::{
    GB, RICH, begin, days, first_midnight, hours, of_node, of_user, rich_user, set_clock,
    settle_all, settle_at, store, three_nodes, verified,
};
use crate::support::{Coordinator, balance, count, soon, total};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_gigabyte_costs_what_is_used_of_it_and_pays_the_nodes_that_hold_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    set_clock(&pool, hours(midnight, 6)).await;
    let file = store(app, user, &nodes, GB).await;
    assert_eq!(of_user(&pool, user).await, (RICH - 3_750_000, 3_750_000));
    let dated = "SELECT at FROM transfers WHERE kind = 'charge'";
    let dated: jiff_sqlx::Timestamp = sqlx::query_scalar(dated).fetch_one(&pool).await.unwrap();
    assert_eq!(
        dated.to_jiff(),
        hours(midnight, 6),
        "by the database's clock"
    );

    // 18 hours are a fortieth of a month.
    settle_at(app, days(midnight, 1)).await;
    assert_eq!(
        of_user(&pool, user).await,
        (RICH - 3_750_000, 3_750_000 - 93_750)
    );
    for node in nodes {
        assert_eq!(of_node(&pool, node).await, (18_750, 6_250));
    }
    // A month has thirty days: a day is 125,000 and 33,333.3.
    settle_at(app, days(midnight, 2)).await;
    assert_eq!(of_user(&pool, user).await.1, 3_750_000 - 93_750 - 125_000);
    assert_eq!(
        of_node(&pool, nodes[0]).await,
        (18_750 + 24_999, 6_250 + 8_334)
    );

    set_clock(&pool, hours(midnight, 54)).await;
    delete::delete(&app.files, user, file).await.unwrap();
    let used = 93_750 + 125_000 + 31_250;
    assert_eq!(of_user(&pool, user).await, (RICH - used, 0));
    settle_at(app, days(midnight, 4)).await;
    // 48 hours in all: 66,666.6, whichever days they were on.
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 66_666);
    }
    assert_eq!(total(&pool, chart::INCOME).await, used - 3 * 66_666);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_is_renewed_then_in_grace_then_gone(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    // Enough for two months, and not for three.
    let user = rich_user(&pool, 3_750_000 * 3 - 1).await;
    let client = coordinator.client_of(user);
    let file = store(app, user, &nodes, GB).await;
    let view = || async {
        let answer = client.get(&format!("/api/v1/files/{file}")).await;
        answer.expect(StatusCode::OK)
    };
    let paid_until =
        |view: &Value| -> Timestamp { view["paid_until"].as_str().unwrap().parse().unwrap() };
    assert_eq!(paid_until(&view().await), days(midnight, 30));

    settle_at(app, days(midnight, 15)).await;
    assert_eq!(paid_until(&view().await), days(midnight, 30));
    settle_at(app, days(midnight, 16)).await;
    let renewed = view().await;
    assert_eq!(paid_until(&renewed), days(midnight, 60));
    assert_eq!(renewed["grace_since"], Value::Null);

    settle_at(app, days(midnight, 46)).await;
    let grace = view().await;
    assert_eq!(paid_until(&grace), days(midnight, 60));
    assert!(grace["grace_since"].is_string(), "{grace}");
    // It was prepaid to the last moment, and it is gone at that moment, however late that is noticed.
    settle_at(app, days(midnight, 59)).await;
    view().await;
    settle_at(app, days(midnight, 70)).await;
    client
        .get(&format!("/api/v1/files/{file}"))
        .await
        .problem(404, "not-found");
    assert_eq!(of_user(&pool, user).await, (3_750_000 - 1, 0));
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 2_000_000);
    }
    let kinds = "SELECT count(*) FROM transfers WHERE kind IN ('renew', 'expire')";
    assert_eq!(count(&pool, kinds).await, 2);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_day_is_not_cut_off_before_all_that_happened_in_it_is_committed(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    set_clock(&pool, hours(midnight, 23)).await;
    while settlement::cut_day(&app.billing).await.unwrap() {}
    // Somebody is paused in the middle of something that is dated before midnight.
    let mut event = pool.begin().await.unwrap();
    let at = ledger_days::ledger_now(&mut event).await.unwrap();
    set_clock(&pool, days(midnight, 1) + SignedDuration::from_mins(5)).await;
    assert!(at < days(midnight, 1));
    assert!(
        !settlement::cut_day(&app.billing).await.unwrap(),
        "nor is he waited for"
    );
    event.commit().await.unwrap();
    assert!(settlement::cut_day(&app.billing).await.unwrap());
    let mut later = pool.begin().await.unwrap();
    let at = ledger_days::ledger_now(&mut later).await.unwrap();
    assert!(at >= days(midnight, 1));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nothing_of_a_file_that_is_used_up_begins_to_earn_before_it_ends(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    let file = store(app, user, &nodes, GB).await;
    let blobs = "SELECT blob_id FROM replicas WHERE file_id = $1 AND node_id = $2";
    let blobs = sqlx::query_scalar::<_, Vec<u8>>(blobs);
    let blobs = blobs.bind(file.as_uuid()).bind(nodes[0].as_uuid());
    let blobs = blobs.fetch_all(&pool).await.unwrap();
    let blobs: Vec<BlobId> = blobs
        .iter()
        .map(|id| BlobId::try_from(&id[..]).unwrap())
        .collect();
    let mut connection = pool.acquire().await.unwrap();
    billing::tables::earnings::stop_all(&mut connection, nodes[0], &blobs, "repair")
        .await
        .unwrap();
    // Nobody was there when it was used up.
    let used_up = "UPDATE files SET paid_until = completed_at + interval '1 day', renew_at = NULL";
    sqlx::query(used_up).execute(&pool).await.unwrap();
    set_clock(&pool, days(midnight, 2)).await;
    let started =
        billing::tables::earnings::start(&mut connection, nodes[0], blobs[0], "repair").await;
    assert!(!started.unwrap());
    let start = [(nodes[0], blobs[0])];
    billing::tables::earnings::reassign(&mut connection, &[], &start, "repair")
        .await
        .unwrap();
    let earning = "SELECT count(*) FROM replicas WHERE earns AND blob_id = $1";
    let earning = sqlx::query_scalar::<_, i64>(earning).bind(blobs[0].as_bytes());
    assert_eq!(earning.fetch_one(&pool).await.unwrap(), 0);
    settle_at(app, days(midnight, 3)).await;
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn two_coordinators_that_settle_at_once_settle_once(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    for _ in 0..5 {
        let user = rich_user(&pool, RICH).await;
        store(app, user, &nodes, GB).await;
    }
    set_clock(&pool, hours(days(midnight, 3), 1)).await;
    let work = || async { settle_all(app).await };
    soon(async { tokio::join!(work(), work(), work(), work()) }).await;
    // Whoever found the rows of others locked has gone home early.
    settle_all(app).await;
    let uses = "SELECT count(*) FROM transfers WHERE kind = 'use'";
    assert_eq!(count(&pool, uses).await, 15);
    let earned = "SELECT count(*) FROM transfers WHERE kind = 'earn'";
    assert_eq!(count(&pool, earned).await, 9);
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 5 * 100_000);
    }
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_clock_that_is_set_back_or_forward_by_an_hour_neither_doubles_nor_loses_a_day(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    // Forward over midnight, back again, over midnight once more, and so for some days.
    for day in 1..=4 {
        let end = days(midnight, day);
        for minutes in [-70, 1, -59, 1, 60, 1, 120] {
            let at = end
                .saturating_add(SignedDuration::from_mins(minutes))
                .unwrap();
            set_clock(&pool, at).await;
            settle_all(app).await;
            // What happens in a day that was cut off counts from its end on.
            let brief = store(app, user, &nodes, 1000).await;
            delete::delete(&app.files, user, brief).await.unwrap();
        }
    }
    let rows: Vec<(jiff_sqlx::Timestamp, jiff_sqlx::Timestamp)> = sqlx::query_as(
        "SELECT starts_at, ends_at FROM settlement_days WHERE day_number > 1 ORDER BY day_number",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(rows.len(), 4);
    for (n, (starts, ends)) in rows.into_iter().enumerate() {
        assert_eq!(starts.to_jiff(), days(midnight, n as i64));
        assert_eq!(ends.to_jiff(), days(midnight, n as i64 + 1));
    }
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 4_000_000 / 30);
    }
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nodes_are_never_paid_more_than_the_cheapest_stored_file_pays(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    let cheap = store(app, user, &nodes, GB).await;
    store(app, user, &nodes, GB).await;
    // It was stored before price and pay were raised, to 1.25 and 1.
    sqlx::query("UPDATE files SET price_microcredits = 300000 WHERE file_id = $1")
        .bind(cheap.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    settle_at(app, days(midnight, 1)).await;
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 2 * 10_000);
    }
    set_clock(&pool, days(midnight, 1)).await; // it was cut off a little later
    delete::delete(&app.files, user, cheap).await.unwrap();
    settle_at(app, days(midnight, 2)).await;
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 2 * 10_000 + 33_333);
    }
    verified(&coordinator).await;
}

/// What the operator of all the nodes has more than he brought.
async fn profit(pool: &PgPool, user: UserId, nodes: &[NodeId], brought: i64) -> i64 {
    let (available, escrow) = of_user(pool, user).await;
    let mut sum = available + escrow - brought;
    for node in nodes {
        let (held, available) = of_node(pool, *node).await;
        sum += held + available;
    }
    sum
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_runs_all_the_nodes_cannot_earn_by_storing_for_himself(pool: PgPool) {
    // At the same price on both sides not even the margin protects the network.
    let settings = ["money.pay_per_gb_month=1.25"];
    let coordinator = Coordinator::with(pool.clone(), &settings).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let brought = 1_000_000;
    let user = rich_user(&pool, brought).await;

    // Uploads that are given up, files that are deleted at once, files that a microcredit pays for.
    let abandoned = begin(app, user, &nodes, 1_000_000).await;
    coordinator::files::upload::complete::abort(&app.files, user, abandoned)
        .await
        .unwrap();
    for size in [1, 100, 266, 267, 1000, 90_001] {
        let brief = store(app, user, &nodes, size).await;
        set_clock(&pool, hours(midnight, 1)).await;
        delete::delete(&app.files, user, brief).await.unwrap();
        store(app, user, &nodes, size).await;
    }
    // More replicas than were promised, in the hope that all of them earn.
    let crowd = [
        nodes[0], nodes[1], nodes[2], nodes[0], nodes[1], nodes[2], nodes[0],
    ];
    store(app, user, &crowd, 50_000_000).await;
    // And files that run out: there is nothing left to renew them with.
    let rest = balance(&pool, chart::available(user)).await;
    let size = (rest * 1_000_000_000 / 3_750_000) as u32;
    store(app, user, &nodes, size).await;
    for day in [1, 5, 20, 31, 40, 400] {
        settle_at(app, days(midnight, day)).await;
        // The fraction of a micro-credit that each file has begun is taken at its end.
        let begun = count(&pool, "SELECT count(*) FROM files WHERE state = 'ready'").await;
        let profit = profit(&pool, user, &nodes, brought).await;
        assert!(profit <= begun, "{profit} on day {day}");
    }
    let left: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT file_id FROM files WHERE state = 'ready'")
            .fetch_all(&pool)
            .await
            .unwrap();
    for file in left {
        delete::delete(&app.files, user, FileId::from_uuid(file))
            .await
            .unwrap();
    }
    settle_at(app, days(midnight, 402)).await;
    assert!(profit(&pool, user, &nodes, brought).await <= 0);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nothing_is_settled_before_a_day_is_over(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let midnight = first_midnight(&pool).await;
    set_clock(
        &pool,
        midnight
            .saturating_sub(SignedDuration::from_secs(1))
            .unwrap(),
    )
    .await;
    assert!(!settlement::cut_day(&app.billing).await.unwrap());
    assert!(!settlement::count_day(&app.billing).await.unwrap());
    assert!(!settlement::charge_one_user(&app.billing).await.unwrap());
    assert!(!settlement::settle_one_node(&app.billing).await.unwrap());
    assert!(!renewal::renew_one(&app.files).await.unwrap());
    assert!(!renewal::expire_one(&app.files).await.unwrap());
}
