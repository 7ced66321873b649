//! `delete-chunk`: which blobs a node is to remove, throw away or bring back.
//!
//! An order to delete is signed by the coordinator that gives it, for one node, these blobs and this time. The node
//! keeps it and shows it when it is asked for a blob of the order later: that a blob is gone is then not its fault,
//! and everybody can check that. Rejected: to sign each blob on its own, which would have a node verify and keep a
//! thousand signatures for a message; a tree over the blobs, whose proofs would save bytes in an answer that is rare.

use bytes::Bytes;

use crate::fields::{Fields, blob_id};
use crate::frame::at_most;
use crate::signing::SignedBytes;
use crate::{
    BlobId, Frame, InvalidSignature, Keypair, Malformed, Message, NetworkId, Parties, ProtocolSpec,
    Rpc, Signature, VerifyingKey, protocols, wire,
};

/// A `delete-chunk` message carries no more than this.
pub const MAX_DELETIONS_PER_MESSAGE: usize = 1000;

const TAG: &str = "fsn delete v1";
const DELETION_BYTES: usize = 32 + 1;

/// coordinator → node: forget these blobs.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

impl Rpc for Delete {
    const PROTOCOL: ProtocolSpec = protocols::DELETE_CHUNK;
    type Request = DeleteRequest;
    type Response = DeletionOutcomes;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    pub blob_id: BlobId,
    pub mode: DeletionMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionMode {
    Purge,
    Trash,
    Restore,
}

impl DeletionMode {
    const fn byte(self) -> u8 {
        match self {
            Self::Purge => 1,
            Self::Trash => 2,
            Self::Restore => 3,
        }
    }

    const fn of_byte(byte: u8) -> Result<Self, Malformed> {
        match byte {
            1 => Ok(Self::Purge),
            2 => Ok(Self::Trash),
            3 => Ok(Self::Restore),
            _ => Err(Malformed("a deletion without a known mode")),
        }
    }

    /// Whether the node has the blob no longer once this is done, or not for long.
    pub const fn takes_away(self) -> bool {
        matches!(self, Self::Purge | Self::Trash)
    }
}

/// A coordinator's order to one node, within all bounds.
///
/// Signed: `"fsn delete v1" ‖ network_id[32] ‖ coordinator[38] ‖ node[38] ‖ issued_at_ms:u64 ‖ n:u32 ‖ n ×
/// (blob_id[32] ‖ mode:u8)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOrder {
    parties: Parties,
    issued_at_ms: u64,
    deletions: Vec<Deletion>,
}

impl DeleteOrder {
    pub fn new(
        parties: Parties,
        issued_at_ms: u64,
        deletions: Vec<Deletion>,
    ) -> Result<Self, Malformed> {
        for peer in [parties.coordinator, parties.node] {
            VerifyingKey::of_peer(&peer)?;
        }
        if !(1..=MAX_DELETIONS_PER_MESSAGE).contains(&deletions.len()) {
            return Err(Malformed("an order is of 1 to 1000 deletions"));
        }
        Ok(Self {
            parties,
            issued_at_ms,
            deletions,
        })
    }

    pub const fn parties(&self) -> &Parties {
        &self.parties
    }

    /// By the coordinator's clock, Unix ms.
    pub const fn issued_at_ms(&self) -> u64 {
        self.issued_at_ms
    }

    pub fn deletions(&self) -> &[Deletion] {
        &self.deletions
    }

    /// Whether it orders that this blob be removed or thrown away.
    pub fn takes_away(&self, blob_id: &BlobId) -> bool {
        let mut deletions = self.deletions.iter();
        deletions.any(|deletion| deletion.blob_id == *blob_id && deletion.mode.takes_away())
    }

    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = SignedBytes::new(TAG)
            .raw(self.parties.network_id.as_bytes())
            .raw(&self.parties.coordinator.to_bytes())
            .raw(&self.parties.node.to_bytes())
            .u64(self.issued_at_ms)
            .u32(self.deletions.len());
        for deletion in &self.deletions {
            bytes = bytes
                .raw(deletion.blob_id.as_bytes())
                .raw(&[deletion.mode.byte()]);
        }
        bytes.finish()
    }

    /// Reads what [`Self::signed_bytes`] wrote; nothing else passes.
    pub fn from_signed_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Fields(bytes);
        if rest.take::<{ TAG.len() }>()? != TAG.as_bytes() {
            return Err(Malformed("not an order to delete"));
        }
        let parties = Parties {
            network_id: NetworkId::from_bytes(rest.take()?),
            coordinator: rest.peer()?,
            node: rest.peer()?,
        };
        let issued_at_ms = u64::from_le_bytes(rest.take()?);
        let count = u32::from_le_bytes(rest.take()?) as usize;
        if count > MAX_DELETIONS_PER_MESSAGE || rest.0.len() != count * DELETION_BYTES {
            return Err(Malformed("an order that does not end with its last blob"));
        }
        let deletion = |mut fields: Fields<'_>| {
            Ok(Deletion {
                blob_id: BlobId::from_bytes(fields.take()?),
                mode: DeletionMode::of_byte(fields.take::<1>()?[0])?,
            })
        };
        let deletions = rest.0.chunks_exact(DELETION_BYTES).map(Fields);
        let deletions = deletions.map(deletion).collect::<Result<_, Malformed>>()?;
        Self::new(parties, issued_at_ms, deletions)
    }

    pub fn sign(self, coordinator: &Keypair) -> Result<SignedOrder, Malformed> {
        Ok(SignedOrder {
            signature: Signature::sign(coordinator, &self.signed_bytes())?,
            order: self,
        })
    }
}

/// An order with its signature: what a node keeps and shows. A claim until it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    pub order: DeleteOrder,
    pub signature: Signature,
}

impl SignedOrder {
    /// Whether the coordinator that it names has signed it. Whether that is a coordinator is another matter.
    pub fn verify(&self) -> Result<(), InvalidSignature> {
        VerifyingKey::of_peer(&self.order.parties.coordinator)
            .map_err(|_| InvalidSignature)?
            .verify(&self.order.signed_bytes(), &self.signature)
    }

    pub fn into_request(self) -> DeleteRequest {
        DeleteRequest {
            deletions: self.order.deletions,
            seal: Some(OrderSeal {
                issued_at_ms: self.order.issued_at_ms,
                signature: self.signature,
            }),
        }
    }

    pub(crate) fn to_wire(&self) -> wire::DeleteOrder {
        wire::DeleteOrder {
            order: self.order.signed_bytes().into(),
            signature: Bytes::copy_from_slice(self.signature.as_bytes()),
        }
    }

    pub(crate) fn from_wire(wire: &wire::DeleteOrder) -> Result<Self, Malformed> {
        Ok(Self {
            order: DeleteOrder::from_signed_bytes(&wire.order)?,
            signature: Signature::try_from(&wire.signature[..])?,
        })
    }
}

/// What travels of an order: the parties know themselves and each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// At most [`MAX_DELETIONS_PER_MESSAGE`].
    pub deletions: Vec<Deletion>,
    /// `None` from coordinators of older versions.
    pub seal: Option<OrderSeal>,
}

/// What makes deletions an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderSeal {
    pub issued_at_ms: u64,
    pub signature: Signature,
}

impl DeleteRequest {
    /// As coordinators of older versions send it. Nodes bring blobs back for it, and nothing else.
    pub const fn unsigned(deletions: Vec<Deletion>) -> Self {
        Self {
            deletions,
            seal: None,
        }
    }

    /// The order, if the coordinator of `parties` has signed one for their node. `None`: it is not signed at all.
    pub fn open(&self, parties: Parties) -> Result<Option<SignedOrder>, Malformed> {
        let Some(seal) = self.seal else {
            return Ok(None);
        };
        let signed = SignedOrder {
            order: DeleteOrder::new(parties, seal.issued_at_ms, self.deletions.clone())?,
            signature: seal.signature,
        };
        signed
            .verify()
            .map_err(|_| Malformed("the coordinator's signature does not match"))?;
        Ok(Some(signed))
    }
}

impl Message for DeleteRequest {
    fn into_frame(self) -> Frame {
        let deletions = self.deletions.into_iter().map(|deletion| wire::Deletion {
            blob_id: Bytes::copy_from_slice(deletion.blob_id.as_bytes()),
            mode: match deletion.mode {
                DeletionMode::Purge => wire::deletion::Mode::Purge,
                DeletionMode::Trash => wire::deletion::Mode::Trash,
                DeletionMode::Restore => wire::deletion::Mode::Restore,
            } as i32,
        });
        Frame::whole(&wire::DeleteChunkRequest {
            deletions: deletions.collect(),
            issued_at_ms: self.seal.map_or(0, |seal| seal.issued_at_ms),
            signature: self.seal.map_or(Bytes::new(), |seal| {
                Bytes::copy_from_slice(seal.signature.as_bytes())
            }),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_DELETIONS_PER_MESSAGE, 1, &bytes)?;
        let message = <wire::DeleteChunkRequest as prost::Message>::decode(bytes)?;
        let deletion = |deletion: wire::Deletion| {
            Ok(Deletion {
                blob_id: blob_id(&deletion.blob_id)?,
                mode: match deletion.mode() {
                    wire::deletion::Mode::Unspecified => {
                        return Err(Malformed("a deletion without a known mode"));
                    }
                    wire::deletion::Mode::Purge => DeletionMode::Purge,
                    wire::deletion::Mode::Trash => DeletionMode::Trash,
                    wire::deletion::Mode::Restore => DeletionMode::Restore,
                },
            })
        };
        let deletions = message.deletions.into_iter().map(deletion);
        Ok(Self {
            deletions: deletions.collect::<Result<_, Malformed>>()?,
            seal: match (&message.signature[..], message.issued_at_ms) {
                ([], 0) => None,
                ([], _) => return Err(Malformed("the time of an order that is not signed")),
                (signature, issued_at_ms) => Some(OrderSeal {
                    issued_at_ms,
                    signature: Signature::try_from(signature)?,
                }),
            },
        })
    }
}

/// One outcome for each deletion, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionOutcomes(pub Vec<DeletionOutcome>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionOutcome {
    /// It is so now, or was already.
    Done,
    /// A restore of a blob that the node does not have.
    NotHeld,
    /// Ask again later.
    Failed,
    /// A purge beyond what the node removes in a day: the blob is in the trash, and gone when its time there is over.
    /// Only an order that is signed is answered so; older coordinators do not know it, and sign none.
    Deferred,
}

impl Message for DeletionOutcomes {
    fn into_frame(self) -> Frame {
        let outcomes = self.0.into_iter().map(|outcome| match outcome {
            DeletionOutcome::Done => wire::DeletionOutcome::Done as i32,
            DeletionOutcome::NotHeld => wire::DeletionOutcome::NotHeld as i32,
            DeletionOutcome::Failed => wire::DeletionOutcome::Failed as i32,
            DeletionOutcome::Deferred => wire::DeletionOutcome::Deferred as i32,
        });
        Frame::whole(&wire::DeleteChunkResponse {
            outcomes: outcomes.collect(),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::DeleteChunkResponse as prost::Message>::decode(bytes)?;
        if message.outcomes.len() > MAX_DELETIONS_PER_MESSAGE {
            return Err(Malformed("more than 1000 outcomes in one message"));
        }
        // Not `message.outcomes()`: it leaves unknown values out, and every outcome behind one would
        // be taken for that of another deletion.
        let outcome = |outcome: i32| match wire::DeletionOutcome::try_from(outcome) {
            Ok(wire::DeletionOutcome::Done) => Ok(DeletionOutcome::Done),
            Ok(wire::DeletionOutcome::NotHeld) => Ok(DeletionOutcome::NotHeld),
            Ok(wire::DeletionOutcome::Failed) => Ok(DeletionOutcome::Failed),
            Ok(wire::DeletionOutcome::Deferred) => Ok(DeletionOutcome::Deferred),
            Ok(wire::DeletionOutcome::Unspecified) | Err(_) => {
                Err(Malformed("an unknown deletion outcome"))
            }
        };
        let outcomes = message.outcomes.into_iter().map(outcome);
        outcomes.collect::<Result<_, _>>().map(Self)
    }
}
