//! What one proof costs: walked, hashed and verified from memory, one thread.

use std::fmt;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use proto::{BlobId, Difficulty, Keypair, PeerId, ProofSeed, Question, prove, verify};
use serde::Serialize;

/// A sealed chunk is 28 bytes longer than its plaintext.
const LENGTHS: [usize; 2] = [256 * 1024 + 28, 4 * 1024 * 1024 + 28];

#[derive(Debug, Serialize)]
pub(crate) struct ProofReport {
    pub difficulty: u32,
    pub proofs: Vec<ProofCost>,
}

/// Medians, in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct ProofCost {
    pub blob_bytes: usize,
    /// Median length of a body.
    pub body_bytes: usize,
    pub prove_us: f64,
    /// Of hashing the blob from front to end: no proof of the whole tree is cheaper.
    pub hash_us: f64,
    pub verify_us: f64,
}

/// Each blob is proven `count` times, every time with another seed.
pub(crate) fn run(count: usize) -> Result<ProofReport> {
    let node = Keypair::generate_ed25519().public().to_peer_id();
    let costs = LENGTHS.map(|length| cost(node, length, count));
    Ok(ProofReport {
        difficulty: Difficulty::STANDARD.get(),
        proofs: costs.into_iter().collect::<Result<_>>()?,
    })
}

fn cost(node: PeerId, length: usize, count: usize) -> Result<ProofCost> {
    let mut blob = vec![0; length];
    let mut noise = blake3::Hasher::new();
    noise.update(b"bench").finalize_xof().fill(&mut blob);
    let mut question = Question {
        blob_id: BlobId::of(&blob),
        length: length as u64,
        seed: ProofSeed::from_bytes([0; 32]),
        difficulty: Difficulty::STANDARD,
        peer_id: node,
    };
    let (mut proving, mut hashing, mut verifying) = (Vec::new(), Vec::new(), Vec::new());
    let mut bodies = Vec::new();
    for number in 0..count {
        let seed = blake3::hash(&(number as u64).to_le_bytes());
        question.seed = ProofSeed::from_bytes(*seed.as_bytes());
        let began = Instant::now();
        let proof = prove(black_box(&question), &mut &blob[..]);
        proving.push(began.elapsed());
        let proof = proof.context("an honest blob was not proven")?;
        let began = Instant::now();
        black_box(blake3::hash(black_box(&blob)));
        hashing.push(began.elapsed());
        let began = Instant::now();
        let verdict = verify(black_box(&question), black_box(&proof));
        verifying.push(began.elapsed());
        verdict.context("an honest proof was refused")?;
        bodies.push(proof.body.len());
    }
    let median_us = |mut times: Vec<std::time::Duration>| {
        times.sort_unstable();
        times
            .get(times.len() / 2)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    bodies.sort_unstable();
    Ok(ProofCost {
        blob_bytes: length,
        body_bytes: bodies.get(bodies.len() / 2).copied().unwrap_or_default(),
        prove_us: median_us(proving),
        hash_us: median_us(hashing),
        verify_us: median_us(verifying),
    })
}

impl fmt::Display for ProofReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "blob bytes",
            "body bytes",
            "prove µs",
            "hash alone µs",
            "verify µs",
        ]);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for cost in &self.proofs {
            table.add_row([
                cost.blob_bytes.to_string(),
                cost.body_bytes.to_string(),
                format!("{:.0}", cost.prove_us),
                format!("{:.0}", cost.hash_us),
                format!("{:.0}", cost.verify_us),
            ]);
        }
        writeln!(
            f,
            "D = {}, one thread, data in memory, medians\n\n{table}",
            self.difficulty
        )
    }
}
