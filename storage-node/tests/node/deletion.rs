//! Orders to delete: which are obeyed, how far, and what the node has to show afterwards.

use std::fs;

use bytes::Bytes;
use proto::{
    BlobId, DeleteRequest, Deletion, DeletionMode, DeletionOutcome, ItemOutcome, PeerId,
    ProofAnswer, RetrieveAnswer, SignedOrder, StoreAnswer,
};
use serde_json::Value;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors, json, place_of, printed};

use DeletionMode::{Purge, Restore};
use DeletionOutcome::{Deferred, Done, Failed};

fn blob(seed: u8) -> Bytes {
    Bytes::from(vec![seed; 5000])
}

async fn store_many(coordinator: &Coordinator, peer: PeerId, count: u8) -> Vec<BlobId> {
    let mut ids = Vec::new();
    for seed in 0..count {
        let stored = coordinator.store(peer, &blob(seed)).await;
        assert!(matches!(stored, StoreAnswer::Stored(_)));
        ids.push(BlobId::of(&blob(seed)));
    }
    ids
}

async fn challenged(coordinator: &Coordinator, peer: PeerId, data: &Bytes) -> ProofAnswer {
    let challenge = coordinator.challenge(peer, &[data]);
    let answer = coordinator.prove(&challenge).await.unwrap();
    answer.open(&challenge).unwrap();
    answer
}

fn shows(answer: &ProofAnswer, order: &SignedOrder) {
    assert_eq!(answer.items[0].outcome, ItemOutcome::Missing);
    assert_eq!(answer.orders, std::slice::from_ref(order));
    assert_eq!(answer.orders[0].verify(), Ok(()));
}

#[tokio::test]
async fn a_node_that_was_ordered_to_delete_a_blob_shows_the_order_when_it_has_to_prove_it() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let ids = store_many(&coordinator, peer, 2).await;
    let order = coordinator.order(peer, Purge, &ids[..1]);
    let outcomes = coordinator.send(peer, order.clone().into_request()).await;
    assert_eq!(outcomes.unwrap(), [Done]);
    shows(&challenged(&coordinator, peer, &blob(0)).await, &order);
    let held = challenged(&coordinator, peer, &blob(1)).await;
    assert!(matches!(held.items[0].outcome, ItemOutcome::Proven(_)));
    assert!(held.orders.is_empty());
    node.stop().await;

    let node = operator.start().await;
    coordinator.hello().await;
    shows(&challenged(&coordinator, peer, &blob(0)).await, &order);
    let args = ["chunks", "order", &ids[0].to_string(), "--output", "json"];
    let shown = operator.run(&args).await;
    assert!(shown.status.success(), "{}", errors(&shown));
    let shown: proto::evidence::OrderItem = serde_json::from_value(json(&shown)).unwrap();
    assert_eq!(SignedOrder::try_from(&shown).unwrap(), order);
    node.stop().await;
}

#[tokio::test]
async fn what_a_node_has_lost_itself_no_older_order_excuses() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let ids = store_many(&coordinator, peer, 1).await;
    assert_eq!(coordinator.delete(peer, Purge, &ids).await, [Done]);
    store_many(&coordinator, peer, 1).await;
    let (path, _) = place_of(&operator.data_dir(), &ids[0]);
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(0)
        .unwrap();
    let answer = challenged(&coordinator, peer, &blob(0)).await;
    assert!(!matches!(answer.items[0].outcome, ItemOutcome::Proven(_)));
    assert!(answer.orders.is_empty());
    let read = coordinator.retrieve(peer, ids[0]).await;
    assert_eq!(read, RetrieveAnswer::Missing);
    node.stop().await;
}

#[tokio::test]
async fn what_the_coordinator_has_not_signed_for_this_node_is_not_obeyed() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let ids = store_many(&coordinator, peer, 1).await;
    let with = |mode| {
        let blob_id = ids[0];
        DeleteRequest::unsigned(vec![Deletion { blob_id, mode }])
    };
    for mode in [Purge, DeletionMode::Trash] {
        assert_eq!(coordinator.send(peer, with(mode)).await.unwrap(), [Failed]);
    }
    // As coordinators of the release before ask for it.
    assert_eq!(coordinator.send(peer, with(Restore)).await.unwrap(), [Done]);

    let elsewhere = coordinator.order(coordinator.peers.local_peer_id(), Purge, &ids);
    let mut forged = coordinator.order(peer, Purge, &ids).into_request();
    forged.seal = elsewhere.into_request().seal;
    assert!(coordinator.send(peer, forged).await.is_err());
    let found = coordinator.retrieve(peer, ids[0]).await;
    assert_eq!(found, RetrieveAnswer::Found(blob(0)));
    node.stop().await;
}

#[tokio::test]
async fn an_order_from_before_a_blob_was_stored_does_not_touch_it() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let ids = store_many(&coordinator, peer, 2).await;
    let before = coordinator.order_of(peer, Purge, &ids, 1_000);
    let outcomes = coordinator.send(peer, before.into_request()).await;
    assert_eq!(outcomes.unwrap(), [Failed, Failed]);
    let found = coordinator.retrieve(peer, ids[0]).await;
    assert_eq!(found, RetrieveAnswer::Found(blob(0)));
    node.stop().await;
}

#[tokio::test]
async fn who_has_a_coordinators_key_empties_no_node_in_a_day_and_everybody_hears_of_it() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let ids = store_many(&coordinator, peer, 60).await;
    let used = coordinator.heartbeat(|beat| beat.blob_count == 60).await;
    let outcomes = coordinator.delete(peer, Purge, &ids).await;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    assert_eq!((count(Done), count(Deferred)), (20, 40));

    // The coordinators,
    let beat = coordinator
        .heartbeat(|beat| beat.deferred.blobs == 40)
        .await;
    assert!(beat.deferred.until_ms > 0);
    assert_eq!(beat.blob_count, 0);
    // whose node has no more room than before, but for what is really gone,
    assert_eq!(beat.used_bytes, used.used_bytes / 3 * 2);
    // and the operator: in the status, by the doctor, in the log.
    let status = reqwest::get(node.admin("/status")).await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!(status["deferred"]["held"]["blobs"], 40);
    let doctor = operator.run(&["doctor"]).await;
    assert!(!doctor.status.success());
    assert!(
        printed(&doctor).contains("40 blobs"),
        "{}",
        printed(&doctor)
    );
    let table = operator.run(&["status"]).await;
    assert!(printed(&table).contains("put off"), "{}", printed(&table));
    let log = fs::read_to_string(operator.home.path().join("node.log")).unwrap();
    assert!(
        log.contains("more to be deleted than this node removes in a day"),
        "{log}"
    );
    node.stop().await;

    // A restart forgets nothing, and the next greeting says it, too.
    let node = operator.start().await;
    let (_, hello) = coordinator.hello().await;
    assert_eq!(hello.deferred, beat.deferred);
    let again = coordinator.delete(peer, Purge, &ids).await;
    assert!(again.iter().all(|outcome| *outcome != Failed));
    assert_eq!(
        again.iter().filter(|outcome| **outcome == Deferred).count(),
        40
    );
    let back = coordinator.delete(peer, Restore, &ids).await;
    assert_eq!(back.iter().filter(|outcome| **outcome == Done).count(), 40);
    coordinator
        .heartbeat(|beat| beat.blob_count == 40 && beat.deferred.blobs == 0)
        .await;
    let doctor = operator.run(&["doctor"]).await;
    assert!(
        printed(&doctor).contains("none was put off"),
        "{}",
        printed(&doctor)
    );
    node.stop().await;
}
