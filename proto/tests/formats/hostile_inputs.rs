//! Whatever strangers send in place of a message, a signed statement, a name, a key or evidence is read or refused.

use std::fmt::Debug;

use bytes::Bytes;
use proto::evidence::{Checker, Finding, OrderItem, Proofs, ProofsView, Receipts, Sealed};
use proto::{
    BlobId, Challenge, DeleteOrder, Difficulty, FileId, NetworkDocument, NetworkId, NodeId, PeerId,
    Proof, ProofHash, ProofSeed, ProofStatement, Question, Signature, VerifyingKey, prove, verify,
};
use serde_json::Value;

use crate::message_vectors::message_bytes;
use crate::messages::every_message_reads_soundly;
use crate::values::key;

const DIR: &str = env!("CARGO_MANIFEST_DIR");

fn statements() -> Value {
    serde_json::from_str(include_str!("../../vectors/statements.json")).unwrap()
}

/// Every text of a document that is hex, as bytes.
fn hex_in(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => found.extend(hex::decode(text).ok()),
        Value::Array(values) => values.iter().for_each(|value| hex_in(value, found)),
        Value::Object(values) => values.values().for_each(|value| hex_in(value, found)),
        _ => {}
    }
}

fn transcripts() -> Value {
    serde_json::from_str(include_str!("../../vectors/proof-transcripts.json")).unwrap()
}

#[test]
fn messages_are_read_or_refused_and_what_was_read_is_sent_on_as_it_was() {
    hostile::attack(DIR, "messages", message_bytes(), |bytes| {
        every_message_reads_soundly(&Bytes::copy_from_slice(bytes));
    });
}

#[test]
fn signed_bytes_are_read_as_what_they_say_or_refused() {
    let mut sound = Vec::new();
    hex_in(&statements(), &mut sound);
    hex_in(&transcripts(), &mut sound);
    hostile::attack(DIR, "signed", sound, |bytes| {
        if let Ok(challenge) = Challenge::from_signed_bytes(bytes) {
            assert_eq!(challenge.signed_bytes(), bytes);
        }
        if let Ok(order) = DeleteOrder::from_signed_bytes(bytes) {
            assert_eq!(order.signed_bytes(), bytes);
        }
        if let Ok(statement) = ProofStatement::from_bytes(bytes) {
            let again = ProofStatement::from_bytes(&statement.to_bytes());
            assert_eq!(again.as_ref(), Ok(&statement));
            let _ = statement.verify();
        }
    });
}

/// What is read of a text is the same when it is written and read again.
fn round_trip<T: std::str::FromStr + ToString + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let again = value.to_string().parse::<T>();
        assert_eq!(again.ok(), Some(value));
    }
}

#[test]
fn names_keys_and_signatures_are_read_or_refused() {
    let (node, text) = (key([7; 32]).public().to_peer_id(), |text: &str| {
        text.as_bytes().to_vec()
    });
    let sound = [
        node.to_bytes(),
        text(&node.to_string()),
        text(&BlobId::of(b"a blob").to_string()),
        text("0191f6a8-3c1f-7b4e-9d5a-0123456789ab"),
        text(&"ab".repeat(64)),
        vec![0; 32],
    ];
    hostile::attack(DIR, "names", sound, |bytes| {
        let _ = PeerId::from_bytes(bytes).map(|peer| VerifyingKey::of_peer(&peer));
        if let Some((half, rest)) = bytes.split_first_chunk::<32>()
            && let Ok(key) = VerifyingKey::from_bytes(half)
        {
            assert_eq!(key.to_bytes(), *half);
            let signature = Signature::from_bytes([7; 64]);
            assert!(key.verify(rest, &signature).is_err());
        }
        let text = String::from_utf8_lossy(bytes);
        round_trip::<PeerId>(&text);
        round_trip::<BlobId>(&text);
        round_trip::<NetworkId>(&text);
        round_trip::<NodeId>(&text);
        round_trip::<FileId>(&text);
        round_trip::<Signature>(&text);
    });
}

#[test]
fn evidence_and_network_documents_are_checked_or_refused() {
    let documents = statements()["network_document"]["document"].to_string();
    let all = transcripts();
    let mut sound = vec![documents.into_bytes(), all.to_string().into_bytes()];
    let examples = [
        include_str!("../../../api/tests/examples/evidence.Receipts.json"),
        include_str!("../../../api/tests/examples/evidence.Proofs.json"),
        include_str!("../../../api/tests/examples/evidence.Sealed.json"),
        include_str!("../../../api/tests/examples/node_proofs.ProofsView.json"),
    ];
    sound.extend(examples.map(|example| example.as_bytes().to_vec()));
    hostile::attack(DIR, "evidence", sound, |bytes| {
        if let Ok(document) = serde_json::from_slice::<NetworkDocument>(bytes) {
            let _ = document.verify();
        }
        let mut checker = Checker::new(None, None, None);
        if let Ok(receipts) = serde_json::from_slice::<Receipts>(bytes) {
            let wrong = checker.receipts(&receipts);
            assert!(wrong.len() <= receipts.items.len());
        }
        if let Ok(proofs) = serde_json::from_slice::<Proofs>(bytes) {
            assert_eq!(checker.proofs(&proofs).len(), proofs.items.len());
            assert!(!checker.is_complete(), "nobody has promised anything");
        }
        if let Ok(sealed) = serde_json::from_slice::<Sealed>(bytes) {
            let _ = checker.sealed_receipt(&sealed);
            let found = checker.sealed(&sealed, |_, _, _| None);
            assert_ne!(found.finding, Finding::Opened);
        }
        if let Ok(view) = serde_json::from_slice::<ProofsView>(bytes) {
            let _ = checker.verdict(&view);
        }
        if let Ok(order) = serde_json::from_slice::<OrderItem>(bytes) {
            let _ = proto::SignedOrder::try_from(&order);
        }
    });
}

#[test]
fn no_tampered_proof_passes() {
    let mut blob = vec![0; 20_000];
    blake3::Hasher::new().finalize_xof().fill(&mut blob);
    let question = Question {
        blob_id: BlobId::of(&blob),
        length: blob.len() as u64,
        seed: ProofSeed::from_bytes([5; 32]),
        difficulty: Difficulty::STANDARD,
        peer_id: key([7; 32]).public().to_peer_id(),
    };
    let proof = prove(&question, &mut &blob[..]).unwrap();
    let sound = proof.body.to_vec();
    hostile::attack(DIR, "proofs", [sound.clone()], |bytes| {
        let tampered = Proof {
            proof_hash: proof.proof_hash,
            body: Bytes::copy_from_slice(bytes),
        };
        assert_eq!(verify(&question, &tampered).is_ok(), bytes == sound);
        let other = Proof {
            proof_hash: ProofHash::from_bytes([0; 32]),
            body: Bytes::copy_from_slice(bytes),
        };
        assert!(verify(&question, &other).is_err());
    });
}
