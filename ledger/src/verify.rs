//! Verification: the chain of blocks, the hash of every transfer, all sums and all balances, worked out anew
//! from the first transfer on and compared with what the tables say.
//!
//! What transfers are derived from (files, the time that nodes held them) is not the ledger's to know: whoever
//! does looks at each transfer as it passes, so that the history is read once.

use std::fmt;

use futures::TryStreamExt;
use sqlx::PgConnection;

use crate::rules::{Hash, block_hash, transfer_hash};
use crate::tables::{self, BlockRow, TableError, TransferRow};

/// Findings that are told one by one.
const FINDINGS_TOLD: usize = 100;

/// Accounts that are told at most.
const ACCOUNTS_TOLD: i64 = 1000;

/// Where something is not what it has to be: all are counted, the first ones told.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    told: Vec<String>,
    count: u64,
}

impl Findings {
    pub fn find(&mut self, finding: impl fmt::Display) {
        self.count += 1;
        if self.told.len() < FINDINGS_TOLD {
            self.told.push(finding.to_string());
        }
    }

    pub fn check(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.find(finding());
        }
    }

    /// The first ones.
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// What a verification has gone through, and what it has found.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    pub transfers: u64,
    pub unsealed: u64,
    pub blocks: u64,
    pub findings: Findings,
}

/// Verifies what this transaction sees: [`snapshot`](tables::snapshot) makes one that sees one moment. `also`
/// checks each transfer for more, in the order of the chain.
pub async fn verify(
    connection: &mut PgConnection,
    also: impl FnMut(&TransferRow, &mut Findings),
) -> Result<Verification, TableError> {
    let mut report = Verification::default();
    chain(connection, &mut report, also).await?;
    for wrong in tables::wrong_balances(connection, ACCOUNTS_TOLD).await? {
        report.findings.find(format!(
            "account {}/{}: its balance is {} and its entries come to {}",
            wrong.owner, wrong.account, wrong.balance, wrong.entries
        ));
    }
    Ok(report)
}

/// The block that is being read.
struct OpenBlock {
    row: BlockRow,
    hashes: Vec<Hash>,
}

/// Every transfer sums to zero and has the hash of its content; every block has the hash of what it
/// seals and of the one before.
async fn chain(
    connection: &mut PgConnection,
    report: &mut Verification,
    mut also: impl FnMut(&TransferRow, &mut Findings),
) -> Result<(), TableError> {
    let mut rows = std::pin::pin!(tables::history(connection));
    let (mut previous, mut number): (Hash, u64) = ([0; 32], 0);
    let mut open: Option<OpenBlock> = None;
    while let Some((block, transfer)) = rows.try_next().await? {
        let same = matches!((&open, &block), (Some(o), Some(b)) if o.row.number == b.number);
        if !same {
            if let Some(block) = open.take() {
                previous = close(&mut report.findings, &block);
            }
            if let Some(row) = block {
                report.blocks += 1;
                number += 1;
                report.findings.check(row.number == number, || {
                    format!("block {}: it should be number {number}", row.number)
                });
                number = row.number;
                report.findings.check(row.previous_hash == previous, || {
                    format!(
                        "block {}: it does not name the hash of the one before",
                        row.number
                    )
                });
                let hashes = Vec::new();
                open = Some(OpenBlock { row, hashes });
            }
        }
        if let Some(transfer) = transfer {
            report.transfers += 1;
            let hash = check_transfer(&mut report.findings, &transfer);
            also(&transfer, &mut report.findings);
            match &mut open {
                Some(block) => block.hashes.push(hash),
                None => report.unsealed += 1,
            }
        }
    }
    if let Some(block) = open {
        close(&mut report.findings, &block);
    }
    Ok(())
}

fn close(findings: &mut Findings, block: &OpenBlock) -> Hash {
    let BlockRow {
        number,
        previous_hash,
        hash,
        transfers,
    } = &block.row;
    findings.check(*transfers == block.hashes.len() as u64, || {
        format!(
            "block {number}: it has {} transfers and should have {transfers}",
            block.hashes.len()
        )
    });
    let expected = block_hash(previous_hash, *number, block.hashes.iter().copied());
    findings.check(*hash == expected, || {
        format!("block {number}: its hash is not that of its transfers")
    });
    *hash
}

fn check_transfer(findings: &mut Findings, transfer: &TransferRow) -> Hash {
    let id = transfer.id;
    let entries = transfer.entries.iter();
    let sum: i128 = entries
        .clone()
        .map(|(_, _, amount)| i128::from(amount.get()))
        .sum();
    findings.check(sum == 0, || {
        format!("transfer {id}: its entries come to {sum}")
    });
    findings.check(transfer.entries.len() >= 2, || {
        format!("transfer {id}: it has fewer than two entries")
    });
    let hash = transfer_hash(
        id,
        &transfer.kind,
        &transfer.idempotency_key,
        transfer.at,
        &transfer.cause,
        entries.map(|(owner, account, amount)| (*owner, account.as_str(), *amount)),
    );
    findings.check(hash == transfer.hash, || {
        format!("transfer {id}: its hash is not that of its content")
    });
    transfer.hash
}
