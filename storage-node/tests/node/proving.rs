//! Challenges, and what a node answers to them.

use bytes::Bytes;
use proto::{BlobId, Challenge, ItemOutcome, ProofAnswer, RetrieveAnswer, StoreAnswer};

use crate::coordinator::Coordinator;
use crate::program::{Operator, flip_a_bit};

fn blob(seed: u8, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// The outcomes of an answer that the node has signed; proofs among them verify.
fn outcomes(challenge: &Challenge, answer: &ProofAnswer) -> Vec<&'static str> {
    answer.open(challenge).unwrap();
    let items = challenge.questions().zip(&answer.items);
    items
        .map(|(question, item)| match &item.outcome {
            ItemOutcome::Proven(proof) => {
                proto::verify(&question, proof).unwrap();
                "proven"
            }
            ItemOutcome::Missing => "missing",
            ItemOutcome::Corrupt => "corrupt",
            ItemOutcome::Busy => "busy",
        })
        .collect()
}

#[tokio::test]
async fn a_node_proves_what_it_holds_and_says_what_it_lacks_and_what_has_rotted() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    // One leaf, a usual chunk, and one that is read through a window.
    let [small, usual, large] = [(1, 700), (2, 262_172), (3, 4 * 1024 * 1024 + 28)]
        .map(|(seed, length)| blob(seed, length));
    let (rotten, foreign) = (blob(4, 262_172), blob(5, 262_172));
    for data in [&small, &usual, &large, &rotten] {
        let stored = coordinator.store(peer, data).await;
        assert!(matches!(stored, StoreAnswer::Stored(_)));
    }
    flip_a_bit(&operator.data_dir(), &BlobId::of(&rotten), 100_000);

    let blobs = [&small, &foreign, &usual, &rotten, &large];
    let challenge = coordinator.challenge(peer, &blobs);
    let answer = coordinator.prove(&challenge).await.unwrap();
    assert_eq!(
        outcomes(&challenge, &answer),
        ["proven", "missing", "proven", "corrupt", "proven"]
    );
    node.stop().await;
}

#[tokio::test]
async fn a_challenge_that_its_coordinator_has_not_signed_for_this_node_gets_no_answer() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let data = blob(1, 5000);
    coordinator.store(peer, &data).await;

    let challenge = coordinator.challenge(peer, &[&data]);
    let mut forged = challenge.sign(&coordinator.identity).unwrap();
    forged.issued_at_ms += 1;
    let answer = coordinator.peers.call::<proto::Prove>(peer, forged).await;
    assert!(answer.is_err());

    let answer = coordinator.prove(&challenge).await.unwrap();
    assert_eq!(outcomes(&challenge, &answer), ["proven"]);
    node.stop().await;
}

#[tokio::test]
async fn proofs_beyond_their_share_of_the_disks_time_are_put_off() {
    let mut coordinator = Coordinator::start().await;
    let mut operator = Operator::registered(&coordinator).await;
    operator
        .settings
        .push("proofs.disk_share=0.00000001".into());
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    let blobs = [blob(1, 262_172), blob(2, 262_172), blob(3, 262_172)];
    for data in &blobs {
        coordinator.store(peer, data).await;
    }
    let challenge = coordinator.challenge(peer, &blobs.each_ref());
    let answer = coordinator.prove(&challenge).await.unwrap();
    let outcomes = outcomes(&challenge, &answer);
    assert_eq!(outcomes, ["proven", "busy", "busy"]);
    let served = coordinator.retrieve(peer, BlobId::of(&blobs[2])).await;
    assert_eq!(served, RetrieveAnswer::Found(blobs[2].clone()));
    node.stop().await;
}

#[tokio::test]
async fn a_setting_that_leaves_no_time_for_proofs_is_refused() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    for share in ["0", "-1", "1.1", "nan"] {
        let setting = format!("proofs.disk_share={share}");
        let output = operator.run(&["start", "--set", &setting]).await;
        assert!(!output.status.success(), "{share}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("proofs.disk_share"), "{text}");
    }
}
