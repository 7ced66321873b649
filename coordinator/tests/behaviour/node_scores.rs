//! Nodes that cheat by halves: they are silent, slow, or report what they never kept. Each moves its score, gets
//! nothing new, and is told why.

use coordinator::proofs::fresh_receipts;
use http::StatusCode;
use kit::Clock;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::audit::{
    DEMOTED, HOUR, MISSED, audit_at, fleet, of_node, penalties, rounds, state,
};
use crate::support::{
    CHUNK, Client, Coordinator, Node, OnProve, OnRead, OnStore, content, count, eventually,
};

const GIVEN_BACK: &str =
    "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'given_back'";

fn score(node: &Value) -> u64 {
    node["score_ppm"].as_u64().unwrap()
}

fn says(node: &Value, key: &str, word: &str) -> bool {
    node[key].as_str().is_some_and(|text| text.contains(word))
}

/// What becomes of a node of three, each with twelve blobs, that behaves so when it is challenged.
async fn never_proves(pool: PgPool, conduct: OnProve) {
    let (coordinator, nodes, client, file, begin) =
        fleet(&pool, 12, &["proofs.deadline=50ms"]).await;
    let cheat = &nodes[0];
    cheat.on_prove(conduct);
    let hours = async |hours: std::ops::RangeInclusive<i32>| {
        for hour in hours {
            audit_at(&coordinator, begin + HOUR * hour).await;
            cheat.drop_hanging();
        }
    };
    hours(1..=9).await;
    let seen = state(&coordinator, cheat.node_id).await;
    assert!(score(&seen) < 1_000_000, "{seen}");
    assert_eq!(seen["on_hold"], true, "{seen}");
    assert!(says(&seen, "hold_reason", "in time"), "{seen}");
    let refused = client.upload_call("b", &content(CHUNK)).send().await;
    refused.problem(503, "too-few-nodes");

    hours(10..=40).await;
    let seen = state(&coordinator, cheat.node_id).await;
    assert_eq!(seen["state"], "suspended", "{seen}");
    let reason = seen["state_history"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("did not come in time"), "{reason}");
    // Its blobs were given whole whenever they were asked for: they are there, and paid for by nobody.
    assert_eq!(of_node(&pool, DEMOTED, cheat.node_id).await, 0);
    let missed = of_node(&pool, MISSED, cheat.node_id).await;
    assert!(missed >= 12 * 7, "{missed} of 12 in each of 10 rounds");
    assert_eq!(of_node(&pool, GIVEN_BACK, cheat.node_id).await, 0);
    let passed = "SELECT passed_challenges FROM nodes WHERE node_id = $1";
    assert_eq!(of_node(&pool, passed, cheat.node_id).await, 0);
    assert_eq!(client.content(&file).await, content(12 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_never_answers_a_challenge_earns_nothing_for_its_reads_and_is_suspended(
    pool: PgPool,
) {
    never_proves(pool, OnProve::Hang).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_busy_for_ever_earns_nothing_for_its_reads_and_is_suspended(pool: PgPool) {
    never_proves(pool, OnProve::Busy).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_answers_again_gets_new_data_again(pool: PgPool) {
    let (coordinator, nodes, client, _, begin) = fleet(&pool, 12, &["proofs.deadline=50ms"]).await;
    nodes[0].on_prove(OnProve::Busy);
    rounds(&coordinator, begin, 1..=2).await;
    assert_eq!(state(&coordinator, nodes[0].node_id).await["on_hold"], true);
    nodes[0].on_prove(OnProve::Prove);
    rounds(&coordinator, begin, 3..=4).await;
    let seen = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(seen["on_hold"], false, "{seen}");
    coordinator.start_workers(); // the liveness worker tells the placement
    eventually(|| async {
        let stored = client.upload_call("b", &content(CHUNK)).send().await;
        (stored.status == StatusCode::CREATED).then_some(())
    })
    .await;
}

/// Reads until so many of the node's copies were met with.
async fn read_until_suspect(pool: &PgPool, client: &Client, file: &Value, node: &Node, met: i64) {
    let suspect = "SELECT count(*) FROM replicas WHERE node_id = $1 AND suspect_since IS NOT NULL";
    eventually(|| async {
        client.content(file).await;
        (of_node(pool, suspect, node.node_id).await >= met).then_some(())
    })
    .await;
}

/// What becomes of a node that proves whatever it is asked, and reads so.
async fn proves_and_misreads(pool: PgPool, conduct: OnRead) {
    let (coordinator, nodes, client, file, begin) = fleet(&pool, 12, &[]).await;
    let cheat = &nodes[0];
    cheat.on_read(conduct);
    read_until_suspect(&pool, &client, &file, cheat, 3).await;
    rounds(&coordinator, begin, 1..=1).await;
    let lost = of_node(&pool, DEMOTED, cheat.node_id).await;
    assert!(lost >= 3, "{lost}");
    let seen = state(&coordinator, cheat.node_id).await;
    assert_eq!(seen["on_hold"], true, "{seen}");
    // What is found at the moment at which a round ends counts in it or in the next one.
    rounds(&coordinator, begin, 2..=2).await;
    let seen = state(&coordinator, cheat.node_id).await;
    assert!(score(&seen) < 1_000_000, "{seen}");
    rounds(&coordinator, begin, 3..=12).await;
    let seen = state(&coordinator, cheat.node_id).await;
    assert!(score(&seen) < 980_000, "{seen}");
    assert!(["suspended", "disqualified"].contains(&seen["state"].as_str().unwrap()));
    for honest in &nodes[1..] {
        assert_eq!(penalties(&pool, honest.node_id).await, []);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_gives_wrong_bytes_is_suspended_however_right_its_proofs_are(pool: PgPool) {
    proves_and_misreads(pool, OnRead::Flip).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_says_missing_to_reads_is_suspended_however_right_its_proofs_are(pool: PgPool) {
    proves_and_misreads(pool, OnRead::Deny).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_signs_for_another_length_gets_nothing_new_and_is_suspended(pool: PgPool) {
    let (coordinator, _honest) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let forger = Node::join(&coordinator).await;
    let (_, client) = coordinator.customer().await;
    forger.on_store(OnStore::Lengthen);
    let proofs = &coordinator.app.proofs;
    let forged = &coordinator.app.blobs.metrics.store_failures;
    let mut before = 1_000_000;
    for n in 1.. {
        let tried = forged.get();
        while forged.get() == tried {
            client.upload(&format!("{n}"), &content(CHUNK)).await; // placement is by chance
        }
        // It gets nothing more, before anything was written.
        let blobs = forger.blobs().len();
        for more in 0..3 {
            client.upload(&format!("{n} {more}"), &content(CHUNK)).await;
        }
        assert_eq!(forger.blobs().len(), blobs);
        fresh_receipts::check(proofs, Clock::system().now())
            .await
            .unwrap();
        let seen = state(&coordinator, forger.node_id).await;
        assert!(score(&seen) < before, "{seen}");
        assert!(says(&seen, "hold_reason", "receipts"), "{seen}");
        before = score(&seen);
        if seen["state"] == "suspended" {
            assert!(says(&seen, "state_reason", "receipts"), "{seen}");
            break;
        }
        assert!(n < 46, "as many as were tried once, without a consequence");
        let member = coordinator.app.fleet.member(forger.node_id).unwrap();
        let mut standing = member.standing();
        standing.hold = None; // hours later
        member.set_standing(standing);
    }
    let replicas = "SELECT count(*) FROM replicas WHERE node_id = $1";
    assert_eq!(of_node(&pool, replicas, forger.node_id).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn newcomers_that_report_what_they_never_kept_are_on_hold_with_the_first_report(
    pool: PgPool,
) {
    let (coordinator, _honest) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let cheats = [
        Node::join(&coordinator).await,
        Node::join(&coordinator).await,
    ];
    client.upload("a", &content(30 * CHUNK)).await;
    for cheat in &cheats {
        let blobs = cheat.blobs();
        assert!(blobs.len() > 2);
        let noted = cheat.report_loss(&coordinator, &blobs).await;
        assert_eq!(noted, Ok(blobs.len() as u32));
        let seen = state(&coordinator, cheat.node_id).await;
        assert!(score(&seen) < 1_000_000, "{seen}");
        assert_eq!(seen["on_hold"], true);
        assert!(says(&seen, "hold_reason", "lost"), "{seen}");
    }
    let held = cheats.each_ref().map(|cheat| cheat.blobs().len());
    client.upload("b", &content(30 * CHUNK)).await;
    assert_eq!(cheats.each_ref().map(|cheat| cheat.blobs().len()), held);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_reported_lost_goes_on_to_count_for_half_of_what_was_found(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 12, &[]).await;
    let (teller, silent) = (&nodes[0], &nodes[1]);
    let told: Vec<_> = teller.blobs().into_iter().take(6).collect();
    teller.report_loss(&coordinator, &told).await.unwrap();
    for blob in silent.blobs().into_iter().take(6) {
        silent.lose(blob);
    }
    rounds(&coordinator, begin, 1..=4).await;
    let lost = async |node: &Node| 1_000_000 - score(&state(&coordinator, node.node_id).await);
    let (told, found) = (lost(teller).await, lost(silent).await);
    assert!(found > 15_000, "{found}");
    assert!(
        (found / 3..=2 * found / 3).contains(&told),
        "{told} and {found}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_one_round_found_counts_in_the_next_however_late_that_is(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 12, &[]).await;
    let lose = |node: &Node| {
        for blob in node.blobs().into_iter().take(6) {
            node.lose(blob);
        }
    };
    let lost = async |node: &Node| 1_000_000 - score(&state(&coordinator, node.node_id).await);
    lose(&nodes[0]);
    rounds(&coordinator, begin, 1..=1).await;
    let in_one_round = lost(&nodes[0]).await;
    lose(&nodes[1]);
    // The round that finds it and the one after it, all at one moment.
    rounds(&coordinator, begin, 4..=4).await;
    let in_two_rounds = lost(&nodes[1]).await;
    assert!(
        in_two_rounds > in_one_round * 3 / 2,
        "{in_one_round} and {in_two_rounds}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_a_newcomer_has_just_signed_for_is_challenged_before_any_round(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 20, &[]).await;
    let cheat = &nodes[0];
    for blob in cheat.blobs() {
        cheat.lose(blob);
    }
    audit_at(&coordinator, begin).await;
    assert_eq!(
        of_node(&pool, DEMOTED, cheat.node_id).await,
        0,
        "its round is hours away"
    );
    fresh_receipts::check(&coordinator.app.proofs, begin)
        .await
        .unwrap();
    audit_at(&coordinator, begin).await;
    assert_eq!(
        of_node(&pool, DEMOTED, cheat.node_id).await,
        8,
        "a few of them by chance"
    );
    let seen = state(&coordinator, cheat.node_id).await;
    assert_eq!(seen["on_hold"], true);
    for honest in &nodes[1..] {
        assert_eq!(of_node(&pool, DEMOTED, honest.node_id).await, 0);
        assert_eq!(penalties(&pool, honest.node_id).await, []);
    }
    // Each is asked for once.
    fresh_receipts::check(&coordinator.app.proofs, begin)
        .await
        .unwrap();
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn probation_lasts_three_days_however_much_a_node_proves(pool: PgPool) {
    let settings = ["nodes.vetting_time=72h"];
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 12, &settings).await;
    rounds(&coordinator, begin, 1..=17).await;
    let seen = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(seen["state"], "probation", "204 challenges in 68 hours");
    rounds(&coordinator, begin, 18..=20).await;
    let seen = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(seen["state"], "active");
    assert!(says(&seen, "state_reason", "in time"), "{seen}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn proofs_of_tiny_blobs_vet_nobody(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    for n in 0..20 {
        client.upload(&format!("{n}"), b"tiny").await;
    }
    let begin = Clock::system().now();
    audit_at(&coordinator, begin).await;
    rounds(&coordinator, begin, 1..=8).await;
    let passed = "SELECT passed_challenges FROM nodes WHERE node_id = $1";
    assert!(of_node(&pool, passed, nodes[0].node_id).await > 100);
    let seen = state(&coordinator, nodes[0].node_id).await;
    assert_eq!(seen["state"], "probation");
}
