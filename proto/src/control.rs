//! `hello` and `heartbeat`.

use bytes::Bytes;

use crate::fields::{bounded_text, byte_count};
use crate::{
    Frame, InstanceId, LedgerDay, Malformed, Message, MicroCredits, NodeId, ProtocolSpec, Rpc,
    protocols, wire,
};

/// Instances that a node tells to have been before this one.
pub const MAX_EARLIER_INSTANCES: usize = 16;

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
    pub deferred: DeferredPurges,
    /// `None` from a node that is older than this.
    pub instance: Option<Instance>,
}

/// Purges that a node's brake has put off: the blobs are in its trash, and can be brought back until then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeferredPurges {
    pub blobs: u64,
    /// When the first of them is gone for good, in Unix ms by the node's clock; 0 when there are none.
    pub until_ms: u64,
}

impl DeferredPurges {
    pub const NONE: Self = Self {
        blobs: 0,
        until_ms: 0,
    };

    fn read(blobs: u64, until_ms: u64) -> Result<Self, Malformed> {
        Ok(Self {
            blobs: byte_count(blobs)?,
            until_ms: byte_count(until_ms)?,
        })
    }
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
            deferred_blobs: self.deferred.blobs,
            deferred_until_ms: self.deferred.until_ms,
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
            deferred: DeferredPurges::read(message.deferred_blobs, message.deferred_until_ms)?,
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
    pub deferred: DeferredPurges,
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
            deferred_blobs: self.deferred.blobs,
            deferred_until_ms: self.deferred.until_ms,
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
            deferred: DeferredPurges::read(message.deferred_blobs, message.deferred_until_ms)?,
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

impl Message for HeartbeatAnswer {
    fn into_frame(self) -> Frame {
        Frame::whole(&wire::HeartbeatResponse {
            earned_microcredits: self.earned.get(),
            server_time_ms: self.server_time_ms,
            state: bounded_text(self.state),
            state_reason: bounded_text(self.state_reason),
            network_serial: self.network_serial,
            last_ledger_day: self.last_ledger_day.map(wire::LedgerDay::from),
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
