//! Receipts and proofs of real nodes, checked by the program that an owner would use.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::{Command, Output};

use local_cluster::Programs;
use local_cluster::client::Session;
use proto::FileId;
use reqwest::Method;
use serde_json::{Value, json};
use support::{CHUNK, random_bytes, shared, user};

async fn prove(session: &Session, file_id: FileId, seed: &str) -> Value {
    let path = format!("/api/v1/files/{file_id}/proof");
    let request = session.request(Method::POST, &path).await.unwrap();
    let answer = request.json(&json!({"seed": seed})).send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

fn verify(seed: &str, file: &std::path::Path) -> Output {
    Command::new(Programs::beside_this_one().unwrap().coordinator)
        .args(["verify-evidence", "--seed", seed])
        .arg(file)
        .output()
        .unwrap()
}

#[tokio::test]
async fn an_owner_has_real_nodes_prove_every_copy_and_checks_it_offline() {
    let cluster = shared().await;
    let session = user(&cluster).await;
    let content = random_bytes(2 * CHUNK + 1000);
    let size = Some(content.len() as u64);
    let file = session.upload("evidence", size, content).await.unwrap();
    let path = format!("/api/v1/files/{}/receipts", file.file_id);
    let receipts: Value = session.get(&path).await.unwrap();
    let seed = "5a".repeat(32);
    let proof = prove(&session, file.file_id, &seed).await;

    let dir = tempfile::tempdir().unwrap();
    let evidence = dir.path().join("evidence.json");
    std::fs::write(&evidence, format!("{receipts}\n{proof}")).unwrap();
    let output = verify(&seed, &evidence);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}: {proof}");
    assert!(said.contains("9 of 9 copies of 3 chunks"), "{said}");

    let other_seed = "a5".repeat(32);
    assert!(!verify(&other_seed, &evidence).status.success());
}
