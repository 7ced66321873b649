//! `vectors/statements.json`: what nodes and coordinators sign, byte for byte.

use jiff::Timestamp;
use proto::{
    BlobId, ChunkOpening, ChunkStatement, Keypair, LedgerDay, NetworkContext, NetworkDocument,
    NetworkId, Piece, Receipt, Registration, RegistrationForm, Sealing, Signature, VerifyingKey,
};
use serde_json::Value;

use crate::values::key;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/statements.json")).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    let bytes = hex::decode(value.as_str().unwrap()).unwrap();
    bytes.try_into().unwrap()
}

fn keypair(name: &str) -> Keypair {
    key(fixed(&vectors()["keys"][name]["seed"]))
}

fn context() -> NetworkContext {
    NetworkContext {
        network_id: vectors()["network_id"].as_str().unwrap().parse().unwrap(),
        peer_id: keypair("node").public().to_peer_id(),
    }
}

#[test]
fn keys_and_their_ids_are_those_of_the_vectors() {
    let vectors = vectors();
    for (name, key) in vectors["keys"].as_object().unwrap() {
        let keypair = keypair(name);
        let peer_id = keypair.public().to_peer_id();
        let public = VerifyingKey::of_keypair(&keypair).unwrap();
        assert_eq!(hex::encode(public.to_bytes()), key["public_key"]);
        assert_eq!(peer_id.to_string(), key["peer_id"]);
        assert_eq!(hex::encode(peer_id.to_bytes()), key["peer_id_bytes"]);
        assert_eq!(VerifyingKey::of_peer(&peer_id), Ok(public));
    }
    let network = VerifyingKey::of_keypair(&keypair("network")).unwrap();
    let network_id = NetworkId::of_public_key(&network.to_bytes());
    assert_eq!(network_id.to_string(), vectors["network_id"]);
}

#[test]
fn a_receipt_is_signed_as_in_the_vectors() {
    let vector = &vectors()["receipt"];
    let receipt = Receipt {
        context: context(),
        blob_id: BlobId::of(b"federated storage network"),
        length: 25,
        stored_at_ms: 1_767_225_600_123,
    };
    assert_eq!(receipt.blob_id.to_string(), vector["blob_id"]);
    assert_eq!(hex::encode(receipt.signed_bytes()), vector["signed_bytes"]);
    let signed = receipt.sign(&keypair("node")).unwrap();
    assert_eq!(signed.signature.to_string(), vector["signature"]);
    let verified = signed.verify(context(), receipt.blob_id, receipt.length);
    assert_eq!(verified, Ok(receipt));
}

#[test]
fn what_is_signed_of_a_blob_and_of_what_opens_it_is_as_in_the_vectors() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../vectors/chunk-statements.json")).unwrap();
    let coordinator = keypair("coordinator");
    for case in vectors["statements"].as_array().unwrap() {
        let told = &case["statement"];
        let number = |name: &str| told[name].as_u64().unwrap();
        let small = |name| number(name).try_into().unwrap();
        let statement = ChunkStatement {
            network_id: context().network_id,
            coordinator: coordinator.public().to_peer_id(),
            file_id: told["file_id"].as_str().unwrap().parse().unwrap(),
            index: number("index").try_into().unwrap(),
            chunk_bytes: number("chunk_bytes").try_into().unwrap(),
            chunk_sha256: told["chunk_sha256"].as_str().unwrap().parse().unwrap(),
            piece: Piece::new(small("piece"), small("k"), small("n")).unwrap(),
            sealing: Sealing::try_from(small("sealing")).unwrap(),
            blob_id: told["blob_id"].as_str().unwrap().parse().unwrap(),
            length: number("length"),
        };
        assert_eq!(hex::encode(statement.signed_bytes()), case["signed_bytes"]);
        let signature = statement.sign(&coordinator).unwrap();
        assert_eq!(signature.to_string(), case["signature"]);
        assert_eq!(statement.verify(&signature), Ok(()));

        let chunk_key = fixed(&case["chunk_key"]);
        let opening = ChunkOpening {
            statement: &statement,
            chunk_key: &chunk_key,
        };
        assert_eq!(hex::encode(opening.signed_bytes()), case["opening_bytes"]);
        let opened = opening.sign(&coordinator).unwrap();
        assert_eq!(opened.to_string(), case["opening_signature"]);
        assert_eq!(opening.verify(&opened), Ok(()));
        // Neither is the other, and another key is not signed.
        assert!(opening.verify(&signature).is_err());
        assert!(statement.verify(&opened).is_err());
        let other = ChunkOpening {
            statement: &statement,
            chunk_key: &[0; 32],
        };
        assert!(other.verify(&opened).is_err());
    }
}

#[test]
fn a_ledger_day_is_signed_as_in_the_vectors() {
    let vector = &vectors()["ledger_day"];
    let (network_id, network) = (context().network_id, keypair("network"));
    let hash = fixed(&vector["block_hash"]);
    let day = LedgerDay::sign(&network, network_id, "2026-11-21", 86_400, hash).unwrap();
    assert_eq!(
        hex::encode(day.signed_bytes(network_id)),
        vector["signed_bytes"]
    );
    assert_eq!(day.signature.to_string(), vector["signature"]);
    let key = VerifyingKey::of_keypair(&network).unwrap();
    assert_eq!(day.verify(network_id, &key), Ok(()));
    for other in [
        LedgerDay {
            day: "2026-11-22".into(),
            ..day.clone()
        },
        LedgerDay {
            block_number: 86_401,
            ..day.clone()
        },
        LedgerDay {
            block_hash: [0; 32],
            ..day.clone()
        },
    ] {
        assert!(other.verify(network_id, &key).is_err(), "{other:?}");
    }
}

#[test]
fn a_registration_is_signed_as_in_the_vectors() {
    for (name, form) in [
        ("registration", RegistrationForm::V1),
        ("registration_v2", RegistrationForm::V2),
        ("registration_v2_bare", RegistrationForm::V2),
    ] {
        let vector = &vectors()[name];
        let registration = Registration {
            context: context(),
            nonce: fixed(&vector["nonce"]),
            name: "Kärnten 7".into(),
            capacity_bytes: 10_000_000_000,
            region: vector["region"].as_str().map(str::to_owned),
            token_hash: vector["token"].as_str().map(Registration::token_hash),
        };
        assert_eq!(
            hex::encode(registration.signed_bytes(form)),
            vector["signed_bytes"]
        );
        let signature = registration.sign(form, &keypair("node")).unwrap();
        assert_eq!(signature.to_string(), vector["signature"]);
        assert_eq!(registration.verify(form, &signature), Ok(()));
    }
}

#[test]
fn a_network_document_is_signed_and_written_as_in_the_vectors() {
    let vector = &vectors()["network_document"];
    let document: NetworkDocument = serde_json::from_value(vector["document"].clone()).unwrap();
    assert_eq!(document.verify(), Ok(()));
    assert_eq!(
        serde_json::to_value(&document).unwrap(),
        vector["document"],
        "the document as JSON"
    );

    let issued_at = Timestamp::from_millisecond(1_767_225_600_123).unwrap();
    let coordinators = document.coordinators.clone();
    let signed = NetworkDocument::sign(&keypair("network"), 7, coordinators, issued_at);
    assert_eq!(signed, Ok(document));

    // Ed25519 is deterministic: the one signature stands for these bytes and no others.
    let signed_bytes = hex::decode(vector["signed_bytes"].as_str().unwrap()).unwrap();
    let signature = Signature::sign(&keypair("network"), &signed_bytes).unwrap();
    assert_eq!(signature.to_string(), vector["signature"]);
}
