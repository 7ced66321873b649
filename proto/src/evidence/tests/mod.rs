//! Evidence of an honest network, and what becomes of it when somebody alters it.

mod bound;
mod hostile;
mod verdicts;

use super::*;
use crate::{
    ChallengeId, ChunkOpening, ChunkSha256, ChunkStatement, Difficulty, FileId, Keypair,
    NetworkContext, Parties, Piece, ProofAnswer, Question, Receipt, Sealing, prove, verify,
};

const SEED: [u8; 32] = [0x5a; 32];

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).unwrap()
}

fn network_id() -> NetworkId {
    NetworkId::from_bytes([9; 32])
}

fn blob(chunk: u32, node: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20_000];
    let mut noise = blake3::Hasher::new();
    noise.update(&[chunk as u8, node]);
    noise.finalize_xof().fill(&mut bytes);
    bytes
}

fn receipt(chunk: u32, node: u8, blob: &[u8]) -> ReceiptItem {
    let receipt = Receipt {
        context: NetworkContext {
            network_id: network_id(),
            peer_id: keypair(node).public().to_peer_id(),
        },
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
        stored_at_ms: 1_767_225_600_123,
    };
    let signed = receipt.sign(&keypair(node)).unwrap();
    ReceiptItem {
        index: chunk,
        node_id: Uuid::from_bytes([node; 16]),
        peer_id: receipt.context.peer_id.to_string(),
        blob_id: receipt.blob_id,
        length: receipt.length,
        stored_at: jiff::Timestamp::from_millisecond(1_767_225_600_123).unwrap(),
        stored_at_ms: receipt.stored_at_ms,
        signature: signed.signature.to_string(),
        statement: Some(stated(chunk, blob)),
    }
}

fn file_id(n: u8) -> FileId {
    FileId::from_bytes([n; 16])
}

/// Any digest does: nothing here hashes plaintext.
fn digest(chunk: u32) -> ChunkSha256 {
    ChunkSha256::from_bytes([chunk as u8; 32])
}

fn statement_on(file: u8, chunk: u32, blob: &[u8]) -> ChunkStatement {
    ChunkStatement {
        network_id: network_id(),
        coordinator: keypair(1).public().to_peer_id(),
        file_id: file_id(file),
        index: chunk,
        chunk_bytes: blob.len() as u32 - 28,
        chunk_sha256: digest(chunk),
        piece: Piece::copy(2).unwrap(),
        sealing: Sealing::V2,
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
    }
}

fn signed(statement: &ChunkStatement) -> StatementItem {
    StatementItem::new(statement, statement.sign(&keypair(1)).unwrap())
}

fn stated(chunk: u32, blob: &[u8]) -> StatementItem {
    signed(&statement_on(FILE, chunk, blob))
}

const FILE: u8 = 0xf1;
const KEY: [u8; 32] = [6; 32];

/// A copy as a coordinator shows it, with what it signs of it.
fn sealed(chunk: u32, node: u8, statement: &ChunkStatement) -> Sealed {
    let blob = blob(chunk, node);
    let opening = ChunkOpening {
        statement,
        chunk_key: &KEY,
    };
    Sealed {
        receipt: ReceiptItem {
            statement: Some(signed(statement)),
            ..receipt(chunk, node, &blob)
        },
        chunk_key: hex::encode(KEY),
        opening_signature: opening.sign(&keypair(1)).unwrap().to_string(),
        blob: BASE64_STANDARD.encode(&blob),
    }
}

/// Two chunks, each on the nodes 2 and 3.
fn receipts() -> Receipts {
    let items = [(0, 2), (0, 3), (1, 2), (1, 3)];
    let items = items.map(|(chunk, node)| receipt(chunk, node, &blob(chunk, node)));
    Receipts {
        network_id: network_id(),
        items: items.into(),
        next_cursor: None,
    }
}

/// What a node with these blobs makes of a challenge to prove the blobs of both chunks, judged by a
/// coordinator that may lie.
fn exchange(proofs: &mut Proofs, node: u8, held: &[Vec<u8>], lie: Option<Judgement>) {
    exchange_in(proofs, node, held, lie, 3);
}

/// The same, with the time that the coordinator signs; it has 2000 ms.
fn exchange_in(
    proofs: &mut Proofs,
    node: u8,
    held: &[Vec<u8>],
    lie: Option<Judgement>,
    elapsed_ms: u64,
) {
    let wanted: Vec<_> = (0..2).map(|chunk| blob(chunk, node)).collect();
    let (coordinator, parties) = (keypair(1), parties(node));
    let items = wanted.iter().map(|blob| ChallengeItem {
        blob_id: BlobId::of(blob),
        length: blob.len() as u64,
        seed: ProofSeed::from_bytes(SEED),
    });
    let id = ChallengeId::from_bytes([node; 16]);
    let challenge = Challenge::new(parties, id, 7, Difficulty::STANDARD, items.collect()).unwrap();
    let answers = challenge.questions().map(|question| {
        let blob = held
            .iter()
            .find(|blob| BlobId::of(blob) == question.blob_id);
        ItemAnswer {
            outcome: blob.map_or(ItemOutcome::Missing, |blob| {
                ItemOutcome::Proven(prove(&question, &mut &blob[..]).unwrap())
            }),
            duration_ms: 1,
        }
    });
    let answer = ProofAnswer::sign(&challenge, answers.collect(), &keypair(node)).unwrap();
    let statement = answer.open(&challenge).unwrap();
    let judged = challenge.questions().zip(&answer.items);
    let mut judgements: Vec<Judgement> = judged
        .map(|(question, item)| judge(&question, item))
        .collect();
    if let Some(lie) = lie {
        judgements.fill(lie);
    }
    let request = challenge.sign(&coordinator).unwrap();
    let statement = ProofStatement::sign(
        challenge,
        request.signature,
        Some(statement),
        judgements,
        (elapsed_ms, 2000),
        &coordinator,
    )
    .unwrap();
    let message = proofs.messages.len() as u32;
    let judged = statement.verdict.judgements.iter().zip(&answer.items);
    for ((item, (judgement, answer)), position) in
        statement.challenge.items().iter().zip(judged).zip(0..)
    {
        let who = (
            Some(position),
            Uuid::from_bytes([node; 16]),
            parties.node.to_string(),
        );
        let at = ItemPosition { message, position };
        let item = ProofItem::asked(who, (item, 16), (*judgement, Some(answer)), at);
        proofs.items.push(item);
    }
    proofs.messages.push(ProofMessage::from(&statement));
}

/// As a coordinator that is in time and does not lie judges what a node says of one blob.
fn judge(question: &Question, item: &ItemAnswer) -> Judgement {
    match &item.outcome {
        ItemOutcome::Proven(proof) if verify(question, proof).is_ok() => Judgement::Passed,
        ItemOutcome::Busy => Judgement::Busy,
        _ => Judgement::Failed,
    }
}

fn parties(node: u8) -> Parties {
    Parties {
        network_id: network_id(),
        coordinator: keypair(1).public().to_peer_id(),
        node: keypair(node).public().to_peer_id(),
    }
}

fn honest() -> Proofs {
    let mut proofs = Proofs {
        messages: Vec::new(),
        items: Vec::new(),
        next_index: None,
    };
    for node in [2, 3] {
        let held = [blob(0, node), blob(1, node)];
        exchange(&mut proofs, node, &held, None);
    }
    proofs
}

struct Evidence {
    receipts: Vec<Receipts>,
    proofs: Vec<Proofs>,
    seed: Option<ProofSeed>,
    network_id: Option<NetworkId>,
    file_id: Option<FileId>,
}

struct Report {
    checker: Checker,
    bad_receipts: Vec<Found>,
    findings: Vec<Finding>,
}

impl Evidence {
    fn check(&self) -> Report {
        let mut checker = Checker::new(self.seed, self.network_id, self.file_id);
        let receipts = self.receipts.iter();
        let bad_receipts = receipts.flat_map(|page| checker.receipts(page)).collect();
        let proofs = self.proofs.iter();
        let found = proofs.flat_map(|proofs| checker.proofs(proofs));
        let findings = found.map(|found| found.finding).collect();
        Report {
            checker,
            bad_receipts,
            findings,
        }
    }
}

fn evidence(proofs: Proofs) -> Evidence {
    Evidence {
        receipts: vec![receipts()],
        proofs: vec![proofs],
        seed: Some(ProofSeed::from_bytes(SEED)),
        network_id: Some(network_id()),
        file_id: Some(file_id(FILE)),
    }
}

fn copies(report: &Report) -> Vec<(usize, usize)> {
    let chunks = report.checker.chunks();
    chunks
        .map(|copies| (copies.proven, copies.promised))
        .collect()
}

#[test]
fn what_honest_nodes_hand_out_is_proven_after_a_trip_through_json() {
    let json = serde_json::to_string(&honest()).unwrap();
    let evidence = evidence(serde_json::from_str(&json).unwrap());
    let report = evidence.check();
    assert_eq!(copies(&report), [(2, 2), (2, 2)]);
    assert!(report.checker.is_complete());
    assert!(
        report
            .findings
            .iter()
            .all(|finding| *finding == Finding::Proven)
    );
}

#[test]
fn a_copy_that_a_node_has_lost_is_named_and_the_others_still_count() {
    let mut proofs = honest();
    proofs.items.truncate(2);
    proofs.messages.truncate(1);
    exchange(&mut proofs, 3, &[blob(1, 3)], None);
    let report = evidence(proofs).check();
    assert_eq!(copies(&report), [(1, 2), (2, 2)]);
    assert!(!report.checker.is_complete());
    let Finding::NotProven(reason) = &report.findings[2] else {
        panic!("{:?}", report.findings[2]);
    };
    assert!(reason.contains("Missing"), "{reason}");
}

#[test]
fn whatever_is_altered_in_the_evidence_is_found() {
    type Alter = fn(&mut Proofs);
    let alterations: [(&str, Alter); 16] = [
        ("body", |p| {
            let body = p.items[0].body.as_mut().unwrap();
            let swapped = if body.starts_with('A') { "B" } else { "A" };
            body.replace_range(..1, swapped);
        }),
        ("no base64", |p| p.items[0].body = Some("%".into())),
        ("no body", |p| p.items[0].body = None),
        ("proof hash", |p| {
            p.items[0].proof_hash = Some(ProofHash::from_bytes([0; 32]));
        }),
        ("seed", |p| p.items[0].seed = ProofSeed::from_bytes([0; 32])),
        ("difficulty", |p| p.items[0].difficulty = 1),
        ("length", |p| p.items[0].length += 1),
        ("blob", |p| p.items[0].blob_id = BlobId::of(b"other")),
        ("chunk", |p| p.items[0].index = Some(1)),
        ("peer", |p| p.items[0].peer_id = p.items[2].peer_id.clone()),
        ("position", |p| p.items[0].position = Some(1)),
        ("message", |p| p.items[0].message = Some(1)),
        ("no message", |p| p.items[0].message = Some(u32::MAX)),
        ("claim", |p| p.items[0].claim = Some(Claim::Busy)),
        ("digests", |p| p.messages[0].item_digests.swap(0, 1)),
        ("signature", |p| {
            p.messages[0].signature = p.messages[1].signature.clone();
        }),
    ];
    for (name, alter) in alterations {
        let mut proofs = honest();
        alter(&mut proofs);
        let report = evidence(proofs).check();
        assert!(!report.checker.is_complete(), "{name}");
        assert_ne!(report.findings[0], Finding::Proven, "{name}");
    }
}

#[test]
fn a_coordinator_that_accuses_an_honest_node_is_refuted_by_its_own_evidence() {
    let mut proofs = honest();
    proofs.items.truncate(2);
    proofs.messages.truncate(1);
    let held = [blob(0, 3), blob(1, 3)];
    exchange(&mut proofs, 3, &held, Some(Judgement::Failed));
    let report = evidence(proofs).check();
    assert_eq!(report.checker.refuted(), 2);
    let lie = Lie::Misjudged {
        judged: Judgement::Failed,
        due: Judgement::Passed,
    };
    assert_eq!(report.findings[2], Finding::Refuted(lie));
}

#[test]
fn one_proof_handed_in_twice_counts_once() {
    let mut proofs = honest();
    proofs.items.remove(1);
    let again = proofs.items[0].clone();
    proofs.items.push(again);
    assert_eq!(copies(&evidence(proofs).check()), [(2, 2), (1, 2)]);
}

#[test]
fn receipts_that_nobody_signed_or_that_share_a_blob_count_for_nothing() {
    let mut evidence = evidence(honest());
    evidence.receipts[0].items[0].stored_at_ms += 1;
    let shared = receipt(1, 2, &blob(1, 3));
    evidence.receipts[0].items[2] = shared;
    let report = evidence.check();
    assert_eq!(report.bad_receipts.len(), 2, "{:?}", report.bad_receipts);
    assert_eq!(copies(&report), [(1, 1), (0, 1)]);
    assert!(!report.checker.is_complete());
}

#[test]
fn evidence_of_another_network_or_for_another_seed_is_refused() {
    let other_network = Evidence {
        network_id: Some(NetworkId::from_bytes([8; 32])),
        ..evidence(honest())
    };
    assert!(!other_network.check().checker.is_complete());
    let other_seed = Evidence {
        seed: Some(ProofSeed::from_bytes([1; 32])),
        ..evidence(honest())
    };
    assert_eq!(copies(&other_seed.check()), [(0, 2), (0, 2)]);
    assert!(!Checker::default().is_complete());
}

/// Node 3 lacks its blob of chunk 0 and shows an order by this key, of this time.
fn ordered(key: u8, at_ms: u64, judged: Option<Judgement>) -> Proofs {
    let mut proofs = honest();
    proofs.items.truncate(2);
    proofs.messages.truncate(1);
    exchange(&mut proofs, 3, &[blob(1, 3)], judged);
    let parties = Parties {
        coordinator: keypair(key).public().to_peer_id(),
        ..parties(3)
    };
    let deletion = crate::Deletion {
        blob_id: BlobId::of(&blob(0, 3)),
        mode: crate::DeletionMode::Purge,
    };
    let order = DeleteOrder::new(parties, at_ms, vec![deletion]).unwrap();
    let signed = order.sign(&keypair(key)).unwrap();
    proofs.messages[1].orders.push(OrderItem::from(&signed));
    let json = serde_json::to_string(&proofs).unwrap();
    serde_json::from_str(&json).unwrap()
}

const AFTER_THE_RECEIPT: u64 = 1_767_225_600_124;

fn finding(proofs: Proofs) -> Finding {
    evidence(proofs).check().findings.swap_remove(2)
}

fn says(finding: &Finding, text: &str) -> bool {
    matches!(finding, Finding::NotProven(reason) if reason.contains(text))
}

#[test]
fn a_node_that_lacks_a_blob_by_its_coordinators_order_is_not_at_fault() {
    let found = finding(ordered(1, AFTER_THE_RECEIPT, Some(Judgement::Ordered)));
    assert!(says(&found, "not the node's fault"), "{found:?}");
    let report = evidence(ordered(1, AFTER_THE_RECEIPT, Some(Judgement::Ordered))).check();
    assert!(
        !report.checker.is_complete(),
        "the copy is gone all the same"
    );
}

#[test]
fn a_coordinator_that_orders_a_blob_deleted_and_then_accuses_its_node_is_refuted() {
    let accused = ordered(1, AFTER_THE_RECEIPT, Some(Judgement::Failed));
    let lie = Lie::BlamedForOrder(Judgement::Failed);
    assert_eq!(finding(accused), Finding::Refuted(lie));
}

#[test]
fn an_order_that_its_coordinator_did_not_sign_or_gave_too_early_excuses_nothing() {
    // Anybody can make a key; one that no challenge was signed with is nobody's.
    let by_a_stranger = ordered(7, AFTER_THE_RECEIPT, None);
    let too_early = ordered(1, AFTER_THE_RECEIPT - 2, None);
    let mut forged = ordered(1, AFTER_THE_RECEIPT, None);
    forged.messages[1].orders[0].signature = "00".repeat(64);
    let mut of_another_time = ordered(1, AFTER_THE_RECEIPT, None);
    of_another_time.messages[1].orders[0].issued_at_ms += 1;
    for (name, proofs) in [
        ("a stranger's", by_a_stranger),
        ("too early", too_early),
        ("forged", forged),
        ("of another time", of_another_time),
    ] {
        let found = finding(proofs);
        assert!(says(&found, "Missing"), "{name}: {found:?}");
    }
}
