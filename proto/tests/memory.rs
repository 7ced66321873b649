//! How much memory a peer can make us take with one frame. An allocator that counts needs a program
//! of its own, with a single test, so that nothing else is counted.
#![expect(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use proto::{
    BlobId, ChallengeRequest, DeleteRequest, DeletionOutcomes, Difficulty, HeartbeatAnswer,
    HelloReport, InventoryAnswer, InventoryRequest, Keypair, LossReport, Message, Proof,
    ProofAnswer, ProofHash, ProofSeed, ProtocolSpec, Question, RetrieveAnswer, StoreAnswer,
    StoreRequest, protocols, verify,
};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), SeqCst) + layout.size();
        PEAK.fetch_max(held, SeqCst);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most bytes held at one time while `frame` was read, the frame itself not counted.
fn peak_of<M: Message>(frame: &Bytes) -> usize {
    let before = HELD.load(SeqCst);
    PEAK.store(before, SeqCst);
    let message = M::from_bytes(frame.clone());
    let peak = PEAK.load(SeqCst) - before;
    drop(message);
    peak
}

fn peak_of_every_message(frame: &Bytes) -> usize {
    let peaks = [
        peak_of::<HelloReport>(frame),
        peak_of::<HeartbeatAnswer>(frame),
        peak_of::<DeleteRequest>(frame),
        peak_of::<DeletionOutcomes>(frame),
        peak_of::<LossReport>(frame),
        peak_of::<InventoryRequest>(frame),
        peak_of::<InventoryAnswer>(frame),
        peak_of::<StoreRequest>(frame),
        peak_of::<StoreAnswer>(frame),
        peak_of::<RetrieveAnswer>(frame),
        peak_of::<ChallengeRequest>(frame),
        peak_of::<ProofAnswer>(frame),
    ];
    peaks.into_iter().max().unwrap_or_default()
}

/// As many copies of `part` as a frame of `protocol` holds.
fn filled_with(part: &[u8], protocol: ProtocolSpec) -> Bytes {
    part.repeat(protocol.max_frame_bytes / part.len()).into()
}

#[test]
fn one_frame_makes_its_reader_take_a_bounded_amount_of_memory() {
    const KIB: usize = 1024;

    // A length that announces 4 GiB in each field that has one, and nothing behind it.
    for field in 1..=15_u8 {
        let frame = Bytes::from(vec![field << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(peak_of_every_message(&frame) < 4 * KIB, "field {field}");
    }

    // A full control frame of the smallest parts that make an element each.
    let small_parts: [&[u8]; 3] = [&[0x0a, 0x00], &[0x08, 0x01], &[0x12, 0x00]];
    for part in small_parts {
        let frame = filled_with(part, protocols::DELETE_CHUNK);
        let peak = peak_of_every_message(&frame);
        assert!(peak < 4096 * KIB, "{part:?}: {peak}");
    }

    // Full data frames: what is read of them is a slice, however often a field is repeated.
    let data_parts: [&[u8]; 2] = [&[0x7a, 0x01, 0x00], &[0xa2, 0x06, 0x01, 0x00]];
    for part in data_parts {
        let frame = filled_with(part, protocols::STORE_CHUNK);
        for peak in [
            peak_of::<StoreRequest>(&frame),
            peak_of::<RetrieveAnswer>(&frame),
        ] {
            assert!(peak < 4 * KIB, "{part:?}: {peak}");
        }
    }

    // Full inventory frames of the smallest elements.
    let elements: [&[u8]; 2] = [&[0x0a, 0x00], &[0x12, 0x00]];
    for part in elements {
        let frame = filled_with(part, protocols::INVENTORY);
        for peak in [
            peak_of::<InventoryRequest>(&frame),
            peak_of::<InventoryAnswer>(&frame),
        ] {
            assert!(peak < 8 * KIB, "{part:?}: {peak}");
        }
    }

    // Full challenge frames of the smallest items.
    let items: [&[u8]; 3] = [&[0x0a, 0x00], &[0x1a, 0x00], &[0x22, 0x00]];
    for part in items {
        let frame = filled_with(part, protocols::PROOF_CHALLENGE);
        for peak in [
            peak_of::<ChallengeRequest>(&frame),
            peak_of::<ProofAnswer>(&frame),
        ] {
            assert!(peak < 8 * KIB, "{part:?}: {peak}");
        }
    }

    // A proof of the largest blob that can be named, and bodies of any length for it.
    let node = Keypair::generate_ed25519().public().to_peer_id();
    for difficulty in [1, Difficulty::MAX.get()] {
        for body_len in [0, 1, 1024, 64 * KIB, 1024 * KIB] {
            let question = Question {
                blob_id: BlobId::of(b""),
                length: i64::MAX as u64,
                seed: ProofSeed::from_bytes([7; 32]),
                difficulty: Difficulty::new(difficulty).unwrap(),
                peer_id: node,
            };
            let proof = Proof {
                proof_hash: ProofHash::from_bytes([0; 32]),
                body: vec![7; body_len].into(),
            };
            let before = HELD.load(SeqCst);
            PEAK.store(before, SeqCst);
            assert!(verify(&question, &proof).is_err());
            let peak = PEAK.load(SeqCst) - before;
            assert!(peak < 32 * KIB, "{difficulty}, {body_len}: {peak}");
        }
    }
}
