//! `fsn verify`: that what was stored is there, by what the nodes themselves sign; nothing of it is the coordinator's word.
//!
//! Every chunk's receipts say which copies were promised. Then each copy is proven against a seed of our own, so that no
//! proof can have been made before. Of what is saved, what is said at the end counts what was handed in: that other chunks
//! were not is no alarm. Of what is asked for now it is one: a coordinator that has lost a chunk would keep quiet of it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use api::evidence::{ProofRequest, Proofs};
use clap::Args;
use client::rest::Session;
use evidence_check::Document;
use kit::Entropy;
use proto::evidence::{Checker, Finding, Found};
use proto::{FileId, ProofSeed};
use rand::Rng;
use serde_json::{Value, json};

use super::{Connected, Global};
use crate::exit;
use crate::remote::Remote;
use crate::show::Show;

/// Chunks that are proven in one request; with three copies of each, as many as a coordinator asks for at once.
const CHUNKS: u32 = 32;
/// Lines about single copies.
const MOST_LINES: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// BUCKET/KEY
    #[arg(value_name = "REMOTE", required_unless_present = "offline")]
    of: Option<Remote>,
    /// Keep what was answered, to be checked again offline
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    save: Option<PathBuf>,
    /// Check files that were saved; asks nobody
    #[arg(long, value_name = "FILE", conflicts_with = "of")]
    offline: Vec<PathBuf>,
    /// With --offline: the seed that every proof has to answer, as `verify --save` has told it
    #[arg(long, value_name = "HEX", requires = "offline")]
    seed: Option<ProofSeed>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Chunks of which proofs were handed in.
    proofs: BTreeSet<u32>,
    bad: Vec<String>,
    unproven: Vec<String>,
}

impl Seen {
    fn take(&mut self, found: Vec<Found>, of_receipts: bool) {
        for Found {
            index,
            peer_id,
            finding,
            ..
        } in found
        {
            let chunk =
                index.map_or_else(|| "a chunk".to_owned(), |index| format!("chunk {index}"));
            match finding {
                Finding::Proven | Finding::Opened | Finding::Piece | Finding::Judged(_) => {}
                Finding::NotProven(why) if of_receipts => {
                    self.bad
                        .push(format!("{chunk}, node {peer_id}: bad receipt: {why}"));
                }
                Finding::NotProven(why) => {
                    self.unproven
                        .push(format!("{chunk}, node {peer_id}: not proven: {why}"));
                }
                Finding::Refuted(lie) => {
                    self.bad
                        .push(format!("{chunk}, node {peer_id}: the coordinator: {lie}"));
                }
            }
        }
    }

    fn proofs(&mut self, checker: &mut Checker, proofs: &Proofs) {
        self.proofs
            .extend(proofs.items.iter().filter_map(|item| item.index));
        let found = checker.proofs(proofs);
        self.take(found, false);
    }
}

impl Verify {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        match &self.of {
            None => self.offline(&global.show()),
            Some(of) => self.online(&global.connect()?, of).await,
        }
    }

    async fn online(&self, connected: &Connected, of: &Remote) -> Result<()> {
        let bucket = connected.client.bucket(&of.bucket).await?;
        let (files, stored) = bucket.files_of(&of.key).await?;
        if stored == 0 && !bucket.is_sealed() {
            let value = json!({"chunks": 0, "copies_proven": 0});
            let line = "it is empty: there is nothing to prove";
            return connected.show.result(line, &value);
        }
        let mut kept = match &self.save {
            None => None,
            Some(path) => {
                let file = OpenOptions::new().create_new(true).append(true).open(path);
                Some(file.with_context(|| format!("{} cannot be made", path.display()))?)
            }
        };
        let mut stated = 0;
        for file_id in files {
            let seed = fresh_seed()?;
            let mut checker = Checker::new(Some(seed), None, Some(file_id));
            let seen = ask(connected, file_id, seed, &mut checker, kept.as_mut()).await?;
            let seed = self.save.as_ref().map(|_| seed);
            conclude(&connected.show, &checker, &seen, (Some(file_id), seed))?;
            nothing_left_out(&checker)?;
            let chunks = checker.stated();
            stated += chunks.map(|(_, it)| u64::from(it.bytes)).sum::<u64>();
        }
        all_of_it(stated, stored)
    }

    fn offline(&self, show: &Show) -> Result<()> {
        let mut checker = Checker::new(self.seed, None, None);
        let mut seen = Seen::default();
        for path in &self.offline {
            evidence_check::read(path, &mut |document| {
                if let Document::Receipts(page) = document {
                    seen.take(checker.receipts(&page), true);
                }
            })?;
        }
        for path in &self.offline {
            evidence_check::read(path, &mut |document| {
                if let Document::Proofs(proofs) = document {
                    seen.proofs(&mut checker, &proofs);
                }
            })?;
        }
        conclude(show, &checker, &seen, (checker.file_id(), None))
    }
}

fn fresh_seed() -> Result<ProofSeed> {
    let mut bytes = [0; 32];
    Entropy::system().rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
        .parse()
        .ok()
        .context("a seed cannot be drawn")
}

/// All receipts, then proofs of all chunks.
async fn ask(
    connected: &Connected,
    file_id: FileId,
    seed: ProofSeed,
    checker: &mut Checker,
    mut kept: Option<&mut File>,
) -> Result<Seen> {
    let mut keep = |answer: Value| -> Result<()> {
        if let Some(file) = kept.as_mut() {
            writeln!(file, "{answer}").context("what was answered cannot be kept")?;
        }
        Ok(())
    };
    let mut seen = Seen::default();
    let mut cursor = None;
    loop {
        let from = &cursor;
        let receipts =
            |session: Session| async move { Ok(session.receipts(file_id, from.clone()).await?) };
        let page = connected.client.ask(receipts).await?;
        keep(serde_json::to_value(&page)?)?;
        seen.take(checker.receipts(&page), true);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut next = Some(0);
    let total = checker.chunks().count() as u64;
    let bar = connected
        .show
        .transfer("proofs", &connected.show.total(total, 1));
    while let Some(first) = next {
        let body = ProofRequest {
            seed: Some(seed),
            first_index: Some(first),
            count: Some(CHUNKS),
        };
        let body = &body;
        let prove = |session: Session| async move { Ok(session.prove(file_id, body).await?) };
        let proofs = connected.client.ask(prove).await?;
        keep(serde_json::to_value(&proofs)?)?;
        seen.proofs(checker, &proofs);
        next = proofs.next_index;
        bar(seen.proofs.len() as u64, Some(total));
    }
    Ok(seen)
}

/// Every receipt is signed to be of this file, and of every copy that one promises there is a proof.
fn nothing_left_out(checker: &Checker) -> Result<()> {
    if !checker.is_bound() {
        return Err(exit::ended(
            exit::INTEGRITY,
            "the coordinator does not sign of every receipt which chunk of the file it is for",
        ));
    }
    match checker.is_proven() {
        true => Ok(()),
        false => Err(exit::ended(
            exit::UNAVAILABLE,
            "of some copies that nodes have promised no proofs were handed in; try again",
        )),
    }
}

/// The chunks that are signed to be the object's, and were proven, are all of it.
fn all_of_it(stated: u64, stored: u64) -> Result<()> {
    match stated == stored {
        true => Ok(()),
        false => Err(exit::ended(
            exit::INTEGRITY,
            format!(
                "what the coordinator signs for has {stated} bytes, and the object has {stored} where it is kept"
            ),
        )),
    }
}

fn conclude(
    show: &Show,
    checker: &Checker,
    seen: &Seen,
    (file_id, seed): (Option<FileId>, Option<ProofSeed>),
) -> Result<()> {
    let chunks = checker.chunks().count();
    if chunks == 0 {
        return Err(exit::ended(
            exit::INTEGRITY,
            "there are no sound receipts: nothing says which copies there should be",
        ));
    }
    let asked = seen.proofs.len();
    let proven: usize = checker.chunks().map(|copies| copies.proven).sum();
    let lines = seen.bad.iter().chain(&seen.unproven);
    lines.take(MOST_LINES).for_each(|line| show.say(line));
    let mut line = match asked == chunks {
        true => format!("{proven} copies of all {chunks} chunks are proven"),
        false => format!(
            "proofs of {asked} of {chunks} chunks were handed in, and {proven} copies are proven"
        ),
    };
    line.extend(seed.map(|seed| format!("; to check it again: --seed {seed}")));
    let value = json!({
        "file_id": file_id, "chunks": chunks, "chunks_with_proofs": asked, "copies_proven": proven,
        "copies_not_proven": seen.unproven.len(), "bad": seen.bad.len(), "seed": seed,
    });
    show.result(&line, &value)?;
    if !checker.is_sound() || !seen.bad.is_empty() {
        return Err(exit::ended(
            exit::INTEGRITY,
            format!(
                "{} of what was handed in is not sound",
                seen.bad.len().max(1)
            ),
        ));
    }
    match seen.unproven.len() {
        0 => Ok(()),
        count => Err(exit::ended(
            exit::UNAVAILABLE,
            format!("{count} copies were not proven: their nodes were away or busy; try again"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Ended;

    #[test]
    fn nothing_handed_in_proves_nothing() {
        let code = |outcome: Result<()>| outcome.unwrap_err().downcast::<Ended>().unwrap().code;
        assert_eq!(code(nothing_left_out(&Checker::default())), exit::INTEGRITY);
        assert_eq!(code(all_of_it(0, 92)), exit::INTEGRITY);
        assert_eq!(code(all_of_it(65_536, 65_537)), exit::INTEGRITY);
        assert!(all_of_it(92, 92).is_ok());
    }
}
