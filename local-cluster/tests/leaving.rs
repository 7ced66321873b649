//! A node leaves the network in order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures::future::join_all;
use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs};
use serde_json::Value;
use support::{CHUNK, LONG, UNTIL_PURGED, blob_files, cluster, random_bytes, replicas};
use tokio::process::Command;

/// Moving all that a node holds, with a debug build on a busy machine.
const DRAINED_WITHIN: Duration = Duration::from_secs(180);

/// Blobs can be counted; days last five seconds, and pay is such that they come to something.
const SETTINGS: &str = r#"
    [node.store]
    layout = "files"
    [coordinator.money]
    price_per_gb_month = 1000000
    pay_per_gb_month = 1000000
    settlement_interval = "5s"
"#;

const LEAVING: usize = 1;

fn storage_node(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new(Programs::beside_this_one().unwrap().storage_node);
    let config = cluster.dir().join(format!("node-{LEAVING}/config.toml"));
    command
        .arg("--config")
        .arg(config)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[track_caller]
fn told(output: &Output) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the node's own key shows.
async fn own(cluster: &Cluster, path: &str) -> Option<Value> {
    let file = cluster.data_dir(LEAVING).join("credentials.json");
    let credentials: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let text = |name: &str| credentials[name].as_str().unwrap().to_owned();
    let path = path.replace("{id}", &text("node_id"));
    let client = cluster.client().unwrap();
    let request = client.request(reqwest::Method::GET, &path);
    let answer = request.header("x-api-key", text("api_key")).send().await;
    answer.ok()?.error_for_status().ok()?.json().await.ok()
}

#[tokio::test]
async fn a_node_is_emptied_while_files_go_up_and_down_and_gets_back_what_was_held() {
    let mut cluster = cluster(5, SETTINGS).await;
    let user = cluster.session().await.unwrap();
    user.purchase(10_000).await.unwrap();
    let contents: Vec<_> = (0..6).map(|_| random_bytes(8 * CHUNK + 5)).collect();
    let uploads = contents.iter().map(|content| {
        let length = Some(content.len() as u64);
        user.upload("before", length, content.clone())
    });
    let mut files = join_all(uploads).await;
    let held = wait_for("something to be held back", LONG, async || {
        let balance = own(&cluster, "/api/v1/balance").await?;
        balance["held_microcredits"]
            .as_i64()
            .filter(|held| *held > 0)
    });
    held.await.unwrap();

    let mut plan = storage_node(&cluster, &["drain", "--dry-run", "--output", "json"]);
    let plan = told(&plan.output().await.unwrap());
    let leaving = cluster.status().unwrap().nodes[LEAVING - 1].node_id.clone();
    let mut on_it = 0;
    for file in files.iter().flatten() {
        let replicas = replicas(&user, file.file_id).await.unwrap();
        let its = replicas
            .iter()
            .filter(|replica| leaving.as_ref() == Some(&replica.node_id));
        on_it += its.count();
    }
    assert_eq!(plan["blobs"], on_it);
    assert_eq!(plan["eligible_nodes"], 4);
    let mut asked = storage_node(&cluster, &["drain", "--yes", "--output", "json"]);
    assert_eq!(told(&asked.output().await.unwrap())["state"], "draining");
    let mut waiting = storage_node(&cluster, &["drain", "--wait", "--output", "json"]);
    let waiting = waiting.spawn().unwrap();

    let new: Vec<_> = (0..3).map(|_| random_bytes(4 * CHUNK + 11)).collect();
    let uploads = new.iter().map(|content| {
        let length = Some(content.len() as u64);
        user.upload("while", length, content.clone())
    });
    let ids: Vec<_> = files
        .iter()
        .map(|file| file.as_ref().unwrap().file_id)
        .collect();
    let downloads = ids.iter().map(|id| user.download(*id));
    let (more, back) = futures::join!(join_all(uploads), join_all(downloads));
    for (back, content) in back.into_iter().zip(&contents) {
        assert!(back.unwrap() == *content);
    }
    files.extend(more);

    cluster.kill(Member::Coordinator(1)).await.unwrap();
    cluster.start(Member::Coordinator(1)).await.unwrap();
    let ended = tokio::time::timeout(DRAINED_WITHIN, waiting.wait_with_output()).await;
    let statement = told(&ended.expect("it drains in time").unwrap());
    assert_eq!(statement["state"], "drained");
    assert_eq!(statement["blobs_left"], 0);
    wait_for("the node's blobs to go", UNTIL_PURGED, async || {
        blob_files(&cluster, LEAVING).is_empty().then_some(())
    })
    .await
    .unwrap();
    let returned = wait_for("what was held back to come back", LONG, async || {
        let balance = own(&cluster, "/api/v1/balance").await?;
        let is_back = balance["held_microcredits"] == 0;
        is_back.then(|| balance["available_microcredits"].as_i64().unwrap())
    });
    let available = returned.await.unwrap();
    let statement = own(&cluster, "/api/v1/nodes/{id}/drain").await.unwrap();
    assert_eq!(statement["earned_microcredits"].as_i64(), Some(available));

    // The node is not needed any more.
    cluster.stop(Member::Node(LEAVING)).await.unwrap();
    for (file, content) in files.into_iter().zip(contents.iter().chain(&new)) {
        let file = file.unwrap();
        assert!(user.download(file.file_id).await.unwrap() == *content);
    }
}
