//! Somebody has a copy of `keys.dir`, is the coordinator for a minute, and orders every node to delete everything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs};
use network::{Everyone, Keypair, Network, NetworkConfig, NetworkHandle};
use proto::{
    BlobId, BlobRange, Delete, DeleteOrder, Deletion, DeletionMode, DeletionOutcome, Heartbeat,
    HeartbeatAnswer, Hello, HelloAnswer, Inventory, InventoryAsk, InventoryRequest, MicroCredits,
    NetworkId, Parties, PeerId, Roles, protocols,
};
use serde_json::Value;
use support::{CHUNK, LONG, blob_names, cluster, random_bytes, user};
use tokio::process::Command;
use tokio::sync::mpsc;

/// Neither a proof nor a comparison brings anything back before the undo does.
const SETTINGS: &str = r#"
[coordinator.proofs]
interval = "30d"
[coordinator.reconcile]
interval = "30d"
[node.store]
layout = "files"
"#;

const NODES: usize = 4;
/// Some 30 blobs for each node.
const CHUNKS: usize = 40;
/// What a node removes in a day, of so few.
const LIMIT: usize = 20;

fn now_ms() -> u64 {
    kit::unix_ms(kit::Clock::system().now())
}

async fn coordinator(cluster: &Cluster, args: &[&str]) -> String {
    let program = Programs::beside_this_one().unwrap().coordinator;
    let config = cluster.config_file(Member::Coordinator(1));
    let output = Command::new(program)
        .args(args)
        .args([OsStr::new("--config"), config.as_ref()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The coordinator that nodes dial, by its key and at its address; they greet it.
struct Thief {
    handle: NetworkHandle,
    key: Keypair,
    network_id: NetworkId,
    greeted: mpsc::Receiver<PeerId>,
}

impl Thief {
    async fn start(cluster: &Cluster, network_id: NetworkId) -> Self {
        let config = cluster.config_file(Member::Coordinator(1));
        let file = config.parent().unwrap().join("keys/coordinator.key");
        let seed = hex::decode(fs::read_to_string(file).unwrap().trim()).unwrap();
        let key = Keypair::ed25519_from_bytes(seed).unwrap();
        let family = protocols::FAMILY;
        let mut config =
            NetworkConfig::new(key.clone(), family, &protocols::TABLE, Roles::COORDINATOR);
        config.answers_only = true;
        config.admission = Arc::new(Everyone(Roles::NODE));
        let listen = cluster.record().coordinators[0].p2p.iter();
        config.listen = listen.map(|addr| addr.parse().unwrap()).collect();
        let Network {
            handle,
            mut events,
            mut requests,
            ..
        } = network::start(config).await.unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        let (greets, greeted) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(mut request) = requests.recv().await {
                match request.protocol {
                    protocols::HELLO => {
                        request.decode::<Hello>().unwrap();
                        let _ = greets.try_send(request.peer);
                        let answer = HelloAnswer {
                            rejection: None,
                            network_serial: 0,
                            hang_up: false,
                        };
                        request.respond::<Hello>(answer).await;
                    }
                    protocols::HEARTBEAT => {
                        request.decode::<Heartbeat>().unwrap();
                        let answer = HeartbeatAnswer {
                            earned: MicroCredits::ZERO,
                            server_time_ms: now_ms(),
                            state: "active".into(),
                            state_reason: String::new(),
                            network_serial: 0,
                            last_ledger_day: None,
                        };
                        request.respond::<Heartbeat>(answer).await;
                    }
                    _ => {}
                }
            }
        });
        Self {
            handle,
            key,
            network_id,
            greeted,
        }
    }

    /// Orders a node to delete everything, again and again; how many it says are gone.
    async fn empty(&self, node: PeerId) -> usize {
        let everything = InventoryRequest::new(vec![BlobRange::ALL], InventoryAsk::Items).unwrap();
        let held = self
            .handle
            .call::<Inventory>(node, everything)
            .await
            .unwrap();
        let blobs: BTreeSet<BlobId> = held.items.iter().map(|item| item.blob_id).collect();
        let mut gone = BTreeSet::new();
        for mode in [
            DeletionMode::Purge,
            DeletionMode::Trash,
            DeletionMode::Purge,
        ] {
            let deletions = blobs.iter().map(|blob_id| Deletion {
                blob_id: *blob_id,
                mode,
            });
            let parties = Parties {
                network_id: self.network_id,
                coordinator: self.handle.local_peer_id(),
                node,
            };
            let order = DeleteOrder::new(parties, now_ms(), deletions.collect()).unwrap();
            let request = order.sign(&self.key).unwrap().into_request();
            let outcomes = self.handle.call::<Delete>(node, request).await.unwrap().0;
            let done = blobs.iter().zip(outcomes);
            let done = done.filter(|(_, outcome)| *outcome == DeletionOutcome::Done);
            if mode == DeletionMode::Purge {
                gone.extend(done.map(|(blob, _)| *blob));
            }
        }
        gone.len()
    }
}

#[tokio::test]
async fn a_stolen_keys_dir_empties_no_node_and_an_undo_brings_back_what_was_to_go() {
    let mut cluster = cluster(NODES, SETTINGS).await;
    let user = user(&cluster).await;
    let content = random_bytes(CHUNKS * CHUNK);
    let length = Some(content.len() as u64);
    user.upload("f", length, content.clone()).await.unwrap();
    let before: Vec<_> = (1..=NODES).map(|node| blob_names(&cluster, node)).collect();
    assert!(before.iter().all(|held| held.len() > LIMIT), "{before:?}");
    let network: Value = user.get("/api/v1/network").await.unwrap();
    let network_id = network["network_id"].as_str().unwrap().parse().unwrap();

    cluster.stop(Member::Coordinator(1)).await.unwrap();
    let mut thief = Thief::start(&cluster, network_id).await;
    let mut robbed = BTreeSet::new();
    while robbed.len() < NODES {
        let node = tokio::time::timeout(LONG, thief.greeted.recv()).await;
        let node = node.expect("nodes greet whoever has the key").unwrap();
        if robbed.insert(node) {
            assert!(thief.empty(node).await <= LIMIT);
        }
    }
    thief.handle.shutdown().await;
    for node in 1..=NODES {
        assert!(blob_names(&cluster, node).is_empty(), "all is out of sight");
    }

    cluster.start(Member::Coordinator(1)).await.unwrap();
    cluster.until_online().await.unwrap();
    let listed = wait_for("the alarm of every node", LONG, async || {
        let list = coordinator(&cluster, &["admin", "purges", "list", "--json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let braked = list["braked_nodes"].as_array().unwrap().len();
        (braked == NODES).then_some(())
    });
    listed.await.unwrap();
    let begun = coordinator(&cluster, &["admin", "purges", "undo", "--since", "1h"]).await;
    assert!(begun.contains("4 nodes are to bring back"), "{begun}");
    let back = wait_for("all that was put off to be back", LONG, async || {
        let list = coordinator(&cluster, &["admin", "purges", "list", "--json"]).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let undos = list["undos"].as_array().unwrap();
        let done = undos.iter().all(|undo| !undo["done_at"].is_null());
        (done && list["braked_nodes"] == Value::Array(Vec::new())).then_some(())
    });
    back.await.unwrap();
    for (node, before) in before.iter().enumerate() {
        let back = blob_names(&cluster, node + 1);
        // Reads and proofs of what the thief took bring new copies meanwhile.
        let lost = before.difference(&back).count();
        assert!(
            lost <= LIMIT,
            "node {}: {lost} of {}",
            node + 1,
            before.len()
        );
    }
}
