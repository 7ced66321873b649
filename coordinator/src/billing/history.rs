//! Transfers as whoever they are about is shown them.

use api::credits::{Transaction, TransactionEntry};
use ledger::OwnTransfer;

pub fn described(transfer: OwnTransfer) -> Transaction {
    let entries = transfer.entries.into_iter();
    let entries = entries.map(
        |(owner_id, account, amount_microcredits)| TransactionEntry {
            owner_id,
            account,
            amount_microcredits,
        },
    );
    Transaction {
        transfer_id: transfer.id.as_uuid(),
        kind: transfer.kind,
        amount_microcredits: transfer.amount,
        at: transfer.at,
        cause: transfer.cause,
        hash: hex::encode(transfer.hash),
        block: transfer.block,
        idempotency_key: transfer.idempotency_key,
        cause_text: transfer.cause_text,
        entries: entries.collect(),
    }
}
