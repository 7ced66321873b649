//! `prove` and `verify`: `vectors/proof-of-storage.json`, and what no forger gets past.

use bytes::Bytes;
use proptest::prelude::*;
use proto::{
    BlobId, BlobSource, Difficulty, MAX_PIECE_BYTES, OutsideBlob, PeerId, Proof, ProofError,
    ProofHash, ProofSeed, ProveError, Question, prove, verify,
};
use serde_json::Value;

use crate::values::{self, key};

fn vectors() -> Vec<Value> {
    let text = include_str!("../../vectors/proof-of-storage.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

pub(crate) fn node(number: u8) -> PeerId {
    key([number; 32]).public().to_peer_id()
}

/// Bytes that no compressor would save.
pub(crate) fn noise(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(name.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Proves from memory.
pub(crate) fn prove_bytes(
    question: &Question,
    mut blob: &[u8],
) -> Result<Proof, ProveError<OutsideBlob>> {
    prove(question, &mut blob)
}

#[test]
fn every_golden_vector_is_reproduced() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 45);
    for case in vectors {
        let number = |name: &str| case[name].as_u64().unwrap();
        let length = number("length");
        let blob = noise(&format!("fsn vector {length}"), length as usize);
        let question = Question {
            blob_id: BlobId::of(&blob),
            length,
            seed: case["seed"].as_str().unwrap().parse().unwrap(),
            difficulty: Difficulty::new(number("difficulty") as u32).unwrap(),
            peer_id: PeerId::from_bytes(&hex::decode(case["peer_id"].as_str().unwrap()).unwrap())
                .unwrap(),
        };
        assert_eq!(question.blob_id.to_string(), case["blob_id"]);
        let proof = prove_bytes(&question, &blob).unwrap();
        assert_eq!(proof.proof_hash.to_string(), case["proof_hash"], "{case}");

        let siblings_at = proof.body.len() - 32 * number("sibling_count") as usize;
        let (leaves, siblings) = proof.body.split_at(siblings_at);
        assert_eq!(BlobId::of(leaves).to_string(), case["leaves_blake3"]);
        assert_eq!(BlobId::of(siblings).to_string(), case["siblings_blake3"]);
        let mut visited = Vec::new();
        for index in case["indices"].as_array().unwrap() {
            let begin = index.as_u64().unwrap() as usize * 1024;
            if !visited.contains(&begin) {
                visited.push(begin);
            }
        }
        let leaf = |begin: &usize| &blob[*begin..(begin + 1024).min(blob.len())];
        let expected: Vec<u8> = visited.iter().flat_map(leaf).copied().collect();
        assert!(leaves == expected, "leaves in first-visit order: {case}");
        assert_eq!(verify(&question, &proof), Ok(()), "{case}");
    }
}

/// Blobs around the edges of leaves and of subtrees, and larger than a piece.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        1..5000_usize,
        (1..130_usize, -1..=1_isize).prop_map(|(n, d)| (n * 1024).strict_add_signed(d)),
        100_000..200_000_usize,
    ]
}

fn case() -> impl Strategy<Value = (Question, Vec<u8>)> {
    let parts = (length(), values::seed(), values::difficulty(), any::<u8>());
    parts.prop_map(|(length, seed, difficulty, number)| {
        let blob = noise(&number.to_string(), length);
        let question = Question {
            blob_id: BlobId::of(&blob),
            length: length as u64,
            seed,
            difficulty,
            peer_id: node(number),
        };
        (question, blob)
    })
}

/// Ways to alter a question; each makes another question of it.
const OTHER_QUESTIONS: [fn(&mut Question, usize); 7] = [
    |question, at| question.seed = flipped_seed(question.seed, at),
    |question, at| {
        let mut bytes = *question.blob_id.as_bytes();
        bytes[at % 32] ^= 1 << (at % 8);
        question.blob_id = BlobId::from_bytes(bytes);
    },
    |question, _| question.peer_id = PeerId::random(),
    |question, _| {
        let leaves = question.difficulty.get() % Difficulty::MAX.get() + 1;
        question.difficulty = Difficulty::new(leaves).unwrap();
    },
    |question, at| question.length += 1 + at as u64 % 5000,
    |question, at| question.length -= 1 + at as u64 % question.length,
    |question, _| question.length = u64::MAX,
];

fn flipped_seed(seed: ProofSeed, at: usize) -> ProofSeed {
    let mut bytes = *seed.as_bytes();
    bytes[at % 32] ^= 1 << (at % 8);
    ProofSeed::from_bytes(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_honest_proof_of_any_blob_verifies((question, blob) in case()) {
        let proof = prove_bytes(&question, &blob).unwrap();
        prop_assert!(proof.body.len() as u64 <= question.max_body_bytes());
        prop_assert_eq!(verify(&question, &proof), Ok(()));
    }

    #[test]
    fn a_proof_answers_no_other_question(
        (question, blob) in case(),
        way in 0..OTHER_QUESTIONS.len(),
        at: u16,
    ) {
        let proof = prove_bytes(&question, &blob).unwrap();
        let mut other = question;
        OTHER_QUESTIONS[way](&mut other, at.into());
        prop_assert_ne!(other, question);
        prop_assert!(verify(&other, &proof).is_err());
    }

    #[test]
    fn a_proof_with_any_altered_bit_is_refused((question, blob) in case(), at: prop::sample::Index) {
        let proof = prove_bytes(&question, &blob).unwrap();
        let mut body = proof.body.to_vec();
        let bit = at.index(body.len() * 8);
        body[bit / 8] ^= 1 << (bit % 8);
        let altered = Proof { body: body.into(), ..proof.clone() };
        prop_assert!(verify(&question, &altered).is_err());

        let mut hash = *proof.proof_hash.as_bytes();
        hash[bit / 8 % 32] ^= 1 << (bit % 8);
        let altered = Proof { proof_hash: ProofHash::from_bytes(hash), ..proof };
        prop_assert!(verify(&question, &altered).is_err());
    }

    #[test]
    fn a_proof_with_bytes_missing_anywhere_or_too_many_is_refused(
        (question, blob) in case(),
        at: prop::sample::Index,
        count in 1..3000_usize,
        item in prop::sample::select(vec![1, 32, 1024]),
    ) {
        let proof = prove_bytes(&question, &blob).unwrap();
        let with = |body: Vec<u8>| Proof { body: body.into(), ..proof.clone() };
        let at = at.index(proof.body.len());
        let (head, tail) = proof.body.split_at(at);
        let fewer = with([head, tail.get(item..).unwrap_or_default()].concat());
        prop_assert!(verify(&question, &fewer).is_err());
        let surplus = with([head, &vec![0; item], tail].concat());
        prop_assert!(verify(&question, &surplus).is_err());
        let oversized = with([&proof.body[..], &vec![0; count]].concat());
        prop_assert!(verify(&question, &oversized).is_err());
        prop_assert!(verify(&question, &with(head.to_vec())).is_err());
    }

    #[test]
    fn arbitrary_bytes_prove_nothing(
        (question, _) in case(),
        body in prop::collection::vec(any::<u8>(), 0..40_000),
        hash: [u8; 32],
        length: u64,
    ) {
        let proof = Proof { proof_hash: ProofHash::from_bytes(hash), body: body.into() };
        prop_assert!(verify(&question, &proof).is_err());
        let other = Question { length, ..question };
        prop_assert!(verify(&other, &proof).is_err());
    }
}

fn question_for(blob: &[u8]) -> Question {
    Question {
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
        seed: ProofSeed::from_bytes([7; 32]),
        difficulty: Difficulty::STANDARD,
        peer_id: node(1),
    }
}

#[test]
fn leaves_or_hashes_in_another_order_are_refused() {
    let blob = noise("order", 262_172);
    let question = question_for(&blob);
    let proof = prove_bytes(&question, &blob).unwrap();
    let end = proof.body.len();
    for (first, second, len) in [(0, 1024, 1024), (end - 64, end - 32, 32)] {
        let mut body = proof.body.to_vec();
        let (head, tail) = body.split_at_mut(second);
        head[first..first + len].swap_with_slice(&mut tail[..len]);
        let swapped = Proof {
            body: body.into(),
            ..proof.clone()
        };
        assert!(verify(&question, &swapped).is_err());
    }
}

#[test]
fn hashes_of_all_leaves_without_their_bytes_prove_nothing() {
    let blob = noise("hashes", 16 * 1024);
    let question = question_for(&blob);
    let hashes: Vec<u8> = blob
        .chunks(1024)
        .flat_map(|leaf| *blake3::hash(leaf).as_bytes())
        .collect();
    for body in [vec![], question.blob_id.as_bytes().to_vec(), hashes] {
        let forged = Proof {
            proof_hash: ProofHash::from_bytes([0; 32]),
            body: body.into(),
        };
        assert_eq!(verify(&question, &forged), Err(ProofError::MissingLeaf));
    }
}

#[test]
fn an_honest_body_under_a_made_up_hash_is_refused() {
    let blob = noise("hash", 5000);
    let proof = prove_bytes(&question_for(&blob), &blob).unwrap();
    let forged = Proof {
        proof_hash: ProofHash::from_bytes([0; 32]),
        ..proof
    };
    let verdict = verify(&question_for(&blob), &forged);
    assert_eq!(verdict, Err(ProofError::WrongHash));
}

#[test]
fn a_node_notices_by_itself_that_its_bytes_have_rotted() {
    for length in [1, 1024, 262_172] {
        let mut blob = noise("rot", length);
        let question = question_for(&blob);
        blob[length / 2] ^= 1;
        let proof = prove_bytes(&question, &blob);
        assert_eq!(proof, Err(ProveError::Corrupt));
        blob.truncate(length - 1);
        assert!(prove_bytes(&question, &blob).is_err());
    }
}

#[test]
fn a_blob_of_an_impossible_length_is_neither_proven_nor_accepted() {
    let nothing = Proof {
        proof_hash: ProofHash::from_bytes([0; 32]),
        body: Bytes::new(),
    };
    for length in [0, 1 << 63, u64::MAX] {
        let question = Question {
            length,
            ..question_for(b"")
        };
        let proof = prove_bytes(&question, b"");
        assert_eq!(proof, Err(ProveError::ImpossibleLength));
        let verdict = verify(&question, &nothing);
        assert_eq!(verdict, Err(ProofError::ImpossibleLength));
    }
    let longest = Question {
        length: i64::MAX as u64,
        ..question_for(b"")
    };
    let proof = Proof {
        body: vec![0; 17 * 1024].into(),
        ..nothing
    };
    assert!(verify(&longest, &proof).is_err());
}

/// A source that remembers how it is read.
struct Watched<'a> {
    blob: &'a [u8],
    reads: Vec<(u64, usize)>,
}

impl BlobSource for Watched<'_> {
    type Error = OutsideBlob;

    fn piece(&mut self, offset: u64, len: usize) -> Result<&[u8], OutsideBlob> {
        self.reads.push((offset, len));
        let begin = offset as usize;
        self.blob.get(begin..begin + len).ok_or(OutsideBlob)
    }
}

#[test]
fn a_blob_is_read_in_pieces_and_after_the_leaves_once_from_front_to_end() {
    let blob = noise("pieces", 1_000_000);
    let question = question_for(&blob);
    let mut watched = Watched {
        blob: &blob,
        reads: Vec::new(),
    };
    prove(&question, &mut watched).unwrap();
    assert!(watched.reads.iter().all(|read| read.1 <= MAX_PIECE_BYTES));
    let (leaves, rest) = watched.reads.split_at(16);
    assert!(
        leaves
            .iter()
            .all(|(offset, len)| offset % 1024 == 0 && *len <= 1024)
    );
    assert!(rest.is_sorted_by_key(|read| read.0));
    let total: usize = watched.reads.iter().map(|read| read.1).sum();
    assert_eq!(total, blob.len(), "visited leaves are not read again");
}

/// Leaves that say which they are, so that a cheat's proof can be spoiled where it has none.
const TAG: &[u8; 8] = b"THE LEAF";

fn tagged_blob(leaves: u64) -> Vec<u8> {
    let mut blob = noise("tagged", leaves as usize * 1024);
    for (index, leaf) in blob.chunks_mut(1024).enumerate() {
        leaf[..8].copy_from_slice(TAG);
        leaf[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    }
    blob
}

/// The best that a node can send which kept every hash but dropped the first `dropped` leaves.
fn best_effort(proof: Proof, dropped: u64) -> Proof {
    let mut body = proof.body.to_vec();
    for leaf in body
        .chunks_mut(1024)
        .take_while(|leaf| leaf.starts_with(TAG))
    {
        if u64::from_le_bytes(leaf[8..16].try_into().unwrap()) < dropped {
            leaf.fill(0);
        }
    }
    Proof {
        body: body.into(),
        ..proof
    }
}

/// 1 − (1 − f)^D, whatever the hole's place: the walk goes everywhere with the same chance.
#[test]
fn a_hole_is_found_as_often_as_the_formula_says() {
    const LEAVES: u64 = 100;
    const CHALLENGES: u32 = 1000;
    let blob = tagged_blob(LEAVES);
    for (dropped, leaves_visited) in [(1, 16), (10, 1), (10, 4), (10, 16), (50, 2), (1, 64)] {
        let found = (0..CHALLENGES)
            .filter(|number| {
                let question = Question {
                    seed: ProofSeed::from_bytes(*BlobId::of(&number.to_le_bytes()).as_bytes()),
                    difficulty: Difficulty::new(leaves_visited).unwrap(),
                    ..question_for(&blob)
                };
                let proof = prove_bytes(&question, &blob).unwrap();
                verify(&question, &best_effort(proof, dropped)).is_err()
            })
            .count() as f64;
        let kept = 1.0 - dropped as f64 / LEAVES as f64;
        let chance = 1.0 - kept.powi(leaves_visited as i32);
        let expected = chance * f64::from(CHALLENGES);
        let deviation = (expected * (1.0 - chance)).sqrt();
        assert!(
            (found - expected).abs() < 4.0 * deviation,
            "{dropped} of {LEAVES} leaves, {leaves_visited} visited: found {found}, not {expected:.0}"
        );
    }
}
