//! The heads of the network's ledger, day by day, as coordinators have told them: signed with the
//! network's key, so that one that contradicts another proves that the ledger was rewritten.
//!
//! `ledger-days.json` keeps the newest heads. Two that contradict each other are kept in `ledger-contradictions.json` as
//! well: there nothing that is told later can push them out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use jiff::Timestamp;
use kit::{Clock, private_file};
use proto::{LedgerDay, NetworkDocument, NetworkId, VerifyingKey};
use serde::{Deserialize, Serialize};

const DAYS_FILE: &str = "ledger-days.json";
const CONTRADICTIONS_FILE: &str = "ledger-contradictions.json";

/// Years of days; where a network settles in seconds, the last hours of trying it out.
const KEPT: usize = 2000;

/// One proves as much as many.
const CONTRADICTIONS_KEPT: usize = 16;

/// Two heads that the network's key has signed and that cannot both be of one ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contradiction {
    pub noticed_at: Timestamp,
    pub kept: LedgerDay,
    pub told: LedgerDay,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, told) = (&self.kept, &self.told);
        write!(
            f,
            "block {} of day {} was {} and block {} of day {} is now {}",
            kept.block_number,
            kept.day,
            hex::encode(kept.block_hash),
            told.block_number,
            told.day,
            hex::encode(told.block_hash)
        )
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
    Contradiction(Box<Contradiction>),
}

/// What a node has kept of the ledger's past, whether it runs or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerEvidence {
    pub days_kept: usize,
    /// The day whose head was told last.
    pub last_day: Option<String>,
    pub contradictions: Vec<Contradiction>,
}

impl LedgerEvidence {
    /// Of a data directory.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        Ok(Kept::read(root)?.evidence())
    }
}

#[derive(Debug, Default)]
struct Kept {
    heads: Vec<LedgerDay>,
    contradictions: Vec<Contradiction>,
}

impl Kept {
    fn read(root: &Path) -> Result<Self> {
        let heads: Option<Vec<LedgerDay>> = private_file::read_json(&root.join(DAYS_FILE))?;
        let contradictions = private_file::read_json(&root.join(CONTRADICTIONS_FILE))?;
        Ok(Self {
            heads: heads.unwrap_or_default(),
            contradictions: contradictions.unwrap_or_default(),
        })
    }

    fn evidence(&self) -> LedgerEvidence {
        LedgerEvidence {
            days_kept: self.heads.len(),
            last_day: self.heads.last().map(|head| head.day.clone()),
            contradictions: self.contradictions.clone(),
        }
    }

    /// The first pair of what was kept that contradicts itself: an earlier release said so in its log alone.
    fn unnoticed(&self) -> Option<(LedgerDay, LedgerDay)> {
        let mut heads = self.heads.iter().enumerate();
        heads.find_map(|(place, told)| {
            let kept = self.heads[..place].iter();
            let kept = kept.rev().find(|kept| kept.contradicts(told))?;
            Some((kept.clone(), told.clone()))
        })
    }
}

#[derive(Clone)]
pub(crate) struct LedgerDays {
    root: PathBuf,
    network_id: NetworkId,
    key: VerifyingKey,
    clock: Clock,
    kept: Arc<Mutex<Kept>>,
}

impl LedgerDays {
    /// What lies in a data directory.
    pub(crate) fn open(root: &Path, document: &NetworkDocument, clock: Clock) -> Result<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(&document.public_key, &mut key)?;
        let days = Self {
            root: root.to_owned(),
            network_id: document.network_id,
            key: VerifyingKey::from_bytes(&key)?,
            clock,
            kept: Arc::new(Mutex::new(Kept::read(root)?)),
        };
        let mut kept = days.kept();
        if kept.contradictions.is_empty()
            && let Some((before, told)) = kept.unnoticed()
        {
            days.note(&mut kept, before, told)?;
        }
        drop(kept);
        Ok(days)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn evidence(&self) -> LedgerEvidence {
        self.kept().evidence()
    }

    /// Checks and keeps what a coordinator tells. Blocks when it is new.
    pub(crate) fn take(&self, told: &LedgerDay) -> Result<Told> {
        let mut kept = self.kept();
        if kept.heads.contains(told) {
            return Ok(Told::Known);
        }
        if told.verify(self.network_id, &self.key).is_err() {
            return Ok(Told::Forged);
        }
        let contradicted = kept.heads.iter().find(|head| head.contradicts(told));
        let outcome = match contradicted.cloned() {
            None => Told::New,
            Some(before) => {
                let contradiction = self.note(&mut kept, before, told.clone())?;
                Told::Contradiction(Box::new(contradiction))
            }
        };
        kept.heads.push(told.clone());
        let surplus = kept.heads.len().saturating_sub(KEPT);
        kept.heads.drain(..surplus);
        private_file::write_json(&self.root.join(DAYS_FILE), &kept.heads)?;
        Ok(outcome)
    }

    fn note(&self, kept: &mut Kept, before: LedgerDay, told: LedgerDay) -> Result<Contradiction> {
        let contradiction = Contradiction {
            noticed_at: self.clock.now(),
            kept: before,
            told,
        };
        if kept.contradictions.len() < CONTRADICTIONS_KEPT {
            kept.contradictions.push(contradiction.clone());
            let path = self.root.join(CONTRADICTIONS_FILE);
            private_file::write_json(&path, &kept.contradictions)?;
        }
        Ok(contradiction)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;

    use super::*;

    fn days(dir: &tempfile::TempDir, network: &Keypair) -> LedgerDays {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let document = NetworkDocument::sign(network, 1, Vec::new(), now).unwrap();
        LedgerDays::open(dir.path(), &document, Clock::system()).unwrap()
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
        assert_eq!(kept.evidence().contradictions, []);

        let kept = days(&dir, &network);
        assert_eq!(kept.take(&first).unwrap(), Told::Known);
        let rewritten = [
            sign("2026-11-21", 10, 3),
            sign("2026-11-21", 11, 1),
            sign("2026-11-24", 19, 4),
            sign("2026-11-25", 20, 5),
        ];
        for rewritten in &rewritten {
            let told = kept.take(rewritten).unwrap();
            assert!(
                matches!(told, Told::Contradiction(_)),
                "{rewritten:?}: {told:?}"
            );
        }
        // Whoever looks at the directory sees it, whether the node runs or not.
        let evidence = LedgerEvidence::read(dir.path()).unwrap();
        assert_eq!(evidence, kept.evidence());
        assert_eq!(evidence.last_day.as_deref(), Some("2026-11-25"));
        let told = evidence.contradictions.into_iter().map(|pair| pair.told);
        assert_eq!(told.collect::<Vec<_>>(), rewritten);
    }

    #[test]
    fn nothing_that_is_told_later_pushes_the_proof_out() {
        let (dir, network) = (tempfile::tempdir().unwrap(), Keypair::generate_ed25519());
        let kept = days(&dir, &network);
        let sign = |block, hash: [u8; 32]| {
            let day = "2026-11-21";
            LedgerDay::sign(&network, kept.network_id, day, block, hash).unwrap()
        };
        let (first, second) = (sign(1, [1; 32]), sign(1, [2; 32]));
        kept.take(&first).unwrap();
        kept.take(&second).unwrap();
        for block in 0..2 * CONTRADICTIONS_KEPT as u64 {
            kept.take(&sign(block, [9; 32])).unwrap();
        }
        let contradictions = days(&dir, &network).evidence().contradictions;
        assert_eq!(contradictions.len(), CONTRADICTIONS_KEPT);
        assert_eq!(
            (&contradictions[0].kept, &contradictions[0].told),
            (&first, &second)
        );
    }

    #[test]
    fn what_an_earlier_release_noticed_in_its_log_alone_is_noticed_again() {
        let (dir, network) = (tempfile::tempdir().unwrap(), Keypair::generate_ed25519());
        let kept = days(&dir, &network);
        let heads = [1, 2].map(|hash| {
            LedgerDay::sign(&network, kept.network_id, "2026-11-21", 1, [hash; 32]).unwrap()
        });
        private_file::write_json(&dir.path().join(DAYS_FILE), &heads).unwrap();
        let contradictions = days(&dir, &network).evidence().contradictions;
        assert_eq!(contradictions.len(), 1);
        assert_eq!(
            LedgerEvidence::read(dir.path()).unwrap().contradictions,
            contradictions
        );
    }

    #[test]
    fn what_the_network_did_not_sign_is_not_kept() {
        let (dir, network) = (tempfile::tempdir().unwrap(), Keypair::generate_ed25519());
        let kept = days(&dir, &network);
        let stranger = Keypair::generate_ed25519();
        let forged = LedgerDay::sign(&stranger, kept.network_id, "2026-11-21", 1, [1; 32]).unwrap();
        assert_eq!(kept.take(&forged).unwrap(), Told::Forged);
        assert!(!dir.path().join(DAYS_FILE).exists());
    }
}
