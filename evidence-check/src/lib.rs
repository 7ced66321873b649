//! `coordinator verify-evidence`: receipts, proofs, opened blobs and verdicts, checked offline; with `--sample` it has
//! blobs opened first. A crate of its own, for who checks needs no coordinator.
//!
//! The files are read twice, first for what was promised, then for what is shown of it, one answer in memory at a time.
//!
//! ```
//! use clap::{Args, Command};
//! use evidence_check::VerifyEvidence;
//!
//! let command = VerifyEvidence::augment_args(Command::new("verify-evidence"));
//! let nothing_to_check = command.try_get_matches_from(["verify-evidence"]);
//! assert!(nothing_to_check.is_err());
//! ```

#![warn(unreachable_pub)]

mod content;
mod documents;
mod pieces;
mod sample;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use clap::Args;
use proto::evidence::{Checker, Content, Finding, Found, Sealed};
use proto::{FileId, NetworkId, ProofSeed};
use sealing::{ChunkRef, Sealing, content_of};

pub use self::documents::{Document, read};
use self::pieces::OpenedPieces;
use self::sample::Sample;

/// Lines about single receipts or proofs that are printed.
const MAX_LINES: usize = 100;

#[derive(Debug, Args)]
pub struct VerifyEvidence {
    /// Answers of `GET files/{id}/receipts`, `POST files/{id}/proof`, `GET files/{id}/sealed`,
    /// `GET files/{id}/durability`, `GET nodes/{id}/proofs` and `GET nodes/{id}/proofs/{challenge}`, in any order, also
    /// several in one file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The seed that you sent with your request: every proof must answer it.
    #[arg(long, value_name = "HEX")]
    seed: Option<ProofSeed>,

    /// The network's id, if you know it from elsewhere than the receipts.
    #[arg(long, value_name = "HEX")]
    network_id: Option<NetworkId>,

    /// Your file's id: receipts of another file are refused. Left out, it is that of the first receipt.
    #[arg(long, value_name = "UUID")]
    file_id: Option<FileId>,

    /// Your file as you stored it: what the coordinator signs of each chunk has to be true of it.
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,

    /// Accept receipts that no coordinator has signed to be of a file, as those of files that an older release took in one
    /// request: nothing then shows that they are yours.
    #[arg(long)]
    allow_unbound: bool,

    #[command(flatten)]
    sample: Sample,
}

/// What there is to conclude from.
#[derive(Debug, Default)]
struct Seen {
    receipts: bool,
    /// Of somebody's file.
    proofs: bool,
    sealed: bool,
    verdicts: bool,
    pieces: OpenedPieces,
}

impl VerifyEvidence {
    /// Succeeds only if everything that was handed in is sound, and every copy that the receipts promise is proven, of a coded
    /// chunk as many pieces as give it back, or those that were drawn are opened.
    pub async fn run(&self) -> anyhow::Result<()> {
        let mut checker = Checker::new(self.seed, self.network_id, self.file_id);
        let mut seen = Seen::default();
        let mut bad = Lines::default();
        self.each(|document| {
            for found in promises(&mut checker, &mut seen, &document) {
                bad.print(|| line("receipt", &found));
            }
        })?;
        bad.end();
        let mut worthless = Lines::default();
        self.each(|document| shown(&mut checker, &mut seen, &mut worthless, document))?;
        let unopened = self
            .open_sample(&mut checker, &mut seen, &mut worthless)
            .await?;
        worthless.end();
        let differences = self.compare(&checker)?;
        conclude(&checker, &seen, self.allow_unbound)?;
        ensure!(
            differences == 0,
            "what the coordinator signs is not your file"
        );
        ensure!(
            unopened == 0,
            "{unopened} of the copies drawn were not opened"
        );
        Ok(())
    }

    /// Every answer in the files.
    fn each(&self, mut take: impl FnMut(Document)) -> anyhow::Result<()> {
        for path in &self.files {
            read(path, &mut take)?;
        }
        Ok(())
    }

    /// How many of the copies that were drawn were not shown.
    async fn open_sample(
        &self,
        checker: &mut Checker,
        seen: &mut Seen,
        lines: &mut Lines,
    ) -> anyhow::Result<usize> {
        let Some(count) = self.sample.count else {
            return Ok(0);
        };
        let drawn = self.sample.draw(checker, count).await?;
        for sealed in &drawn.shown {
            self.save(sealed)?;
            let bad = checker.sealed_receipt(sealed);
            let bad = bad
                .into_iter()
                .chain([opened(checker, &mut seen.pieces, sealed)]);
            bad.for_each(|found| lines.take(&found));
            seen.sealed = true;
        }
        for reason in &drawn.not_shown {
            lines.print(|| reason.clone());
        }
        if let Some(reason) = drawn.enough {
            println!("no more is opened now: {reason}");
            ensure!(!drawn.shown.is_empty(), "no copy was opened");
        }
        Ok(drawn.not_shown.len())
    }

    fn save(&self, sealed: &Sealed) -> anyhow::Result<()> {
        let Some(path) = &self.sample.save else {
            return Ok(());
        };
        let cannot = || format!("{} cannot be written", path.display());
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        let mut file = file.with_context(cannot)?;
        let line = serde_json::to_string(sealed)? + "\n";
        file.write_all(line.as_bytes()).with_context(cannot)
    }

    /// How much of the owner's file is not what is signed.
    fn compare(&self, checker: &Checker) -> anyhow::Result<usize> {
        let Some(path) = &self.content else {
            return Ok(0);
        };
        let differences = content::differences(path, checker)?;
        let mut lines = Lines::default();
        for difference in &differences {
            lines.print(|| difference.clone());
        }
        lines.end();
        if differences.is_empty() {
            println!(
                "what is signed of {} chunks is true of your file",
                checker.stated().count()
            );
        }
        Ok(differences.len())
    }
}

/// Takes in what an answer promises; what is bad in it.
fn promises(checker: &mut Checker, seen: &mut Seen, document: &Document) -> Vec<Found> {
    match document {
        Document::Receipts(page) => {
            seen.receipts = true;
            checker.receipts(page)
        }
        Document::Sealed(sealed) => checker.sealed_receipt(sealed).into_iter().collect(),
        Document::Durability(durability) => {
            let replicas = durability.chunks.iter().flat_map(|chunk| &chunk.replicas);
            let bad = replicas.filter_map(|replica| {
                let statement = replica.statement.as_ref()?;
                checker.statement(&replica.node_id.to_string(), statement)
            });
            bad.collect()
        }
        Document::Proofs(_) | Document::Verdicts(_) => Vec::new(),
    }
}

/// Checks what an answer shows.
fn shown(checker: &mut Checker, seen: &mut Seen, lines: &mut Lines, document: Document) {
    match document {
        Document::Proofs(proofs) => {
            let of_a_file = proofs.items.iter().any(|item| item.index.is_some());
            seen.proofs |= of_a_file || proofs.items.is_empty();
            seen.verdicts |= !of_a_file && !proofs.items.is_empty();
            for found in checker.proofs(&proofs) {
                lines.take(&found);
            }
        }
        Document::Sealed(sealed) => {
            seen.sealed = true;
            lines.take(&opened(checker, &mut seen.pieces, &sealed));
        }
        Document::Verdicts(page) => {
            for view in &page.items {
                seen.verdicts = true;
                match checker.verdict(view) {
                    Ok(found) => found.iter().for_each(|found| lines.take(found)),
                    Err(reason) => {
                        lines.print(|| format!("challenge {}: {reason}", view.challenge_id));
                    }
                }
            }
        }
        Document::Receipts(_) | Document::Durability(_) => {}
    }
}

fn opened(checker: &mut Checker, pieces: &mut OpenedPieces, sealed: &Sealed) -> Found {
    checker.sealed(sealed, |statement, key, blob| {
        if !statement.piece.is_copy() {
            return pieces.open(statement, key, &blob);
        }
        let chunk = ChunkRef {
            file_id: statement.file_id,
            index: statement.index,
        };
        let has_a_key = statement.sealing == Sealing::V2;
        let content = has_a_key.then(|| content_of(key, chunk, BytesMut::from(&blob[..])));
        let (sha256, bytes) = content?.ok()?;
        Some(Content::Chunk(sha256, bytes))
    })
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

    /// Whatever is not good.
    fn take(&mut self, found: &Found) {
        match found.finding {
            Finding::Proven | Finding::Opened | Finding::Piece | Finding::Judged(_) => {}
            Finding::NotProven(_) | Finding::Refuted(_) => self.print(|| line("", found)),
        }
    }

    fn end(self) {
        if self.0 > MAX_LINES {
            println!("… and {} more", self.0 - MAX_LINES);
        }
    }
}

fn line(what: &str, found: &Found) -> String {
    let chunk = found
        .index
        .map_or_else(|| "a blob".to_owned(), |index| format!("chunk {index}"));
    let text = match &found.finding {
        Finding::Proven => "proven".to_owned(),
        Finding::Opened => "opened".to_owned(),
        Finding::Piece => "a piece that opens".to_owned(),
        Finding::Judged(judgement) => format!("judged {judgement:?}"),
        Finding::NotProven(reason) if what.is_empty() => format!("not proven: {reason}"),
        Finding::NotProven(reason) => format!("bad {what}: {reason}"),
        Finding::Refuted(lie) => format!("REFUTED, the coordinator: {lie}"),
    };
    format!("{chunk}, node {}, {}: {text}", found.peer_id, found.blob_id)
}

fn conclude(checker: &Checker, seen: &Seen, allow_unbound: bool) -> anyhow::Result<()> {
    let promised: usize = checker.chunks().map(|copies| copies.promised).sum();
    let bound: usize = checker.chunks().map(|copies| copies.bound).sum();
    let of_a_file = seen.receipts || seen.proofs || seen.sealed;
    // Receipts alone promise; with blobs that are opened there is something to see.
    let to_be_proven = seen.proofs || (seen.receipts && !seen.sealed);
    if to_be_proven {
        let proven: usize = checker.chunks().map(|copies| copies.proven).sum();
        let fewest = checker.chunks().map(|copies| copies.proven).min();
        println!(
            "{proven} of {promised} copies of {} chunks are proven; the fewest of one chunk: {}",
            checker.chunks().count(),
            fewest.unwrap_or(0)
        );
        let coded = checker.chunks().filter(|copies| copies.needed > 0);
        if let Some(needed) = coded.map(|copies| copies.needed).max() {
            println!("the chunks are coded: {needed} different pieces give one back");
        }
    }
    if let Some(file_id) = checker.file_id().filter(|_| promised > 0) {
        println!("{bound} of {promised} receipts are bound to file {file_id}");
    }
    if checker.opened() > 0 {
        println!(
            "{} copies are opened, and are what is signed",
            checker.opened()
        );
    }
    if seen.verdicts {
        println!("{} verdicts that nothing contradicts", checker.judged());
    }
    ensure!(
        checker.refuted() == 0,
        "{} statements of the coordinator are refuted by what is signed",
        checker.refuted()
    );
    if of_a_file && promised == 0 {
        bail!("there are no sound receipts: nothing says which blobs are yours");
    }
    ensure!(
        of_a_file || seen.verdicts,
        "there is no evidence in these files: see --help for what can be checked"
    );
    ensure!(checker.is_sound(), "not everything is sound");
    let incomplete = seen.pieces.incomplete();
    ensure!(
        incomplete == 0,
        "of {incomplete} coded chunks too few pieces are opened to see what they are"
    );
    ensure!(
        !to_be_proven || checker.is_proven(),
        "not every copy is proven, or too few pieces of a coded chunk"
    );
    ensure!(
        !of_a_file || allow_unbound || checker.is_bound(),
        "{} of {promised} receipts are bound to no file: no coordinator signs that they are yours \
         (--allow-unbound accepts that, for files of an older release)",
        promised - bound
    );
    Ok(())
}
