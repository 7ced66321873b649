//! Arbitrary valid values of every message, and fixed keys.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proto::{
    BlobId, BlobRange, ChallengeId, ChallengeItem, ChallengeRequest, DeferredPurges, DeleteOrder,
    DeleteRequest, Deletion, DeletionMode, DeletionOutcome, DeletionOutcomes, Difficulty,
    GroupDigest, HeartbeatAnswer, HeartbeatReport, HelloAnswer, HelloReport, Instance, InstanceId,
    InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest, ItemAnswer, ItemOutcome,
    Keypair, LedgerDay, Locator, LossReport, MAX_CHALLENGE_ITEMS, MAX_DELETIONS_PER_MESSAGE,
    MAX_EARLIER_INSTANCES, MAX_GROUP_BLOBS, MicroCredits, NetworkId, NodeActivity, NodeId,
    OrderSeal, Parties, Proof, ProofAnswer, ProofHash, ProofSeed, Refusal, RefusalCode, RequestId,
    RetrieveAnswer, RetrieveRequest, Signature, SignedOrder, SignedReceipt, StoreAnswer,
    StoreRequest,
};

/// The Ed25519 key with this seed.
pub(crate) fn key(seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(seed).unwrap()
}

pub(crate) fn blob_id() -> impl Strategy<Value = BlobId> {
    any::<[u8; 32]>().prop_map(BlobId::from_bytes)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    any::<[u8; 16]>().prop_map(|bytes| NodeId::try_from(&bytes[..]).unwrap())
}

fn signature() -> impl Strategy<Value = Signature> {
    any::<[u8; 64]>().prop_map(Signature::from_bytes)
}

/// Text that passes uncut: at most 128 characters of four bytes.
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..128).prop_map(String::from_iter)
}

/// Counts fit signed 64-bit columns.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(i64::MAX as u64), 0..=i64::MAX as u64]
}

pub(crate) fn blob() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 1..4096).prop_map(Bytes::from)
}

fn deferred() -> impl Strategy<Value = DeferredPurges> {
    (count(), count()).prop_map(|(blobs, until_ms)| DeferredPurges { blobs, until_ms })
}

pub(crate) fn hello_report() -> impl Strategy<Value = HelloReport> {
    let counts = [count(), count(), count(), count()];
    let number = || any::<[u8; 16]>().prop_map(InstanceId::from_bytes);
    let earlier = vec(number(), 0..=MAX_EARLIER_INSTANCES);
    let instance = (number(), earlier).prop_map(|(id, earlier)| Instance { id, earlier });
    let instance = proptest::option::of(instance);
    (
        node_id(),
        text(),
        counts,
        any::<bool>(),
        deferred(),
        instance,
    )
        .prop_map(
            |(node_id, software, [capacity, used, free, blobs], draining, deferred, instance)| {
                HelloReport {
                    node_id,
                    software,
                    capacity_bytes: capacity,
                    used_bytes: used,
                    free_bytes: free,
                    blob_count: blobs,
                    draining,
                    deferred,
                    instance,
                }
            },
        )
}

pub(crate) fn hello_answer() -> impl Strategy<Value = HelloAnswer> {
    let rejection = proptest::option::of(text());
    (rejection, any::<u64>(), any::<bool>()).prop_map(|(rejection, network_serial, hang_up)| {
        HelloAnswer {
            rejection,
            network_serial,
            hang_up,
        }
    })
}

pub(crate) fn heartbeat_report() -> impl Strategy<Value = HeartbeatReport> {
    let activity = prop_oneof![
        Just(NodeActivity::Running),
        Just(NodeActivity::Draining),
        Just(NodeActivity::Stopping),
        Just(NodeActivity::ReadOnly),
    ];
    let counts = [count(), count(), count(), count()];
    (counts, activity, deferred()).prop_map(
        |([capacity, used, free, blobs], activity, deferred)| HeartbeatReport {
            capacity_bytes: capacity,
            used_bytes: used,
            free_bytes: free,
            blob_count: blobs,
            activity,
            deferred,
        },
    )
}

fn ledger_day() -> impl Strategy<Value = LedgerDay> {
    (text(), any::<u64>(), any::<[u8; 32]>(), signature()).prop_map(
        |(day, block_number, block_hash, signature)| LedgerDay {
            day,
            block_number,
            block_hash,
            signature,
        },
    )
}

pub(crate) fn heartbeat_answer() -> impl Strategy<Value = HeartbeatAnswer> {
    let amounts = (any::<i64>(), any::<u64>(), any::<u64>());
    let day = proptest::option::of(ledger_day());
    (amounts, text(), text(), day).prop_map(
        |((earned, server_time_ms, network_serial), state, state_reason, last_ledger_day)| {
            HeartbeatAnswer {
                earned: MicroCredits::new(earned),
                server_time_ms,
                state,
                state_reason,
                network_serial,
                last_ledger_day,
            }
        },
    )
}

pub(crate) fn store_request() -> impl Strategy<Value = StoreRequest> {
    let locator = vec(any::<u8>(), Locator::LEN);
    let parts = (blob_id(), locator, request_id(), blob());
    parts.prop_map(|(blob_id, locator, request_id, data)| StoreRequest {
        blob_id,
        locator: Locator::try_from(&locator[..]).unwrap(),
        request_id,
        data,
    })
}

pub(crate) fn store_answer() -> impl Strategy<Value = StoreAnswer> {
    let code = prop_oneof![
        Just(RefusalCode::Full),
        Just(RefusalCode::Draining),
        Just(RefusalCode::HashMismatch),
        Just(RefusalCode::Malformed),
        Just(RefusalCode::Busy),
        Just(RefusalCode::IoError),
        Just(RefusalCode::Stopping),
    ];
    let refusal =
        (code, text()).prop_map(|(code, detail)| StoreAnswer::Refused(Refusal { code, detail }));
    let receipt = (any::<u64>(), signature()).prop_map(|(stored_at_ms, signature)| {
        StoreAnswer::Stored(SignedReceipt {
            stored_at_ms,
            signature,
        })
    });
    prop_oneof![receipt, refusal]
}

pub(crate) fn retrieve_request() -> impl Strategy<Value = RetrieveRequest> {
    (blob_id(), request_id()).prop_map(|(blob_id, request_id)| RetrieveRequest {
        blob_id,
        request_id,
    })
}

fn request_id() -> impl Strategy<Value = RequestId> {
    let byte = b'!'..=b'~';
    vec(byte, 0..=RequestId::MAX_LEN)
        .prop_map(|bytes| RequestId::new(std::str::from_utf8(&bytes).unwrap()))
}

pub(crate) fn retrieve_answer() -> impl Strategy<Value = RetrieveAnswer> {
    prop_oneof![
        blob().prop_map(RetrieveAnswer::Found),
        Just(RetrieveAnswer::Missing),
        signed_order().prop_map(|order| RetrieveAnswer::Ordered(Box::new(order))),
        Just(RetrieveAnswer::Corrupt),
        text().prop_map(RetrieveAnswer::Busy),
        text().prop_map(RetrieveAnswer::IoError),
    ]
}

fn deletion() -> impl Strategy<Value = Deletion> {
    let mode = prop_oneof![
        Just(DeletionMode::Purge),
        Just(DeletionMode::Trash),
        Just(DeletionMode::Restore),
    ];
    (blob_id(), mode).prop_map(|(blob_id, mode)| Deletion { blob_id, mode })
}

pub(crate) fn delete_request() -> impl Strategy<Value = DeleteRequest> {
    let seal = (any::<u64>(), signature()).prop_map(|(issued_at_ms, signature)| OrderSeal {
        issued_at_ms,
        signature,
    });
    (vec(deletion(), 0..50), proptest::option::of(seal))
        .prop_map(|(deletions, seal)| DeleteRequest { deletions, seal })
}

pub(crate) fn signed_order() -> impl Strategy<Value = SignedOrder> {
    let seeds = any::<([u8; 32], [u8; 32], [u8; 32], u64)>();
    (seeds, vec(deletion(), 1..20)).prop_map(|((network, coordinator, node, at), deletions)| {
        let coordinator = key(coordinator);
        let parties = Parties {
            network_id: NetworkId::from_bytes(network),
            coordinator: coordinator.public().to_peer_id(),
            node: key(node).public().to_peer_id(),
        };
        let order = DeleteOrder::new(parties, at, deletions).unwrap();
        order.sign(&coordinator).unwrap()
    })
}

pub(crate) fn deletion_outcomes() -> impl Strategy<Value = DeletionOutcomes> {
    let outcome = prop_oneof![
        Just(DeletionOutcome::Done),
        Just(DeletionOutcome::NotHeld),
        Just(DeletionOutcome::Failed),
        Just(DeletionOutcome::Deferred),
    ];
    vec(outcome, 0..=MAX_DELETIONS_PER_MESSAGE).prop_map(DeletionOutcomes)
}

pub(crate) fn loss_report() -> impl Strategy<Value = LossReport> {
    (vec(blob_id(), 0..50), text()).prop_map(|(blob_ids, reason)| LossReport { blob_ids, reason })
}

pub(crate) fn ranges() -> impl Strategy<Value = Vec<BlobRange>> {
    prop::collection::btree_set(any::<[u8; 32]>(), 2..20).prop_map(|ids| {
        let ids: Vec<_> = ids.into_iter().map(BlobId::from_bytes).collect();
        let pairs = ids.chunks_exact(2);
        let range = |pair: &[BlobId]| BlobRange {
            first: pair[0],
            last: pair[1],
        };
        pairs.map(range).collect()
    })
}

pub(crate) fn inventory_request() -> impl Strategy<Value = InventoryRequest> {
    let groups = (1..=MAX_GROUP_BLOBS).prop_map(|group| InventoryAsk::Digests { group });
    let ask = prop_oneof![groups, Just(InventoryAsk::Items), Just(InventoryAsk::Trash)];
    (ranges(), ask).prop_map(|(ranges, ask)| InventoryRequest::new(ranges, ask).unwrap())
}

pub(crate) fn inventory_answer() -> impl Strategy<Value = InventoryAnswer> {
    let group = (1..=MAX_GROUP_BLOBS, any::<[u8; 32]>(), blob_id());
    let group = group.prop_map(|(count, digest, last)| GroupDigest {
        count,
        digest,
        last,
    });
    let locator = vec(any::<u8>(), Locator::LEN);
    let item = (blob_id(), any::<(u64, u64, bool, Option<u64>)>(), locator);
    let item = item.prop_map(
        |(blob_id, (length, age_s, trashed, trashed_age_s), locator)| InventoryItem {
            blob_id,
            length,
            age_s,
            locator: Locator::try_from(&locator[..]).unwrap(),
            trashed,
            trashed_age_s,
        },
    );
    let resume_from = proptest::option::of(blob_id());
    (vec(group, 0..20), vec(item, 0..20), resume_from).prop_map(|(groups, items, resume_from)| {
        InventoryAnswer {
            groups,
            items,
            resume_from,
        }
    })
}

pub(crate) fn seed() -> impl Strategy<Value = ProofSeed> {
    any::<[u8; 32]>().prop_map(ProofSeed::from_bytes)
}

pub(crate) fn difficulty() -> impl Strategy<Value = Difficulty> {
    (1..=Difficulty::MAX.get()).prop_map(|leaves| Difficulty::new(leaves).unwrap())
}

fn challenge_id() -> impl Strategy<Value = ChallengeId> {
    any::<[u8; 16]>().prop_map(ChallengeId::from_bytes)
}

pub(crate) fn challenge_request() -> impl Strategy<Value = ChallengeRequest> {
    let item =
        (blob_id(), any::<u64>(), seed()).prop_map(|(blob_id, length, seed)| ChallengeItem {
            blob_id,
            length,
            seed,
        });
    let items = vec(item, 0..=MAX_CHALLENGE_ITEMS);
    (
        challenge_id(),
        any::<u64>(),
        difficulty(),
        items,
        signature(),
    )
        .prop_map(
            |(id, issued_at_ms, difficulty, items, signature)| ChallengeRequest {
                id,
                issued_at_ms,
                difficulty,
                items,
                signature,
            },
        )
}

pub(crate) fn item_answer() -> impl Strategy<Value = ItemAnswer> {
    let body = vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
    let proof = (any::<[u8; 32]>(), body).prop_map(|(hash, body)| Proof {
        proof_hash: ProofHash::from_bytes(hash),
        body,
    });
    let outcome = prop_oneof![
        proof.prop_map(ItemOutcome::Proven),
        Just(ItemOutcome::Missing),
        Just(ItemOutcome::Corrupt),
        Just(ItemOutcome::Busy),
    ];
    (outcome, any::<u64>()).prop_map(|(outcome, duration_ms)| ItemAnswer {
        outcome,
        duration_ms,
    })
}

pub(crate) fn proof_answer() -> impl Strategy<Value = ProofAnswer> {
    let items = vec(item_answer(), 0..=MAX_CHALLENGE_ITEMS);
    let orders = vec(signed_order(), 0..3);
    (items, signature(), orders).prop_map(|(items, signature, orders)| ProofAnswer {
        items,
        signature,
        orders,
    })
}
