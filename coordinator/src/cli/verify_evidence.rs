//! `coordinator verify-evidence`: receipts and proofs, checked offline.
//!
//! The files are read twice, first for the receipts, then for the proofs, one answer in memory at a time.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use proto::{NetworkId, ProofSeed};
use serde::Deserialize;

use proto::evidence::{Checker, Finding, Found, Proofs, Receipts};

/// No answer of a coordinator is longer: 96 proofs, or a page of 1000 receipts, are a few MiB.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Lines about single receipts or proofs that are printed.
const MAX_LINES: usize = 100;

#[derive(Debug, Args)]
pub(super) struct VerifyEvidence {
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
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut checker = Checker::new(self.seed, self.network_id);
        let mut bad = Lines::default();
        self.each(|document| {
            if let Document::Receipts(page) = document {
                for reason in checker.receipts(&page) {
                    bad.print(|| format!("bad receipt: {reason}"));
                }
            }
        })?;
        bad.end();
        let mut not_proven = Lines::default();
        self.each(|document| {
            if let Document::Proofs(proofs) = document {
                for found in checker.proofs(&proofs) {
                    if found.finding != Finding::Proven {
                        not_proven.print(|| line(&found));
                    }
                }
            }
        })?;
        not_proven.end();
        conclude(&checker)
    }

    /// Every answer in the files.
    fn each(&self, mut take: impl FnMut(Document)) -> anyhow::Result<()> {
        for path in &self.files {
            read(path, &mut take)?;
        }
        Ok(())
    }
}

fn read(path: &Path, take: &mut impl FnMut(Document)) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    ensure!(
        metadata.is_file(),
        "{} is no file: it is read twice, so it cannot be a pipe",
        path.display()
    );
    let left = Rc::new(Cell::new(MAX_ANSWER_BYTES));
    let reader = Bounded {
        inner: BufReader::new(file),
        left: Rc::clone(&left),
    };
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Document>() {
        let document = document.with_context(|| {
            format!(
                "{} holds something else than receipts and proofs",
                path.display()
            )
        })?;
        take(document);
        left.set(MAX_ANSWER_BYTES);
    }
    Ok(())
}

/// Gives no more than what is left until somebody says otherwise.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let length = most.min(buffer.len());
        if length == 0 && !buffer.is_empty() {
            return Err(io::Error::other("no answer of a coordinator is so long"));
        }
        let read = self.inner.read(&mut buffer[..length])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

/// The first lines of many.
#[derive(Debug, Default)]
struct Lines(usize);

impl Lines {
    fn print(&mut self, line: impl FnOnce() -> String) {
        self.0 += 1;
        if self.0 <= MAX_LINES {
            println!("{}", line());
        }
    }

    fn end(self) {
        if self.0 > MAX_LINES {
            println!("… and {} more", self.0 - MAX_LINES);
        }
    }
}

fn line(found: &Found) -> String {
    let chunk = found
        .index
        .map_or_else(|| "a blob".to_owned(), |index| format!("chunk {index}"));
    let text = match &found.finding {
        Finding::Proven => "proven".to_owned(),
        Finding::NotProven(reason) => format!("not proven: {reason}"),
        Finding::Refuted => {
            "REFUTED: the coordinator calls it failed, and the node's signed proof is sound"
                .to_owned()
        }
    };
    format!("{chunk}, node {}, {}: {text}", found.peer_id, found.blob_id)
}

fn conclude(checker: &Checker) -> anyhow::Result<()> {
    let promised: usize = checker.chunks().map(|copies| copies.promised).sum();
    let proven: usize = checker.chunks().map(|copies| copies.proven).sum();
    let chunks = checker.chunks().count();
    let fewest = checker.chunks().map(|copies| copies.proven).min();
    println!(
        "{proven} of {promised} copies of {chunks} chunks are proven; the fewest of one chunk: {}",
        fewest.unwrap_or(0)
    );
    ensure!(
        checker.refuted() == 0,
        "{} accusations of the coordinator are refuted by the nodes' signed proofs",
        checker.refuted()
    );
    if chunks == 0 {
        bail!("there are no sound receipts: nothing says which blobs are yours");
    }
    ensure!(checker.is_complete(), "not every copy is proven");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_does_not_end_is_given_up() {
        let left = Rc::new(Cell::new(10));
        let mut reader = Bounded {
            inner: io::repeat(b' '),
            left: Rc::clone(&left),
        };
        let mut bytes = [0; 7];
        assert_eq!(reader.read(&mut bytes).unwrap(), 7);
        assert_eq!(reader.read(&mut bytes).unwrap(), 3);
        assert!(reader.read(&mut bytes).is_err());
        left.set(10);
        assert_eq!(reader.read(&mut bytes).unwrap(), 7);
    }
}
