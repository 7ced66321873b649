//! The ledger's head of a day: what nodes keep, so that nobody can rewrite the ledger unseen.
//!
//! The network's key signs one head for each day. Two that cannot both be of one ledger prove that it was rewritten,
//! whoever shows them.

use bytes::Bytes;
use libp2p_identity::Keypair;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::fields::bounded_text;
use crate::signing::SignedBytes;
use crate::{InvalidSignature, Malformed, NetworkId, Signature, VerifyingKey, wire};

/// The last ledger block of a day, signed with the network key. Who keeps these can tell when the
/// ledger has been rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDay {
    /// `YYYY-MM-DD`, UTC; the time of its beginning where days are shorter than 24 h.
    pub day: String,
    pub block_number: u64,
    pub block_hash: [u8; 32],
    pub signature: Signature,
}

impl LedgerDay {
    /// `"fsn ledger day v1" ‖ network_id ‖ len:u32 ‖ day ‖ block_number:u64 ‖ block_hash[32]`
    pub fn signed_bytes(&self, network_id: NetworkId) -> Vec<u8> {
        SignedBytes::new("fsn ledger day v1")
            .raw(network_id.as_bytes())
            .sized(self.day.as_bytes())
            .u64(self.block_number)
            .raw(&self.block_hash)
            .finish()
    }

    pub fn sign(
        network_key: &Keypair,
        network_id: NetworkId,
        day: &str,
        block_number: u64,
        block_hash: [u8; 32],
    ) -> Result<Self, Malformed> {
        let mut head = Self {
            day: day.to_owned(),
            block_number,
            block_hash,
            signature: Signature::from_bytes([0; 64]),
        };
        head.signature = Signature::sign(network_key, &head.signed_bytes(network_id))?;
        Ok(head)
    }

    pub fn verify(
        &self,
        network_id: NetworkId,
        network_key: &VerifyingKey,
    ) -> Result<(), InvalidSignature> {
        network_key.verify(&self.signed_bytes(network_id), &self.signature)
    }

    /// Whether the two cannot both be of one ledger: it has one block of a number, one head for a day, and grows from
    /// day to day.
    pub fn contradicts(&self, other: &Self) -> bool {
        let same_place = self.day == other.day || self.block_number == other.block_number;
        let same_block =
            self.block_number == other.block_number && self.block_hash == other.block_hash;
        let same_kind = self.day.len() == other.day.len(); // dates and times do not compare
        let shrunk =
            same_kind && (self.day < other.day) != (self.block_number <= other.block_number);
        (same_place && !same_block)
            || (shrunk && self.block_number != other.block_number && self.day != other.day)
    }
}

/// As nodes keep it in `ledger-days.json`, and exports carry it.
#[derive(Serialize, Deserialize)]
struct Text {
    day: String,
    block_number: u64,
    /// 64 hex digits.
    block_hash: String,
    /// 128 hex digits.
    signature: String,
}

impl Serialize for LedgerDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Text {
            day: self.day.clone(),
            block_number: self.block_number,
            block_hash: hex::encode(self.block_hash),
            signature: self.signature.to_string(),
        };
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LedgerDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let mut block_hash = [0; 32];
        hex::decode_to_slice(&text.block_hash, &mut block_hash)
            .map_err(|_| D::Error::custom("a block hash must have 64 hex digits"))?;
        Ok(Self {
            day: text.day,
            block_number: text.block_number,
            block_hash,
            signature: text.signature.parse().map_err(D::Error::custom)?,
        })
    }
}

impl From<LedgerDay> for wire::LedgerDay {
    fn from(day: LedgerDay) -> Self {
        Self {
            day: day.day,
            block_number: day.block_number,
            block_hash: Bytes::copy_from_slice(&day.block_hash),
            signature: Bytes::copy_from_slice(day.signature.as_bytes()),
        }
    }
}

impl TryFrom<wire::LedgerDay> for LedgerDay {
    type Error = Malformed;

    fn try_from(day: wire::LedgerDay) -> Result<Self, Malformed> {
        Ok(Self {
            day: bounded_text(day.day),
            block_number: day.block_number,
            block_hash: day.block_hash[..]
                .try_into()
                .map_err(|_| Malformed("a block hash must have 32 bytes"))?,
            signature: Signature::try_from(&day.signature[..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(day: &str, block_number: u64, hash: u8) -> LedgerDay {
        LedgerDay {
            day: day.to_owned(),
            block_number,
            block_hash: [hash; 32],
            signature: Signature::from_bytes([7; 64]),
        }
    }

    #[test]
    fn heads_that_cannot_be_of_one_ledger_contradict_each_other_whoever_is_asked() {
        let kept = head("2026-11-22", 20, 2);
        for (other, contradicts) in [
            (kept.clone(), false),
            (head("2026-11-23", 20, 2), false), // nothing was posted on that day
            (head("2026-11-23", 21, 3), false),
            (head("2026-11-21", 19, 1), false),
            (head("2026-11-22", 20, 3), true),
            (head("2026-11-22", 21, 2), true),
            (head("2026-11-23", 20, 3), true),
            (head("2026-11-23", 19, 3), true),
            (head("2026-11-21", 21, 3), true),
        ] {
            assert_eq!(kept.contradicts(&other), contradicts, "{other:?}");
            assert_eq!(other.contradicts(&kept), contradicts, "{other:?}");
        }
    }

    #[test]
    fn what_a_node_has_kept_is_read_back_and_what_is_no_head_is_refused() {
        let kept = head("2026-11-22", 20, 2);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<LedgerDay>(&text).unwrap(), kept);
        for part in ["\"02", "\"07"] {
            let spoilt = text.replacen(part, "\"0x", 1);
            assert!(
                serde_json::from_str::<LedgerDay>(&spoilt).is_err(),
                "{spoilt}"
            );
        }
    }
}
