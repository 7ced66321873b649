//! `hello`, `heartbeat` and `delete-chunk`.

use bytes::Bytes;

use libp2p_identity::Keypair;

use crate::fields::{blob_id, bounded_text, byte_count};
use crate::signing::SignedBytes;
use crate::{
    BlobId, Frame, InstanceId, InvalidSignature, Malformed, Message, MicroCredits, NetworkId,
    NodeId, ProtocolSpec, Rpc, Signature, VerifyingKey, protocols, wire,
};

/// Instances that a node tells to have been before this one.
pub const MAX_EARLIER_INSTANCES: usize = 16;

/// A `delete-chunk` message carries no more than this.
pub const MAX_DELETIONS_PER_MESSAGE: usize = 1000;

/// node → coordinator: the first exchange on every new connection.
#[derive(Debug, Clone, Copy)]
pub struct Hello;

impl Rpc for Hello {
    const PROTOCOL: ProtocolSpec = protocols::HELLO;
    type Request = HelloReport;
    type Response = HelloAnswer;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloReport {
    pub node_id: NodeId,
    /// Name and version, `storage-node/0.1.0`.
    pub software: String,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub blob_count: u64,
    pub draining: bool,
    /// `None` from a node that is older than this.
    pub instance: Option<Instance>,
}

/// Which copy of its data directory a node runs from. Each start takes a new number once a coordinator has taken the one
/// before; so of two copies that were both started each has a number that the other one does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: InstanceId,
    /// The oldest first, at most [`MAX_EARLIER_INSTANCES`].
    pub earlier: Vec<InstanceId>,
}

impl Instance {
    /// `None` where no number is said.
    fn read(id: &[u8], earlier: &[Bytes]) -> Result<Option<Self>, Malformed> {
        let number = |bytes: &[u8]| {
            InstanceId::try_from(bytes).map_err(|_| Malformed("an instance number has 16 bytes"))
        };
        if earlier.len() > MAX_EARLIER_INSTANCES {
            return Err(Malformed("more than 16 earlier instances"));
        }
        if id.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            id: number(id)?,
            earlier: earlier
                .iter()
                .map(|bytes| number(bytes))
                .collect::<Result<_, _>>()?,
        }))
    }
}

impl Message for HelloReport {
    fn into_frame(self) -> Frame {
        let bytes = |id: &InstanceId| Bytes::copy_from_slice(id.as_bytes());
        let instance = self.instance.as_ref();
        Frame::whole(&wire::HelloRequest {
            instance: instance.map(|said| bytes(&said.id)).unwrap_or_default(),
            earlier_instances: instance
                .map(|said| said.earlier.iter().map(bytes).collect())
                .unwrap_or_default(),
            node_id: Bytes::copy_from_slice(self.node_id.as_bytes()),
            software: bounded_text(self.software),
            capacity_bytes: self.capacity_bytes,
            used_bytes: self.used_bytes,
            free_bytes: self.free_bytes,
            blob_count: self.blob_count,
            draining: self.draining,
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::HelloRequest as prost::Message>::decode(bytes)?;
        Ok(Self {
            node_id: NodeId::try_from(&message.node_id[..])
                .map_err(|_| Malformed("a node id must have 16 bytes"))?,
            software: bounded_text(message.software),
            capacity_bytes: byte_count(message.capacity_bytes)?,
            used_bytes: byte_count(message.used_bytes)?,
            free_bytes: byte_count(message.free_bytes)?,
            blob_count: byte_count(message.blob_count)?,
            draining: message.draining,
            instance: Instance::read(&message.instance, &message.earlier_instances)?,
        })
    }
}

/// coordinator → node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloAnswer {
    /// Why the node is not welcome and what to do about it; `None` when it is.
    pub rejection: Option<String>,
    pub network_serial: u64,
    /// Another instance of the node is the one that counts: this one has to close the connection, and may come again.
    pub hang_up: bool,
}

impl Message for HelloAnswer {
    fn into_frame(self) -> Frame {
        Frame::whole(&wire::HelloResponse {
            accepted: self.rejection.is_none(),
            reason: bounded_text(self.rejection.unwrap_or_default()),
            network_serial: self.network_serial,
            hang_up: self.hang_up,
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::HelloResponse as prost::Message>::decode(bytes)?;
        Ok(Self {
            rejection: (!message.accepted).then(|| bounded_text(message.reason)),
            network_serial: message.network_serial,
            hang_up: message.hang_up,
        })
    }
}

/// node → coordinator: alive, and this full.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat;

impl Rpc for Heartbeat {
    const PROTOCOL: ProtocolSpec = protocols::HEARTBEAT;
    type Request = HeartbeatReport;
    type Response = HeartbeatAnswer;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatReport {
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub blob_count: u64,
    pub activity: NodeActivity,
}

/// What a node is doing, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeActivity {
    Running,
    Draining,
    /// Shutting down in an orderly way: nothing new, please.
    Stopping,
    /// The disk refuses writes; blobs can still be read.
    ReadOnly,
}

impl Message for HeartbeatReport {
    fn into_frame(self) -> Frame {
        let state = match self.activity {
            NodeActivity::Running => wire::NodeState::Running,
            NodeActivity::Draining => wire::NodeState::Draining,
            NodeActivity::Stopping => wire::NodeState::Stopping,
            NodeActivity::ReadOnly => wire::NodeState::ReadOnly,
        };
        Frame::whole(&wire::HeartbeatRequest {
            used_bytes: self.used_bytes,
            free_bytes: self.free_bytes,
            blob_count: self.blob_count,
            state: state as i32,
            capacity_bytes: self.capacity_bytes,
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::HeartbeatRequest as prost::Message>::decode(bytes)?;
        let activity = match message.state() {
            wire::NodeState::Unspecified => return Err(Malformed("an unknown node state")),
            wire::NodeState::Running => NodeActivity::Running,
            wire::NodeState::Draining => NodeActivity::Draining,
            wire::NodeState::Stopping => NodeActivity::Stopping,
            wire::NodeState::ReadOnly => NodeActivity::ReadOnly,
        };
        Ok(Self {
            capacity_bytes: byte_count(message.capacity_bytes)?,
            used_bytes: byte_count(message.used_bytes)?,
            free_bytes: byte_count(message.free_bytes)?,
            blob_count: byte_count(message.blob_count)?,
            activity,
        })
    }
}

/// coordinator → node: what it has earned, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    pub earned: MicroCredits,
    /// Unix milliseconds.
    pub server_time_ms: u64,
    pub state: String,
    pub state_reason: String,
    pub network_serial: u64,
    pub last_ledger_day: Option<LedgerDay>,
}

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
}

impl Message for HeartbeatAnswer {
    fn into_frame(self) -> Frame {
        Frame::whole(&wire::HeartbeatResponse {
            earned_microcredits: self.earned.get(),
            server_time_ms: self.server_time_ms,
            state: bounded_text(self.state),
            state_reason: bounded_text(self.state_reason),
            network_serial: self.network_serial,
            last_ledger_day: self.last_ledger_day.map(|day| wire::LedgerDay {
                day: day.day,
                block_number: day.block_number,
                block_hash: Bytes::copy_from_slice(&day.block_hash),
                signature: Bytes::copy_from_slice(day.signature.as_bytes()),
            }),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::HeartbeatResponse as prost::Message>::decode(bytes)?;
        Ok(Self {
            earned: MicroCredits::new(message.earned_microcredits),
            server_time_ms: message.server_time_ms,
            state: bounded_text(message.state),
            state_reason: bounded_text(message.state_reason),
            network_serial: message.network_serial,
            last_ledger_day: message
                .last_ledger_day
                .map(LedgerDay::try_from)
                .transpose()?,
        })
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

/// coordinator → node: forget these blobs.
#[derive(Debug, Clone, Copy)]
pub struct Delete;

impl Rpc for Delete {
    const PROTOCOL: ProtocolSpec = protocols::DELETE_CHUNK;
    type Request = Deletions;
    type Response = DeletionOutcomes;
}

/// At most [`MAX_DELETIONS_PER_MESSAGE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletions(pub Vec<Deletion>);

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

impl Message for Deletions {
    fn into_frame(self) -> Frame {
        let deletions = self.0.into_iter().map(|deletion| wire::Deletion {
            blob_id: Bytes::copy_from_slice(deletion.blob_id.as_bytes()),
            mode: match deletion.mode {
                DeletionMode::Purge => wire::deletion::Mode::Purge,
                DeletionMode::Trash => wire::deletion::Mode::Trash,
                DeletionMode::Restore => wire::deletion::Mode::Restore,
            } as i32,
        });
        Frame::whole(&wire::DeleteChunkRequest {
            deletions: deletions.collect(),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::DeleteChunkRequest as prost::Message>::decode(bytes)?;
        if message.deletions.len() > MAX_DELETIONS_PER_MESSAGE {
            return Err(Malformed("more than 1000 deletions in one message"));
        }
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
        deletions.collect::<Result<_, _>>().map(Self)
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
}

impl Message for DeletionOutcomes {
    fn into_frame(self) -> Frame {
        let outcomes = self.0.into_iter().map(|outcome| match outcome {
            DeletionOutcome::Done => wire::DeletionOutcome::Done as i32,
            DeletionOutcome::NotHeld => wire::DeletionOutcome::NotHeld as i32,
            DeletionOutcome::Failed => wire::DeletionOutcome::Failed as i32,
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
            Ok(wire::DeletionOutcome::Unspecified) | Err(_) => {
                Err(Malformed("an unknown deletion outcome"))
            }
        };
        let outcomes = message.outcomes.into_iter().map(outcome);
        outcomes.collect::<Result<_, _>>().map(Self)
    }
}
