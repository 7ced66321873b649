//! Heads of days, compared with the chain as it passes. A head is signed and says which hash a block had when the day
//! was over: whoever kept one can tell whether the ledger is still what it was then.

use std::collections::BTreeMap;

use proto::{LedgerDay, NetworkId, VerifyingKey};

use crate::findings::Findings;
use crate::rules::Hash;

/// A head, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    /// A file's name, as findings tell it.
    pub source: String,
    pub head: LedgerDay,
}

/// Heads that are still to be compared, by block.
pub(crate) struct Heads<'a>(BTreeMap<u64, Vec<&'a KeptHead>>);

impl<'a> Heads<'a> {
    /// Checks what can be told without the chain: signatures, where the network's key is known, and whether heads
    /// contradict each other.
    pub(crate) fn new(
        kept: &'a [KeptHead],
        network: Option<&(NetworkId, VerifyingKey)>,
        findings: &mut Findings,
    ) -> Self {
        let mut by_block: BTreeMap<u64, Vec<&KeptHead>> = BTreeMap::new();
        for kept in kept {
            let LedgerDay {
                day, block_number, ..
            } = &kept.head;
            let is_signed = network.is_none_or(|(id, key)| kept.head.verify(*id, key).is_ok());
            findings.check(is_signed, || {
                format!(
                    "{}: the head of day {day} is not signed by the network's key, and proves nothing",
                    kept.source
                )
            });
            // The same head from several nodes is compared once.
            let same_place = by_block.entry(*block_number).or_default();
            if is_signed && !same_place.iter().any(|other| other.head == kept.head) {
                same_place.push(kept);
            }
        }
        let all: Vec<&KeptHead> = by_block.values().flatten().copied().collect();
        for (place, head) in all.iter().enumerate() {
            for other in &all[..place] {
                findings.check(!head.head.contradicts(&other.head), || {
                    format!(
                        "{} and {}: the heads of day {} and of day {} cannot both be of one ledger",
                        other.source, head.source, other.head.day, head.head.day
                    )
                });
            }
        }
        Self(by_block)
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.0.keys().copied().collect()
    }

    /// A block of the chain.
    pub(crate) fn compare(&mut self, number: u64, hash: &Hash, findings: &mut Findings) {
        for KeptHead { source, head } in self.0.remove(&number).unwrap_or_default() {
            findings.check(head.block_hash == *hash, || {
                format!(
                    "{source}: when day {} was over, block {number} had the hash {}, and it has {} now: the \
                     ledger was rewritten",
                    head.day,
                    hex::encode(head.block_hash),
                    hex::encode(hash)
                )
            });
        }
    }

    /// The chain is over.
    pub(crate) fn close(self, findings: &mut Findings) {
        for KeptHead { source, head } in self.0.into_values().flatten() {
            findings.find(format!(
                "{source}: when day {} was over there was a block {}, and there is none now: the ledger was \
                 rewritten, or this is not all of it",
                head.day, head.block_number
            ));
        }
    }
}
