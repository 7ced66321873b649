//! Verification of an export, without any database: whoever has one, and the heads of days that nodes keep, trusts
//! nobody. What comes in was written by others: lines are bounded, and what is no export is refused with its line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use jiff::Timestamp;
use proto::{LedgerDay, MicroCredits, NetworkId, VerifyingKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::export::EXPORT_FORMAT;
use crate::findings::Findings;
use crate::heads::{Heads, KeptHead};
use crate::rules::{Hash, PLATFORM, TransferId};
use crate::tables::{BlockRow, TransferRow};
use crate::verify::Chain;

/// A transfer has a key of 512 bytes, a short cause, and a handful of entries.
const LONGEST_LINE: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReadExportError {
    #[error("the export cannot be read")]
    Read(#[from] io::Error),
    #[error(
        "line {line}: {what}. What can be verified is written by `coordinator ledger export --format \
         jsonl`"
    )]
    Malformed { line: u64, what: String },
}

/// What a verification of an export has gone through, and what it has found.
#[derive(Debug, Clone, Default)]
pub struct ExportVerification {
    /// Of which network the export says that it is.
    pub network_id: Option<NetworkId>,
    /// Whether heads were checked against the network's key, and not only against the chain.
    pub signatures_checked: bool,
    pub transfers: u64,
    pub unsealed: u64,
    pub blocks: u64,
    /// Heads that the export carries.
    pub days: u64,
    /// Accounts whose entries were added up.
    pub accounts: u64,
    pub findings: Findings,
}

#[derive(Deserialize)]
struct First {
    network_id: Option<NetworkId>,
    network_public_key: Option<String>,
}

#[derive(Deserialize)]
struct BlockLine {
    block: u64,
    previous_hash: String,
    hash: String,
    transfers: u64,
}

#[derive(Deserialize)]
struct TransferLine {
    block: Option<u64>,
    transfer_id: TransferId,
    kind: String,
    idempotency_key: String,
    at: Timestamp,
    cause: String,
    hash: String,
    entries: Vec<EntryLine>,
}

#[derive(Deserialize)]
struct EntryLine {
    owner_id: Uuid,
    account: String,
    amount_microcredits: MicroCredits,
}

/// Verifies an export against itself and against heads that somebody has kept. `network` is known from elsewhere, like
/// a node's network document; without it the export's own word for its key is taken.
pub fn verify_export(
    export: impl BufRead,
    kept: &[KeptHead],
    network: Option<(NetworkId, VerifyingKey)>,
) -> Result<ExportVerification, ReadExportError> {
    let mut lines = Lines {
        export,
        line: 0,
        buffer: Vec::new(),
    };
    let first = lines.next()?;
    let first = first.filter(|first| first.get("format").is_some_and(|f| f == EXPORT_FORMAT));
    let first = first.ok_or_else(|| lines.malformed(format!("it is not `{EXPORT_FORMAT}`")))?;
    let first: First = lines.read(first)?;
    let mut report = ExportVerification {
        network_id: first.network_id,
        ..ExportVerification::default()
    };
    let network = match network {
        Some(known) => {
            report
                .findings
                .check(first.network_id == Some(known.0), || {
                    "the export is of another network".to_owned()
                });
            Some(known)
        }
        None => key_of(&first, &mut report.findings),
    };
    report.signatures_checked = network.is_some();

    // Heads stand before the chain: so it is compared as it passes.
    let mut heads = kept.to_vec();
    let mut next = lines.next()?;
    while let Some(line) = next.take_if(|line| line.contains_key("day")) {
        report.days += 1;
        heads.push(KeptHead {
            source: "the export".to_owned(),
            head: lines.read::<LedgerDay>(line)?,
        });
        next = lines.next()?;
    }
    let mut heads = Heads::new(&heads, network.as_ref(), &mut report.findings);
    let mut chain = Chain::default();
    let mut balances: BTreeMap<(Uuid, String), i128> = BTreeMap::new();
    let mut open = None;
    while let Some(line) = next {
        if line.contains_key("transfer_id") {
            let line: TransferLine = lines.read(line)?;
            if line.block.is_none() && open.take().is_some() {
                chain.enter(None, &mut report.findings);
            }
            if line.block != open {
                return Err(lines.malformed("the transfer is not of the block before it"));
            }
            let transfer = lines.transfer(line)?;
            chain.add(&transfer, &mut report.findings);
            let whole = transfer.at.subsec_nanosecond() % 1_000_000 == 0;
            report.findings.check(whole, || {
                format!(
                    "transfer {}: its time is finer than a millisecond",
                    transfer.id
                )
            });
            for (owner, account, amount) in transfer.entries {
                *balances.entry((owner, account)).or_default() += i128::from(amount.get());
            }
        } else {
            let line: BlockLine = lines.read(line)?;
            let row = BlockRow {
                number: line.block,
                previous_hash: lines.hash(&line.previous_hash)?,
                hash: lines.hash(&line.hash)?,
                transfers: line.transfers,
            };
            if open == Some(row.number) {
                return Err(lines.malformed("the block stands there twice"));
            }
            open = Some(row.number);
            heads.compare(row.number, &row.hash, &mut report.findings);
            chain.enter(Some(row), &mut report.findings);
        }
        next = lines.next()?;
    }
    chain.close(&mut report.findings);
    heads.close(&mut report.findings);
    for ((owner, account), balance) in &balances {
        report
            .findings
            .check(*owner == PLATFORM || *balance >= 0, || {
                format!("account {owner}/{account}: its entries come to {balance}")
            });
    }
    (report.transfers, report.unsealed, report.blocks) =
        (chain.transfers, chain.unsealed, chain.blocks);
    report.accounts = balances.len() as u64;
    Ok(report)
}

/// The key that the export names, if the network's id is the hash of it.
fn key_of(first: &First, findings: &mut Findings) -> Option<(NetworkId, VerifyingKey)> {
    let (id, text) = (first.network_id?, first.network_public_key.as_ref()?);
    let mut bytes = [0; 32];
    let key = hex::decode_to_slice(text, &mut bytes).ok();
    let key = key
        .filter(|()| NetworkId::of_public_key(&bytes) == id)
        .and_then(|()| VerifyingKey::from_bytes(&bytes).ok());
    if key.is_none() {
        findings.find("the public key in the export is not that of its network");
    }
    Some((id, key?))
}

struct Lines<R> {
    export: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// `None` at the end.
    fn next(&mut self) -> Result<Option<Map<String, Value>>, ReadExportError> {
        self.buffer.clear();
        self.line += 1;
        let mut bounded = (&mut self.export).take(LONGEST_LINE as u64 + 1);
        if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        if self.buffer.len() > LONGEST_LINE {
            return Err(self.malformed("it is longer than a mebibyte"));
        }
        match serde_json::from_slice(&self.buffer) {
            Ok(Value::Object(line)) => Ok(Some(line)),
            Ok(_) => Err(self.malformed("it is no JSON object")),
            Err(error) => Err(self.malformed(format!("it is not JSON ({error})"))),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(
        &self,
        line: Map<String, Value>,
    ) -> Result<T, ReadExportError> {
        serde_json::from_value(Value::Object(line))
            .map_err(|error| self.malformed(error.to_string()))
    }

    fn hash(&self, text: &str) -> Result<Hash, ReadExportError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash)
            .map_err(|_| self.malformed("a hash must have 64 hex digits"))?;
        Ok(hash)
    }

    fn transfer(&self, line: TransferLine) -> Result<TransferRow, ReadExportError> {
        let entries = line.entries.into_iter();
        Ok(TransferRow {
            id: line.transfer_id,
            kind: line.kind,
            idempotency_key: line.idempotency_key,
            at: line.at,
            cause: line.cause,
            hash: self.hash(&line.hash)?,
            entries: entries
                .map(|entry| (entry.owner_id, entry.account, entry.amount_microcredits))
                .collect(),
        })
    }

    fn malformed(&self, what: impl Into<String>) -> ReadExportError {
        ReadExportError::Malformed {
            line: self.line,
            what: what.into(),
        }
    }
}
