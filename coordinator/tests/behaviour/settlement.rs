//! Days of storage become charges and pay, to the micro-credit.

use coordinator::app::ledger_export::{self, Format};
use coordinator::app::{files, ledger_verify, settlement, storage_charges};
use coordinator::domain::ids::{FileId, UserId};
use coordinator::domain::ledger::Account;
use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use proto::{NodeId, VerifyingKey};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::economy::{
    begin, first_midnight, forgive, idle_node, penalise, rich_user, set_clock, settle_all,
    settle_at, store,
};
use crate::support::{Coordinator, balance, count, seal, soon, total};

const GB: u32 = 1_000_000_000;
const RICH: i64 = 1_000_000_000;

fn hours(at: Timestamp, hours: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_hours(hours))
        .unwrap()
}

fn days(at: Timestamp, days: i64) -> Timestamp {
    hours(at, days * 24)
}

async fn three_nodes(pool: &PgPool) -> [NodeId; 3] {
    [
        idle_node(pool).await,
        idle_node(pool).await,
        idle_node(pool).await,
    ]
}

async fn of_node(pool: &PgPool, node: NodeId) -> (i64, i64) {
    (
        balance(pool, Account::node_held(node)).await,
        balance(pool, Account::node_available(node)).await,
    )
}

async fn of_user(pool: &PgPool, user: UserId) -> (i64, i64) {
    (
        balance(pool, Account::available(user)).await,
        balance(pool, Account::escrow(user)).await,
    )
}

async fn verified(coordinator: &Coordinator) {
    while seal(&coordinator.app.db, 50).await.is_some() {}
    let keys = &coordinator.app.keys;
    let key = VerifyingKey::of_keypair(&keys.network).unwrap();
    let report = ledger_verify::verify(&coordinator.app.db, Some((keys.network_id, key))).await;
    let report = report.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_gigabyte_costs_what_is_used_of_it_and_pays_the_nodes_that_hold_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    set_clock(&pool, hours(midnight, 6)).await;
    let file = store(app, user, &nodes, GB).await;
    assert_eq!(of_user(&pool, user).await, (RICH - 3_750_000, 3_750_000));

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
    files::delete(app, user, file).await.unwrap();
    let used = 93_750 + 125_000 + 31_250;
    assert_eq!(of_user(&pool, user).await, (RICH - used, 0));
    settle_at(app, days(midnight, 4)).await;
    // 48 hours in all: 66,666.6, whichever days they were on.
    for node in nodes {
        let (held, available) = of_node(&pool, node).await;
        assert_eq!(held + available, 66_666);
    }
    assert_eq!(total(&pool, Account::INCOME).await, used - 3 * 66_666);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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
            files::delete(app, user, brief).await.unwrap();
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn penalties_and_downtime_are_told_with_their_causes(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let [node, ..] = nodes;
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    sqlx::query("UPDATE nodes SET operator_id = $1 WHERE node_id = $2")
        .bind(user.as_uuid())
        .bind(node.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    // All of a day somebody looked, and nine tenths of it the node was there.
    let slot = midnight.as_millisecond() / 640_000;
    for n in 0..135 {
        for (seen_by, seen) in [
            (NodeId::from_uuid(uuid::Uuid::nil()), true),
            (node, n < 122),
        ] {
            sqlx::query("INSERT INTO uptime_windows (slot, node_id, seen) VALUES ($1, $2, $3)")
                .bind(slot + n)
                .bind(seen_by.as_uuid())
                .bind(if seen { -1i64 } else { 0 })
                .execute(&pool)
                .await
                .unwrap();
        }
    }
    let noon = hours(midnight, 12);
    penalise(&pool, node, noon, "failed", 1_000_000).await; // 8.3 µc
    let miss = penalise(&pool, node, noon, "missed", 1_000_000_000).await; // 5555.5 µc
    let forgiven = penalise(&pool, node, noon, "missed", 1_000_000_000).await;
    forgive(&pool, forgiven, hours(noon, 1)).await;
    settle_at(app, days(midnight, 1)).await;
    forgive(&pool, miss, hours(noon, 24)).await;
    settle_at(app, days(midnight, 2)).await;

    let client = coordinator.client_of(user);
    let path = format!("/api/v1/nodes/{node}/earnings");
    let earnings = client.get(&path).await.expect(StatusCode::OK);
    let [second, first, _] = &earnings["days"].as_array().unwrap()[..] else {
        panic!("{earnings:#}");
    };
    let uptime = first["uptime_ppm"].as_i64().unwrap();
    assert!((uptime - 903_000).abs() < 1000, "{first:#}");
    let earned = 33_333 * (1_000_000 - 4 * (950_000 - uptime)) / 1_000_000;
    assert_eq!(first["gross_microcredits"], 33_333);
    assert_eq!(first["earned_microcredits"], earned);
    assert_eq!(first["penalties_microcredits"], 9 + 5556);
    assert_eq!(first["net_microcredits"], earned - 9 - 5556);
    let penalties = first["penalties"].as_array().unwrap().iter();
    let kinds: Vec<_> = penalties
        .map(|p| {
            (
                p["kind"].as_str().unwrap(),
                p["amount_microcredits"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("given_back", 0),
            ("missed", 0),
            ("missed", 5556),
            ("failed", 9)
        ]
    );
    assert_eq!(first["penalties"][3]["cause"]["reason"], "a test");
    assert_eq!(second["given_back_microcredits"], 5556);
    assert_eq!(second["net_microcredits"], 33_333 + 5556);
    assert_eq!(second["uptime_ppm"], 1_000_000);

    let of_public = client
        .get(&format!("/api/v1/nodes/{node}"))
        .await
        .expect(StatusCode::OK);
    assert_eq!(of_public["uptime_ppm"], 1_000_000);
    // A sixth of a day later, that much is pending.
    set_clock(&pool, hours(days(midnight, 2), 4)).await;
    let pending = &client.get(&path).await.expect(StatusCode::OK)["pending"];
    assert_eq!(pending["bytes"], GB);
    assert_eq!(pending["gross_microcredits"], 5556); // with the fraction of two days
    // Nobody else sees any of it.
    let (_, stranger) = coordinator.user().await;
    stranger.get(&path).await.problem(403, "forbidden");
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_disqualified_node_forfeits_what_is_held_and_one_that_drained_gets_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    settle_at(app, days(midnight, 3)).await;
    assert_eq!(of_node(&pool, nodes[0]).await, (74_998, 25_002));
    for (node, state) in [(nodes[0], "disqualified"), (nodes[1], "drained")] {
        sqlx::query("UPDATE nodes SET state = $2 WHERE node_id = $1")
            .bind(node.as_uuid())
            .bind(state)
            .execute(&pool)
            .await
            .unwrap();
    }
    settle_at(app, days(midnight, 4)).await;
    assert_eq!(of_node(&pool, nodes[0]).await, (0, 25_002));
    assert_eq!(of_node(&pool, nodes[1]).await, (0, 133_333));
    assert_eq!(total(&pool, Account::PENALTIES).await, 74_998);
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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
    coordinator::app::upload::end::abort(app, user, abandoned)
        .await
        .unwrap();
    for size in [1, 100, 266, 267, 1000, 90_001] {
        let brief = store(app, user, &nodes, size).await;
        set_clock(&pool, hours(midnight, 1)).await;
        files::delete(app, user, brief).await.unwrap();
        store(app, user, &nodes, size).await;
    }
    // More replicas than were promised, in the hope that all of them earn.
    let crowd = [
        nodes[0], nodes[1], nodes[2], nodes[0], nodes[1], nodes[2], nodes[0],
    ];
    store(app, user, &crowd, 50_000_000).await;
    // And files that run out: there is nothing left to renew them with.
    let rest = balance(&pool, Account::available(user)).await;
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
        files::delete(app, user, FileId::from_uuid(file))
            .await
            .unwrap();
    }
    settle_at(app, days(midnight, 402)).await;
    assert!(profit(&pool, user, &nodes, brought).await <= 0);
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_payout_is_made_once_and_never_of_more_than_there_is(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    settle_at(app, days(midnight, 3)).await;
    sqlx::query("UPDATE nodes SET operator_id = $1 WHERE node_id = $2")
        .bind(user.as_uuid())
        .bind(nodes[0].as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    let client = coordinator.client_of(user);
    let pay = |body: Value, key: &'static str| {
        let call = client.call(Method::POST, &format!("/api/v1/nodes/{}/payouts", nodes[0]));
        call.header("idempotency-key", key)
            .body(body.to_string())
            .send()
    };
    pay(json!({"amount_microcredits": 25_003}), "a")
        .await
        .problem(402, "nothing-to-pay-out");
    pay(json!({"amount_microcredits": 0}), "a")
        .await
        .problem(400, "invalid-request");
    let first = pay(json!({"amount_microcredits": 5_000}), "a")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(first["state"], "paid");
    let again = pay(json!({"amount_microcredits": 5_000}), "a")
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(again, first);
    pay(json!({"amount_microcredits": 5_001}), "a")
        .await
        .problem(422, "idempotency-key-reused");
    let (b, c) = tokio::join!(pay(json!({}), "b"), pay(json!({}), "c"));
    let mut statuses = [b.status.as_u16(), c.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 402]);
    assert_eq!(of_node(&pool, nodes[0]).await, (74_998, 0));
    assert_eq!(
        count(&pool, "SELECT count(*) FROM payouts WHERE state = 'paid'").await,
        2
    );

    // One whose request was cut off after its commit is told to the provider later.
    sqlx::query("UPDATE payouts SET state = 'pending', payment = NULL, try_at = now()")
        .execute(&pool)
        .await
        .unwrap();
    while coordinator::app::payouts::tell_one(app).await.unwrap() {}
    assert_eq!(
        count(&pool, "SELECT count(*) FROM payouts WHERE state = 'paid'").await,
        2
    );
    assert_eq!(of_node(&pool, nodes[0]).await, (74_998, 0));
    let stranger = client.call(Method::POST, &format!("/api/v1/nodes/{}/payouts", nodes[1]));
    stranger.body("{}").send().await.problem(403, "forbidden");
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn every_tampering_with_the_ledger_or_its_sources_is_found(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    while seal(&pool, 50).await.is_some() {}
    let file = store(app, user, &nodes, GB).await;
    let kept = store(app, user, &nodes, 5_000).await;
    penalise(&pool, nodes[0], hours(midnight, 2), "failed", 1_000_000).await;
    settle_at(app, days(midnight, 2)).await;
    files::delete(app, user, file).await.unwrap();
    settle_at(app, days(midnight, 4)).await;
    verified(&coordinator).await;
    let keys = &app.keys;
    let key = VerifyingKey::of_keypair(&keys.network).unwrap();
    let changes = [
        (
            "UPDATE entries SET amount_microcredits = amount_microcredits + 1 WHERE transfer_id =
          (SELECT transfer_id FROM transfers WHERE kind = 'earn' LIMIT 1)",
            "hash is not that of its content",
        ),
        (
            "UPDATE transfers SET cause = '{}' WHERE kind = 'delete'",
            "hash is not that of its content",
        ),
        (
            "UPDATE transfers SET block = NULL WHERE kind = 'use'",
            "transfers and should have",
        ),
        (
            "UPDATE blocks SET hash = sha256('x') WHERE block_number = 1",
            "block 1: its hash",
        ),
        (
            "UPDATE accounts SET balance_microcredits = balance_microcredits + 1 WHERE account = 'held'",
            "/held: its balance",
        ),
        (
            "UPDATE files SET paid_microcredits = paid_microcredits + 1 WHERE state = 'ready'",
            "escrow is",
        ),
        (
            "UPDATE earning_events SET bytes = ARRAY[1, 1, 1] WHERE cause = 'delete'",
            "still earn",
        ),
        (
            "UPDATE earning_events SET at = at + interval '1 ms' WHERE cause = 'complete'",
            "byte-milliseconds, events say",
        ),
        (
            "UPDATE node_days SET gross = gross + 1 WHERE gross > 0",
            "is not byte-seconds times pay",
        ),
        (
            "UPDATE node_days SET available = available + 1 WHERE transfer_id IS NOT NULL",
            "its transfer moved",
        ),
        (
            "UPDATE settled_penalties SET amount = amount + 1",
            "is not what it costs",
        ),
        (
            "UPDATE settlement_days SET signature = sha256('x') || sha256('y') WHERE signature IS NOT NULL",
            "not signed by the network's key",
        ),
        (
            "UPDATE settlement_days SET ends_at = ends_at + interval '1 hour' WHERE day_number = 3",
            "does not begin where",
        ),
    ];
    for (change, found) in changes {
        // In a transaction that sees its own change and takes it back; triggers would refuse it.
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("SET LOCAL session_replication_role = replica")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let changed = sqlx::query(change)
            .execute(&mut *transaction)
            .await
            .unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let network = Some((keys.network_id, key.clone()));
        let report = ledger_verify::replay(&mut transaction, network)
            .await
            .unwrap();
        let told = report
            .findings
            .iter()
            .any(|finding| finding.contains(found));
        assert!(told, "{change}: {:#?}", report.findings);
        transaction.rollback().await.unwrap();
    }
    files::delete(app, user, kept).await.unwrap();
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn the_head_of_each_day_is_signed_and_handed_to_nodes(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let midnight = first_midnight(&pool).await;
    rich_user(&pool, 5).await;
    settle_at(app, midnight).await;
    let mut connection = pool.acquire().await.unwrap();
    let head = coordinator::db::settlement::last_head(&mut connection).await;
    assert_eq!(head.unwrap(), None); // nothing was sealed yet
    seal(&pool, 10).await.unwrap();
    settle_at(app, days(midnight, 1)).await;
    let head = coordinator::db::settlement::last_head(&mut connection).await;
    let head = head.unwrap().unwrap();
    let key = VerifyingKey::of_keypair(&app.keys.network).unwrap();
    assert_eq!(head.verify(app.keys.network_id, &key), Ok(()));
    assert_eq!(head.block_number, 1);
    assert!(midnight.to_string().starts_with(&head.day), "{head:?}");
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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
    assert!(!settlement::cut_day(app).await.unwrap());
    assert!(!settlement::count_day(app).await.unwrap());
    assert!(!settlement::charge_one_user(app).await.unwrap());
    assert!(!settlement::settle_one_node(app).await.unwrap());
    assert!(!storage_charges::renew_one(app).await.unwrap());
    assert!(!storage_charges::expire_one(app).await.unwrap());
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn an_export_has_every_entry_and_sums_to_zero(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    while seal(&pool, 2).await.is_some() {}
    settle_at(app, days(midnight, 1)).await;
    let (mut csv, mut lines) = (Vec::new(), Vec::new());
    let transfers = ledger_export::export(&pool, Format::Csv, &mut csv)
        .await
        .unwrap();
    let again = ledger_export::export(&pool, Format::JsonLines, &mut lines)
        .await
        .unwrap();
    assert_eq!(transfers, again);
    let entries = count(&pool, "SELECT count(*) FROM entries").await;
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count() as i64, entries + 1);
    let amounts = csv
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap());
    assert_eq!(
        amounts
            .map(|amount| amount.parse::<i64>().unwrap())
            .sum::<i64>(),
        0
    );
    let lines = String::from_utf8(lines).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines.len() as i64,
        count(&pool, "SELECT count(*) FROM transfers").await
    );
    // In the order of the chain; what is not sealed yet comes last.
    let blocks: Vec<Option<u64>> = lines.iter().map(|line| line["block"].as_u64()).collect();
    assert_eq!(blocks[0], Some(1));
    assert_eq!(*blocks.last().unwrap(), None);
    let exported: usize = lines
        .iter()
        .map(|line| line["entries"].as_array().unwrap().len())
        .sum();
    assert_eq!(exported as i64, entries);
}
