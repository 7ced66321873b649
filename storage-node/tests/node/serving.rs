//! What a node stores and serves, and for whom.

use std::sync::atomic::Ordering;
use std::time::Duration;

use blobstore::{Readers, catalogue_path};
use bytes::Bytes;
use kit::Entropy;
use network::{Keypair, Network, PeerManager, PeerPolicy, Target};
use proto::{
    BlobId, CoordinatorEntry, DeletionMode, DeletionOutcome, Locator, NetworkContext, NodeActivity,
    RefusalCode, RequestId, Retrieve, RetrieveAnswer, RetrieveRequest, Store, StoreAnswer,
    StoreRequest,
};

use crate::coordinator::{Coordinator, coordinator_config, in_time};
use crate::program::{Operator, flip_a_bit};

fn sealed(seed: u8) -> Bytes {
    Bytes::from(vec![seed; 262_172])
}

#[tokio::test]
async fn a_node_stores_with_a_receipt_gives_back_and_deletes() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, hello) = coordinator.hello().await;
    assert_eq!(peer, node.peer_id());
    assert_eq!(
        hello.node_id.to_string(),
        node.ready["node_id"].as_str().unwrap()
    );
    assert_eq!(hello.capacity_bytes, 100_000_000);

    let data = sealed(1);
    let id = BlobId::of(&data);
    let StoreAnswer::Stored(receipt) = coordinator.store(peer, &data).await else {
        panic!("the node refused");
    };
    let context = NetworkContext {
        network_id: coordinator.document().network_id,
        peer_id: peer,
    };
    receipt.verify(context, id, data.len() as u64).unwrap();
    let found = coordinator.retrieve(peer, id).await;
    assert_eq!(found, RetrieveAnswer::Found(data.clone()));
    let heartbeat = coordinator.heartbeat(|beat| beat.blob_count == 1).await;
    assert_eq!(heartbeat.used_bytes, 266_240, "header and padding included");
    assert_eq!(heartbeat.activity, NodeActivity::Running);

    let purge = coordinator.order(peer, DeletionMode::Purge, &[id]);
    let outcomes = coordinator.send(peer, purge.clone().into_request()).await;
    assert_eq!(outcomes.unwrap(), [DeletionOutcome::Done]);
    assert_eq!(
        coordinator.retrieve(peer, id).await,
        RetrieveAnswer::Ordered(Box::new(purge))
    );
    let never = BlobId::of(b"never stored");
    assert_eq!(
        coordinator.retrieve(peer, never).await,
        RetrieveAnswer::Missing
    );
    node.stop().await;
}

#[tokio::test]
async fn a_blob_that_rots_while_the_node_runs_is_not_served() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let data = sealed(2);
    let id = BlobId::of(&data);
    coordinator.store(peer, &data).await;
    flip_a_bit(&operator.data_dir(), &id, 100_000);
    assert_eq!(
        coordinator.retrieve(peer, id).await,
        RetrieveAnswer::Corrupt
    );
    node.stop().await;
}

#[tokio::test]
async fn rot_that_the_scrub_finds_is_reported_until_it_is_noted_and_then_no_more() {
    let mut coordinator = Coordinator::start().await;
    let mut operator = Operator::registered(&coordinator).await;
    operator.settings.push("scrub.period=1s".into());
    coordinator.shared.losses_noted.store(0, Ordering::SeqCst);
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let blobs = [sealed(3), sealed(4)];
    for data in &blobs {
        coordinator.store(peer, data).await;
    }
    let rotten = BlobId::of(&blobs[0]);
    flip_a_bit(&operator.data_dir(), &rotten, 100_000);
    let report = coordinator.loss().await;
    assert_eq!(report.blob_ids, [rotten]);
    assert!(report.reason.contains("hash"), "{}", report.reason);
    node.stop().await;

    // It was not noted: the next start knows of it still.
    coordinator.shared.losses_noted.store(1, Ordering::SeqCst);
    let node = operator.start().await;
    assert_eq!(coordinator.loss().await.blob_ids, [rotten]);
    let readers = Readers::open(&catalogue_path(&operator.data_dir())).unwrap();
    let forgotten = async {
        while !readers.losses(10).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time(forgotten).await;
    node.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_and_what_is_not_what_it_says_is_refused() {
    let mut coordinator = Coordinator::start().await;
    let mut operator = Operator::registered(&coordinator).await;
    operator.settings.push("node.capacity=1MB".into());
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let wrong = StoreRequest {
        blob_id: BlobId::of(b"another"),
        locator: Locator::from_bytes([0; 64]),
        request_id: RequestId::NONE,
        data: sealed(1),
    };
    let answer = coordinator.peers.call::<Store>(peer, wrong);
    let StoreAnswer::Refused(refusal) = in_time(answer).await.unwrap() else {
        panic!("the node took it");
    };
    assert_eq!(refusal.code, RefusalCode::HashMismatch);
    for seed in 0..3 {
        let stored = coordinator.store(peer, &sealed(seed)).await;
        assert!(matches!(stored, StoreAnswer::Stored(_)));
    }
    let StoreAnswer::Refused(refusal) = coordinator.store(peer, &sealed(9)).await else {
        panic!("the node took more than its quota");
    };
    assert_eq!(refusal.code, RefusalCode::Full);
    node.stop().await;
}

#[tokio::test]
async fn a_stopping_node_says_so_and_ends_with_success() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    coordinator.hello().await;
    coordinator.heartbeat(|_| true).await;
    let ready_file = node.ready_file.clone();
    assert!(ready_file.exists());
    node.terminate();
    coordinator
        .heartbeat(|beat| beat.activity == NodeActivity::Stopping)
        .await;
    assert!(node.ended().await.success());
    assert!(!ready_file.exists());
    assert!(!operator.data_dir().join("running.json").exists());
}

#[tokio::test]
async fn a_rejected_node_asks_again_until_it_is_taken() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let reason = "not yet on the allowlist".to_owned();
    *coordinator.shared.rejection.lock().unwrap() = Some(reason);
    let node = operator.start().await;
    coordinator.hello().await;
    *coordinator.shared.rejection.lock().unwrap() = None;
    coordinator.hello().await;
    coordinator.heartbeat(|_| true).await;
    node.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_a_newer_document_names_is_dialled() {
    let mut first = Coordinator::start().await;
    let operator = Operator::registered(&first).await;
    let node = operator.start().await;
    first.heartbeat(|_| true).await;
    let mut second = Coordinator::start().await;
    let entry: CoordinatorEntry = second.document().coordinators[0].clone();
    let serial = first.add_to_document(entry);
    let (peer, _) = second.hello().await;
    assert_eq!(peer, node.peer_id());
    let pinned = std::fs::read(operator.data_dir().join("network.json")).unwrap();
    let pinned: proto::NetworkDocument = serde_json::from_slice(&pinned).unwrap();
    assert_eq!(pinned.serial, serial);
    node.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_no_coordinator_of_the_network_gets_no_answer() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let data = sealed(3);
    coordinator.store(peer, &data).await;

    let key = Keypair::generate_ed25519();
    let stranger = network::start(coordinator_config(key)).await;
    let Network { handle, events, .. } = stranger.unwrap();
    let policy = PeerPolicy::default();
    let mut peers = PeerManager::spawn(handle.clone(), events, policy, Entropy::system().rng());
    let addr = node.ready["p2p"][0].as_str().unwrap().parse().unwrap();
    peers.set_targets(vec![Target {
        peer_id: peer,
        addrs: vec![addr],
        answers_only: false,
    }]);
    in_time(peers.next_event()).await.unwrap();
    let blob_id = BlobId::of(&data);
    let answer = handle.call::<Retrieve>(
        peer,
        RetrieveRequest {
            blob_id,
            request_id: RequestId::NONE,
        },
    );
    assert!(in_time(answer).await.is_err());
    let much = Bytes::from(vec![9; 4 * 1024 * 1024]);
    let request = StoreRequest {
        blob_id: BlobId::of(&much),
        locator: Locator::from_bytes([7; 64]),
        request_id: RequestId::NONE,
        data: much,
    };
    let answer = handle.call::<Store>(peer, request);
    assert!(in_time(answer).await.is_err());
    // What is read of a stranger reaches the agent, which drops it and says so.
    let log = std::fs::read_to_string(operator.home.path().join("node.log")).unwrap();
    assert!(!log.contains("dropped a request"), "{log}");
    let found = coordinator.retrieve(peer, blob_id).await;
    assert_eq!(found, RetrieveAnswer::Found(data));
    node.stop().await;
}
