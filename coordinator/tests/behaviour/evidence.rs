//! Receipts and fresh proofs, from the nodes to an owner who trusts nobody.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use coordinator::proofs::audit;
use coordinator::proofs::evidence_slots::Funding;
use http::StatusCode;
use kit::Clock;
use model::ids::UserId;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{CHUNK, Client, Coordinator, Node, OnProve, content, eventually};

const SEED: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

pub(crate) async fn stored(
    pool: &PgPool,
    chunks: usize,
) -> (Coordinator, [Node; 3], Client, String) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(chunks * CHUNK)).await;
    let id = file["file_id"].as_str().unwrap().to_owned();
    (coordinator, nodes, client, id)
}

pub(crate) async fn receipts(client: &Client, id: &str, query: &str) -> Value {
    let path = format!("/api/v1/files/{id}/receipts{query}");
    client.get(&path).await.expect(StatusCode::OK)
}

pub(crate) async fn prove(client: &Client, id: &str, request: &Value) -> Value {
    let call = client.post(&format!("/api/v1/files/{id}/proof"));
    let answer = call.body(request.to_string()).send().await;
    answer.expect(StatusCode::OK)
}

fn outcomes(proof: &Value) -> Vec<&str> {
    let items = proof["items"].as_array().unwrap().iter();
    items
        .map(|item| item["outcome"].as_str().unwrap())
        .collect()
}

/// `coordinator verify-evidence`, the program itself, without network, database or settings.
pub(crate) fn verify(dir: &Path, documents: &[&Value], options: &[&str]) -> Output {
    let file = dir.join("evidence.json");
    let text: Vec<String> = documents.iter().map(ToString::to_string).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_coordinator"))
        .env_clear()
        .current_dir(dir)
        .stdin(Stdio::null())
        .arg("verify-evidence")
        .args(options)
        .arg(&file)
        .output()
        .unwrap()
}

pub(crate) fn printed(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_owner_checks_offline_that_every_copy_is_there(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 3).await;
    let first = receipts(&client, &id, "?limit=4").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = receipts(&client, &id, &format!("?limit=100&cursor={cursor}")).await;
    assert_eq!(first["items"].as_array().unwrap().len(), 4);
    assert_eq!(rest["items"].as_array().unwrap().len(), 5);
    assert_eq!(rest["next_cursor"], Value::Null);

    let asked = json!({"seed": SEED, "first_index": 0, "count": 2});
    let front = prove(&client, &id, &asked).await;
    assert_eq!(outcomes(&front), ["passed"; 6]);
    assert_eq!(front["next_index"], 2);
    let back = prove(&client, &id, &json!({"seed": SEED, "first_index": 2})).await;
    assert_eq!(outcomes(&back), ["passed"; 3]);
    assert_eq!(back["next_index"], Value::Null);
    assert_eq!(back["items"][0]["seed"], SEED);

    let dir = tempfile::tempdir().unwrap();
    let all = [&front, &first, &back, &rest];
    let output = verify(dir.path(), &all, &["--seed", SEED]);
    assert!(output.status.success(), "{}", printed(&output));
    assert!(printed(&output).contains("9 of 9 copies of 3 chunks are proven"));

    let output = verify(dir.path(), &all, &["--seed", &"00".repeat(32)]);
    assert!(!output.status.success());
    let output = verify(dir.path(), &[&front, &first, &rest], &[]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("6 of 9 copies"),
        "{}",
        printed(&output)
    );
    let output = verify(dir.path(), &[&front, &back], &[]);
    assert!(
        printed(&output).contains("no sound receipts"),
        "{}",
        printed(&output)
    );
    drop(nodes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_that_cannot_be_proven_is_named_and_noted_for_the_audit(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 1).await;
    nodes[0].on_prove(OnProve::Guess);
    nodes[1].on_prove(OnProve::Deny);
    let proof = prove(&client, &id, &json!({})).await;
    let of_node = |node: &Node| {
        let mut items = proof["items"].as_array().unwrap().iter();
        let id = node.node_id.to_string();
        items.find(|item| item["node_id"] == id).unwrap()
    };
    let said = |node| {
        (
            of_node(node)["outcome"].clone(),
            of_node(node)["claim"].clone(),
        )
    };
    assert_eq!(said(&nodes[0]), (json!("failed"), json!("proven")));
    assert_eq!(said(&nodes[1]), (json!("failed"), json!("missing")));
    assert_eq!(said(&nodes[2]), (json!("passed"), json!("proven")));
    eventually(|| async {
        let query = "SELECT count(*) FROM replicas WHERE suspect_reason = 'failed a proof'";
        (crate::support::count(&pool, query).await == 2).then_some(())
    })
    .await;

    let receipts = receipts(&client, &id, "").await;
    let dir = tempfile::tempdir().unwrap();
    let output = verify(dir.path(), &[&receipts, &proof], &[]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("1 of 3 copies"),
        "{}",
        printed(&output)
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nodes_that_are_away_or_busy_are_told_apart_from_those_that_fail(pool: PgPool) {
    let (coordinator, nodes, client, id) = stored(&pool, 1).await;
    nodes[0].on_prove(OnProve::Busy);
    let gone = nodes[1].peer_id();
    coordinator.app.fleet.remove_peer(&gone);
    let proof = prove(&client, &id, &json!({})).await;
    let mut outcomes = outcomes(&proof);
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["busy", "offline", "passed"]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn evidence_is_for_the_owner_only_and_within_bounds(pool: PgPool) {
    let (coordinator, _nodes, client, id) = stored(&pool, 1).await;
    let (_, stranger) = coordinator.customer().await;
    let (receipts, proof) = (
        format!("/api/v1/files/{id}/receipts"),
        format!("/api/v1/files/{id}/proof"),
    );
    stranger.get(&receipts).await.problem(404, "not-found");
    let asked = |client: &Client, body: &str| client.post(&proof).body(body.to_owned()).send();
    asked(&stranger, "{}").await.problem(404, "not-found");
    let beyond = asked(&client, r#"{"first_index":1}"#).await;
    beyond.problem(422, "chunk-out-of-range");
    for wrong in [r#"{"count":0}"#, r#"{"seed":"5a"}"#, r#"{"sead":"5a"}"#, ""] {
        asked(&client, wrong).await.problem(400, "invalid-request");
    }
    let far = asked(&client, r#"{"count":4294967295}"#).await;
    far.expect(StatusCode::OK);
    let refused = async {
        loop {
            let answer = asked(&client, "{}").await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                return answer;
            }
        }
    };
    let refused = crate::support::soon(refused).await;
    refused.problem(429, "too-many-requests");
    assert!(refused.headers.contains_key("retry-after"));
    asked(&stranger, "{}").await.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_demoted_copy_is_neither_promised_nor_asked_for_and_old_receipts_tell(pool: PgPool) {
    let (coordinator, nodes, client, id) = stored(&pool, 2).await;
    let before = receipts(&client, &id, "").await;
    let lost = nodes[0].blobs()[0];
    audit::loss_reported(
        &coordinator.app.proofs,
        nodes[0].node_id,
        &[lost],
        "rot",
        Clock::system().now(),
    )
    .await
    .unwrap();
    let after = receipts(&client, &id, "").await;
    assert_eq!(after["items"].as_array().unwrap().len(), 5);
    let proof = prove(&client, &id, &json!({})).await;
    assert_eq!(outcomes(&proof), ["passed"; 5]);

    let dir = tempfile::tempdir().unwrap();
    let output = verify(dir.path(), &[&after, &proof], &[]);
    assert!(output.status.success(), "{}", printed(&output));
    assert!(printed(&output).contains("the fewest of one chunk: 2"));
    // Whoever kept the receipts of the upload sees what has gone.
    let output = verify(dir.path(), &[&before, &proof], &[]);
    assert!(!output.status.success());
    assert!(printed(&output).contains("5 of 6 copies"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn neither_others_nor_many_requests_of_ones_own_take_anothers_turn_to_ask_for_proofs(
    pool: PgPool,
) {
    let (coordinator, _nodes, client, id) = stored(&pool, 1).await;
    let slots = &coordinator.app.proofs.evidence_slots;
    let user = |n| UserId::from_uuid(Uuid::from_u128(n));
    // As many as there are for accounts that have bought nothing.
    let mut held = Vec::new();
    for n in 0..4 {
        held.push(slots.take(user(n), Funding::Trial).await.unwrap());
    }
    prove(&client, &id, &json!({"seed": SEED})).await;

    let owner: Uuid = sqlx::query_scalar("SELECT user_id FROM files")
        .fetch_one(&pool)
        .await
        .unwrap();
    let owner = UserId::from_uuid(owner);
    held.push(slots.take(owner, Funding::Paying).await.unwrap());
    held.push(slots.take(owner, Funding::Paying).await.unwrap());
    let call = client.post(&format!("/api/v1/files/{id}/proof"));
    let refused = call.body(json!({"seed": SEED}).to_string()).send().await;
    let refused = refused.problem(503, "busy");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("This account has two"), "{detail}");
    drop(held);
    prove(&client, &id, &json!({"seed": SEED})).await;
}
