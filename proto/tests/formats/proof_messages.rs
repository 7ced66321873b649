//! What coordinator and node sign around a proof, and what none of it can be passed off as.

use bytes::Bytes;
use proptest::prelude::*;
use proto::{
    BlobId, Challenge, ChallengeId, ChallengeItem, Difficulty, InvalidStatement, ItemAnswer,
    ItemOutcome, Judgement, Keypair, MAX_CHALLENGE_ITEMS, MAX_MESSAGE_BODY_BYTES,
    MAX_STATEMENT_BYTES, Malformed, NetworkId, Parties, PeerId, Proof, ProofAnswer, ProofSeed,
    ProofStatement, Signature, UnusableAnswer,
};

use crate::proofs::{noise, prove_bytes};
use crate::values::{self, key};

fn coordinator() -> Keypair {
    key([1; 32])
}

fn node() -> Keypair {
    key([2; 32])
}

fn parties() -> Parties {
    Parties {
        network_id: NetworkId::from_bytes([9; 32]),
        coordinator: coordinator().public().to_peer_id(),
        node: node().public().to_peer_id(),
    }
}

fn blobs() -> Vec<Vec<u8>> {
    [1, 3000, 70_000]
        .map(|length| noise("message", length))
        .into()
}

fn item(blob: &[u8], number: u8) -> ChallengeItem {
    ChallengeItem {
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
        seed: ProofSeed::from_bytes([number; 32]),
    }
}

fn challenge_of(
    parties: Parties,
    id: u8,
    items: Vec<ChallengeItem>,
) -> Result<Challenge, Malformed> {
    let id = ChallengeId::from_bytes([id; 16]);
    Challenge::new(parties, id, 1_767_225_600_123, Difficulty::STANDARD, items)
}

fn challenge() -> Challenge {
    let blobs = blobs();
    let items = blobs
        .iter()
        .zip(1..)
        .map(|(blob, number)| item(blob, number));
    challenge_of(parties(), 1, items.collect()).unwrap()
}

fn proven(proof: Proof) -> ItemAnswer {
    ItemAnswer {
        outcome: ItemOutcome::Proven(proof),
        duration_ms: 3,
    }
}

fn honest_items(challenge: &Challenge) -> Vec<ItemAnswer> {
    let questions = challenge.questions().zip(blobs());
    questions
        .map(|(question, blob)| proven(prove_bytes(&question, &blob).unwrap()))
        .collect()
}

fn answer() -> ProofAnswer {
    ProofAnswer::sign(&challenge(), honest_items(&challenge()), &node()).unwrap()
}

fn statement() -> ProofStatement {
    let request = challenge().sign(&coordinator()).unwrap();
    ProofStatement::sign(
        challenge(),
        request.signature,
        Some(answer().open(&challenge()).unwrap()),
        vec![Judgement::Passed, Judgement::Failed, Judgement::Busy],
        (12, 2000),
        &coordinator(),
    )
    .unwrap()
}

#[test]
fn a_challenge_is_opened_by_the_node_that_it_is_for_and_by_no_other() {
    let request = challenge().sign(&coordinator()).unwrap();
    assert_eq!(request.clone().open(parties()), Ok(challenge()));
    let elsewhere = [
        Parties {
            network_id: NetworkId::from_bytes([8; 32]),
            ..parties()
        },
        Parties {
            node: PeerId::random(),
            ..parties()
        },
        Parties {
            node: key([3; 32]).public().to_peer_id(),
            ..parties()
        },
        Parties {
            coordinator: key([3; 32]).public().to_peer_id(),
            ..parties()
        },
    ];
    for parties in elsewhere {
        assert!(request.clone().open(parties).is_err());
    }
    let mut altered = request;
    altered.items[1].seed = ProofSeed::from_bytes([0; 32]);
    assert!(altered.open(parties()).is_err());
}

#[test]
fn a_challenge_that_could_overburden_a_node_is_refused() {
    let blob = [7];
    let many = |count| challenge_of(parties(), 1, vec![item(&blob, 1); count]);
    assert!(many(0).is_err());
    assert!(many(MAX_CHALLENGE_ITEMS).is_ok());
    assert!(many(MAX_CHALLENGE_ITEMS + 1).is_err());

    let long = |length| ChallengeItem {
        length,
        ..item(&blob, 1)
    };
    for impossible in [0, i64::MAX as u64 + 1, u64::MAX] {
        assert!(challenge_of(parties(), 1, vec![long(impossible)]).is_err());
    }
    let of_4_mib = vec![long(4 * 1024 * 1024 + 28); MAX_CHALLENGE_ITEMS];
    let challenge = challenge_of(parties(), 1, of_4_mib.clone()).unwrap();
    let bodies: u64 = challenge.questions().map(|q| q.max_body_bytes()).sum();
    assert!(bodies <= MAX_MESSAGE_BODY_BYTES);
    let id = ChallengeId::from_bytes([1; 16]);
    let harder = Challenge::new(parties(), id, 0, Difficulty::new(64).unwrap(), of_4_mib);
    assert!(harder.is_err());
}

#[test]
fn an_answer_counts_for_its_challenge_only() {
    assert_eq!(answer().open(&challenge()).unwrap().item_digests.len(), 3);
    let items = || challenge().items().to_vec();
    let mut other_seed = items();
    other_seed[0].seed = ProofSeed::from_bytes([0; 32]);
    let mut reordered = items();
    reordered.swap(0, 1);
    let other_node = Parties {
        node: key([3; 32]).public().to_peer_id(),
        ..parties()
    };
    let other_network = Parties {
        network_id: NetworkId::from_bytes([8; 32]),
        ..parties()
    };
    let others = [
        challenge_of(parties(), 2, items()),
        challenge_of(parties(), 1, other_seed),
        challenge_of(parties(), 1, reordered),
        challenge_of(other_node, 1, items()),
        challenge_of(other_network, 1, items()),
    ];
    for other in others {
        let opened = answer().open(&other.unwrap());
        assert_eq!(opened, Err(UnusableAnswer::NotSigned));
    }
}

#[test]
fn surplus_missing_or_reordered_items_are_no_answer() {
    let valid = answer();
    let with = |items| ProofAnswer {
        items,
        signature: valid.signature,
        orders: Vec::new(),
    };
    let mut surplus = valid.items.clone();
    surplus.push(valid.items[0].clone());
    let mut reordered = valid.items.clone();
    reordered.swap(0, 2);
    let count = |answered| UnusableAnswer::WrongCount { asked: 3, answered };
    let open = |items| with(items).open(&challenge()).unwrap_err();
    assert_eq!(open(surplus), count(4));
    assert_eq!(open(valid.items[..2].to_vec()), count(2));
    assert_eq!(open(Vec::new()), count(0));
    assert_eq!(open(reordered), UnusableAnswer::NotSigned);
    assert!(ProofAnswer::sign(&challenge(), valid.items[..2].to_vec(), &node()).is_err());
}

#[test]
fn everything_that_a_node_says_is_under_its_signature() {
    let alter: [fn(&mut ItemAnswer); 5] = [
        |item| item.duration_ms += 1,
        |item| item.outcome = ItemOutcome::Missing,
        |item| item.outcome = ItemOutcome::Busy,
        |item| {
            if let ItemOutcome::Proven(proof) = &mut item.outcome {
                proof.body = Bytes::from_static(b"other");
            }
        },
        |item| {
            if let ItemOutcome::Proven(proof) = &mut item.outcome {
                proof.proof_hash = proto::ProofHash::from_bytes([0; 32]);
            }
        },
    ];
    for alter in alter {
        let mut altered = answer();
        alter(&mut altered.items[1]);
        let opened = altered.open(&challenge());
        assert_eq!(opened, Err(UnusableAnswer::NotSigned));
    }
}

#[test]
fn a_statement_survives_being_kept_and_every_signature_in_it_is_checked() {
    let statement = statement();
    let kept = statement.to_bytes();
    assert!(kept.len() <= MAX_STATEMENT_BYTES);
    assert_eq!(ProofStatement::from_bytes(&kept), Ok(statement.clone()));
    assert_eq!(statement.verify(), Ok(()));

    let forged = Signature::from_bytes([1; 64]);
    type Alter = fn(&mut ProofStatement, Signature);
    let alter: [(Alter, InvalidStatement); 7] = [
        (
            |s, forged| s.challenge_signature = forged,
            InvalidStatement::Challenge,
        ),
        (
            |s, forged| s.answer.as_mut().unwrap().signature = forged,
            InvalidStatement::Answer,
        ),
        (
            |s, _| s.answer.as_mut().unwrap().item_digests.swap(0, 1),
            InvalidStatement::Answer,
        ),
        (|s, _| s.answer = None, InvalidStatement::Verdict),
        (
            |s, _| s.verdict.judgements[0] = Judgement::Missed,
            InvalidStatement::Verdict,
        ),
        (|s, _| s.verdict.elapsed_ms += 1, InvalidStatement::Verdict),
        (
            |s, forged| s.verdict.signature = forged,
            InvalidStatement::Verdict,
        ),
    ];
    for (alter, invalid) in alter {
        let mut altered = statement.clone();
        alter(&mut altered, forged);
        assert_eq!(altered.verify(), Err(invalid));
    }
}

#[test]
fn the_largest_statement_fits_what_is_kept() {
    let items = vec![item(&[7], 1); MAX_CHALLENGE_ITEMS];
    let challenge = challenge_of(parties(), 1, items).unwrap();
    let missing = ItemAnswer {
        outcome: ItemOutcome::Missing,
        duration_ms: u64::MAX,
    };
    let answer = ProofAnswer::sign(&challenge, vec![missing; 16], &node()).unwrap();
    let statement = ProofStatement::sign(
        challenge.clone(),
        challenge.sign(&coordinator()).unwrap().signature,
        Some(answer.open(&challenge).unwrap()),
        vec![Judgement::Failed; 16],
        (u64::MAX, u64::MAX),
        &coordinator(),
    )
    .unwrap();
    let kept = statement.to_bytes();
    assert!(kept.len() <= MAX_STATEMENT_BYTES, "{}", kept.len());
    assert_eq!(ProofStatement::from_bytes(&kept), Ok(statement));
}

#[test]
fn a_challenge_without_an_answer_makes_a_statement_too() {
    let statement = ProofStatement::sign(
        challenge(),
        challenge().sign(&coordinator()).unwrap().signature,
        None,
        vec![Judgement::Missed; 3],
        (2250, 2000),
        &coordinator(),
    )
    .unwrap();
    let kept = ProofStatement::from_bytes(&statement.to_bytes()).unwrap();
    assert_eq!(kept.verify(), Ok(()));
    assert_eq!(kept, statement);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_statement_and_no_challenge(bytes: Vec<u8>) {
        prop_assert!(ProofStatement::from_bytes(&bytes).is_err());
        prop_assert!(Challenge::from_signed_bytes(&bytes).is_err());
    }

    #[test]
    fn a_kept_statement_with_an_altered_byte_never_verifies(at: prop::sample::Index, flip in 1..=255_u8) {
        let mut bytes = statement().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(altered) = ProofStatement::from_bytes(&bytes) {
            // Protobuf has more than one spelling: what reads as the same statement is the same.
            prop_assert!(altered == statement() || altered.verify().is_err());
        }
    }

    #[test]
    fn signed_bytes_of_a_challenge_have_one_reading(at: prop::sample::Index, cut: prop::sample::Index) {
        let bytes = challenge().signed_bytes();
        prop_assert_eq!(Challenge::from_signed_bytes(&bytes), Ok(challenge()));
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(Challenge::from_signed_bytes(cut).is_err());
        let mut altered = bytes.clone();
        altered[at.index(bytes.len())] ^= 1;
        if let Ok(read) = Challenge::from_signed_bytes(&altered) {
            prop_assert_eq!(read.signed_bytes(), altered);
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Challenge::from_signed_bytes(&longer).is_err());
    }

    #[test]
    fn any_answer_that_was_signed_for_a_challenge_is_opened(
        items in prop::collection::vec(values::item_answer(), 3),
    ) {
        let answer = ProofAnswer::sign(&challenge(), items, &node()).unwrap();
        prop_assert!(answer.open(&challenge()).is_ok());
    }
}
