//! Nodes that go: those that registered and never came, and those that an administrator puts out.
//!
//! Whoever may register costs a row for each identity that he makes up. What never was here has no history, no copies
//! and no pay, so it is forgotten altogether, and may register again. Any other node stays in the books.

use std::time::Duration;

use jiff::Timestamp;
use model::node_state::NodeState;
use proto::{NodeId, PeerId};
use rules::reputation::StateChange;
use sqlx::PgConnection;

use crate::database::Pool;

use super::node_status::NodeStates;
use super::tables::node_status::Cause;
use super::{Nodes, tables};

/// What became of a node that was put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Forgotten,
    /// What it was before.
    Disqualified(NodeState),
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("no node has this id")]
    NoSuchNode,
    #[error("the node is disqualified already")]
    AlreadyOut,
    #[error(
        "the node holds {0} copies that count. Let it be drained (`storage-node drain`), or give them up with --lose-copies: \
         they are then made anew from other copies, where there are any"
    )]
    HoldsCopies(u64),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Forgets nodes that registered so long ago and were never seen; how many.
pub async fn forget_never_seen(nodes: &Nodes, before: Duration, limit: i64) -> sqlx::Result<u64> {
    let mut transaction = nodes.db.begin().await?;
    let forgotten = forget(&mut transaction, before, None, limit).await?;
    transaction.commit().await?;
    for (node_id, peer) in &forgotten {
        nodes.admission.note_removed(peer);
        tracing::info!(%node_id, %peer, "forgot a node that registered and never came");
    }
    Ok(forgotten.len() as u64)
}

/// With their accounts, which are empty.
async fn forget(
    connection: &mut PgConnection,
    before: Duration,
    only: Option<NodeId>,
    limit: i64,
) -> sqlx::Result<Vec<(NodeId, PeerId)>> {
    let removed = tables::nodes::remove_never_seen(connection, before, only, limit).await?;
    let owners: Vec<_> = removed.iter().map(|(id, _)| id.as_uuid()).collect();
    ledger::close_unused_accounts(connection, &owners).await?;
    Ok(removed)
}

/// Puts a node out, for good unless an administrator restores it.
pub async fn remove(
    states: &NodeStates,
    pool: &Pool,
    node: NodeId,
    reason: &str,
    lose_copies: bool,
    now: Timestamp,
) -> Result<Removed, RemoveError> {
    let mut transaction = pool.begin().await?;
    let forgotten = forget(&mut transaction, Duration::ZERO, Some(node), 1).await?;
    if !forgotten.is_empty() {
        transaction.commit().await?;
        return Ok(Removed::Forgotten);
    }
    let before = tables::node_status::lock_reputation(&mut transaction, node).await?;
    let before = before.ok_or(RemoveError::NoSuchNode)?.state;
    if before == NodeState::Disqualified {
        return Err(RemoveError::AlreadyOut);
    }
    let copies = tables::nodes::count_replicas(&mut transaction, node).await?;
    if copies > 0 && !lose_copies {
        return Err(RemoveError::HoldsCopies(copies));
    }
    let change = StateChange {
        to: NodeState::Disqualified,
        reason: format!("removed by an administrator: {reason}"),
    };
    states
        .enter(&mut transaction, node, &change, Cause::Admin, now)
        .await?;
    transaction.commit().await?;
    Ok(Removed::Disqualified(before))
}
