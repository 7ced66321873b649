//! Receipts, proofs and blobs of real nodes, checked by the program that an owner would use.

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

/// The attack: the owner of A is shown what is there for B. And the cure: what he has opened is his, or it is refuted.
#[tokio::test]
async fn an_owner_has_copies_opened_by_chance_and_another_files_evidence_is_refused() {
    let cluster = shared().await;
    let session = user(&cluster).await;
    let content = random_bytes(2 * CHUNK + 1000);
    let size = Some(content.len() as u64);
    let file = session.upload("mine", size, content.clone()).await.unwrap();
    let other = random_bytes(CHUNK);
    let other = session
        .upload("other", Some(CHUNK as u64), other)
        .await
        .unwrap();

    let dir = tempfile::tempdir().unwrap();
    let [kept, of_other, mine, opened] =
        ["receipts", "of-other", "mine", "opened"].map(|name| dir.path().join(name));
    std::fs::write(&mine, &content).unwrap();
    for (id, path) in [(file.file_id, &kept), (other.file_id, &of_other)] {
        let receipts = api::paths::file_receipts(id);
        let receipts: Value = session.get(&receipts).await.unwrap();
        std::fs::write(path, receipts.to_string()).unwrap();
    }
    let id = file.file_id.to_string();
    let coordinator = Programs::beside_this_one().unwrap().coordinator;
    let url = cluster.status().unwrap().base_url;
    let token = session.access_token().await.unwrap();
    let output = Command::new(&coordinator)
        .args([
            "verify-evidence",
            "--sample",
            "3",
            "--file-id",
            &id,
            "--url",
            &url,
            "--save",
        ])
        .arg(&opened)
        .arg("--content")
        .arg(&mine)
        .arg(&kept)
        .env("FSN_TOKEN", token)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.contains("3 copies are opened"), "{said}");
    assert!(said.contains("is true of your file"), "{said}");

    // The same again, offline.
    let verify = |file: &std::path::Path| {
        let command = &mut Command::new(&coordinator);
        let command = command.args(["verify-evidence", "--file-id", &id]);
        command.arg(&opened).arg(file).output().unwrap()
    };
    let output = verify(&kept);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = verify(&of_other);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(&format!("it is of file {}", other.file_id)),
        "{said}"
    );
}
