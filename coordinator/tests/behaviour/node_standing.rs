//! What the audit, absence and administrators make of a node, and who can see that.

use coordinator::database::Pool;
use coordinator::fleet::{guard, node_status};
use http::StatusCode;
use kit::Clock;
use sqlx::PgPool;

use crate::support::audit::{
    DEMOTED, HOUR, ROUND, audit_at, fleet, kinds, of_node, penalties, rounds, state,
};
use crate::support::{Coordinator, OnProve, count};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn when_a_quarter_of_the_fleet_fails_at_once_nothing_is_demoted(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &[]).await;
    let at = begin + ROUND;
    let others = "INSERT INTO nodes (node_id, peer_id, name, capacity_bytes, api_key_hash,
                                     last_seen_at, last_failure_at)
                  SELECT gen_random_uuid(), n::text, 'another', 0, sha256(n::text::bytea), $1,
                         CASE WHEN n <= 5 THEN $1 END
                  FROM generate_series(1, 17) AS n";
    use jiff_sqlx::ToSqlx;
    sqlx::query(others)
        .bind(at.to_sqlx())
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("UPDATE nodes SET last_seen_at = $1")
        .bind(at.to_sqlx())
        .execute(&pool)
        .await
        .unwrap();
    guard::watch_fleet(&coordinator.app.nodes, at)
        .await
        .unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM fleet_alarms").await, 1);

    nodes[0].on_prove(OnProve::Deny);
    audit_at(&coordinator, at).await;
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
    assert_eq!(penalties(&pool, nodes[0].node_id).await, []);
    assert_eq!(
        state(&coordinator, nodes[0].node_id).await["score_ppm"],
        1_000_000
    );

    // An administrator has looked: what fails now has failed.
    assert!(
        guard::end_alarm(&Pool::new(pool.clone()), "it was the switch", at)
            .await
            .unwrap()
    );
    audit_at(&coordinator, at + HOUR).await;
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 2);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn only_nodes_that_went_offline_make_an_alarm_and_none_that_nobody_could_see(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let fleet = "INSERT INTO nodes (node_id, peer_id, name, capacity_bytes, api_key_hash, last_seen_at)
         SELECT gen_random_uuid(), n::text, 'one of many', 0, sha256(n::text::bytea), now() - interval '5 min'
         FROM generate_series(1, 20) AS n";
    sqlx::query(fleet).execute(&pool).await.unwrap();
    let alarms = async || {
        let now = Clock::system().now();
        guard::watch_fleet(&coordinator.app.nodes, now)
            .await
            .unwrap();
        count(&pool, "SELECT count(*) FROM fleet_alarms").await
    };
    assert_eq!(alarms().await, 0, "the database was away for five minutes");
    let offline = |names: &'static str| sqlx::query(names).execute(&pool);
    offline("UPDATE nodes SET offline_since = now() WHERE peer_id::int <= 4")
        .await
        .unwrap();
    assert_eq!(alarms().await, 0);
    offline("UPDATE nodes SET offline_since = now() WHERE peer_id = '5'")
        .await
        .unwrap();
    assert_eq!(alarms().await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_loss_that_a_node_reports_is_charged_once_and_less(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 2, &[]).await;
    let (node, blobs) = (nodes[0].node_id, nodes[0].blobs());
    for _ in 0..2 {
        let noted = nodes[0].report_loss(&coordinator, &blobs).await;
        assert_eq!(noted, Ok(2));
    }
    assert_eq!(penalties(&pool, node).await, kinds(&[("self_reported", 2)]));
    assert_eq!(of_node(&pool, DEMOTED, node).await, 2);
    assert_eq!(
        count(
            &pool,
            "SELECT count(*) FROM chunks_to_repair WHERE healthy = 2"
        )
        .await,
        2
    );
    // What other nodes hold is none of its business.
    let foreign = nodes[1].blobs();
    let noted = nodes[0].report_loss(&coordinator, &foreign).await;
    assert_eq!(noted, Ok(2), "nothing to be told again");
    assert_eq!(of_node(&pool, DEMOTED, nodes[1].node_id).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_loss_is_acknowledged_only_when_it_is_noted(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 1, &[]).await;
    let blobs = nodes[0].blobs();
    let away = "ALTER TABLE audit_penalties RENAME TO away";
    sqlx::query(away).execute(&pool).await.unwrap();
    let noted = nodes[0].report_loss(&coordinator, &blobs).await;
    assert!(noted.is_err(), "{noted:?}");
    let back = "ALTER TABLE away RENAME TO audit_penalties";
    sqlx::query(back).execute(&pool).await.unwrap();
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
    assert_eq!(nodes[0].report_loss(&coordinator, &blobs).await, Ok(1));
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_peer_that_is_no_member_reports_in_vain(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 1, &[]).await;
    let blobs = nodes[0].blobs();
    coordinator.app.fleet.remove_peer(&nodes[0].peer_id());
    assert!(nodes[0].report_loss(&coordinator, &blobs).await.is_err());
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_suspend_and_restore_with_a_reason_that_is_kept(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let node = nodes[0].node_id;
    coordinator
        .app
        .nodes
        .states
        .suspend(&Pool::new(pool.clone()), node, "complaints", begin)
        .await
        .unwrap();
    assert!(
        coordinator
            .app
            .nodes
            .states
            .suspend(&Pool::new(pool.clone()), node, "again", begin)
            .await
            .is_err()
    );
    let suspended = state(&coordinator, node).await;
    assert_eq!(suspended["state"], "suspended");
    assert!(
        suspended["state_reason"]
            .as_str()
            .unwrap()
            .contains("complaints")
    );
    coordinator
        .app
        .nodes
        .states
        .restore(&Pool::new(pool.clone()), node, "talked to them", begin)
        .await
        .unwrap();
    assert!(
        coordinator
            .app
            .nodes
            .states
            .restore(&Pool::new(pool.clone()), node, "again", begin)
            .await
            .is_err()
    );
    let restored = state(&coordinator, node).await;
    assert_eq!(restored["state"], "probation");
    let history = restored["state_history"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["cause"], "admin");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_has_been_away_for_a_month_is_out(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let long_ago = "UPDATE nodes SET offline_since = now() - interval '60 days'";
    sqlx::query(long_ago).execute(&pool).await.unwrap();
    node_status::disqualify_gone(&coordinator.app.nodes, begin)
        .await
        .unwrap();
    sqlx::query("UPDATE nodes SET offline_since = NULL")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(
        state(&coordinator, nodes[0].node_id).await["state"],
        "probation",
        "it is here"
    );
    let still_in = async || {
        coordinator.app.fleet.remove_peer(&nodes[0].peer_id());
        node_status::disqualify_gone(&coordinator.app.nodes, begin)
            .await
            .unwrap();
        state(&coordinator, nodes[0].node_id).await["state"] == "probation"
    };
    let coordinator_was_down = "UPDATE nodes SET last_seen_at = now() - interval '60 days'";
    sqlx::query(coordinator_was_down)
        .execute(&pool)
        .await
        .unwrap();
    assert!(still_in().await, "nobody has looked");
    let offline = "UPDATE nodes SET offline_since = now() - interval '29 days'";
    sqlx::query(offline).execute(&pool).await.unwrap();
    assert!(still_in().await);
    let kept_out = "UPDATE nodes SET offline_since = now() - interval '31 days', awaits_adoption_since = now()";
    sqlx::query(kept_out).execute(&pool).await.unwrap();
    assert!(still_in().await, "it may not come");
    let let_in = "UPDATE nodes SET awaits_adoption_since = NULL";
    sqlx::query(let_in).execute(&pool).await.unwrap();
    assert!(!still_in().await);
    let gone = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(gone["state"], "disqualified");
    assert!(gone["state_reason"].as_str().unwrap().starts_with("gone"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_and_its_operator_see_its_proofs_and_nobody_else_does(pool: PgPool) {
    let (coordinator, nodes, stranger, _, begin) = fleet(&pool, 20, &[]).await;
    rounds(&coordinator, begin, 1..=1).await;
    let node = &nodes[0];
    let path = format!("/api/v1/nodes/{}/proofs?limit=1", node.node_id);
    let visitor = coordinator.visitor();
    let mine = visitor
        .call(http::Method::GET, &path)
        .header("x-api-key", &node.api_key);
    let page = mine.send().await.expect(StatusCode::OK);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let statement = page["items"][0]["statement"].as_str().unwrap();
    let statement = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, statement).unwrap();
    proto::ProofStatement::from_bytes(&statement)
        .unwrap()
        .verify()
        .unwrap();
    let next = page["next_cursor"].as_str().unwrap();
    let rest = visitor
        .call(http::Method::GET, &format!("{path}&cursor={next}"))
        .header("x-api-key", &node.api_key);
    let rest = rest.send().await.expect(StatusCode::OK);
    assert_ne!(
        rest["items"][0]["challenge_id"],
        page["items"][0]["challenge_id"]
    );

    stranger.get(&path).await.problem(403, "forbidden");
    let other = visitor
        .call(http::Method::GET, &path)
        .header("x-api-key", &nodes[1].api_key);
    other.send().await.problem(403, "forbidden");
    visitor.get(&path).await.problem(401, "unauthorized");
}
