//! Receipts and registrations: who signed what, and nothing else.

use proto::{
    BlobId, Keypair, NetworkContext, NetworkId, PeerId, Receipt, Registration, RegistrationForm,
    Signature, SignedReceipt, VerifyingKey,
};

use crate::values::key;

fn node() -> Keypair {
    key([1; 32])
}

fn context() -> NetworkContext {
    NetworkContext {
        network_id: NetworkId::from_bytes([2; 32]),
        peer_id: node().public().to_peer_id(),
    }
}

fn receipt() -> Receipt {
    Receipt {
        context: context(),
        blob_id: BlobId::of(b"blob"),
        length: 4,
        stored_at_ms: 1_767_225_600_000,
    }
}

#[test]
fn a_receipt_holds_for_its_network_peer_blob_length_and_time_only() {
    let signed = receipt().sign(&node()).unwrap();
    let blob_id = BlobId::of(b"blob");
    assert_eq!(signed.verify(context(), blob_id, 4), Ok(receipt()));

    let other_network = NetworkContext {
        network_id: NetworkId::from_bytes([3; 32]),
        ..context()
    };
    let other_peer = NetworkContext {
        peer_id: key([9; 32]).public().to_peer_id(),
        ..context()
    };
    let later = SignedReceipt {
        stored_at_ms: signed.stored_at_ms + 1,
        ..signed
    };
    assert!(signed.verify(other_network, blob_id, 4).is_err());
    assert!(signed.verify(other_peer, blob_id, 4).is_err());
    assert!(signed.verify(context(), BlobId::of(b"blub"), 4).is_err());
    assert!(signed.verify(context(), blob_id, 5).is_err());
    assert!(later.verify(context(), blob_id, 4).is_err());
}

#[test]
fn a_signature_with_any_bit_flipped_is_refused() {
    let signed = receipt().sign(&node()).unwrap();
    for bit in 0..512 {
        let mut bytes = *signed.signature.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let flipped = SignedReceipt {
            signature: Signature::from_bytes(bytes),
            ..signed
        };
        let verdict = flipped.verify(context(), BlobId::of(b"blob"), 4);
        assert!(verdict.is_err(), "bit {bit}");
    }
}

#[test]
fn a_registration_holds_for_its_own_fields_only() {
    let registration = Registration {
        context: context(),
        nonce: [4; 32],
        name: "node".into(),
        capacity_bytes: 10,
        region: Some("north".into()),
        token_hash: Some(Registration::token_hash("token")),
    };
    let (v1, v2) = (RegistrationForm::V1, RegistrationForm::V2);
    let signature = registration.sign(v2, &node()).unwrap();
    assert_eq!(registration.verify(v2, &signature), Ok(()));
    assert!(registration.verify(v1, &signature).is_err());
    let changes: [fn(&mut Registration); 9] = [
        |r| r.context.network_id = NetworkId::from_bytes([5; 32]),
        |r| r.context.peer_id = key([9; 32]).public().to_peer_id(),
        |r| r.nonce[31] ^= 1,
        |r| r.name.push(' '),
        |r| r.capacity_bytes += 1,
        |r| r.region = Some("south".into()),
        |r| r.region = None,
        |r| r.token_hash = Some(Registration::token_hash("another")),
        |r| r.token_hash = None,
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut changed = registration.clone();
        change(&mut changed);
        assert!(changed.verify(v2, &signature).is_err(), "change {index}");
    }
}

#[test]
fn a_signature_under_one_statement_is_none_under_another() {
    let registration = Registration {
        context: context(),
        nonce: [4; 32],
        name: String::new(),
        capacity_bytes: 0,
        region: None,
        token_hash: None,
    };
    let signature = registration.sign(RegistrationForm::V2, &node()).unwrap();
    let claimed = SignedReceipt {
        stored_at_ms: 0,
        signature,
    };
    let verdict = claimed.verify(context(), BlobId::from_bytes([4; 32]), 0);
    assert!(verdict.is_err());
}

/// A peer id whose identity multihash holds these 36 bytes.
fn peer_id_of(encoded_key: &[u8]) -> PeerId {
    let bytes = [&[0x00, 0x24], encoded_key].concat();
    PeerId::from_bytes(&bytes).unwrap()
}

#[test]
fn a_key_has_one_peer_id() {
    let public = VerifyingKey::of_keypair(&node()).unwrap().to_bytes();
    let usual = [&[0x08, 0x01, 0x12, 0x20], &public[..]].concat();
    let swapped = [&[0x12, 0x20], &public[..], &[0x08, 0x01]].concat();
    assert_eq!(peer_id_of(&usual), context().peer_id);
    assert!(VerifyingKey::of_peer(&peer_id_of(&usual)).is_ok());
    assert!(VerifyingKey::of_peer(&peer_id_of(&swapped)).is_err());
}

#[test]
fn a_peer_without_an_ed25519_key_in_its_id_can_sign_nothing_here() {
    let hashed = PeerId::from_bytes(&[&[0x12, 0x20][..], &[7; 32]].concat()).unwrap();
    assert!(VerifyingKey::of_peer(&hashed).is_err());
    let secp256k1 = [&[0x08, 0x02, 0x12, 0x20], &[7; 32][..]].concat();
    assert!(VerifyingKey::of_peer(&peer_id_of(&secp256k1)).is_err());
}

/// Keys of small order have signatures that hold for every message: whoever "signs" with one has
/// said nothing, and could deny a receipt at will.
#[test]
fn a_key_under_which_anything_is_signed_is_refused() {
    let mut identity_point = [0; 32];
    identity_point[0] = 1;
    let forged = Signature::from_bytes({
        let mut bytes = [0; 64];
        bytes[0] = 1;
        bytes
    });
    let accepted = VerifyingKey::from_bytes(&identity_point)
        .is_ok_and(|key| key.verify(b"anything", &forged).is_ok());
    assert!(!accepted);
    let encoded = [&[0x08, 0x01, 0x12, 0x20], &identity_point[..]].concat();
    let context = NetworkContext {
        peer_id: peer_id_of(&encoded),
        ..context()
    };
    let claimed = SignedReceipt {
        stored_at_ms: 0,
        signature: forged,
    };
    assert!(claimed.verify(context, BlobId::of(b""), 1).is_err());
}
