//! Challenges to nodes that are honest, and to nodes that are not.

use std::time::Duration;

use coordinator::proofs::challenge::{Examination, Examined, Findings, examine};
use proto::{
    BlobId, ChallengeId, ChallengeItem, Difficulty, ItemOutcome, Judgement, NodeId, ProofSeed,
    ProofStatement,
};
use sqlx::PgPool;

use crate::support::{CHUNK, Coordinator, Node, OnProve, content, soon};

/// Long enough that a busy machine is no reason to miss it.
const DEADLINE: Duration = Duration::from_secs(30);

async fn with_blobs(pool: &PgPool) -> (Coordinator, [Node; 3], Vec<BlobId>) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    client.upload("a", &content(3 * CHUNK)).await;
    let blobs = nodes[0].blobs();
    assert_eq!(blobs.len(), 3);
    (coordinator, nodes, blobs)
}

fn examination(number: u8, blobs: &[BlobId]) -> Examination {
    let item = |blob_id: &BlobId| ChallengeItem {
        blob_id: *blob_id,
        length: CHUNK as u64 + 28,
        seed: ProofSeed::from_bytes([number; 32]),
    };
    Examination {
        id: ChallengeId::from_bytes([number; 16]),
        issued_at_ms: 1_767_225_600_123,
        difficulty: Difficulty::STANDARD,
        items: blobs.iter().map(item).collect(),
        deadline: DEADLINE,
        lowest_ping: None,
    }
}

async fn judged(coordinator: &Coordinator, node: NodeId, asked: Examination) -> Findings {
    match soon(examine(&coordinator.app.proofs, node, asked))
        .await
        .unwrap()
    {
        Examined::Judged(findings) => *findings,
        other => panic!("{other:?}"),
    }
}

fn judgements(findings: &Findings) -> Vec<Judgement> {
    findings
        .items()
        .map(|(_, judgement, _)| judgement)
        .collect()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_honest_node_passes_and_the_statement_of_it_can_be_checked_by_anyone(pool: PgPool) {
    let (coordinator, [node, ..], blobs) = with_blobs(&pool).await;
    let findings = judged(&coordinator, node.node_id, examination(1, &blobs)).await;
    assert_eq!(judgements(&findings), [Judgement::Passed; 3]);

    let kept = findings.statement.to_bytes();
    let statement = ProofStatement::from_bytes(&kept).unwrap();
    statement.verify().unwrap();
    let challenge = &statement.challenge;
    assert_eq!(challenge.parties().node, node.peer_id());
    assert_eq!(
        challenge.parties().network_id,
        coordinator.app.keys.ring.network_id
    );
    let digests = statement.answer.unwrap().item_digests;
    for (index, question) in challenge.questions().enumerate() {
        let answer = &findings.answers[index];
        assert_eq!(answer.digest(challenge, index), Some(digests[index]));
        let ItemOutcome::Proven(proof) = &answer.outcome else {
            panic!("{answer:?}");
        };
        proto::verify(&question, proof).unwrap();
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_blob_of_a_message_has_its_own_outcome(pool: PgPool) {
    let (coordinator, [node, other, _], mut blobs) = with_blobs(&pool).await;
    node.lose(blobs[1]);
    blobs.push(other.blobs()[0]); // a replica of the same chunk, but another node's
    let findings = judged(&coordinator, node.node_id, examination(1, &blobs)).await;
    use Judgement::{Failed, Passed};
    assert_eq!(judgements(&findings), [Passed, Failed, Passed, Failed]);
    findings.statement.verify().unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_says_wrong_things_fails_and_one_that_says_nothing_usable_has_missed(
    pool: PgPool,
) {
    let (coordinator, [node, ..], blobs) = with_blobs(&pool).await;
    judged(&coordinator, node.node_id, examination(1, &blobs)).await; // something to replay
    let conducts = [
        (OnProve::Guess, Judgement::Failed, true),
        (OnProve::Deny, Judgement::Failed, true),
        (OnProve::Busy, Judgement::Busy, true),
        (OnProve::Replay, Judgement::Missed, false),
        (OnProve::Surplus, Judgement::Missed, false),
        (OnProve::Prove, Judgement::Passed, true),
    ];
    for ((conduct, expected, answered), number) in conducts.into_iter().zip(2..) {
        node.on_prove(conduct);
        let findings = judged(&coordinator, node.node_id, examination(number, &blobs)).await;
        assert_eq!(judgements(&findings), [expected; 3], "{conduct:?}");
        assert_eq!(findings.statement.answer.is_some(), answered, "{conduct:?}");
        assert_eq!(findings.answers.len(), if answered { 3 } else { 0 });
        findings.statement.verify().unwrap();
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_does_not_answer_in_time_or_cuts_the_connection_has_missed(pool: PgPool) {
    let (coordinator, [silent, gone, _], _) = with_blobs(&pool).await;
    silent.on_prove(OnProve::Hang);
    let mut hasty = examination(1, &silent.blobs());
    hasty.deadline = Duration::from_millis(50);
    let findings = judged(&coordinator, silent.node_id, hasty).await;
    assert_eq!(judgements(&findings), [Judgement::Missed; 3]);
    assert!(findings.statement.verdict.elapsed_ms >= 50);

    gone.on_prove(OnProve::Vanish);
    let findings = judged(&coordinator, gone.node_id, examination(2, &gone.blobs())).await;
    assert_eq!(judgements(&findings), [Judgement::Missed; 3]);
    findings.statement.verify().unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_not_connected_is_offline_and_nothing_is_held_against_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let stranger = NodeId::from_bytes([7; 16]);
    let asked = examination(1, &[BlobId::of(b"a")]);
    let outcome = examine(&coordinator.app.proofs, stranger, asked)
        .await
        .unwrap();
    assert!(matches!(outcome, Examined::Offline), "{outcome:?}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_no_node_could_answer_is_not_asked(pool: PgPool) {
    let (coordinator, [node, ..], blobs) = with_blobs(&pool).await;
    let many = vec![blobs[0]; 17];
    for asked in [examination(1, &many), examination(1, &[])] {
        assert!(
            examine(&coordinator.app.proofs, node.node_id, asked)
                .await
                .is_err()
        );
    }
}
