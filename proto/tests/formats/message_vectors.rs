//! `vectors/messages.json`: each message kind, byte for byte.

use std::fmt::Debug;

use bytes::Bytes;
use proto::{
    BlobId, BlobRange, ChallengeItem, ChallengeRequest, DeferredPurges, DeleteOrder, DeleteRequest,
    Deletion, DeletionMode, DeletionOutcome, DeletionOutcomes, Difficulty, GroupDigest,
    HeartbeatAnswer, HeartbeatReport, HelloAnswer, HelloReport, IdsDigest, Instance,
    InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest, ItemAnswer, ItemOutcome,
    LedgerDay, Locator, LossNoted, LossReport, Message, MicroCredits, NetworkId, NodeActivity,
    OrderSeal, Parties, Proof, ProofAnswer, ProofHash, Refusal, RefusalCode, RequestId,
    RetrieveAnswer, RetrieveRequest, Signature, SignedOrder, SignedReceipt, StoreAnswer,
    StoreRequest,
};
use serde_json::Value;

const BLOB: &[u8] = b"federated storage network";
const TIME_MS: u64 = 1_767_225_600_123;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/messages.json")).unwrap();
    file["messages"].as_array().unwrap().clone()
}

/// The message inside a vector's frame.
fn message_of(vector: &Value) -> Vec<u8> {
    let frame = hex::decode(vector["frame"].as_str().unwrap()).unwrap();
    let mut rest = &frame[..];
    let length = prost::decode_length_delimiter(&mut rest).unwrap();
    assert_eq!(length, rest.len(), "{vector}");
    rest.to_vec()
}

/// Every vector's message.
pub(crate) fn message_bytes() -> Vec<Vec<u8>> {
    vectors().iter().map(message_of).collect()
}

fn case(name: &str) -> (Value, Bytes) {
    let vector = vectors().into_iter().find(|vector| vector["case"] == name);
    let vector = vector.unwrap_or_else(|| panic!("no vector `{name}`"));
    let bytes = message_of(&vector).into();
    (vector["value"].clone(), bytes)
}

/// A field's bytes.
fn bytes_of(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// The one in the vectors, by the coordinator of `statements.json`.
fn signed_order() -> SignedOrder {
    let statements: Value =
        serde_json::from_str(include_str!("../../vectors/statements.json")).unwrap();
    let vector = &statements["delete_order"];
    let order = DeleteOrder::from_signed_bytes(&bytes_of(&vector["signed_bytes"])).unwrap();
    let peer = |name: &str| {
        statements["keys"][name]["peer_id"]
            .as_str()
            .unwrap()
            .parse()
    };
    let parties = Parties {
        network_id: statements["network_id"]
            .as_str()
            .unwrap()
            .parse::<NetworkId>()
            .unwrap(),
        coordinator: peer("coordinator").unwrap(),
        node: peer("node").unwrap(),
    };
    assert_eq!(*order.parties(), parties);
    assert_eq!(order.issued_at_ms(), TIME_MS);
    let signed = SignedOrder {
        order,
        signature: vector["signature"].as_str().unwrap().parse().unwrap(),
    };
    assert_eq!(signed.verify(), Ok(()));
    signed
}

fn stands_as<M: Message + Clone + PartialEq + Debug>(name: &str, value: M) {
    let (_, bytes) = case(name);
    let written = value.clone().into_frame().to_bytes();
    assert_eq!(hex::encode(&written), hex::encode(&bytes), "{name}");
    assert_eq!(M::from_bytes(bytes), Ok(value), "{name}");
}

#[test]
fn hello_stands_as_in_the_vectors() {
    let (value, _) = case("a node says hello");
    let report = HelloReport {
        node_id: bytes_of(&value["node_id"])[..].try_into().unwrap(),
        software: "storage-node/0.1.0".into(),
        capacity_bytes: 10_000_000_000,
        used_bytes: 262_172,
        free_bytes: 9_999_737_828,
        blob_count: 1,
        draining: false,
        deferred: DeferredPurges::NONE,
        instance: None,
    };
    stands_as("a node says hello", report.clone());
    let (value, _) = case("a node says hello and which instance it is");
    let instance = |value: &Value| bytes_of(value)[..].try_into().unwrap();
    let earlier = value["earlier_instances"].as_array().unwrap();
    let with_instance = HelloReport {
        instance: Some(Instance {
            id: instance(&value["instance"]),
            earlier: earlier.iter().map(instance).collect(),
        }),
        ..report.clone()
    };
    stands_as("a node says hello and which instance it is", with_instance);
    let draining = HelloReport {
        capacity_bytes: 0,
        used_bytes: 0,
        free_bytes: 0,
        blob_count: 0,
        draining: true,
        ..report
    };
    stands_as("a node that drains says hello", draining.clone());
    let put_off = HelloReport {
        deferred: DeferredPurges {
            blobs: 21,
            until_ms: TIME_MS,
        },
        ..draining
    };
    stands_as("a node that has put purges off says hello", put_off);
    let welcome = HelloAnswer {
        rejection: None,
        network_serial: 7,
        hang_up: false,
    };
    stands_as("the node is welcome", welcome);
    let rejected = HelloAnswer {
        rejection: Some("this node is not registered: run storage-node init".into()),
        network_serial: 7,
        hang_up: false,
    };
    stands_as("the node is turned away", rejected);
    let hang_up = HelloAnswer {
        rejection: Some("another data directory with this identity is in use".into()),
        network_serial: 7,
        hang_up: true,
    };
    stands_as("the node has to hang up", hang_up);
}

#[test]
fn heartbeat_stands_as_in_the_vectors() {
    let report = HeartbeatReport {
        capacity_bytes: 10_000_000_000,
        used_bytes: 262_172,
        free_bytes: 9_999_737_828,
        blob_count: 1,
        activity: NodeActivity::Running,
        deferred: DeferredPurges::NONE,
    };
    stands_as("all is well", report);
    let read_only = HeartbeatReport {
        capacity_bytes: i64::MAX as u64,
        used_bytes: i64::MAX as u64,
        free_bytes: 0,
        blob_count: 0,
        activity: NodeActivity::ReadOnly,
        deferred: DeferredPurges::NONE,
    };
    stands_as("the disk refuses writes", read_only);

    let answer = |earned, state: &str| HeartbeatAnswer {
        earned: MicroCredits::new(earned),
        server_time_ms: TIME_MS,
        state: state.into(),
        state_reason: String::new(),
        network_serial: 7,
        last_ledger_day: None,
    };
    stands_as(
        "the answer before the first day has ended",
        answer(0, "probation"),
    );
    stands_as("a negative amount", answer(-1, "active"));
    let (value, _) = case("the answer with a ledger day");
    let signature = bytes_of(&value["last_ledger_day"]["signature"]);
    let with_day = HeartbeatAnswer {
        state_reason: "score 979000".into(),
        network_serial: 8,
        last_ledger_day: Some(LedgerDay {
            day: "2025-12-31".into(),
            block_number: 86_400,
            block_hash: *BlobId::of(b"block").as_bytes(),
            signature: Signature::try_from(&signature[..]).unwrap(),
        }),
        ..answer(1_250_000, "suspended")
    };
    stands_as("the answer with a ledger day", with_day);
}

#[test]
fn store_chunk_stands_as_in_the_vectors() {
    let request = StoreRequest {
        blob_id: BlobId::of(BLOB),
        locator: Locator::from_bytes(std::array::from_fn(|i| i as u8)),
        request_id: RequestId::NONE,
        data: Bytes::from_static(BLOB),
    };
    stands_as("store this blob", request.clone());
    let of_a_request = StoreRequest {
        request_id: RequestId::new("0198-a"),
        ..request
    };
    stands_as("store this blob of a request", of_a_request);
    let (value, _) = case("stored");
    let signature = bytes_of(&value["receipt"]["signature"]);
    let receipt = SignedReceipt {
        stored_at_ms: TIME_MS,
        signature: Signature::try_from(&signature[..]).unwrap(),
    };
    stands_as("stored", StoreAnswer::Stored(receipt));
    let refusal = Refusal {
        code: RefusalCode::Full,
        detail: "0 bytes left".into(),
    };
    stands_as("refused", StoreAnswer::Refused(refusal));
}

#[test]
fn retrieve_chunk_stands_as_in_the_vectors() {
    let blob_id = BlobId::of(BLOB);
    let mut request = RetrieveRequest {
        blob_id,
        request_id: RequestId::NONE,
    };
    stands_as("give this blob", request);
    request.request_id = RequestId::new("0198-a");
    stands_as("give this blob for a request", request);
    stands_as("found", RetrieveAnswer::Found(Bytes::from_static(BLOB)));
    stands_as("missing", RetrieveAnswer::Missing);
    let ordered = RetrieveAnswer::Ordered(Box::new(signed_order()));
    stands_as("missing by order", ordered);
    stands_as("corrupt", RetrieveAnswer::Corrupt);
    stands_as("busy", RetrieveAnswer::Busy("64 reads under way".into()));
    let failed = RetrieveAnswer::IoError("read: input/output error".into());
    stands_as("the disk failed", failed);
}

#[test]
fn delete_chunk_stands_as_in_the_vectors() {
    use DeletionMode::{Purge, Restore, Trash};
    let blob_id = BlobId::of(BLOB);
    let deletions = [Purge, Trash, Restore].map(|mode| Deletion { blob_id, mode });
    let request = DeleteRequest::unsigned(deletions.into());
    stands_as("purge, trash, restore", request.clone());
    let signed = DeleteRequest {
        seal: Some(OrderSeal {
            issued_at_ms: TIME_MS,
            signature: signed_order().signature,
        }),
        ..request
    };
    stands_as("a signed order", signed);
    use DeletionOutcome::{Deferred, Done, Failed, NotHeld};
    stands_as("a purge that is put off", DeletionOutcomes(vec![Deferred]));
    stands_as(
        "one outcome each",
        DeletionOutcomes(vec![Done, NotHeld, Failed]),
    );
}

#[test]
fn report_loss_stands_as_in_the_vectors() {
    let report = LossReport {
        blob_ids: [BLOB, b""].map(BlobId::of).into(),
        reason: "scrub".into(),
    };
    stands_as("two blobs are gone", report);
    stands_as("the loss is noted", LossNoted { acknowledged: 2 });
}

#[test]
fn proof_challenge_stands_as_in_the_vectors() {
    let (value, _) = case("prove one blob");
    let request = ChallengeRequest {
        id: bytes_of(&value["challenge_id"])[..].try_into().unwrap(),
        issued_at_ms: TIME_MS,
        difficulty: Difficulty::STANDARD,
        items: vec![ChallengeItem {
            blob_id: BlobId::of(BLOB),
            length: BLOB.len() as u64,
            seed: bytes_of(&value["items"][0]["seed"])[..].try_into().unwrap(),
        }],
        signature: bytes_of(&value["signature"])[..].try_into().unwrap(),
    };
    stands_as("prove one blob", request);

    let (value, _) = case("one proven, one missing");
    let proven = ItemAnswer {
        outcome: ItemOutcome::Proven(Proof {
            proof_hash: ProofHash::from_bytes(*BlobId::of(b"proof").as_bytes()),
            body: Bytes::from_static(BLOB),
        }),
        duration_ms: 3,
    };
    let missing = ItemAnswer {
        outcome: ItemOutcome::Missing,
        duration_ms: 0,
    };
    let answer = ProofAnswer {
        items: vec![proven, missing],
        signature: bytes_of(&value["signature"])[..].try_into().unwrap(),
        orders: Vec::new(),
    };
    stands_as("one proven, one missing", answer.clone());
    // Readers of older versions pass the field over.
    let shown = ProofAnswer {
        orders: vec![signed_order()],
        ..answer
    };
    let bytes = shown.clone().into_frame().to_bytes();
    assert_eq!(ProofAnswer::from_bytes(bytes), Ok(shown));
}

#[test]
fn inventory_stands_as_in_the_vectors() {
    let (blob, empty) = (BlobId::of(BLOB), BlobId::of(b""));
    let request =
        InventoryRequest::new(vec![BlobRange::ALL], InventoryAsk::Digests { group: 1024 });
    stands_as("digests of groups of 1024 blobs", request.unwrap());
    let trash = InventoryRequest::new(vec![BlobRange::ALL], InventoryAsk::Trash);
    stands_as("list the trash", trash.unwrap());
    let (value, _) = case("list two ranges");
    let range = |n: usize| BlobRange {
        first: bytes_of(&value["ranges"][n]["first"])[..]
            .try_into()
            .unwrap(),
        last: bytes_of(&value["ranges"][n]["last"])[..]
            .try_into()
            .unwrap(),
    };
    let request = InventoryRequest::new(vec![range(0), range(1)], InventoryAsk::Items);
    stands_as("list two ranges", request.unwrap());

    let mut digest = IdsDigest::default();
    digest.add(&blob);
    let groups = InventoryAnswer {
        groups: vec![GroupDigest {
            count: digest.count(),
            digest: digest.finish(),
            last: blob,
        }],
        items: Vec::new(),
        resume_from: Some(empty),
    };
    stands_as("a group of one blob, and more to come", groups);
    let item = InventoryItem {
        blob_id: blob,
        length: BLOB.len() as u64,
        age_s: 3600,
        locator: Locator::from_bytes(std::array::from_fn(|i| i as u8)),
        trashed: false,
        trashed_age_s: None,
    };
    let trashed = InventoryItem {
        blob_id: empty,
        length: 262_172,
        age_s: 0,
        trashed: true,
        trashed_age_s: None,
        ..item
    };
    let items = InventoryAnswer {
        items: vec![item, trashed],
        ..InventoryAnswer::default()
    };
    stands_as("a blob and one in the trash", items);
}

#[test]
fn every_protocol_has_vectors_in_both_directions() {
    for protocol in proto::protocols::TABLE {
        let name = protocol.name.rsplit('/').next().unwrap();
        let of_protocol = vectors().into_iter().filter(|v| v["protocol"] == name);
        let messages: Vec<String> = of_protocol.map(|v| v["message"].to_string()).collect();
        assert!(
            messages.iter().any(|m| m.ends_with("Request\"")),
            "{protocol:?}"
        );
        assert!(
            messages.iter().any(|m| m.ends_with("Response\"")),
            "{protocol:?}"
        );
    }
}
