//! The network document: only what the network's key has signed, whole and unaltered.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proto::{
    CoordinatorEntry, Keypair, NetworkDocument, NetworkDocumentError, NetworkId, VerifyingKey,
};

use crate::values::key;

fn network_key() -> Keypair {
    key([1; 32])
}

fn entry(seed: u8, addrs: usize) -> CoordinatorEntry {
    CoordinatorEntry {
        peer_id: key([seed; 32]).public().to_peer_id().to_string(),
        addrs: (0..addrs)
            .map(|n| format!("/ip4/10.0.{seed}.{n}/tcp/4001"))
            .collect(),
    }
}

fn issued_at() -> Timestamp {
    Timestamp::from_millisecond(1_767_225_600_123).unwrap()
}

fn signed(coordinators: Vec<CoordinatorEntry>) -> NetworkDocument {
    NetworkDocument::sign(&network_key(), 7, coordinators, issued_at()).unwrap()
}

fn document() -> NetworkDocument {
    signed(vec![entry(2, 2), entry(3, 1)])
}

#[test]
fn a_signed_document_is_believed_and_names_its_coordinators() {
    let document = document();
    assert_eq!(document.verify(), Ok(()));
    let peers = document.coordinator_peers().unwrap();
    assert_eq!(
        peers,
        [2, 3].map(|seed| key([seed; 32]).public().to_peer_id())
    );
}

#[test]
fn a_document_with_any_altered_field_is_refused() {
    type Alteration = fn(&mut NetworkDocument);
    let alterations: [(&str, Alteration); 15] = [
        ("network id", |d| {
            d.network_id = NetworkId::from_bytes([0; 32]);
        }),
        ("public key", |d| d.public_key = "00".repeat(32)),
        ("case of the public key", |d| {
            d.public_key.make_ascii_uppercase();
        }),
        ("serial", |d| d.serial += 1),
        ("a later time", |d| {
            d.issued_at += SignedDuration::from_millis(1);
        }),
        ("a little later", |d| {
            d.issued_at += SignedDuration::from_nanos(1);
        }),
        ("a time before 1970", |d| {
            d.issued_at = Timestamp::from_millisecond(-1).unwrap();
        }),
        ("order of the coordinators", |d| d.coordinators.reverse()),
        ("one coordinator less", |d| {
            d.coordinators.pop();
        }),
        ("one coordinator more", |d| {
            d.coordinators.push(entry(4, 0));
        }),
        ("another peer id", |d| {
            d.coordinators[1].peer_id = entry(4, 0).peer_id;
        }),
        ("an address moved to the next coordinator", |d| {
            let moved = d.coordinators[0].addrs.pop().unwrap();
            d.coordinators[1].addrs.insert(0, moved);
        }),
        ("two addresses made one", |d| {
            let last = d.coordinators[0].addrs.pop().unwrap();
            d.coordinators[0].addrs[0].push_str(&last);
        }),
        ("signature", |d| d.signature = "00".repeat(64)),
        ("case of the signature", |d| {
            d.signature.make_ascii_uppercase();
        }),
    ];
    for (what, alter) in alterations {
        let mut altered = document();
        alter(&mut altered);
        assert_ne!(altered, document(), "{what}");
        assert!(altered.verify().is_err(), "{what}");
    }
}

#[test]
fn a_document_by_another_key_is_that_of_another_network() {
    let coordinators = document().coordinators;
    let other = NetworkDocument::sign(&key([9; 32]), 7, coordinators, issued_at()).unwrap();
    assert_eq!(other.verify(), Ok(()));
    assert_ne!(other.network_id, document().network_id);

    let mut passed_off = other;
    passed_off.network_id = document().network_id;
    assert_eq!(
        passed_off.verify(),
        Err(NetworkDocumentError::KeyDoesNotMatchId)
    );
    let network_key = VerifyingKey::of_keypair(&network_key()).unwrap();
    passed_off.public_key = hex::encode(network_key.to_bytes());
    assert_eq!(passed_off.verify(), Err(NetworkDocumentError::BadSignature));
}

#[test]
fn times_are_signed_to_the_millisecond() {
    let fine = issued_at() + SignedDuration::from_nanos(999_999);
    let document = NetworkDocument::sign(&network_key(), 7, Vec::new(), fine).unwrap();
    assert_eq!(document.issued_at, issued_at());
    assert_eq!(document.verify(), Ok(()));
}

#[test]
fn a_document_has_at_most_64_coordinators_with_32_addresses_each() {
    let coordinators = |count, addrs| vec![entry(2, addrs); count];
    let full = signed(coordinators(64, 32));
    assert_eq!(full.verify(), Ok(()));
    let sign = |coordinators| NetworkDocument::sign(&network_key(), 7, coordinators, issued_at());
    assert!(sign(coordinators(65, 0)).is_err());
    assert!(sign(coordinators(1, 33)).is_err());

    let mut too_many = full.clone();
    too_many.coordinators.push(entry(3, 0));
    assert!(matches!(
        too_many.verify(),
        Err(NetworkDocumentError::Malformed(_))
    ));
    let mut too_many = full;
    too_many.coordinators[0].addrs.push(String::new());
    assert!(matches!(
        too_many.verify(),
        Err(NetworkDocumentError::Malformed(_))
    ));
}

#[test]
fn a_document_that_cannot_be_read_is_refused_with_the_reason() {
    let reason = |alter: fn(&mut NetworkDocument)| {
        let mut altered = document();
        alter(&mut altered);
        altered.verify().unwrap_err().to_string()
    };
    assert_eq!(
        reason(|d| d.public_key.truncate(63)),
        "its public key is not 64 lower-case hex digits"
    );
    assert_eq!(
        reason(|d| d.signature.push('0')),
        "its signature is not 128 lower-case hex digits"
    );
    assert_eq!(
        reason(|d| d.coordinators[0].peer_id.clear()),
        "a coordinator's peer id cannot be read"
    );
}

proptest! {
    #[test]
    fn any_document_survives_json(
        serial: u64,
        addrs in prop::collection::vec(prop::collection::vec(any::<String>(), 0..4), 0..4),
    ) {
        let coordinators = addrs.into_iter().map(|addrs| CoordinatorEntry { addrs, ..entry(2, 0) });
        let document =
            NetworkDocument::sign(&network_key(), serial, coordinators.collect(), issued_at())
                .unwrap();
        let json = serde_json::to_string(&document).unwrap();
        let read: NetworkDocument = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read.verify(), Ok(()));
        prop_assert_eq!(read, document);
    }

    #[test]
    fn one_changed_byte_of_json_makes_another_document_that_is_refused(
        place: prop::sample::Index,
        byte in 0x20..0x7f_u8,
    ) {
        let mut json = serde_json::to_vec(&document()).unwrap();
        let place = place.index(json.len());
        json[place] = byte;
        if let Ok(read) = serde_json::from_slice::<NetworkDocument>(&json)
            && read != document()
        {
            prop_assert!(read.verify().is_err());
        }
    }
}
