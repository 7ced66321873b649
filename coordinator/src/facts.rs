//! What a lower concern tells the upper ones, inside its own transaction.
//!
//! The fleet does not know what an audit or a repair is, and yet a node that is disqualified has to leave the
//! audit with the same commit. So whoever changes something tells it as a [`Fact`], and every handler of a
//! static list (`compose.rs`) writes what follows on the same connection: both commit, or neither. Rejected: a
//! bus or a queue, between whose ends a crash loses facts, and triggers, which nobody finds.

use futures::future::BoxFuture;
use jiff::Timestamp;
use proto::NodeId;
use sqlx::PgConnection;

use model::node_state::NodeState;
use sealing::ChunkRef;

/// Something has changed that other concerns go by.
#[derive(Debug, Clone, Copy)]
pub enum Fact<'a> {
    /// A node has registered, for the first time or again.
    NodeRegistered {
        node: NodeId,
        state: NodeState,
        at: Timestamp,
    },
    /// A node has another state.
    NodeChanged {
        node: NodeId,
        from: NodeState,
        to: NodeState,
        at: Timestamp,
    },
    /// What the replicas of these nodes are worth has changed: they have gone, or are back.
    PresenceChanged { nodes: &'a [NodeId] },
    /// Replicas of these chunks count no more. The chunks are locked.
    ReplicasLost { chunks: &'a [ChunkRef] },
    /// Replicas of this node count again.
    ReplicasGained { node: NodeId },
}

/// Writes what follows from a fact.
pub type Handler =
    for<'a> fn(connection: &'a mut PgConnection, fact: Fact<'a>) -> BoxFuture<'a, sqlx::Result<()>>;

/// Those who are told, in order.
#[derive(Debug, Clone, Copy)]
pub struct Facts(&'static [Handler]);

impl Facts {
    pub const fn told_to(handlers: &'static [Handler]) -> Self {
        Self(handlers)
    }

    pub async fn tell(&self, connection: &mut PgConnection, fact: Fact<'_>) -> sqlx::Result<()> {
        for handler in self.0 {
            handler(connection, fact).await?;
        }
        Ok(())
    }
}
