//! Every transfer, in the order of the chain, for other programs to read. Written as it is read, so that the
//! size of the ledger does not matter.

use std::io::{self, Write};

use futures::TryStreamExt;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::tables::{self, TableError, TransferRow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for each entry.
    Csv,
    /// A line for each transfer.
    JsonLines,
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

/// Writes one moment of the ledger; returns how many transfers that were.
pub async fn export(
    pool: &PgPool,
    format: Format,
    out: &mut (impl Write + Send),
) -> Result<u64, ExportError> {
    let mut transaction = tables::snapshot(pool).await.map_err(TableError::from)?;
    let mut rows = std::pin::pin!(tables::history(&mut transaction));
    if format == Format::Csv {
        write!(out, "{CSV_HEADER}\r\n")?;
    }
    let mut count = 0;
    while let Some((block, transfer)) = rows.try_next().await? {
        let Some(transfer) = transfer else { continue };
        let block = block.map(|block| block.number);
        match format {
            Format::Csv => write_csv(out, block, &transfer)?,
            Format::JsonLines => writeln!(out, "{}", json_line(block, &transfer))?,
        }
        count += 1;
    }
    out.flush()?;
    Ok(count)
}

/// Keys and causes stand as they were hashed: `cause` is the text itself.
fn json_line(block: Option<u64>, transfer: &TransferRow) -> Value {
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
