//! What transfers and blocks are hashed to. The formats are for good: a verifier of another make goes by
//! them. Golden vectors stand with [`Transfer`](super::Transfer).

use jiff::Timestamp;
use proto::MicroCredits;
use uuid::Uuid;

use super::TransferId;

pub type Hash = [u8; 32];

/// `dk("fsn ledger transfer v1", id[16] ‖ sized(kind) ‖ sized(key) ‖ at:u64 ms ‖ sized(cause) ‖
/// n × (owner[16] ‖ sized(account) ‖ amount:i64))`, entries in order of owner and account;
/// sized(x) = length:u32 ‖ x, integers little-endian. Takes plain fields, so that a verifier can
/// hash what it reads from the tables.
pub fn transfer_hash<'a>(
    id: TransferId,
    kind: &str,
    idempotency_key: &str,
    at: Timestamp,
    cause: &str,
    entries: impl Iterator<Item = (Uuid, &'a str, MicroCredits)>,
) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("fsn ledger transfer v1");
    let sized = |text: &str, hasher: &mut blake3::Hasher| {
        hasher.update(&(text.len() as u32).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    hasher.update(id.as_bytes());
    sized(kind, &mut hasher);
    sized(idempotency_key, &mut hasher);
    hasher.update(&at.as_millisecond().to_le_bytes());
    sized(cause, &mut hasher);
    for (owner, account, amount) in entries {
        hasher.update(owner.as_bytes());
        sized(account, &mut hasher);
        hasher.update(&amount.get().to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// dk("fsn ledger block v1", previous hash ‖ block number:u64 ‖ transfer hashes in order of id).
/// The first block's previous hash is all zeros.
pub fn block_hash(previous: &Hash, number: u64, transfers: impl Iterator<Item = Hash>) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("fsn ledger block v1");
    hasher.update(previous);
    hasher.update(&number.to_le_bytes());
    for hash in transfers {
        hasher.update(&hash);
    }
    *hasher.finalize().as_bytes()
}
