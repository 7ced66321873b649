//! What a node and its operator are told of its challenges, as it is answered, in the hands of the program that checks it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use kit::Entropy;
use proto::evidence::{ProofMessage, Proofs};
use proto::{Judgement, ProofStatement};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::evidence::{printed, verify};
use crate::support::audit::{fleet, rounds};
use crate::support::{Coordinator, Node, OnProve};

async fn asked(coordinator: &Coordinator, node: &Node, path: &str) -> crate::support::Answer {
    let path = format!("/api/v1/nodes/{}/proofs{path}", node.node_id);
    let call = coordinator.visitor().call(Method::GET, &path);
    call.header("x-api-key", &node.api_key).send().await
}

async fn kept(coordinator: &Coordinator, node: &Node, path: &str) -> Value {
    asked(coordinator, node, path).await.expect(StatusCode::OK)
}

fn statement(view: &Value) -> ProofStatement {
    let bytes = BASE64_STANDARD.decode(view["statement"].as_str().unwrap());
    ProofStatement::from_bytes(&bytes.unwrap()).unwrap()
}

/// The same challenge and answer, judged otherwise.
fn judged_anew(
    coordinator: &Coordinator,
    honest: &ProofStatement,
    judgement: Judgement,
    elapsed_ms: u64,
) -> ProofStatement {
    let honest = honest.clone();
    let count = honest.verdict.judgements.len();
    let lie = ProofStatement::sign(
        honest.challenge,
        honest.challenge_signature,
        honest.answer,
        vec![judgement; count],
        (elapsed_ms, honest.verdict.deadline_ms),
        &coordinator.app.keys.ring.identity,
    );
    lie.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_raw_answer_is_checked_and_a_proof_in_time_that_is_called_missed_refutes(pool: PgPool) {
    let (coordinator, nodes, .., begin) = fleet(&pool, 3, &[]).await;
    rounds(&coordinator, begin, 1..=1).await;
    let page = kept(&coordinator, &nodes[0], "").await;
    let dir = tempfile::tempdir().unwrap();
    let output = verify(dir.path(), &[&page], &[]);
    assert!(output.status.success(), "{}", printed(&output));
    let count: usize = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| statement(view).verdict.judgements.len())
        .sum();
    let said = format!("{count} verdicts that nothing contradicts");
    assert!(printed(&output).contains(&said), "{}", printed(&output));

    // What stands beside the statement is not believed.
    let mut altered = page.clone();
    altered["items"][0]["passed"] = json!(0);
    let output = verify(dir.path(), &[&altered], &[]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("has signed"),
        "{}",
        printed(&output)
    );

    let honest = statement(&page["items"][0]);
    let limit = honest.verdict.deadline_ms;
    for (elapsed_ms, refuted) in [(limit, true), (limit + 1, false)] {
        let lie = judged_anew(&coordinator, &honest, Judgement::Missed, elapsed_ms);
        let mut lying = page.clone();
        let view = &mut lying["items"][0];
        view["statement"] = json!(BASE64_STANDARD.encode(lie.to_bytes()));
        view["missed"] = view["passed"].clone();
        view["passed"] = json!(0);
        let output = verify(dir.path(), &[&lying], &[]);
        assert_eq!(output.status.success(), !refuted, "{}", printed(&output));
        assert_eq!(
            printed(&output).contains("REFUTED"),
            refuted,
            "{}",
            printed(&output)
        );
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_a_node_had_sent_when_it_failed_is_handed_out_and_checked(pool: PgPool) {
    let (coordinator, nodes, .., begin) = fleet(&pool, 3, &[]).await;
    nodes[0].on_prove(OnProve::Guess);
    rounds(&coordinator, begin, 1..=1).await;
    let page = kept(&coordinator, &nodes[0], "").await;
    let views = page["items"].as_array().unwrap();
    let failed = views.iter().find(|view| view["failed"] != 0).unwrap();
    let path = format!("/{}", failed["challenge_id"].as_str().unwrap());
    let evidence = kept(&coordinator, &nodes[0], &path).await;
    let item = &evidence["items"][0];
    assert_eq!(
        (&item["outcome"], &item["claim"]),
        (&json!("failed"), &json!("proven"))
    );
    assert_eq!(item["index"], Value::Null);
    assert!(!item["body"].as_str().unwrap().is_empty());
    let dir = tempfile::tempdir().unwrap();
    let output = verify(dir.path(), &[&evidence, &page], &[]);
    assert!(output.status.success(), "{}", printed(&output));

    // Without what the node sent the accusation stands on nothing.
    let mut bare = evidence.clone();
    bare["items"][0]["claim"] = Value::Null;
    let output = verify(dir.path(), &[&bare], &[]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("left out"),
        "{}",
        printed(&output)
    );

    // It had failed: a coordinator that says otherwise is refuted, too.
    let lie = judged_anew(&coordinator, &statement(failed), Judgement::Passed, 1);
    let mut lying: Proofs = serde_json::from_value(evidence).unwrap();
    lying.messages = vec![ProofMessage::from(&lie)];
    for item in &mut lying.items {
        item.outcome = Judgement::Passed.into();
    }
    let lying = serde_json::to_value(lying).unwrap();
    let output = verify(dir.path(), &[&lying], &[]);
    assert!(!output.status.success());
    assert!(printed(&output).contains("REFUTED"), "{}", printed(&output));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_challenge_is_for_its_node_and_its_operator(pool: PgPool) {
    let (coordinator, nodes, stranger, _, begin) = fleet(&pool, 3, &[]).await;
    rounds(&coordinator, begin, 1..=1).await;
    let page = kept(&coordinator, &nodes[0], "").await;
    let challenge = page["items"][0]["challenge_id"].as_str().unwrap();
    let path = format!("/{challenge}");
    // Nobody's, and another node's.
    let nobodys = model::ids::uuid_v7(begin, &mut Entropy::system().rng());
    for (node, path) in [
        (&nodes[0], format!("/{nobodys}")),
        (&nodes[1], path.clone()),
    ] {
        asked(&coordinator, node, &path)
            .await
            .problem(404, "not-found");
    }
    let path = format!("/api/v1/nodes/{}/proofs{path}", nodes[0].node_id);
    stranger.get(&path).await.problem(403, "forbidden");
    coordinator
        .visitor()
        .get(&path)
        .await
        .problem(401, "unauthorized");
    let wrong = asked(&coordinator, &nodes[0], "/no-uuid").await;
    wrong.problem(404, "not-found");
}
