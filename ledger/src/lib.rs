//! Append-only double entry in Postgres.
//!
//! Credits move by transfers. A [`Movement`] says what is to be moved and why; it becomes a [`Transfer`], whose
//! entries sum to zero and which has a hash of its own content; [`post`] writes it and moves the balances in the
//! caller's transaction, once for each idempotency key. [`seal_block`] appends committed transfers to a chain
//! of hashed blocks. [`verify()`] works all of it out anew, [`export()`] writes it out, and
//! [`verify_export()`] does the same with what was written, without any database.
//!
//! - What was written stays: the database refuses to change a transfer, an entry or a block.
//! - Which kinds of accounts there are, and which of them may owe, are rows of `account_kinds`. Capabilities that
//!   come later insert rows; a balance that may not be negative is refused by the database itself.
//! - Posting takes no lock that all transfers share. Accounts of users and nodes are locked in one order; those of
//!   the [`PLATFORM`], which nearly every transfer touches, are kept by the sealer.
//! - The crate knows accounts and transfers, and neither prices nor what credits are moved for.
//!
//! ```no_run
//! use ledger::{Account, AccountKind, Hold, Movement, TransferId, TransferKind};
//! use proto::MicroCredits;
//! use serde_json::json;
//! use uuid::Uuid;
//!
//! const AVAILABLE: AccountKind = AccountKind::new("user", "available");
//! const HELD: AccountKind = AccountKind::new("user", "upload_hold");
//! const INCOME: Account = Account::new(ledger::PLATFORM, AccountKind::new("platform", "income"));
//!
//! /// Sets a credit apart, and later takes 0.4 of it.
//! # #[allow(dead_code)]
//! async fn sell(
//!     pool: &sqlx::PgPool,
//!     user: Uuid,
//!     ids: [TransferId; 2],
//!     at: jiff::Timestamp,
//! ) -> Result<(), ledger::PostError> {
//!     let nothing = MicroCredits::ZERO;
//!     let mut hold = Hold::new(Account::new(user, AVAILABLE), Account::new(user, HELD), nothing);
//!     let mut transaction = pool.begin().await?;
//!     ledger::open_accounts(&mut transaction, user, &[AVAILABLE, HELD]).await?;
//!     let set_apart = hold.raise(MicroCredits::new(1_000_000)).unwrap();
//!     let taken = hold.capture_last(MicroCredits::new(400_000), INCOME).unwrap();
//!     let steps = [("hold", &set_apart[..]), ("charge", &taken[..])];
//!     for (id, (kind, entries)) in ids.into_iter().zip(steps) {
//!         let movement = Movement {
//!             kind: TransferKind::new(kind),
//!             key: format!("{kind}:{id}"),
//!             cause: &json!({"why": "an example"}),
//!             entries,
//!         };
//!         if let Some(transfer) = movement.transfer(id, at)? {
//!             ledger::post(&mut transaction, &transfer).await?;
//!         }
//!     }
//!     transaction.commit().await?;
//!     Ok(())
//! }
//! ```

#![warn(unreachable_pub)]

mod export;
mod findings;
mod heads;
mod rules;
mod tables;
mod verify;
mod verify_export;

pub use export::{EXPORT_FORMAT, ExportError, Format, Provenance, export};
pub use findings::Findings;
pub use heads::KeptHead;
pub use rules::{
    Account, AccountKind, Entry, ExceedsHold, Hash, Hold, InvalidTransfer, Movement, PLATFORM,
    Transfer, TransferId, TransferKind, block_hash, transfer_hash,
};
pub use tables::{
    Balances, OwnTransfer, PostError, Posted, Sealed, TableError, TransferRow, amount_on, balance,
    balances, close_unused_accounts, has_transfer, head, lock_balance, lock_balances,
    open_accounts, post, post_new, posted, seal_block, snapshot, transfers_of, unsealed_since,
};
pub use verify::{Verification, verify, verify_heads};
pub use verify_export::{ExportVerification, ReadExportError, verify_export};
