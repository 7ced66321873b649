//! What nodes sign. Each statement begins with its own tag and names its network, so that no
//! signature can be passed off as another statement or in another network. Integers are
//! little-endian, times are Unix milliseconds, a peer is named by its id's bytes.

use libp2p_identity::{Keypair, PeerId};

use crate::signing::SignedBytes;
use crate::{BlobId, InvalidSignature, Malformed, NetworkId, Signature, VerifyingKey};

/// Where a statement holds: in which network, and by which peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkContext {
    pub network_id: NetworkId,
    pub peer_id: PeerId,
}

/// A node's "I hold this blob, durably".
///
/// Signed: `"fsn receipt v1" ‖ network_id ‖ blob_id ‖ length:u64 ‖ peer_id ‖ stored_at:u64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub context: NetworkContext,
    pub blob_id: BlobId,
    pub length: u64,
    pub stored_at_ms: u64,
}

impl Receipt {
    pub fn signed_bytes(&self) -> Vec<u8> {
        SignedBytes::new("fsn receipt v1")
            .raw(self.context.network_id.as_bytes())
            .raw(self.blob_id.as_bytes())
            .u64(self.length)
            .raw(&self.context.peer_id.to_bytes())
            .u64(self.stored_at_ms)
            .finish()
    }

    pub fn sign(&self, node: &Keypair) -> Result<SignedReceipt, Malformed> {
        Ok(SignedReceipt {
            stored_at_ms: self.stored_at_ms,
            signature: Signature::sign(node, &self.signed_bytes())?,
        })
    }
}

/// The part of a receipt that travels: the rest is known to whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedReceipt {
    pub stored_at_ms: u64,
    pub signature: Signature,
}

impl SignedReceipt {
    /// Accepts the receipt only if the peer of `context` signed it for exactly this blob.
    pub fn verify(
        &self,
        context: NetworkContext,
        blob_id: BlobId,
        length: u64,
    ) -> Result<Receipt, InvalidSignature> {
        let receipt = Receipt {
            context,
            blob_id,
            length,
            stored_at_ms: self.stored_at_ms,
        };
        VerifyingKey::of_peer(&context.peer_id)
            .map_err(|_| InvalidSignature)?
            .verify(&receipt.signed_bytes(), &self.signature)?;
        Ok(receipt)
    }
}

/// A single-use number that a coordinator hands out before a registration.
pub type RegistrationNonce = [u8; 32];

/// A node's proof that it owns its identity key, made when it registers.
///
/// Signed: `"fsn register v1" ‖ network_id ‖ nonce[32] ‖ len:u32 ‖ peer_id ‖ len:u32 ‖ name ‖
/// capacity_bytes:u64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub context: NetworkContext,
    pub nonce: RegistrationNonce,
    pub name: String,
    pub capacity_bytes: u64,
}

impl Registration {
    pub fn signed_bytes(&self) -> Vec<u8> {
        SignedBytes::new("fsn register v1")
            .raw(self.context.network_id.as_bytes())
            .raw(&self.nonce)
            .sized(&self.context.peer_id.to_bytes())
            .sized(self.name.as_bytes())
            .u64(self.capacity_bytes)
            .finish()
    }

    pub fn sign(&self, node: &Keypair) -> Result<Signature, Malformed> {
        Signature::sign(node, &self.signed_bytes())
    }

    pub fn verify(&self, signature: &Signature) -> Result<(), InvalidSignature> {
        VerifyingKey::of_peer(&self.context.peer_id)
            .map_err(|_| InvalidSignature)?
            .verify(&self.signed_bytes(), signature)
    }
}
