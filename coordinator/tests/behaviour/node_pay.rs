//! What a node is paid, what it is not paid, and how it gets it.

use coordinator::billing;
use coordinator::files::delete;

use coordinator::bookkeeping::chart;
use http::{Method, StatusCode};
use model::ids::FileId;
use proto::{BlobId, NodeId};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::economy::{
    GB, RICH, days, first_midnight, forgive, hours, idle_node, of_node, penalise, rich_user,
    set_clock, settle_at, store, three_nodes, verified,
};
use crate::support::{Coordinator, count, total};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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
    let mut kinds: Vec<_> = penalties
        .map(|p| {
            (
                p["kind"].as_str().unwrap(),
                p["amount_microcredits"].as_i64().unwrap(),
            )
        })
        .collect();
    kinds.sort_unstable(); // those of one moment stand in any order
    assert_eq!(
        kinds,
        [
            ("failed", 9),
            ("given_back", 0),
            ("missed", 0),
            ("missed", 5556)
        ]
    );
    let mut penalties = first["penalties"].as_array().unwrap().iter();
    let failed = penalties.find(|p| p["kind"] == "failed").unwrap();
    assert_eq!(failed["cause"]["reason"], "a test");
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

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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
    assert_eq!(total(&pool, chart::PENALTIES).await, 74_998);
    verified(&coordinator).await;
}

/// The blob of a file's replica, as the tests name them.
async fn blob_of(pool: &PgPool, file: FileId, n: usize) -> BlobId {
    let query = sqlx::query_scalar("SELECT sha256($1)").bind(format!("{file} {n}").into_bytes());
    let hash: Vec<u8> = query.fetch_one(pool).await.unwrap();
    BlobId::try_from(&hash[..]).unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_replica_that_is_demoted_stops_earning_and_its_successor_takes_over(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let (user, fourth) = (rich_user(&pool, RICH).await, idle_node(&pool).await);
    let file = store(app, user, &nodes, GB).await;
    let (first, surplus) = (blob_of(&pool, file, 0).await, blob_of(&pool, file, 7).await);
    let successor = blob_of(&pool, file, 8).await;
    let pool = &pool;
    for (blob, node) in [(surplus, fourth), (successor, fourth)] {
        sqlx::query(
            "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, earns)
             VALUES ($1, $2, $3, 0, 9, $4, false)",
        )
        .bind(node.as_uuid())
        .bind(blob.as_bytes().to_vec())
        .bind(file.as_uuid())
        .bind(vec![0u8; 64])
        .execute(pool)
        .await
        .unwrap();
    }
    let mut connection = pool.acquire().await.unwrap();
    // Three earn already.
    let started =
        billing::tables::earnings::start(&mut connection, fourth, surplus, "return").await;
    assert!(!started.unwrap());
    set_clock(pool, hours(midnight, 6)).await;
    for _ in 0..2 {
        let stopped =
            billing::tables::earnings::stop(&mut connection, nodes[0], first, "demote").await;
        stopped.unwrap(); // the second time it is no news
    }
    set_clock(pool, hours(midnight, 12)).await;
    let started =
        billing::tables::earnings::start(&mut connection, fourth, successor, "repair").await;
    assert!(started.unwrap());
    drop(connection);
    settle_at(app, days(midnight, 1)).await;
    for (node, expected) in [(nodes[0], 8_333), (nodes[1], 33_333), (fourth, 16_666)] {
        let (held, available) = of_node(pool, node).await;
        assert_eq!(held + available, expected);
    }
    delete::delete(&app.files, user, file).await.unwrap();
    settle_at(app, days(midnight, 3)).await;
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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
    sqlx::query("UPDATE payouts SET state = 'pending', payment = NULL, look_at = now()")
        .execute(&pool)
        .await
        .unwrap();
    while coordinator::billing::payouts::ask_one(&app.billing)
        .await
        .unwrap()
    {}
    assert_eq!(
        count(&pool, "SELECT count(*) FROM payouts WHERE state = 'paid'").await,
        2
    );
    assert_eq!(of_node(&pool, nodes[0]).await, (74_998, 0));
    let stranger = client.call(Method::POST, &format!("/api/v1/nodes/{}/payouts", nodes[1]));
    stranger.body("{}").send().await.problem(403, "forbidden");
    verified(&coordinator).await;
}
