//! The audit, against nodes that hold what they should and nodes that do not. Time is the tests' own:
//! rounds pass as fast as they are asked.

use coordinator::app::audit;
use coordinator::clock;
use coordinator::db::audit_schedule::{self, Lease};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use proto::{BlobId, NodeId};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{
    CHUNK, Client, Coordinator, Node, OnProve, OnRead, content, count, eventually,
};

const ROUND: SignedDuration = SignedDuration::from_hours(4);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Does everything that is due at one moment.
async fn audit_at(coordinator: &Coordinator, at: Timestamp) {
    while audit::step(&coordinator.app, &|| at).await.unwrap() {}
}

/// A fleet that holds a file of `chunks` chunks, the file's owner, and the moment when all is stored.
async fn fleet(
    pool: &PgPool,
    chunks: usize,
    settings: &[&str],
) -> (Coordinator, [Node; 3], Client, Value, Timestamp) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), settings).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(chunks * CHUNK)).await;
    let begin = clock::now();
    // Plans the first round of each node.
    audit_at(&coordinator, begin).await;
    (coordinator, nodes, client, file, begin)
}

/// Rounds pass, one after another.
async fn rounds(
    coordinator: &Coordinator,
    begin: Timestamp,
    rounds: std::ops::RangeInclusive<i32>,
) {
    for round in rounds {
        audit_at(coordinator, begin + ROUND * round).await;
    }
}

async fn of_node(pool: &PgPool, query: &'static str, node: NodeId) -> i64 {
    let query = sqlx::query_scalar(query).bind(node.as_uuid());
    query.fetch_one(pool).await.unwrap()
}

async fn state(coordinator: &Coordinator, node: NodeId) -> Value {
    let path = format!("/api/v1/nodes/{node}");
    coordinator
        .visitor()
        .get(&path)
        .await
        .expect(StatusCode::OK)
}

/// Kinds of penalties of a node and how often, in alphabetical order.
async fn penalties(pool: &PgPool, node: NodeId) -> Vec<(String, i64)> {
    let query =
        "SELECT kind, count(*) FROM audit_penalties WHERE node_id = $1 GROUP BY kind ORDER BY kind";
    let query = sqlx::query_as(query).bind(node.as_uuid());
    query.fetch_all(pool).await.unwrap()
}

fn kinds(penalties: &[(&str, i64)]) -> Vec<(String, i64)> {
    let owned = penalties.iter().map(|(kind, n)| ((*kind).to_owned(), *n));
    owned.collect()
}

const PASSED: &str =
    "SELECT coalesce(sum(passed), 0)::bigint FROM audit_statements WHERE node_id = $1";
const DEMOTED: &str = "SELECT count(*) FROM replicas WHERE node_id = $1 AND demoted_at IS NOT NULL";

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_deleted_blob_is_found_in_the_first_round_and_its_chunk_waits_for_repair(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 30, &[]).await;
    let lost: BlobId = nodes[0].blobs()[7];
    nodes[0].lose(lost);
    rounds(&coordinator, begin, 1..=1).await;
    let demoted = "SELECT blob_id FROM replicas WHERE demoted_at IS NOT NULL";
    let demoted: Vec<Vec<u8>> = sqlx::query_scalar(demoted).fetch_all(&pool).await.unwrap();
    assert_eq!(demoted, [lost.as_bytes().to_vec()]);
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("failed", 1)])
    );
    let waiting = "SELECT healthy::bigint FROM chunks_to_repair";
    assert_eq!(count(&pool, waiting).await, 2);
    let id = file["file_id"].as_str().unwrap();
    let durability = client.get(&format!("/api/v1/files/{id}/durability")).await;
    assert_eq!(durability.expect(StatusCode::OK)["min_healthy"], 2);
    assert_eq!(client.content(&file).await, content(30 * CHUNK));

    // The node's evidence is kept, and the loss stays in its score without being asked about again.
    let kept = "SELECT count(*) FROM audit_failures WHERE node_id = $1 AND outcome = 'missing'";
    assert_eq!(of_node(&pool, kept, nodes[0].node_id).await, 1);
    let after_one = state(&coordinator, nodes[0].node_id).await["score_ppm"].as_u64();
    rounds(&coordinator, begin, 2..=4).await;
    let after_four = state(&coordinator, nodes[0].node_id).await["score_ppm"].as_u64();
    assert!(after_four < after_one && after_one < Some(1_000_000));
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("failed", 1)])
    );
    assert_eq!(of_node(&pool, kept, nodes[0].node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_node_that_lost_everything_gets_nothing_new_and_is_out_after_a_day(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 14, &[]).await;
    let cheat = &nodes[1];
    for blob in cheat.blobs() {
        cheat.lose(blob);
    }
    rounds(&coordinator, begin, 1..=1).await;
    coordinator.start_workers(); // the liveness worker hands the new standing to the placement
    eventually(|| async {
        let held = coordinator
            .app
            .fleet
            .member(cheat.node_id)
            .unwrap()
            .standing()
            .on_hold;
        held.then_some(())
    })
    .await;
    let refused = client.upload_call("b", &content(CHUNK)).send().await;
    refused.problem(503, "too-few-nodes");

    rounds(&coordinator, begin, 2..=3).await;
    let suspended = state(&coordinator, cheat.node_id).await;
    assert_eq!(suspended["state"], "suspended");
    rounds(&coordinator, begin, 4..=6).await;
    assert_eq!(
        state(&coordinator, cheat.node_id).await["state"],
        "suspended",
        "24 h are not over"
    );
    rounds(&coordinator, begin, 7..=8).await;
    let out = state(&coordinator, cheat.node_id).await;
    assert_eq!(out["state"], "disqualified");
    assert!(
        out["state_reason"].as_str().unwrap().contains("960000"),
        "{out}"
    );
    // It is asked no more, and what it holds counts no more.
    while audit::demote_some(&coordinator.app, begin).await.unwrap() {}
    assert_eq!(of_node(&pool, DEMOTED, cheat.node_id).await, 14);
    let entered = "SELECT count(*) FROM audit_schedule WHERE node_id = $1";
    assert_eq!(of_node(&pool, entered, cheat.node_id).await, 0);
    assert_eq!(client.content(&file).await, content(14 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_node_that_loses_one_blob_in_a_hundred_is_never_suspended(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 100, &[]).await;
    nodes[2].lose(nodes[2].blobs()[50]);
    rounds(&coordinator, begin, 1..=6).await;
    let node = state(&coordinator, nodes[2].node_id).await;
    assert_eq!(node["state"], "active");
    assert!(node["score_ppm"].as_u64().unwrap() > 990_000);
    assert_eq!(of_node(&pool, DEMOTED, nodes[2].node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn whoever_answers_neither_challenges_nor_requests_for_the_blob_fails(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &["proofs.deadline=50ms"]).await;
    nodes[0].on_prove(OnProve::Hang);
    nodes[0].on_read(OnRead::Refuse);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    for hours in 1..=2 {
        audit_at(&coordinator, round + HOUR * hours).await;
        assert_eq!(
            penalties(&pool, nodes[0].node_id).await,
            kinds(&[("missed", 1)])
        );
    }
    audit_at(&coordinator, round + HOUR * 3).await;
    let expected = kinds(&[("failed", 1), ("missed", 1)]);
    assert_eq!(penalties(&pool, nodes[0].node_id).await, expected);
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_node_that_proves_and_refuses_downloads_is_caught_by_the_downloads(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 6, &[]).await;
    nodes[0].on_read(OnRead::Refuse);
    let waiting = "SELECT count(*) FROM audit_follow_ups";
    // Until a read has met it: which node is asked first is not for the test to say.
    eventually(|| async {
        assert_eq!(client.content(&file).await, content(6 * CHUNK));
        (count(&pool, waiting).await > 0).then_some(())
    })
    .await;
    let now = clock::now();
    for hours in 0..=2 {
        audit_at(&coordinator, now + HOUR * hours).await;
    }
    let met = of_node(&pool, DEMOTED, nodes[0].node_id).await;
    assert!(met > 0);
    assert_eq!(of_node(&pool, DEMOTED, nodes[1].node_id).await, 0);
    let score = state(&coordinator, nodes[0].node_id).await["score_ppm"].clone();
    rounds(&coordinator, begin, 1..=2).await;
    assert!(state(&coordinator, nodes[0].node_id).await["score_ppm"].as_u64() < score.as_u64());
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_node_may_be_busy_once_for_each_blob_and_round(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &[]).await;
    nodes[0].on_prove(OnProve::Busy);
    let round = begin + ROUND;
    audit_at(&coordinator, round).await;
    assert_eq!(penalties(&pool, nodes[0].node_id).await, []);
    audit_at(&coordinator, round + HOUR).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("missed", 2)])
    );
    nodes[0].on_prove(OnProve::Prove);
    audit_at(&coordinator, round + HOUR * 2).await;
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 0);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn wrong_proofs_fail_and_are_kept_as_evidence(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &[]).await;
    nodes[0].on_prove(OnProve::Guess);
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(
        penalties(&pool, nodes[0].node_id).await,
        kinds(&[("failed", 2)])
    );
    let kept = "SELECT count(*) FROM audit_failures
                WHERE node_id = $1 AND outcome = 'proven' AND octet_length(body) > 1024";
    assert_eq!(of_node(&pool, kept, nodes[0].node_id).await, 2);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_crash_in_mid_round_neither_skips_nor_doubles_a_replica(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    let node = nodes[0].node_id;
    let middle = begin + ROUND / 2;
    audit_at(&coordinator, middle).await;
    let asked = of_node(&pool, PASSED, node).await;
    assert!(asked < 60, "the rest of the round comes later");
    // Another coordinator takes the node's turn, asks, and dies before it has written anything.
    let crash = begin + ROUND - SignedDuration::from_secs(1);
    let lease = Lease {
        id: uuid::Uuid::from_u128(7),
        until: crash + SignedDuration::from_mins(2),
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
    let round = "SELECT round FROM audit_schedule WHERE node_id = $1";
    let next_round = of_node(&pool, round, node).await == 2;
    let sum = of_node(&pool, PASSED, node).await;
    assert!(sum == 60 || next_round, "{sum}");
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn several_workers_on_one_database_ask_for_each_replica_once(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &[]).await;
    // Before the next round begins, so that the sums are those of one round.
    let at = begin + ROUND - SignedDuration::from_secs(60);
    audit_at(&coordinator, at).await;
    let at = begin + ROUND;
    let now = || at;
    let step = || audit::step(&coordinator.app, &now);
    let (a, b, c) = tokio::join!(step(), step(), step());
    a.and(b).and(c).unwrap();
    audit_at(&coordinator, at).await;
    for node in &nodes {
        let first_round =
            "SELECT count(*) FROM replicas WHERE node_id = $1 AND last_proof_at IS NOT NULL";
        assert_eq!(of_node(&pool, first_round, node.node_id).await, 60);
        let sum = of_node(&pool, PASSED, node.node_id).await;
        let begun = "SELECT next_message::bigint FROM audit_schedule WHERE node_id = $1";
        let begun = of_node(&pool, begun, node.node_id).await > 0;
        assert!(sum == 60 || begun, "{sum}");
    }
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_replica_that_is_deleted_while_it_is_asked_for_is_held_against_nobody(pool: PgPool) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 2, &["proofs.deadline=5s"]).await;
    for node in &nodes {
        node.on_prove(OnProve::Hang);
    }
    let app = &coordinator.app;
    let at = begin + ROUND;
    let now = move || at;
    let asking = audit::step(app, &now);
    let deleting = async {
        for node in &nodes {
            node.until_hanging().await;
        }
        let id = file["file_id"].as_str().unwrap();
        let deleted = client.delete(&format!("/api/v1/files/{id}")).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
        while coordinator::app::files::forget_some(app).await.unwrap() {}
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

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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
    audit::watch_fleet(&coordinator.app, at).await.unwrap();
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
        audit::end_alarm(&pool, "it was the switch", at)
            .await
            .unwrap()
    );
    audit_at(&coordinator, at + HOUR).await;
    assert_eq!(of_node(&pool, DEMOTED, nodes[0].node_id).await, 2);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_loss_that_a_node_reports_is_charged_once_and_less(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 2, &[]).await;
    let (node, blobs) = (nodes[0].node_id, nodes[0].blobs());
    for _ in 0..2 {
        let reported = audit::loss_reported(&coordinator.app, node, &blobs, "rot", begin).await;
        reported.unwrap();
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
    audit::loss_reported(&coordinator.app, node, &foreign, "spite", begin)
        .await
        .unwrap();
    assert_eq!(of_node(&pool, DEMOTED, nodes[1].node_id).await, 0);
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn administrators_suspend_and_restore_with_a_reason_that_is_kept(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let node = nodes[0].node_id;
    audit::suspend(&pool, node, "complaints", begin)
        .await
        .unwrap();
    assert!(audit::suspend(&pool, node, "again", begin).await.is_err());
    let suspended = state(&coordinator, node).await;
    assert_eq!(suspended["state"], "suspended");
    assert!(
        suspended["state_reason"]
            .as_str()
            .unwrap()
            .contains("complaints")
    );
    audit::restore(&pool, node, "talked to them", begin)
        .await
        .unwrap();
    assert!(audit::restore(&pool, node, "again", begin).await.is_err());
    let restored = state(&coordinator, node).await;
    assert_eq!(restored["state"], "probation");
    let history = restored["state_history"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["cause"], "admin");
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
async fn a_node_that_has_been_away_for_a_month_is_out(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let month = SignedDuration::from_hours(30 * 24);
    audit::disqualify_gone(&coordinator.app, begin + month * 2)
        .await
        .unwrap();
    assert_eq!(
        state(&coordinator, nodes[0].node_id).await["state"],
        "probation",
        "it is here"
    );
    coordinator.app.fleet.remove_peer(&nodes[0].peer_id());
    audit::disqualify_gone(&coordinator.app, begin + month / 2)
        .await
        .unwrap();
    assert_eq!(
        state(&coordinator, nodes[0].node_id).await["state"],
        "probation"
    );
    coordinator.app.fleet.remove_peer(&nodes[0].peer_id());
    audit::disqualify_gone(&coordinator.app, begin + month * 2)
        .await
        .unwrap();
    let gone = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(gone["state"], "disqualified");
    assert!(gone["state_reason"].as_str().unwrap().starts_with("gone"));
}

#[sqlx::test(migrator = "coordinator::db::MIGRATIONS")]
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
