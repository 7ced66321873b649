//! `coordinator ledger …`, and `coordinator verify-ledger`, which needs no database.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::database::Pool;
use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use ledger::{ExportError, Findings, Format, KeptHead};
use proto::{LedgerDay, NetworkDocument, NetworkId, VerifyingKey};

use crate::billing::ledger_verify;
use crate::keys;
use kit::printing;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Replay every transfer from the first one, and all that settlement has paid: same balances, same
    /// hashes, all sums zero, or where not. Exits with 1 when something is wrong.
    Verify {
        /// Compare with heads of days that a node has kept (ledger-days.json in its data directory); may be
        /// repeated.
        #[arg(long, value_name = "FILE")]
        heads: Vec<PathBuf>,
    },
    /// Write every transfer to standard output, in the order of the chain.
    Export {
        /// `jsonl` carries blocks and heads of days, too, so that `coordinator verify-ledger` can verify it
        #[arg(long, value_enum, default_value = "csv")]
        format: FormatArgument,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArgument {
    /// A line for each entry.
    Csv,
    /// A line of JSON for each block and each transfer.
    Jsonl,
}

impl LedgerCommand {
    pub(super) async fn run(self, pool: &Pool) -> anyhow::Result<()> {
        match self {
            Self::Verify { heads } => verify(pool, &read_heads(&heads)?).await,
            Self::Export { format } => {
                let format = match format {
                    FormatArgument::Csv => Format::Csv,
                    FormatArgument::Jsonl => Format::JsonLines,
                };
                let network = network_document(pool).await?;
                let network = network.map(|document| (document.network_id, document.public_key));
                let mut out = BufWriter::new(std::io::stdout());
                let written = ledger_verify::export(pool, network, format, &mut out).await;
                let written = written.and_then(|_| out.flush().map_err(ExportError::Write));
                match written {
                    Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
                        printing::reader_gone()
                    }
                    written => Ok(written?),
                }
            }
        }
    }
}

/// Whoever has an export and the heads of days that nodes keep needs no word of anybody.
#[derive(Debug, Args)]
pub(super) struct VerifyLedger {
    /// Written by `coordinator ledger export --format jsonl`
    export: PathBuf,
    /// Heads of days that nodes have kept: ledger-days.json in their data directories
    #[arg(value_name = "HEADS")]
    heads: Vec<PathBuf>,
    /// The network's id, 64 hex digits, as nodes and their operators know it. Without it the export's own word
    /// is taken for its key
    #[arg(long, value_name = "ID")]
    network_id: Option<NetworkId>,
}

impl VerifyLedger {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let kept = read_heads(&self.heads)?;
        let path = self.export.display();
        let file = File::open(&self.export).with_context(|| format!("cannot open {path}"))?;
        let mut report = ledger::verify_export(BufReader::new(file), &kept, None)
            .with_context(|| format!("{path} cannot be verified"))?;
        if let Some(known) = self.network_id {
            report.findings.check(report.network_id == Some(known), || {
                "the export is of another network".to_owned()
            });
        }
        println!(
            "{} transfers ({} of them not sealed yet) in {} blocks, {} accounts; heads of {} days in the \
             export and {} that were kept.",
            report.transfers,
            report.unsealed,
            report.blocks,
            report.accounts,
            report.days,
            kept.len()
        );
        match (report.network_id, self.network_id) {
            (Some(id), Some(_)) => println!("It is the ledger of network {id}."),
            (Some(id), None) => println!(
                "It says that it is the ledger of network {id}: compare, or say --network-id."
            ),
            (None, _) => println!("It does not say of which network it is."),
        }
        if !report.signatures_checked {
            println!("It names no key of its network: signatures of heads were not checked.");
        }
        conclude(&report.findings)
    }
}

async fn verify(pool: &Pool, kept: &[KeptHead]) -> anyhow::Result<()> {
    let network = match network_document(pool).await? {
        Some(document) => {
            let mut key = [0; 32];
            hex::decode_to_slice(&document.public_key, &mut key)?;
            Some((document.network_id, VerifyingKey::from_bytes(&key)?))
        }
        None => None,
    };
    let report = ledger_verify::verify(pool, network, kept).await?;
    println!(
        "{} transfers ({} of them not sealed yet) in {} blocks; {} days, {} node-days, {} stored files.",
        report.transfers,
        report.unsealed,
        report.blocks,
        report.days,
        report.node_days,
        report.files
    );
    println!(
        "The uptime of {} node-days was worked out anew; of the {} older ones only the result is kept.",
        report.uptimes,
        report.node_days - report.uptimes
    );
    if !kept.is_empty() {
        println!("{} heads that were kept were compared.", kept.len());
    }
    conclude(&report.findings)
}

fn conclude(findings: &Findings) -> anyhow::Result<()> {
    if findings.count() == 0 {
        println!("Everything is as it has to be.");
        return Ok(());
    }
    for finding in findings.told() {
        println!("{finding}");
    }
    bail!(
        "the ledger is not what it was: {} findings. Compare with a backup, and with the heads of days \
         that nodes keep (ledger-days.json)",
        findings.count()
    )
}

fn read_heads(files: &[PathBuf]) -> anyhow::Result<Vec<KeptHead>> {
    let mut kept = Vec::new();
    for path in files {
        let heads = heads_of(path)
            .with_context(|| format!("{} is no ledger-days.json of a node", path.display()))?;
        kept.extend(heads.into_iter().map(|head| KeptHead {
            source: path.display().to_string(),
            head,
        }));
    }
    Ok(kept)
}

fn heads_of(path: &Path) -> anyhow::Result<Vec<LedgerDay>> {
    Ok(serde_json::from_reader(BufReader::new(File::open(path)?))?)
}

/// What heads of days are signed with; none before the first start.
async fn network_document(pool: &Pool) -> anyhow::Result<Option<NetworkDocument>> {
    let mut connection = pool.acquire().await?;
    let document = keys::tables::network::document(&mut connection).await?;
    if let Some(document) = &document {
        document
            .verify()
            .context("the network document in the database")?;
    }
    Ok(document)
}
