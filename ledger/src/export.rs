//! Every transfer, in the order of the chain, for other programs to read. Written as it is read, so that the
//! size of the ledger does not matter.
//!
//! JSON lines carry all that it takes to verify the ledger without its database ([`verify_export`](crate::verify_export)):
//! first which network it is of, then the heads of days, then each block before its transfers; those that are not sealed
//! come last. CSV carries the entries and no more.

use std::io::{self, Write};

use futures::TryStreamExt;
use proto::{LedgerDay, NetworkId};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::tables::{self, BlockRow, TableError, TransferRow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for each entry.
    Csv,
    /// A line for each block and each transfer.
    JsonLines,
}

/// What the first line of an export names.
pub const EXPORT_FORMAT: &str = "fsn ledger export 2";

/// Of which ledger it is, and what was signed of it.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// The network, and its public key in hex. `None` before the first start.
    pub network: Option<(NetworkId, String)>,
    /// The signed heads of its days, in order.
    pub heads: Vec<LedgerDay>,
}

const CSV_HEADER: &str =
    "block,transfer_id,kind,idempotency_key,at,cause,hash,owner_id,account,amount_microcredits";

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the export cannot be written")]
    Write(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] TableError),
}

/// Writes what this transaction sees of the ledger; returns how many transfers that were.
/// [`snapshot`](tables::snapshot) makes one that sees one moment.
pub async fn export(
    connection: &mut PgConnection,
    format: Format,
    provenance: &Provenance,
    out: &mut (impl Write + Send),
) -> Result<u64, ExportError> {
    let mut rows = std::pin::pin!(tables::history(connection));
    match format {
        Format::Csv => write!(out, "{CSV_HEADER}\r\n")?,
        Format::JsonLines => write_provenance(out, provenance)?,
    }
    let (mut count, mut open) = (0, None);
    while let Some((block, transfer)) = rows.try_next().await? {
        let number = block.as_ref().map(|block| block.number);
        if let (Format::JsonLines, Some(block)) = (format, &block)
            && open != number
        {
            writeln!(out, "{}", block_line(block))?;
            open = number;
        }
        let Some(transfer) = transfer else { continue };
        match format {
            Format::Csv => write_csv(out, number, &transfer)?,
            Format::JsonLines => writeln!(out, "{}", transfer_line(number, &transfer))?,
        }
        count += 1;
    }
    out.flush()?;
    Ok(count)
}

fn write_provenance(out: &mut impl Write, provenance: &Provenance) -> io::Result<()> {
    let (network_id, key) = provenance.network.clone().unzip();
    let first = json!({
        "format": EXPORT_FORMAT,
        "network_id": network_id,
        "network_public_key": key,
    });
    writeln!(out, "{first}")?;
    for head in &provenance.heads {
        writeln!(out, "{}", serde_json::to_value(head)?)?;
    }
    Ok(())
}

fn block_line(block: &BlockRow) -> Value {
    json!({
        "block": block.number,
        "previous_hash": hex::encode(block.previous_hash),
        "hash": hex::encode(block.hash),
        "transfers": block.transfers,
    })
}

/// Keys and causes stand as they were hashed: `cause` is the text itself.
fn transfer_line(block: Option<u64>, transfer: &TransferRow) -> Value {
    let entries = transfer.entries.iter().map(|(owner, account, amount)| {
        json!({"owner_id": owner, "account": account, "amount_microcredits": amount})
    });
    json!({
        "block": block,
        "transfer_id": transfer.id,
        "kind": transfer.kind,
        "idempotency_key": transfer.idempotency_key,
        "at": transfer.at,
        "cause": transfer.cause,
        "hash": hex::encode(transfer.hash),
        "entries": entries.collect::<Vec<_>>(),
    })
}

fn write_csv(out: &mut impl Write, block: Option<u64>, transfer: &TransferRow) -> io::Result<()> {
    let block = block.map(|block| block.to_string()).unwrap_or_default();
    for (owner, account, amount) in &transfer.entries {
        let fields = [
            block.clone(),
            transfer.id.to_string(),
            transfer.kind.clone(),
            transfer.idempotency_key.clone(),
            transfer.at.to_string(),
            transfer.cause.clone(),
            hex::encode(transfer.hash),
            owner.to_string(),
            account.clone(),
            amount.get().to_string(),
        ];
        let line: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
        write!(out, "{}\r\n", line.join(","))?;
    }
    Ok(())
}

/// RFC 4180.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_could_be_taken_for_more_is_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted(r#"{"a":"b","c":1}"#), r#""{""a"":""b"",""c"":1}""#);
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }
}
