//! `coordinator verify-evidence`: receipts and proofs, checked offline.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use proto::{NetworkId, ProofSeed};
use serde::Deserialize;

use crate::domain::evidence::{Evidence, Finding, Proofs, Receipts, Report};

/// No file of evidence is longer.
const MAX_BYTES: u64 = 1 << 30;

/// Lines about single proofs that are printed.
const MAX_LINES: usize = 100;

#[derive(Debug, Args)]
pub struct VerifyEvidence {
    /// Answers of `GET files/{id}/receipts`, `POST files/{id}/proof` and `GET nodes/{id}/proofs`, in any
    /// order, also several in one file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The seed that you sent with your request: every proof must answer it.
    #[arg(long, value_name = "HEX")]
    seed: Option<ProofSeed>,

    /// The network's id, if you know it from elsewhere than the receipts.
    #[arg(long, value_name = "HEX")]
    network_id: Option<NetworkId>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Proofs(Box<Proofs>),
    Receipts(Box<Receipts>),
}

impl VerifyEvidence {
    /// Succeeds only if every copy that the receipts promise is proven.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut evidence = Evidence {
            seed: self.seed,
            network_id: self.network_id,
            ..Evidence::default()
        };
        for file in &self.files {
            read(file, &mut evidence)?;
        }
        let report = evidence.check();
        print(&report);
        ensure!(
            report.refuted() == 0,
            "{} accusations of the coordinator are refuted by the nodes' signed proofs",
            report.refuted()
        );
        if report.chunks.is_empty() {
            bail!("there are no sound receipts: nothing says which blobs are yours");
        }
        ensure!(report.is_complete(), "not every copy is proven");
        Ok(())
    }
}

fn read(path: &Path, evidence: &mut Evidence) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(cannot)?;
    let reader = BufReader::new(file.take(MAX_BYTES));
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Document>() {
        let document = document.with_context(|| {
            format!(
                "{} holds something else than receipts and proofs",
                path.display()
            )
        })?;
        match document {
            Document::Proofs(proofs) => evidence.proofs.push(*proofs),
            Document::Receipts(receipts) => evidence.receipts.push(*receipts),
        }
    }
    Ok(())
}

fn print(report: &Report) {
    for reason in report.bad_receipts.iter().take(MAX_LINES) {
        println!("bad receipt: {reason}");
    }
    let mut lines = 0;
    for (index, peer, blob, finding) in &report.findings {
        let chunk = index.map_or_else(|| "a blob".to_owned(), |index| format!("chunk {index}"));
        let text = match finding {
            Finding::Proven => continue,
            Finding::NotProven(reason) => format!("not proven: {reason}"),
            Finding::Refuted => {
                "REFUTED: the coordinator calls it failed, and the node's signed proof is sound"
                    .to_owned()
            }
        };
        lines += 1;
        if lines <= MAX_LINES {
            println!("{chunk}, node {peer}, {blob}: {text}");
        }
    }
    if lines > MAX_LINES {
        println!("… and {} more", lines - MAX_LINES);
    }
    let promised: usize = report.chunks.values().map(|copies| copies.promised).sum();
    let proven: usize = report.chunks.values().map(|copies| copies.proven).sum();
    let chunks = report.chunks.len();
    let fewest = report.chunks.values().map(|copies| copies.proven).min();
    println!(
        "{proven} of {promised} copies of {chunks} chunks are proven; the fewest of one chunk: {}",
        fewest.unwrap_or(0)
    );
}
