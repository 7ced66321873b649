//! Answers of nodes, honest and otherwise, and their judgements.

use proptest::prelude::*;
use proto::{
    BlobId, ChallengeId, ChallengeItem, Difficulty, ItemAnswer, ItemOutcome, Keypair, NetworkId,
    Parties, Proof, ProofHash, ProofSeed,
};

use super::*;

const DEADLINE: Duration = Duration::from_secs(2);

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

/// A blob of this many leaves, all of them different.
fn blob(name: u8) -> Vec<u8> {
    let mut bytes = vec![0; 100_000];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[name]).finalize_xof().fill(&mut bytes);
    bytes
}

fn challenge(node: &Keypair, seed: u8, difficulty: u32, blobs: &[Vec<u8>]) -> Challenge {
    let parties = Parties {
        network_id: NetworkId::from_bytes([9; 32]),
        coordinator: keypair(1).public().to_peer_id(),
        node: node.public().to_peer_id(),
    };
    let item = |blob: &Vec<u8>| ChallengeItem {
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
        seed: ProofSeed::from_bytes([seed; 32]),
    };
    let items = blobs.iter().map(item).collect();
    let id = ChallengeId::from_bytes([seed; 16]);
    Challenge::new(parties, id, 0, Difficulty::new(difficulty).unwrap(), items).unwrap()
}

fn proven(challenge: &Challenge, blobs: &[Vec<u8>]) -> Vec<ItemAnswer> {
    let pairs = challenge.questions().zip(blobs);
    pairs
        .map(|(question, blob)| ItemAnswer {
            outcome: ItemOutcome::Proven(proto::prove(&question, &mut &blob[..]).unwrap()),
            duration_ms: 1,
        })
        .collect()
}

fn said(outcome: ItemOutcome) -> ItemAnswer {
    ItemAnswer {
        outcome,
        duration_ms: 1,
    }
}

fn after(elapsed: Duration) -> Timing {
    Timing {
        elapsed,
        lowest_ping: None,
        deadline: DEADLINE,
    }
}

/// What becomes of `items`, signed by `node`, as the answer to `challenge` after a millisecond.
fn outcome(challenge: &Challenge, items: Vec<ItemAnswer>, node: &Keypair) -> Vec<Judgement> {
    let answer = ProofAnswer::sign(challenge, items, node).unwrap();
    let timing = after(Duration::from_millis(1));
    judge(challenge, Some(&answer), timing).judgements
}

#[test]
fn an_honest_node_passes_and_what_it_admits_fails() {
    let (node, blobs) = (keypair(2), [blob(1), blob(2), blob(3), blob(4)]);
    let challenge = challenge(&node, 7, 16, &blobs);
    let mut items = proven(&challenge, &blobs);
    items[1] = said(ItemOutcome::Missing);
    items[2] = said(ItemOutcome::Corrupt);
    items[3] = said(ItemOutcome::Busy);
    use Judgement::{Busy, Failed, Passed};
    let judgements = outcome(&challenge, items, &node);
    assert_eq!(judgements, [Passed, Failed, Failed, Busy]);
}

#[test]
fn a_proof_for_another_blob_node_seed_or_difficulty_fails() {
    let (node, other_node) = (keypair(2), keypair(3));
    let (mine, replica_of_another) = ([blob(1)], [blob(2)]);
    let asked = challenge(&node, 7, 16, &mine);
    let others = [
        (
            challenge(&node, 7, 16, &replica_of_another),
            &replica_of_another,
        ),
        (challenge(&other_node, 7, 16, &mine), &mine),
        (challenge(&node, 8, 16, &mine), &mine),
        (challenge(&node, 7, 15, &mine), &mine),
    ];
    for (other, blobs) in others {
        let items = proven(&other, blobs);
        assert_eq!(outcome(&asked, items, &node), [Judgement::Failed]);
    }
    let items = proven(&asked, &mine);
    assert_eq!(outcome(&asked, items, &node), [Judgement::Passed]);
}

#[test]
fn an_old_answer_sent_again_is_no_answer() {
    let (node, blobs) = (keypair(2), [blob(1)]);
    let old = challenge(&node, 7, 16, &blobs);
    let old_answer = ProofAnswer::sign(&old, proven(&old, &blobs), &node).unwrap();
    let new = challenge(&node, 8, 16, &blobs);
    let judged = judge(&new, Some(&old_answer), after(Duration::from_millis(1)));
    assert_eq!(judged.judgements, [Judgement::Missed]);
    assert_eq!(judged.answer, None);
    assert_eq!(judged.unusable, Some(UnusableAnswer::NotSigned));
}

#[test]
fn an_answer_that_another_node_signed_is_no_answer() {
    let (node, other, blobs) = (keypair(2), keypair(3), [blob(1)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let items = proven(&asked, &blobs);
    assert_eq!(outcome(&asked, items, &other), [Judgement::Missed]);
}

#[test]
fn proofs_in_another_order_fail_each_and_surplus_ones_are_no_answer() {
    let (node, blobs) = (keypair(2), [blob(1), blob(2)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let mut items = proven(&asked, &blobs);
    items.reverse();
    assert_eq!(
        outcome(&asked, items.clone(), &node),
        [Judgement::Failed; 2]
    );

    let three = [blob(1), blob(2), blob(3)];
    let larger = challenge(&node, 7, 16, &three);
    let surplus = ProofAnswer::sign(&larger, proven(&larger, &three), &node).unwrap();
    let judged = judge(&asked, Some(&surplus), after(Duration::ZERO));
    assert_eq!(judged.judgements, [Judgement::Missed; 2]);
}

#[test]
fn hashes_without_the_bytes_and_oversized_bodies_fail() {
    let (node, blobs) = (keypair(2), [blob(1)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let ItemOutcome::Proven(honest) = proven(&asked, &blobs).remove(0).outcome else {
        panic!("not proven");
    };
    let hashes: Vec<u8> = blobs[0]
        .chunks(1024)
        .flat_map(|leaf| *blake3::hash(leaf).as_bytes())
        .collect();
    let oversized = [&honest.body[..], &vec![0; 100_000]].concat();
    for body in [hashes, oversized, Vec::new()] {
        let forged = Proof {
            body: body.into(),
            ..honest.clone()
        };
        let items = vec![said(ItemOutcome::Proven(forged))];
        assert_eq!(outcome(&asked, items, &node), [Judgement::Failed]);
    }
}

/// The walk is right and the bytes are not: a node that kept part of the blob.
#[test]
fn a_node_that_dropped_the_blob_and_guesses_fails() {
    let (node, blobs) = (keypair(2), [blob(1)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let guess = Proof {
        proof_hash: ProofHash::from_bytes([0; 32]),
        body: vec![0; 16 * 1024].into(),
    };
    let items = vec![said(ItemOutcome::Proven(guess))];
    assert_eq!(outcome(&asked, items, &node), [Judgement::Failed]);
}

fn judged_after(timing: Timing, item: fn(ItemAnswer) -> ItemAnswer) -> Judgement {
    let (node, blobs) = (keypair(2), [blob(1)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let items = proven(&asked, &blobs).into_iter().map(item).collect();
    let answer = ProofAnswer::sign(&asked, items, &node).unwrap();
    judge(&asked, Some(&answer), timing).judgements[0]
}

#[test]
fn an_answer_at_the_deadline_passes_and_one_just_after_it_is_missed() {
    let just_after = DEADLINE + Duration::from_nanos(1);
    assert_eq!(
        judged_after(after(DEADLINE), |item| item),
        Judgement::Passed
    );
    assert_eq!(
        judged_after(after(just_after), |item| item),
        Judgement::Missed
    );
    let busy = |_| said(ItemOutcome::Busy);
    assert_eq!(judged_after(after(just_after), busy), Judgement::Missed);
    let admission = |_| said(ItemOutcome::Missing);
    assert_eq!(
        judged_after(after(just_after), admission),
        Judgement::Failed
    );
}

#[test]
fn what_a_node_says_about_its_own_time_decides_nothing() {
    let quick = |item| ItemAnswer {
        duration_ms: 0,
        ..item
    };
    let slow = |item| ItemAnswer {
        duration_ms: u64::MAX,
        ..item
    };
    let late = after(DEADLINE * 2);
    assert_eq!(judged_after(late, quick), Judgement::Missed);
    let early = after(Duration::from_millis(1));
    assert_eq!(judged_after(early, slow), Judgement::Passed);
}

#[test]
fn the_way_is_forgiven_up_to_a_quarter_of_a_second() {
    let with_ping = |elapsed, ping_ms| Timing {
        lowest_ping: Some(Duration::from_millis(ping_ms)),
        ..after(elapsed)
    };
    let ms = Duration::from_millis;
    for (elapsed, ping, expected) in [
        (DEADLINE + ms(100), 100, Judgement::Passed),
        (DEADLINE + ms(101), 100, Judgement::Missed),
        (DEADLINE + ms(250), 250, Judgement::Passed),
        (DEADLINE + ms(251), 250, Judgement::Missed),
        // A node that inflates its ping gains no more.
        (DEADLINE + ms(250), 60_000, Judgement::Passed),
        (DEADLINE + ms(251), 60_000, Judgement::Missed),
    ] {
        let judged = judged_after(with_ping(elapsed, ping), |item| item);
        assert_eq!(judged, expected, "{elapsed:?} with a ping of {ping} ms");
    }
    assert_eq!(Timing::timeout(DEADLINE, None), DEADLINE);
    let timeout = Timing::timeout(DEADLINE, Some(ms(60_000)));
    assert_eq!(timeout, DEADLINE + ms(250));
}

#[test]
fn silence_is_a_miss_for_every_blob() {
    let (node, blobs) = (keypair(2), [blob(1), blob(2)]);
    let asked = challenge(&node, 7, 16, &blobs);
    let judged = judge(&asked, None, after(DEADLINE * 2));
    assert_eq!(judged.judgements, [Judgement::Missed; 2]);
    assert_eq!((judged.answer, judged.unusable), (None, None));
}

#[test]
fn blobs_are_shared_out_so_that_every_message_can_be_asked() {
    let usual = |count| vec![262_172; count];
    assert_eq!(messages(usual(40), Difficulty::STANDARD), [16, 16, 8]);
    assert_eq!(messages(usual(0), Difficulty::STANDARD), [0; 0]);
    let counts = messages(vec![4_194_332; 5], Difficulty::MAX);
    assert_eq!(counts, [1, 1, 1, 1, 1]);
    let mixed = [1, 4_194_332, 4_194_332, 1];
    let sum: usize = messages(mixed, Difficulty::new(128).unwrap()).iter().sum();
    assert_eq!(sum, mixed.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever a node sends, there is a judgement for each blob, and none passes without a proof.
    #[test]
    fn noise_never_passes(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 2)) {
        let (node, blobs) = (keypair(2), [blob(1), blob(2)]);
        let asked = challenge(&node, 7, 16, &blobs);
        let forged = |body: Vec<u8>| said(ItemOutcome::Proven(Proof {
            proof_hash: ProofHash::from_bytes([3; 32]),
            body: body.into(),
        }));
        let items = bodies.into_iter().map(forged).collect();
        prop_assert_eq!(outcome(&asked, items, &node), [Judgement::Failed; 2]);
    }
}

#[test]
fn what_a_node_lacks_by_order_is_not_held_against_it_and_nothing_else_changes() {
    let (node, blobs) = (keypair(2), [blob(1), blob(2), blob(3), blob(4)]);
    let challenge = challenge(&node, 7, 16, &blobs);
    let mut items = proven(&challenge, &blobs);
    items[1] = said(ItemOutcome::Missing);
    items[2] = said(ItemOutcome::Missing);
    items[3] = said(ItemOutcome::Corrupt);
    let answer = ProofAnswer::sign(&challenge, items, &node).unwrap();
    let mut judged = judge(&challenge, Some(&answer), after(Duration::from_millis(1)));
    let excused = [&blobs[0], &blobs[1], &blobs[3]].map(|blob| BlobId::of(blob));
    judged.excuse(&challenge, Some(&answer), &excused.into());
    use Judgement::{Failed, Ordered, Passed};
    assert_eq!(judged.judgements, [Passed, Ordered, Failed, Failed]);
}

#[test]
fn an_order_excuses_when_it_came_after_the_receipt_and_the_last_proof() {
    let (stored, order) = (1000, 2000);
    assert!(excuses(order, stored, None));
    assert!(excuses(order, order, None));
    assert!(!excuses(order, order + 1, None));
    assert!(excuses(order, stored, Some(order - 1)));
    assert!(!excuses(order, stored, Some(order)));
}
