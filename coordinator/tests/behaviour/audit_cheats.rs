//! Nodes that do not hold what they are paid for, each in its own way, and how they are found out.

use coordinator::durability::demotion;
use http::StatusCode;
use kit::Clock;
use proto::BlobId;
use sqlx::PgPool;

use crate::support::audit::{
    DEMOTED, HOUR, ROUND, audit_at, fleet, kinds, of_node, penalties, rounds, state,
};
use crate::support::{CHUNK, OnProve, OnRead, content, count, eventually};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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
            .hold;
        held.map(|_| ())
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
    while demotion::demote_some(&coordinator.app.durability, begin)
        .await
        .unwrap()
    {}
    assert_eq!(of_node(&pool, DEMOTED, cheat.node_id).await, 14);
    let entered = "SELECT count(*) FROM audit_schedule WHERE node_id = $1";
    assert_eq!(of_node(&pool, entered, cheat.node_id).await, 0);
    assert_eq!(client.content(&file).await, content(14 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_loses_one_blob_in_a_hundred_is_never_suspended(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 100, &[]).await;
    nodes[2].lose(nodes[2].blobs()[50]);
    rounds(&coordinator, begin, 1..=6).await;
    let node = state(&coordinator, nodes[2].node_id).await;
    assert_eq!(node["state"], "active");
    assert!(node["score_ppm"].as_u64().unwrap() > 990_000);
    assert_eq!(of_node(&pool, DEMOTED, nodes[2].node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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
    let now = Clock::system().now();
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

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
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

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_bytes_of_another_nodes_replica_prove_nothing(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let (cheat, neighbour) = (&nodes[0], &nodes[1]);
    // Both hold the same chunk; the neighbour gives its copy away.
    let (blob, bytes) = (cheat.blobs()[0], neighbour.contents().remove(0).1);
    cheat.lose(blob);
    cheat.borrow_for(blob, bytes);
    cheat.on_prove(OnProve::Guess);
    rounds(&coordinator, begin, 1..=1).await;
    assert_eq!(
        penalties(&pool, cheat.node_id).await,
        kinds(&[("failed", 1)])
    );
    assert_eq!(of_node(&pool, DEMOTED, cheat.node_id).await, 1);
    assert_eq!(penalties(&pool, neighbour.node_id).await, []);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_old_proof_sent_again_is_no_answer_and_the_loss_comes_out(pool: PgPool) {
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 1, &[]).await;
    let cheat = &nodes[0];
    rounds(&coordinator, begin, 1..=1).await; // something to replay
    cheat.lose(cheat.blobs()[0]);
    cheat.on_prove(OnProve::Replay);
    let round = begin + ROUND * 2;
    audit_at(&coordinator, round).await;
    assert_eq!(
        penalties(&pool, cheat.node_id).await,
        kinds(&[("missed", 1)])
    );
    audit_at(&coordinator, round + HOUR).await;
    let expected = kinds(&[("failed", 1), ("missed", 1)]);
    assert_eq!(penalties(&pool, cheat.node_id).await, expected);
    assert_eq!(of_node(&pool, DEMOTED, cheat.node_id).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_keeps_only_what_its_turn_will_ask_is_suspended(pool: PgPool) {
    // 8 of 60 replicas have their turn in a round, and as many are drawn.
    let (coordinator, nodes, _, _, begin) = fleet(&pool, 60, &["proofs.per_node_limit=16"]).await;
    let cheat = &nodes[0];
    let everything = cheat.contents();
    for round in 1..=6 {
        // It knows where its turn stands as well as the coordinator does.
        let turn = "SELECT turn_from, turn_to FROM audit_schedule WHERE node_id = $1";
        let (from, to): (i64, i64) = sqlx::query_as(turn)
            .bind(cheat.node_id.as_uuid())
            .fetch_one(&pool)
            .await
            .unwrap();
        let turn = from as u64..=to as u64;
        let place = |blob: &BlobId| u64::from_be_bytes(*blob.as_bytes().first_chunk().unwrap());
        cheat.hold_only(
            everything
                .iter()
                .filter(|(blob, _)| turn.contains(&place(blob))),
        );
        rounds(&coordinator, begin, round..=round).await;
    }
    let caught = state(&coordinator, cheat.node_id).await;
    assert_eq!(caught["state"], "suspended", "{caught}");
    for honest in &nodes[1..] {
        assert_eq!(
            state(&coordinator, honest.node_id).await["score_ppm"],
            1_000_000
        );
        assert_eq!(penalties(&pool, honest.node_id).await, []);
    }
    // What a drawn replica costs stands for the eight that it was drawn from.
    let weights = "SELECT count(*) FROM audit_penalties WHERE weight_ppm <> 8000000";
    assert_eq!(count(&pool, weights).await, 0);
}
