//! `coordinator ledger …`

use std::io::{BufWriter, ErrorKind, Write};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use ledger::{ExportError, Format};
use proto::{NetworkId, VerifyingKey};
use sqlx::PgPool;

use crate::billing::ledger_verify;
use crate::keys;
use kit::printing;

#[derive(Debug, Subcommand)]
pub(super) enum LedgerCommand {
    /// Replay every transfer from the first one, and all that settlement has paid: same balances, same
    /// hashes, all sums zero, or where not. Exits with 1 when something is wrong.
    Verify,
    /// Write every transfer to standard output, in the order of the chain.
    Export {
        #[arg(long, value_enum, default_value = "csv")]
        format: FormatArgument,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArgument {
    /// A line for each entry.
    Csv,
    /// A line of JSON for each transfer.
    Jsonl,
}

impl LedgerCommand {
    pub(super) async fn run(self, pool: &PgPool) -> anyhow::Result<()> {
        match self {
            Self::Verify => verify(pool).await,
            Self::Export { format } => {
                let format = match format {
                    FormatArgument::Csv => Format::Csv,
                    FormatArgument::Jsonl => Format::JsonLines,
                };
                let mut out = BufWriter::new(std::io::stdout());
                let written = ledger::export(pool, format, &mut out).await;
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

async fn verify(pool: &PgPool) -> anyhow::Result<()> {
    let network = network_key(pool).await?;
    let report = ledger_verify::verify(pool, network).await?;
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
    if report.is_sound() {
        println!("Everything is as it has to be.");
        return Ok(());
    }
    for finding in report.findings.told() {
        println!("{finding}");
    }
    bail!(
        "the ledger is not what it was: {} findings. Compare with a backup, and with the heads of days \
         that nodes keep (ledger-days.json)",
        report.findings.count()
    )
}

/// The key that heads of days are signed with; none before the first start.
async fn network_key(pool: &PgPool) -> anyhow::Result<Option<(NetworkId, VerifyingKey)>> {
    let mut connection = pool.acquire().await?;
    let Some(document) = keys::tables::network::document(&mut connection).await? else {
        return Ok(None);
    };
    document
        .verify()
        .context("the network document in the database")?;
    let mut key = [0; 32];
    hex::decode_to_slice(&document.public_key, &mut key)?;
    Ok(Some((document.network_id, VerifyingKey::from_bytes(&key)?)))
}
