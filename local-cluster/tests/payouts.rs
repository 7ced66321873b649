//! What a node has earned, paid out by its operator on the command line. The cluster's provider is the mock.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Stdio;

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Programs};
use serde_json::Value;
use support::{CHUNK, LONG, cluster, own_earnings, random_bytes};
use tokio::process::Command;

/// Days last five seconds, and pay is such that they come to something.
const SETTINGS: &str = r#"
    [coordinator.money]
    price_per_gb_month = 1000000
    pay_per_gb_month = 1000000
    settlement_interval = "5s"
"#;

async fn payout(cluster: &Cluster, args: &[&str]) -> Value {
    let mut command = Command::new(Programs::beside_this_one().unwrap().storage_node);
    command
        .arg("--config")
        .arg(cluster.dir().join("node-1/config.toml"))
        .args(["payout", "--output", "json"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn an_operator_has_a_nodes_earnings_paid_out_once_from_the_command_line() {
    let cluster = cluster(3, SETTINGS).await;
    let session = cluster.session().await.unwrap();
    let content = random_bytes(CHUNK);
    session.upload("f", None, content).await.unwrap();
    let earned = wait_for("something to become available", LONG, async || {
        let earnings = own_earnings(&cluster, 1).await.ok()?;
        let days = earnings["days"].as_array()?;
        let mut available = days
            .iter()
            .filter_map(|day| day["available_microcredits"].as_i64());
        available.any(|available| available > 0).then_some(())
    });
    earned.await.unwrap();
    let one = ["--amount", "0.000001", "--key", "first"];
    let paid = payout(&cluster, &one).await;
    assert_eq!(
        (
            &paid["state"],
            &paid["provider"],
            &paid["amount_microcredits"]
        ),
        (&"paid".into(), &"mock".into(), &1.into())
    );
    assert_eq!(payout(&cluster, &one).await, paid);
    let list = payout(&cluster, &["--list"]).await;
    assert_eq!(list.as_array().unwrap(), &[paid]);
}
