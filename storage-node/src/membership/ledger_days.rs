//! The heads of the network's ledger, day by day, as coordinators have told them: signed with the
//! network's key, so that one that contradicts another proves that the ledger was rewritten.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use kit::private_file;
use proto::{LedgerDay, NetworkDocument, NetworkId, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Years of days; where a network settles in seconds, the last hours of trying it out.
const KEPT: usize = 2000;

/// `ledger-days.json`, one of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    day: String,
    block_number: u64,
    /// 64 hex digits.
    block_hash: String,
    /// By the network's key over `"fsn ledger day v1" ‖ …`, 128 hex digits.
    signature: String,
}

impl From<&LedgerDay> for Head {
    fn from(day: &LedgerDay) -> Self {
        Self {
            day: day.day.clone(),
            block_number: day.block_number,
            block_hash: hex::encode(day.block_hash),
            signature: day.signature.to_string(),
        }
    }
}

/// What a coordinator's word was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is kept already.
    Known,
    New,
    /// The network's key did not sign it.
    Forged,
    /// The network's key has signed two different pasts. Both are kept.
    Contradiction(String),
}

#[derive(Clone)]
pub(crate) struct LedgerDays {
    path: PathBuf,
    network_id: NetworkId,
    key: VerifyingKey,
    heads: Arc<Mutex<Vec<Head>>>,
}

impl LedgerDays {
    pub(crate) fn open(path: PathBuf, document: &NetworkDocument) -> Result<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(&document.public_key, &mut key)?;
        let heads: Option<Vec<Head>> = private_file::read_json(&path)?;
        Ok(Self {
            network_id: document.network_id,
            key: VerifyingKey::from_bytes(&key)?,
            heads: Arc::new(Mutex::new(heads.unwrap_or_default())),
            path,
        })
    }

    /// Checks and keeps what a coordinator tells. Blocks when it is new.
    pub(crate) fn take(&self, told: &LedgerDay) -> Result<Told> {
        let head = Head::from(told);
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.contains(&head) {
            return Ok(Told::Known);
        }
        if told.verify(self.network_id, &self.key).is_err() {
            return Ok(Told::Forged);
        }
        let contradicted = heads.iter().find(|kept| contradict(kept, &head));
        let outcome = contradicted.map_or(Told::New, |kept| {
            Told::Contradiction(format!(
                "block {} of day {} was {} and block {} of day {} is now {}",
                kept.block_number,
                kept.day,
                kept.block_hash,
                head.block_number,
                head.day,
                head.block_hash
            ))
        });
        heads.push(head);
        let surplus = heads.len().saturating_sub(KEPT);
        heads.drain(..surplus);
        private_file::write_json(&self.path, &*heads)?;
        Ok(outcome)
    }
}

/// One ledger has one block of a number, one head for a day, and grows from day to day.
fn contradict(a: &Head, b: &Head) -> bool {
    let same_place = a.day == b.day || a.block_number == b.block_number;
    let same_block = a.block_number == b.block_number && a.block_hash == b.block_hash;
    let same_kind = a.day.len() == b.day.len(); // dates and times do not compare
    let shrunk = same_kind && (a.day < b.day) != (a.block_number <= b.block_number);
    (same_place && !same_block) || (shrunk && a.block_number != b.block_number && a.day != b.day)
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    fn days(dir: &tempfile::TempDir, network: &Keypair) -> LedgerDays {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let document = NetworkDocument::sign(network, 1, Vec::new(), now).unwrap();
        LedgerDays::open(dir.path().join("ledger-days.json"), &document).unwrap()
    }

    #[test]
    fn a_rewritten_ledger_shows_over_restarts_too() {
        let (dir, network) = (tempfile::tempdir().unwrap(), Keypair::generate_ed25519());
        let kept = days(&dir, &network);
        let sign = |day: &str, block, hash| {
            LedgerDay::sign(&network, kept.network_id, day, block, [hash; 32]).unwrap()
        };
        let first = sign("2026-11-21", 10, 1);
        assert_eq!(kept.take(&first).unwrap(), Told::New);
        assert_eq!(kept.take(&first).unwrap(), Told::Known);
        assert_eq!(kept.take(&sign("2026-11-22", 20, 2)).unwrap(), Told::New);
        // Nothing was posted on that day.
        assert_eq!(kept.take(&sign("2026-11-23", 20, 2)).unwrap(), Told::New);

        let kept = days(&dir, &network);
        assert_eq!(kept.take(&first).unwrap(), Told::Known);
        for rewritten in [
            sign("2026-11-21", 10, 3),
            sign("2026-11-21", 11, 1),
            sign("2026-11-24", 19, 4),
            sign("2026-11-25", 20, 5),
        ] {
            let told = kept.take(&rewritten).unwrap();
            assert!(
                matches!(told, Told::Contradiction(_)),
                "{rewritten:?}: {told:?}"
            );
        }
    }

    #[test]
    fn what_the_network_did_not_sign_is_not_kept() {
        let (dir, network) = (tempfile::tempdir().unwrap(), Keypair::generate_ed25519());
        let kept = days(&dir, &network);
        let stranger = Keypair::generate_ed25519();
        let forged = LedgerDay::sign(&stranger, kept.network_id, "2026-11-21", 1, [1; 32]).unwrap();
        assert_eq!(kept.take(&forged).unwrap(), Told::Forged);
        assert!(!dir.path().join("ledger-days.json").exists());
    }
}
