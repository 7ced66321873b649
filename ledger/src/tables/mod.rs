//! `account_kinds`, `accounts`, `transfers`, `entries`, `blocks`: what is written to them is written here, by
//! plain functions on a connection. Transactions belong to the callers.

mod accounts;
mod blocks;
mod history;
mod posting;

pub use accounts::{
    Balances, balance, balances, close_unused_accounts, lock_balance, lock_balances, open_accounts,
};
pub(crate) use blocks::block_hashes;
pub use blocks::{Sealed, head, seal_block, unsealed_since};
pub(crate) use history::{BlockRow, history, wrong_balances};
pub use history::{
    OwnTransfer, TransferRow, amount_on, has_transfer, posted, snapshot, transfers_of,
};
pub use posting::{PostError, Posted, post, post_new};

use crate::rules::Hash;

/// The ledger's tables cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A column that its CHECK keeps sound holds something else after all.
    #[error("{column} cannot be read")]
    Corrupt {
        column: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl TableError {
    fn corrupt(
        column: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Corrupt {
            column,
            source: Box::new(source),
        }
    }
}

fn hash32(column: &'static str, bytes: &[u8]) -> Result<Hash, TableError> {
    bytes
        .try_into()
        .map_err(|error| TableError::corrupt(column, error))
}
