//! The peer network as an operator sets it up and sees it.

use std::fs;

use network::{Keypair, NetworkConfig, NetworkEvent, start};
use proto::{Roles, protocols};
use serde_json::Value;

use crate::coordinator::{Coordinator, in_time};
use crate::program::{Operator, errors, json, printed};

async fn stranger() -> network::Network {
    let keypair = Keypair::generate_ed25519();
    let mut config = NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, Roles::NODE);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    start(config).await.unwrap()
}

#[tokio::test]
async fn a_bootstrap_peer_that_cannot_be_used_is_refused_with_its_line() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let good = Keypair::generate_ed25519().public().to_peer_id();
    for wrong in [
        "/ip4/10.0.0.1/tcp/4001".to_owned(),
        "nobody@/ip4/10.0.0.1/tcp/4001".to_owned(),
        format!("{good}@/ip4/10.0.0.1"),
    ] {
        let text = format!(
            "[node]\nname = \"n\"\n\n[p2p]\nbootstrap_peers = [\n  \
             \"{good}@/dns/storage.example.org/tcp/4001\",\n  \"{wrong}\",\n]\n"
        );
        let file = operator.home.path().join("wrong.toml");
        fs::write(&file, text).unwrap();
        let args = ["start", "--config", file.to_str().unwrap()];
        let said = errors(&operator.run(&args).await);
        assert!(said.contains("line 7"), "{said}");
        assert!(said.contains(&wrong), "{said}");
    }
}

#[tokio::test]
async fn peers_are_shown_with_their_state_and_remembered_over_a_restart() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let without_node = operator.run(&["peers"]).await;
    assert_eq!(without_node.status.code(), Some(1));
    assert!(errors(&without_node).contains("storage-node start"));

    let node = operator.start().await;
    coordinator.hello().await;
    let id = coordinator.peers.local_peer_id().to_string();
    let shown = json(&operator.run(&["peers", "--output", "json"]).await);
    let peer = &shown["peers"][0];
    assert_eq!(peer["peer_id"], id);
    assert_eq!(peer["state"], "connected");
    assert_eq!(peer["coordinator"], true);
    assert_eq!(peer["responsive"], true);
    let table = printed(&operator.run(&["peers"]).await);
    assert!(
        table.contains(&id) && table.contains("coordinator"),
        "{table}"
    );
    node.stop().await;

    let cached: Value =
        serde_json::from_slice(&fs::read(operator.data_dir().join("peers.json")).unwrap()).unwrap();
    assert_eq!(cached["peers"][0]["peer_id"], id);
    let addr = coordinator.document().coordinators[0].addrs[0].clone();
    let addrs = cached["peers"][0]["addrs"].as_array().unwrap();
    assert!(addrs.contains(&Value::String(addr)), "{addrs:?}");

    // A damaged memory is no memory, and nothing worse.
    fs::write(operator.data_dir().join("peers.json"), "{").unwrap();
    let node = operator.start().await;
    coordinator.hello().await;
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_connected_already_is_greeted_once_the_document_makes_it_a_coordinator() {
    let first = Coordinator::start().await;
    let mut second = Coordinator::start().await;
    let mut operator = Operator::registered(&first).await;
    let entry = second.document().coordinators[0].clone();
    let (id, addr) = (&entry.peer_id, &entry.addrs[0]);
    let setting = format!("p2p.bootstrap_peers=[\"{id}@{addr}\"]");
    operator.settings.push(setting);
    let node = operator.start().await;
    let connected = async {
        loop {
            let shown = json(&operator.run(&["peers", "--output", "json"]).await);
            let mut shown = shown["peers"].as_array().unwrap().iter();
            if shown.any(|peer| peer["peer_id"] == *id && peer["state"] == "connected") {
                return;
            }
        }
    };
    in_time(connected).await;
    first.add_to_document(entry.clone());
    let (peer, _) = second.hello().await;
    assert_eq!(peer, node.peer_id());
    second.heartbeat(|_| true).await;
    node.stop().await;
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let ill = operator.run(&["doctor"]).await;
    assert_eq!(ill.status.code(), Some(1));
    assert!(
        printed(&ill).contains("-> storage-node start"),
        "{}",
        printed(&ill)
    );

    let node = operator.start().await;
    coordinator.hello().await;
    coordinator.heartbeat(|_| true).await;
    coordinator.heartbeat(|_| true).await; // the first has been answered by now
    let findings = json(&operator.run(&["doctor", "--output", "json"]).await);
    let about = |what: &str| {
        let findings = findings.as_array().unwrap().iter();
        findings
            .clone()
            .find(|finding| finding["about"] == what)
            .unwrap()
    };
    assert_eq!(about("coordinator")["verdict"], "good");
    assert_eq!(about("disk")["verdict"], "good");
    assert_ne!(about("reachability")["verdict"], "bad");
    // This coordinator answers that it is 1970.
    assert_eq!(about("clock")["verdict"], "bad");
    assert!(about("clock")["fix"].as_str().unwrap().contains("NTP"));
    node.stop().await;
}

#[tokio::test]
async fn the_doctor_sends_a_node_that_could_not_start_to_init() {
    let operator = Operator::new();
    let nothing = operator.run(&["doctor"]).await;
    // Registration fails, what comes before it is done.
    let url = "http://127.0.0.1:1";
    let init = ["init", "--name", "x", "--coordinator-url", url];
    assert!(!operator.run(&init).await.status.success());
    let unregistered = operator.run(&["doctor"]).await;
    for ill in [nothing, unregistered] {
        let shown = printed(&ill);
        assert_eq!(ill.status.code(), Some(1), "{shown}");
        assert!(shown.contains("-> storage-node init"), "{shown}");
        assert!(!shown.contains("storage-node start"), "{shown}");
    }
}

#[tokio::test]
async fn an_enforced_list_keeps_strangers_out_and_the_default_lets_them_in_to_no_avail() {
    let mut coordinator = Coordinator::start().await;
    let mut operator = Operator::registered(&coordinator).await;
    let mut learnt = String::new();
    for (mode, wanted) in [("learn", "connected"), ("enforce", "disconnected")] {
        operator.settings.push(format!("p2p.auth_mode={mode}"));
        let node = operator.start().await;
        coordinator.hello().await;
        let mut stranger = stranger().await;
        let addr = node.ready["p2p"][0].as_str().unwrap().parse().unwrap();
        stranger.handle.dial(node.peer_id(), vec![addr]).await;
        let outcome = async {
            loop {
                match stranger.events.recv().await.unwrap() {
                    NetworkEvent::Identified { .. } => return "connected",
                    NetworkEvent::Disconnected { .. } => return "disconnected",
                    _ => {}
                }
            }
        };
        assert_eq!(in_time(outcome).await, wanted, "{mode}");
        if mode == "learn" {
            learnt = stranger.handle.local_peer_id().to_string();
        }
        // Who was learnt is still known after the restart, and whoever was kept out is not among them.
        let shown = json(&operator.run(&["peers", "--output", "json"]).await);
        let shown = shown["learnt"].as_array().unwrap();
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!(shown[0]["peer_id"], learnt);
        assert!(
            shown[0]["from"]
                .as_str()
                .unwrap()
                .starts_with("/ip4/127.0.0.1/tcp/")
        );
        assert!(printed(&operator.run(&["peers"]).await).contains(&learnt));
        node.stop().await;
    }
}
