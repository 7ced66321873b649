//! What the operator is shown, and what becomes of a node that is damaged.

use std::fs;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use network::Keypair;
use proto::BlobId;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors, flip_a_bit, json, place_of, printed};

/// A node that held three blobs and was stopped.
async fn stopped_node() -> (Operator, Vec<BlobId>) {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let mut ids = Vec::new();
    for seed in 0..3_u8 {
        let data = Bytes::from(vec![seed; 5000]);
        coordinator.store(peer, &data).await;
        ids.push(BlobId::of(&data));
    }
    ids.sort_unstable();
    node.stop().await;
    (operator, ids)
}

#[tokio::test]
async fn status_of_a_running_node_agrees_with_itself() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    coordinator.store(peer, &Bytes::from(vec![1; 5000])).await;
    coordinator.heartbeat(|beat| beat.blob_count == 1).await;
    let output = operator
        .run(&["status", "--output", "json", "--check"])
        .await;
    assert!(output.status.success(), "{}", printed(&output));
    let status = json(&output);
    assert_eq!(status["running"], true);
    assert_eq!(status["agree"], true);
    assert_eq!(status["used_bytes"], 8192);
    assert_eq!(status["capacity_bytes"], 100_000_000);
    assert_eq!(status["on_disk"]["bytes"], 5000);
    let quick = ["status", "--output", "json", "--check", "--no-count"];
    let quick = operator.run(&quick).await;
    assert!(quick.status.success(), "{}", printed(&quick));
    assert!(json(&quick)["on_disk"].is_null());
    let shown = printed(&operator.run(&["status"]).await);
    assert!(
        shown.contains("probation (new)") && shown.contains("1.25 credits"),
        "{shown}"
    );
    node.stop().await;
}

#[tokio::test]
async fn earnings_are_told_day_by_day_with_what_each_was_charged_for() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let shown = printed(&operator.run(&["earnings"]).await);
    for part in [
        "2026-11-21",
        "0.033333",
        "91.23 %",
        "0.005556",
        "0.022444",
        "so far",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let output = operator.run(&["earnings", "--output", "json"]).await;
    let penalty = &json(&output)["days"][0]["penalties"][0];
    assert_eq!(penalty["cause"]["reason"], "no answer within 2 s");
}

#[tokio::test]
async fn every_command_asks_the_coordinator_that_the_settings_name() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    // As if the node had registered at an address that is no more; the configuration file has the new one.
    let path = operator.data_dir().join("credentials.json");
    let text = fs::read_to_string(&path).unwrap();
    let elsewhere = text.replace(&coordinator.url, "http://127.0.0.1:1");
    assert_ne!(elsewhere, text);
    fs::write(&path, elsewhere).unwrap();
    for (command, answer) in [
        ("earnings --output json", "/days/0"),
        ("status --output json", "/standing/state"),
        ("drain --dry-run --output json", "/missing_bytes"),
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        let output = operator.run(&args).await;
        assert!(!output.stdout.is_empty(), "{command}: {}", errors(&output));
        let shown = json(&output);
        let answer = shown.pointer(answer);
        assert!(answer.is_some_and(|answer| !answer.is_null()), "{shown}");
    }
}

#[tokio::test]
async fn the_heads_of_the_ledger_are_kept() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    coordinator.hello().await;
    // The answer to the first heartbeat has been taken when the second one is sent.
    for _ in 0..2 {
        coordinator.heartbeat(|_| true).await;
    }
    node.stop().await;
    let kept = fs::read_to_string(operator.data_dir().join("ledger-days.json")).unwrap();
    assert!(
        kept.contains("2026-11-21") && kept.contains(&"07".repeat(32)),
        "{kept}"
    );
}

#[tokio::test]
async fn status_without_a_running_node_says_so_and_tells_what_the_catalogue_knows() {
    let (operator, _) = stopped_node().await;
    let output = operator.run(&["status"]).await;
    assert!(output.status.success());
    assert!(
        printed(&output).contains("not running"),
        "{}",
        printed(&output)
    );
    assert!(printed(&output).contains("3 blobs"), "{}", printed(&output));
    for args in [
        &["status", "--check"][..],
        &["status", "--check", "--no-count"],
    ] {
        assert_eq!(operator.run(args).await.status.code(), Some(1));
    }
}

#[tokio::test]
async fn blobs_are_listed_page_by_page() {
    let (operator, ids) = stopped_node().await;
    let output = operator
        .run(&["chunks", "list", "--output", "json", "--limit", "2"])
        .await;
    let page = json(&output);
    assert_eq!(page["items"][0]["blob_id"], ids[0].to_string());
    assert_eq!(page["items"][1]["length"], 5000);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = operator.run(&["chunks", "list", "--cursor", cursor]).await;
    assert!(printed(&rest).contains(&ids[2].to_string()));
    assert!(!printed(&rest).contains(&ids[1].to_string()));
}

#[tokio::test]
async fn verify_finds_damage_and_a_rebuild_enters_it() {
    let (operator, ids) = stopped_node().await;
    find_damage_and_rebuild(&operator, &ids).await;
}

#[tokio::test]
async fn the_same_holds_after_a_conversion_to_files() {
    let (operator, ids) = stopped_node().await;
    let asked = ["start", "--set", "store.layout=files"];
    let refused = errors(&operator.run(&asked).await);
    assert!(refused.contains("chunks convert --to files"), "{refused}");
    let convert = ["chunks", "convert", "--to", "files"];
    let converted = operator.run(&convert).await;
    assert!(converted.status.success(), "{}", errors(&converted));
    assert!(printed(&converted).contains("3 blobs are in the layout \"files\" now"));
    assert!(!operator.data_dir().join("segments").exists());
    let again = printed(&operator.run(&convert).await);
    assert!(again.contains("already"), "{again}");
    find_damage_and_rebuild(&operator, &ids).await;
}

#[tokio::test]
async fn a_node_does_not_start_in_the_middle_of_a_conversion() {
    let (operator, _) = stopped_node().await;
    let marker = operator.data_dir().join("volume.json");
    let mut volume: serde_json::Value =
        serde_json::from_slice(&fs::read(&marker).unwrap()).unwrap();
    volume["converting_to"] = "files".into();
    fs::write(&marker, volume.to_string()).unwrap();
    let refused = errors(&operator.run(&["start"]).await);
    assert!(
        refused.contains("finish it with `storage-node chunks convert --to files`"),
        "{refused}"
    );
    // Not even without its catalogue is it lost.
    fs::write(operator.data_dir().join("catalogue.db"), "rubbish").unwrap();
    let rebuilt = operator.run(&["chunks", "verify", "--rebuild"]).await;
    assert!(
        printed(&rebuilt).contains("made anew: 3 blobs"),
        "{}",
        errors(&rebuilt)
    );
    let back = operator
        .run(&["chunks", "convert", "--to", "segments"])
        .await;
    assert!(
        errors(&back).contains("was interrupted"),
        "{}",
        errors(&back)
    );
    let converted = operator.run(&["chunks", "convert", "--to", "files"]).await;
    assert!(converted.status.success(), "{}", errors(&converted));
    let whole = operator.run(&["chunks", "verify"]).await;
    assert!(printed(&whole).contains("3 blobs read, all are whole"));
}

async fn find_damage_and_rebuild(operator: &Operator, ids: &[BlobId]) {
    let whole = operator.run(&["chunks", "verify"]).await;
    assert!(whole.status.success(), "{}", errors(&whole));
    assert!(printed(&whole).contains("3 blobs read, all are whole"));

    flip_a_bit(&operator.data_dir(), &ids[1], 17);
    let (path, begin) = place_of(&operator.data_dir(), &ids[2]);
    match begin.checked_sub(1024) {
        None => fs::remove_file(path).unwrap(),
        Some(record) => {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[0; 8192], record).unwrap();
        }
    }
    let damaged = operator.run(&["chunks", "verify"]).await;
    assert_eq!(damaged.status.code(), Some(1));
    let shown = printed(&damaged);
    assert!(shown.contains(&format!("{} ", ids[1])), "{shown}");
    assert!(shown.contains(&format!("{} ", ids[2])), "{shown}");
    assert!(shown.contains("2 problems"), "{shown}");

    fs::write(operator.data_dir().join("catalogue.db"), "rubbish").unwrap();
    let rebuilt = operator.run(&["chunks", "verify", "--rebuild"]).await;
    assert_eq!(rebuilt.status.code(), Some(1), "{}", errors(&rebuilt));
    assert!(printed(&rebuilt).contains("made anew: 2 blobs"));
    let listed = printed(&operator.run(&["chunks", "list"]).await);
    assert!(listed.contains(&ids[0].to_string()) && listed.contains("corrupt"));
    assert!(!listed.contains(&ids[2].to_string()));
}

#[tokio::test]
async fn the_template_and_the_settings_that_hold_are_both_usable_files() {
    let operator = Operator::new();
    for args in [&["config", "--template"][..], &["config", "show"]] {
        let output = operator.run(args).await;
        assert!(output.status.success(), "{}", errors(&output));
        let path = operator.home.path().join("copy.toml");
        fs::write(&path, printed(&output)).unwrap();
        let again = ["config", "show", "--config", path.to_str().unwrap()];
        let again = operator.run(&again).await;
        assert!(again.status.success(), "{}", errors(&again));
        assert!(
            printed(&again).contains("retention = \"7d"),
            "{}",
            printed(&again)
        );
    }
}

#[tokio::test]
async fn every_setting_is_shown_as_it_holds_wherever_it_was_set() {
    let operator = Operator::new();
    let file = operator.home.path().join("some.toml");
    let text = "[p2p]\nexternal_addrs = [\n  \"/ip4/192.0.2.1/tcp/4001\",\n]\nupnp = true\nmax_connections = 9\n";
    fs::write(&file, text).unwrap();
    let peer = Keypair::generate_ed25519();
    let peer = peer.public().to_peer_id();
    let friend = format!("p2p.bootstrap_peers=[\"{peer}@/ip4/192.0.2.2/tcp/1\"]");
    let mut command = operator.command(&["config", "--config", file.to_str().unwrap()]);
    for setting in [
        "p2p.auth_mode=enforce",
        "p2p.max_connections=99",
        "proofs.disk_share=0.5",
        &friend,
    ] {
        command.args(["--set", setting]);
    }
    let strangers = format!("{peer},{peer}");
    let command = command
        .env("FSN_P2P_ALLOWED_PEERS", strangers)
        .env("FSN_P2P_MAX_CONNECTIONS", "98")
        .env("FSN_P2P_MDNS", "true")
        .env("FSN_P2P_KADEMLIA", "off")
        .env("FSN_NODE_REGION", "49");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let shown = printed(&output);
    for line in [
        "auth_mode = \"enforce\"",
        "external_addrs = [\"/ip4/192.0.2.1/tcp/4001\"]",
        "max_connections = 99",
        "max_connections_per_address = 32",
        "upnp = true",
        "mdns = true",
        "autonat = true",
        "kademlia = \"off\"",
        "disk_share = 0.5",
        "region = \"49\"",
        "retention = \"7d\"",
        &format!("bootstrap_peers = [\"{peer}@/ip4/192.0.2.2/tcp/1\"]"),
        &format!("allowed_peers = [\"{peer}\", \"{peer}\"]"),
        &format!("data_dir = \"{}\"", operator.data_dir().display()),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    // Only what nothing was said about, and what has no default, is left as a comment.
    let left = shown.lines().filter_map(|line| line.strip_prefix('#'));
    let left: Vec<&str> = left
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    let unset = [
        "name =",
        "coordinator_url =",
        "capacity =",
        "peer_id =",
        "layout =",
    ];
    assert_eq!(left, unset);
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let operator = Operator::new();
    for args in [
        &["config"][..],
        &["config", "--template"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = operator.command(args).stdout(writer).output().unwrap();
        let code = output.status.code();
        assert_eq!(code, Some(141), "{args:?}: {}", errors(&output));
        assert_eq!(errors(&output), "");
    }
}

#[tokio::test]
async fn errors_are_told_as_json_to_whoever_asked_for_json() {
    let (operator, _) = stopped_node().await;
    let output = operator.run(&["peers", "--output", "json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(told["program"], "storage-node");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("storage-node start"), "{error}");
    assert!(output.stdout.is_empty());
    let plain = operator.run(&["peers"]).await;
    assert!(
        errors(&plain).starts_with("storage-node: "),
        "{}",
        errors(&plain)
    );
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let operator = Operator::new();
    let dir = tempfile::tempdir().unwrap();
    let output = operator.run(&["man", dir.path().to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", errors(&output));
    for page in [
        "storage-node.1",
        "storage-node-drain.1",
        "storage-node-chunks-verify.1",
    ] {
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
    let page = fs::read_to_string(dir.path().join("storage-node.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
}

#[tokio::test]
async fn variables_that_are_empty_count_as_unset() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::new();
    let token = operator.data_dir().with_file_name("token");
    fs::create_dir_all(token.parent().unwrap()).unwrap();
    fs::write(&token, "a token\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = operator.command(&[
        "init",
        "--name",
        "a node",
        "--coordinator-url",
        &coordinator.url,
    ]);
    command
        .env("FSN_NODE_TOKEN", "")
        .env("FSN_NODE_NETWORK_ID", "")
        .env("FSN_NODE_TOKEN_FILE", &token);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.unwrap().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
}
