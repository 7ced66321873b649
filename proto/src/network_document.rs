//! The signed page that tells a node which network this is and where its coordinators are.

use jiff::Timestamp;
use libp2p_identity::{Keypair, PeerId};
use serde::{Deserialize, Serialize};

use crate::signing::SignedBytes;
use crate::{Malformed, NetworkId, Signature, VerifyingKey};

/// `GET /api/v1/network`. Nodes pin `network_id` at their first contact and from then on accept
/// only newer documents by the same key.
///
/// Signed with the network key: `"fsn network v1" ‖ network_id ‖ serial:u64 ‖ issued_at:u64 ‖
/// n:u32 ‖ n × (len:u32 ‖ peer_id ‖ m:u32 ‖ m × (len:u32 ‖ address))`, `issued_at` in Unix ms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDocument {
    pub network_id: NetworkId,
    /// The network's Ed25519 public key, 64 lower-case hex digits.
    pub public_key: String,
    pub serial: u64,
    pub coordinators: Vec<CoordinatorEntry>,
    pub issued_at: Timestamp,
    /// 128 lower-case hex digits.
    pub signature: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorEntry {
    pub peer_id: String,
    /// Multiaddresses without the `/p2p/…` part.
    pub addrs: Vec<String>,
}

/// Why a network document is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkDocumentError {
    #[error("its network id is not the hash of its public key")]
    KeyDoesNotMatchId,
    #[error("its signature was not made by the network's key")]
    BadSignature,
    #[error("{0}")]
    Malformed(&'static str),
}

impl From<Malformed> for NetworkDocumentError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

impl NetworkDocument {
    pub const MAX_COORDINATORS: usize = 64;
    pub const MAX_ADDRS: usize = 32;

    /// Writes and signs a document. `issued_at` is cut to milliseconds, as it is signed.
    pub fn sign(
        network_key: &Keypair,
        serial: u64,
        coordinators: Vec<CoordinatorEntry>,
        issued_at: Timestamp,
    ) -> Result<Self, Malformed> {
        let public_key = VerifyingKey::of_keypair(network_key)?.to_bytes();
        let issued_at = Timestamp::from_millisecond(issued_at.as_millisecond())
            .map_err(|_| Malformed("issued_at is out of range"))?;
        let mut document = Self {
            network_id: NetworkId::of_public_key(&public_key),
            public_key: hex::encode(public_key),
            serial,
            coordinators,
            issued_at,
            signature: String::new(),
        };
        document.signature = Signature::sign(network_key, &document.signed_bytes()?)?.to_string();
        Ok(document)
    }

    /// Checks that the document is whole and signed by the key that its network id names.
    pub fn verify(&self) -> Result<(), NetworkDocumentError> {
        let public_key = fixed_hex::<32>(&self.public_key)
            .ok_or(Malformed("its public key is not 64 lower-case hex digits"))?;
        let signature = fixed_hex::<64>(&self.signature)
            .ok_or(Malformed("its signature is not 128 lower-case hex digits"))?;
        if NetworkId::of_public_key(&public_key) != self.network_id {
            return Err(NetworkDocumentError::KeyDoesNotMatchId);
        }
        VerifyingKey::from_bytes(&public_key)?
            .verify(&self.signed_bytes()?, &Signature::from_bytes(signature))
            .map_err(|_| NetworkDocumentError::BadSignature)
    }

    /// The coordinators' peer ids. Fails only on a document that `verify` refuses too.
    pub fn coordinator_peers(&self) -> Result<Vec<PeerId>, Malformed> {
        self.coordinators
            .iter()
            .map(CoordinatorEntry::peer_id)
            .collect()
    }

    fn signed_bytes(&self) -> Result<Vec<u8>, Malformed> {
        if self.coordinators.len() > Self::MAX_COORDINATORS {
            return Err(Malformed("it lists more than 64 coordinators"));
        }
        let issued_at = u64::try_from(self.issued_at.as_millisecond())
            .map_err(|_| Malformed("issued_at lies before 1970"))?;
        if self.issued_at.subsec_nanosecond() % 1_000_000 != 0 {
            return Err(Malformed("issued_at is finer than a millisecond"));
        }
        let mut bytes = SignedBytes::new("fsn network v1")
            .raw(self.network_id.as_bytes())
            .u64(self.serial)
            .u64(issued_at)
            .u32(self.coordinators.len());
        for coordinator in &self.coordinators {
            if coordinator.addrs.len() > Self::MAX_ADDRS {
                return Err(Malformed("a coordinator has more than 32 addresses"));
            }
            bytes = bytes
                .sized(&coordinator.peer_id()?.to_bytes())
                .u32(coordinator.addrs.len());
            for addr in &coordinator.addrs {
                bytes = bytes.sized(addr.as_bytes());
            }
        }
        Ok(bytes.finish())
    }
}

impl CoordinatorEntry {
    pub fn peer_id(&self) -> Result<PeerId, Malformed> {
        self.peer_id
            .parse()
            .map_err(|_| Malformed("a coordinator's peer id cannot be read"))
    }
}

impl NetworkId {
    /// BLAKE3 of the network's 32-byte Ed25519 public key.
    pub fn of_public_key(public_key: &[u8; 32]) -> Self {
        Self::from_bytes(*blake3::hash(public_key).as_bytes())
    }
}

/// Lower-case only: a document has one spelling, so that an altered one never passes.
fn fixed_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}
