//! Verification: the chain of blocks, the hash of every transfer, all sums and all balances, worked out anew
//! from the first transfer on and compared with what the tables say.
//!
//! What transfers are derived from (files, the time that nodes held them) is not the ledger's to know: whoever
//! does looks at each transfer as it passes, so that the history is read once.

use futures::TryStreamExt;
use proto::{NetworkId, VerifyingKey};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::findings::Findings;
use crate::heads::{Heads, KeptHead};
use crate::rules::{Hash, TransferId, block_hash, transfer_hash};
use crate::tables::{self, BlockRow, TableError, TransferRow};

/// Accounts that are told at most.
const ACCOUNTS_TOLD: i64 = 1000;

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
    mut also: impl FnMut(&TransferRow, &mut Findings),
) -> Result<Verification, TableError> {
    let mut report = Verification::default();
    let mut chain = Chain::default();
    {
        let mut rows = std::pin::pin!(tables::history(&mut *connection));
        while let Some((block, transfer)) = rows.try_next().await? {
            chain.enter(block, &mut report.findings);
            if let Some(transfer) = transfer {
                chain.add(&transfer, &mut report.findings);
                also(&transfer, &mut report.findings);
            }
        }
    }
    chain.close(&mut report.findings);
    (report.transfers, report.unsealed, report.blocks) =
        (chain.transfers, chain.unsealed, chain.blocks);
    for wrong in tables::wrong_balances(connection, ACCOUNTS_TOLD).await? {
        report.findings.find(format!(
            "account {}/{}: its balance is {} and its entries come to {}",
            wrong.owner, wrong.account, wrong.balance, wrong.entries
        ));
    }
    Ok(report)
}

/// Compares heads of days that somebody has kept with the blocks that this transaction sees.
pub async fn verify_heads(
    connection: &mut PgConnection,
    kept: &[KeptHead],
    network: Option<&(NetworkId, VerifyingKey)>,
    findings: &mut Findings,
) -> Result<(), TableError> {
    let mut heads = Heads::new(kept, network, findings);
    for (number, hash) in tables::block_hashes(&mut *connection, &heads.numbers()).await? {
        heads.compare(number, &hash, findings);
    }
    heads.close(findings);
    Ok(())
}

/// The chain as it passes: every transfer sums to zero and has the hash of its content; every block has the hash of
/// what it seals and of the one before.
#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) transfers: u64,
    pub(crate) unsealed: u64,
    pub(crate) blocks: u64,
    previous: Hash,
    number: u64,
    open: Option<OpenBlock>,
}

/// The block that is being read.
struct OpenBlock {
    row: BlockRow,
    hashes: Vec<Hash>,
    last: Option<TransferId>,
}

impl Chain {
    /// What comes next is of this block, or of none.
    pub(crate) fn enter(&mut self, block: Option<BlockRow>, findings: &mut Findings) {
        let same = match (&self.open, &block) {
            (Some(open), Some(block)) => open.row.number == block.number,
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.close(findings);
        let Some(row) = block else { return };
        self.blocks += 1;
        self.number += 1;
        findings.check(row.number == self.number, || {
            format!("block {}: it should be number {}", row.number, self.number)
        });
        self.number = row.number;
        findings.check(row.previous_hash == self.previous, || {
            format!(
                "block {}: it does not name the hash of the one before",
                row.number
            )
        });
        self.open = Some(OpenBlock {
            row,
            hashes: Vec::new(),
            last: None,
        });
    }

    pub(crate) fn add(&mut self, transfer: &TransferRow, findings: &mut Findings) {
        self.transfers += 1;
        check_transfer(findings, transfer);
        match &mut self.open {
            None => self.unsealed += 1,
            Some(block) => {
                let number = block.row.number;
                findings.check(block.last < Some(transfer.id), || {
                    format!(
                        "block {number}: transfer {} is not in order of its id",
                        transfer.id
                    )
                });
                block.last = Some(transfer.id);
                block.hashes.push(transfer.hash);
            }
        }
    }

    /// Nothing more comes of the block that is open.
    pub(crate) fn close(&mut self, findings: &mut Findings) {
        let Some(block) = self.open.take() else {
            return;
        };
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
        self.previous = *hash;
    }
}

fn check_transfer(findings: &mut Findings, transfer: &TransferRow) {
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
    let place = |(owner, account, _): &(Uuid, String, _)| (*owner, account.clone());
    let pairs = transfer.entries.windows(2);
    findings.check(
        pairs
            .into_iter()
            .all(|pair| place(&pair[0]) < place(&pair[1])),
        || format!("transfer {id}: its entries are not in order of their accounts"),
    );
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
}
