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

/// Which bytes a node signs when it registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationForm {
    /// Without region and token: whoever passes such a registration on can put others in their place.
    V1,
    V2,
}

impl RegistrationForm {
    /// The number that stands for it in JSON.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

/// A node's proof that it owns its identity key, made when it registers.
///
/// Signed: `"fsn register v2" ‖ network_id ‖ nonce[32] ‖ len:u32 ‖ peer_id ‖ len:u32 ‖ name ‖
/// capacity_bytes:u64 ‖ len:u32 ‖ region ‖ len:u32 ‖ token_hash`; the last two have no bytes where there is no region or no
/// token, and the hash is BLAKE3 of the token. In the first form the tag ends in `v1`, and both are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub context: NetworkContext,
    pub nonce: RegistrationNonce,
    pub name: String,
    pub capacity_bytes: u64,
    /// As it is sent.
    pub region: Option<String>,
    /// [`Self::token_hash`] of the admission token.
    pub token_hash: Option<[u8; 32]>,
}

impl Registration {
    pub fn token_hash(token: &str) -> [u8; 32] {
        *blake3::hash(token.as_bytes()).as_bytes()
    }

    pub fn signed_bytes(&self, form: RegistrationForm) -> Vec<u8> {
        let signed = SignedBytes::new(match form {
            RegistrationForm::V1 => "fsn register v1",
            RegistrationForm::V2 => "fsn register v2",
        });
        let signed = signed
            .raw(self.context.network_id.as_bytes())
            .raw(&self.nonce)
            .sized(&self.context.peer_id.to_bytes())
            .sized(self.name.as_bytes())
            .u64(self.capacity_bytes);
        match form {
            RegistrationForm::V1 => signed.finish(),
            RegistrationForm::V2 => signed
                .sized(self.region.as_deref().unwrap_or_default().as_bytes())
                .sized(self.token_hash.as_ref().map_or(&[][..], |hash| &hash[..]))
                .finish(),
        }
    }

    pub fn sign(&self, form: RegistrationForm, node: &Keypair) -> Result<Signature, Malformed> {
        Signature::sign(node, &self.signed_bytes(form))
    }

    pub fn verify(
        &self,
        form: RegistrationForm,
        signature: &Signature,
    ) -> Result<(), InvalidSignature> {
        VerifyingKey::of_peer(&self.context.peer_id)
            .map_err(|_| InvalidSignature)?
            .verify(&self.signed_bytes(form), signature)
    }
}
