//! Orders to delete: who gave them, to whom, for which blobs and when, and nothing else.

use proptest::prelude::*;
use proto::{
    BlobId, DeleteOrder, DeleteRequest, Deletion, DeletionMode, Keypair, MAX_DELETIONS_PER_MESSAGE,
    Malformed, NetworkId, OrderSeal, Parties, SignedOrder,
};

use crate::values::{self, key};

const AT_MS: u64 = 1_767_225_600_123;

fn coordinator() -> Keypair {
    key([1; 32])
}

fn parties() -> Parties {
    Parties {
        network_id: NetworkId::from_bytes([2; 32]),
        coordinator: coordinator().public().to_peer_id(),
        node: key([3; 32]).public().to_peer_id(),
    }
}

fn deletion(bytes: &[u8], mode: DeletionMode) -> Deletion {
    let blob_id = BlobId::of(bytes);
    Deletion { blob_id, mode }
}

fn signed() -> SignedOrder {
    let deletions = vec![
        deletion(b"a", DeletionMode::Purge),
        deletion(b"b", DeletionMode::Trash),
        deletion(b"c", DeletionMode::Restore),
    ];
    let order = DeleteOrder::new(parties(), AT_MS, deletions).unwrap();
    order.sign(&coordinator()).unwrap()
}

#[test]
fn an_order_is_opened_by_the_node_that_it_is_for_and_by_no_other() {
    let request = signed().into_request();
    assert_eq!(request.open(parties()), Ok(Some(signed())));
    let elsewhere = [
        Parties {
            network_id: NetworkId::from_bytes([8; 32]),
            ..parties()
        },
        Parties {
            coordinator: key([8; 32]).public().to_peer_id(),
            ..parties()
        },
        Parties {
            node: key([8; 32]).public().to_peer_id(),
            ..parties()
        },
    ];
    for parties in elsewhere {
        assert!(request.open(parties).is_err(), "{parties:?}");
    }
}

#[test]
fn an_order_holds_for_its_blobs_their_modes_and_its_time_only() {
    let request = signed().into_request();
    let seal = request.seal.unwrap();
    let refused = |request: DeleteRequest| request.open(parties()).is_err();
    let (mut other_blob, mut other_mode) = (request.clone(), request.clone());
    other_blob.deletions[0].blob_id = BlobId::of(b"d");
    other_mode.deletions[2].mode = DeletionMode::Purge;
    let (mut fewer, mut reordered) = (request.clone(), request.clone());
    fewer.deletions.pop();
    reordered.deletions.swap(0, 1);
    let later = DeleteRequest {
        seal: Some(OrderSeal {
            issued_at_ms: seal.issued_at_ms + 1,
            ..seal
        }),
        ..request
    };
    for (name, changed) in [
        ("blob", other_blob),
        ("mode", other_mode),
        ("fewer", fewer),
        ("order", reordered),
        ("time", later),
    ] {
        assert!(refused(changed), "{name}");
    }
}

#[test]
fn only_what_is_removed_or_thrown_away_is_taken_away() {
    let order = signed().order;
    let takes = [b"a", b"b", b"c", b"d"].map(|bytes| order.takes_away(&BlobId::of(bytes)));
    assert_eq!(takes, [true, true, false, false]);
}

#[test]
fn deletions_without_a_signature_are_no_order() {
    let request = DeleteRequest::unsigned(vec![deletion(b"a", DeletionMode::Purge)]);
    assert_eq!(request.open(parties()), Ok(None));
}

#[test]
fn an_order_is_of_one_to_a_thousand_blobs() {
    let order = |count| {
        let deletions = vec![deletion(b"a", DeletionMode::Purge); count];
        DeleteOrder::new(parties(), AT_MS, deletions)
    };
    assert!(order(0).is_err());
    let most = order(MAX_DELETIONS_PER_MESSAGE).unwrap();
    assert_eq!(
        DeleteOrder::from_signed_bytes(&most.signed_bytes()),
        Ok(most)
    );
    assert!(order(MAX_DELETIONS_PER_MESSAGE + 1).is_err());
}

proptest! {
    #[test]
    fn what_was_signed_is_read_back_and_nothing_else_passes(
        signed in values::signed_order(),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let bytes = signed.order.signed_bytes();
        let read = DeleteOrder::from_signed_bytes(&bytes);
        prop_assert_eq!(read, Ok(signed.order.clone()));
        let mut changed = bytes.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        // What can be read all the same says something else, and is not signed.
        if let Ok(order) = DeleteOrder::from_signed_bytes(&changed) {
            let forged = SignedOrder { order, signature: signed.signature };
            prop_assert!(forged.verify().is_err());
        }
        let cut: Result<DeleteOrder, Malformed> = DeleteOrder::from_signed_bytes(&bytes[..at]);
        prop_assert!(cut.is_err());
    }
}
