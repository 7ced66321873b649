//! The rules: pure types and functions. No I/O, no SQL, no clock, no chance of their own.

mod account;
mod hash;
mod hold;
mod transfer;

pub use account::{Account, AccountKind, PLATFORM};
pub use hash::{Hash, block_hash, transfer_hash};
pub use hold::{ExceedsHold, Hold};
pub use transfer::{Entry, InvalidTransfer, Movement, Transfer, TransferId, TransferKind};
