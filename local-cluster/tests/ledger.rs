//! The end of the ledger is rewritten under real nodes: those that kept it tell, and whoever has an export checks it
//! without any database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use support::{LONG, cluster, user};

const DAYS_OF_SECONDS: &str = "[coordinator.money]\nsettlement_interval = \"5s\"\n";

fn coordinator(args: &[&OsStr]) -> Output {
    Command::new(Programs::beside_this_one().unwrap().coordinator)
        .args(args)
        .output()
        .unwrap()
}

fn node_says(cluster: &Cluster, what: &str) -> Value {
    let output = Command::new(Programs::beside_this_one().unwrap().storage_node)
        .arg("--config")
        .arg(cluster.config_file(Member::Node(1)))
        .args([what, "--output", "json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What `doctor` finds about the ledger, once it finds anything.
fn doctors_verdict(cluster: &Cluster) -> Option<String> {
    let findings = node_says(cluster, "doctor");
    let mut findings = findings.as_array()?.iter();
    let finding = findings.find(|finding| finding["about"] == "ledger")?;
    finding["verdict"].as_str().map(ToOwned::to_owned)
}

async fn until_doctor_says(cluster: &Cluster, verdict: &str) {
    let said = wait_for(format!("doctor to say {verdict}"), LONG, async || {
        (doctors_verdict(cluster).as_deref() == Some(verdict)).then_some(())
    });
    said.await.unwrap();
}

#[tokio::test]
async fn a_rewritten_ledger_shows_at_every_node_and_offline() {
    let cluster = cluster(1, DAYS_OF_SECONDS).await;
    user(&cluster).await; // buys credits: there is a block
    until_doctor_says(&cluster, "good").await;
    let kept = cluster.data_dir(1).join("ledger-days.json");
    let config = cluster.config_file(Member::Coordinator(1));
    let config = ["--config".as_ref(), config.as_os_str()];
    let (dir, export) = (tempfile::tempdir().unwrap(), "export.jsonl");
    let export = dir.path().join(export);
    let verified = || {
        let args = ["ledger", "export", "--format", "jsonl"].map(OsStr::new);
        let exported = coordinator(&[&args[..], &config].concat());
        fs::write(&export, exported.stdout).unwrap();
        let args = ["ledger", "verify", "--heads"].map(OsStr::new);
        let online = coordinator(&[&args[..], &[kept.as_ref()], &config].concat());
        let offline = coordinator(&["verify-ledger".as_ref(), export.as_ref(), kept.as_ref()]);
        [online, offline]
    };
    for output in verified() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    // The next head is signed over what the last block has become.
    let url = cluster.status().unwrap().postgres.url;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut transaction = database.begin().await.unwrap();
    for change in [
        "SET LOCAL session_replication_role = replica",
        "UPDATE blocks SET hash = sha256(hash)
         WHERE block_number = (SELECT max(head_block) FROM settlement_days)",
    ] {
        sqlx::query(change)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
    until_doctor_says(&cluster, "bad").await;
    let status = node_says(&cluster, "status");
    for ledger in [&status["ledger"], &status["node"]["ledger"]] {
        let contradictions = ledger["contradictions"].as_array();
        assert!(
            contradictions.is_some_and(|all| !all.is_empty()),
            "{status}"
        );
    }
    let admin = cluster.status().unwrap().nodes[0].admin_url.clone();
    let metrics = reqwest::get(format!("{}/metrics", admin.unwrap()));
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let told = metrics
        .lines()
        .find_map(|line| line.strip_prefix("fsn_node_ledger_contradictions "));
    assert!(told.is_some_and(|told| told != "0"), "{metrics}");
    for output in verified() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("the ledger was rewritten"), "{said}");
    }
}
