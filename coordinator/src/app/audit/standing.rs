//! What the audit, absence and administrators do to the state of a node.

use jiff::Timestamp;
use proto::NodeId;
use sqlx::{PgConnection, PgPool};

use crate::app::App;
use crate::clock;
use crate::db;
use crate::db::node_standing::{Cause, NewState};
use crate::domain::ids::uuid_v7;
use crate::domain::node::NodeState;
use crate::domain::reputation::{Reputation, StateChange, Tally};

/// What a piece of asking has shown of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub passes: u64,
    pub failed: bool,
    /// The drawn half of a round that is over.
    pub round: Option<Tally>,
}

/// Brings the node's reputation up to date. `false` when it is out.
pub(super) async fn judge(
    app: &App,
    connection: &mut PgConnection,
    node: NodeId,
    judged: Judged,
    now: Timestamp,
) -> sqlx::Result<bool> {
    if judged.failed {
        db::node_standing::note_failure(connection, node, now).await?;
    }
    let on_probation = app
        .fleet
        .member(node)
        .is_none_or(|member| member.standing().state != NodeState::Active);
    if judged.round.is_none() && !(on_probation && judged.passes > 0) {
        return Ok(true); // vetted nodes need no count of their passes
    }
    let Some(before) = db::node_standing::lock_reputation(connection, node).await? else {
        return Ok(false);
    };
    let (mut after, vetted) = before.after_passes(judged.passes, now);
    let mut changes: Vec<StateChange> = vetted.into_iter().collect();
    if let Some(tally) = judged.round {
        let (next, change) = after.after_round(tally, now);
        after = next;
        changes.extend(change);
    }
    db::node_standing::save_reputation(connection, node, &after).await?;
    if after.on_hold(now)
        && let Some(member) = app.fleet.member(node)
    {
        member.hold(); // at once: what it has lost is about to be repaired
    }
    for change in &changes {
        enter(connection, node, change, Cause::Audit, now).await?;
    }
    Ok(after.state != NodeState::Disqualified)
}

/// A round begins for a node without replicas.
pub(super) async fn holds_nothing(
    connection: &mut PgConnection,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<()> {
    let Some(before) = db::node_standing::lock_reputation(connection, node).await? else {
        return Ok(());
    };
    let (after, change) = before.without_replicas(now);
    if let Some(change) = change {
        db::node_standing::save_reputation(connection, node, &after).await?;
        enter(connection, node, &change, Cause::Audit, now).await?;
    }
    Ok(())
}

/// Enters a new state, with its line in the history. A node that is out or has drained is audited no
/// longer. The replicas of one that is out are demoted by and by, and settlement forfeits what is held
/// for it when it sees the line.
pub async fn enter(
    connection: &mut PgConnection,
    node: NodeId,
    change: &StateChange,
    cause: Cause,
    now: Timestamp,
) -> sqlx::Result<()> {
    let new = NewState {
        id: uuid_v7(now, &mut clock::rng()),
        node_id: node,
        to: change.to,
        cause,
        reason: &change.reason,
    };
    db::node_standing::change_state(connection, &new, now).await?;
    if !change.to.replicas_count() {
        db::audit_schedule::leave(connection, node).await?;
    }
    tracing::warn!(node_id = %node, state = %change.to, cause = cause.name(), reason = change.reason,
        "a node's state has changed");
    Ok(())
}

/// Disqualifies nodes that have been offline for `nodes.gone_after`. `true` when there may be more.
pub async fn disqualify_gone(app: &App, now: Timestamp) -> anyhow::Result<bool> {
    const BATCH: i64 = 100;
    let gone_after = app.config.nodes.gone_after;
    let mut transaction = app.db.begin().await?;
    let gone = db::node_standing::gone(&mut transaction, gone_after, BATCH).await?;
    let mut left = gone.len();
    for node in &gone {
        if app.fleet.is_online(*node) {
            left -= 1;
            continue; // it is here; the liveness worker has not written so yet
        }
        let after = humantime::format_duration(gone_after);
        let change = StateChange {
            to: NodeState::Disqualified,
            reason: format!("gone: offline for {after}"),
        };
        if db::node_standing::lock_reputation(&mut transaction, *node)
            .await?
            .is_some()
        {
            enter(&mut transaction, *node, &change, Cause::Gone, now).await?;
        }
    }
    transaction.commit().await?;
    Ok(left as i64 == BATCH)
}

/// Demotes some replicas of nodes that are out, or lets some of nodes that are back count again. `true`
/// when there may be more.
pub async fn demote_some(app: &App, now: Timestamp) -> anyhow::Result<bool> {
    const BATCH: i64 = 500;
    let mut transaction = app.db.begin().await?;
    let batch = db::node_standing::take_demotions(&mut transaction, BATCH).await?;
    let Some(batch) = batch else { return Ok(false) };
    let (node, blobs, reason) = (batch.node_id, &batch.blobs, &batch.reason);
    if batch.undo {
        let back = db::audit_results::promote(&mut transaction, node, blobs, reason).await?;
        db::repair::schedule_scans(&mut transaction, &[node]).await?; // there may be too many now
        transaction.commit().await?;
        tracing::info!(node_id = %node, replicas = back, "replicas of a restored node count again");
    } else {
        let out = db::audit_results::demote(&mut transaction, node, blobs, reason, now).await?;
        transaction.commit().await?;
        let replicas = out.len();
        tracing::info!(node_id = %node, replicas, "demoted replicas of a node that is out");
    }
    app.repair.nudge.notify_one();
    Ok(true)
}

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no node has this id")]
    NoSuchNode,
    #[error("the node is {0} already")]
    AlreadySo(NodeState),
    #[error("the node is {0}: only probation, active and suspended nodes can be suspended")]
    NotSuspendable(NodeState),
    #[error(
        "the node is {0}: only nodes that are suspended, disqualified or on hold can be restored"
    )]
    NotRestorable(NodeState),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Suspends a node by hand. The score does not lift it again while it is below 980000; above, the next
/// round does, so this is for nodes that do harm now.
pub async fn suspend(
    pool: &PgPool,
    node: NodeId,
    reason: &str,
    now: Timestamp,
) -> Result<NodeState, AdminError> {
    let mut transaction = pool.begin().await?;
    let before = db::node_standing::lock_reputation(&mut transaction, node)
        .await?
        .ok_or(AdminError::NoSuchNode)?;
    match before.state {
        NodeState::Probation | NodeState::Active => {}
        NodeState::Suspended => return Err(AdminError::AlreadySo(before.state)),
        other => return Err(AdminError::NotSuspendable(other)),
    }
    let change = StateChange {
        to: NodeState::Suspended,
        reason: format!("suspended by an administrator: {reason}"),
    };
    enter(&mut transaction, node, &change, Cause::Admin, now).await?;
    transaction.commit().await?;
    Ok(before.state)
}

/// Lets a node begin anew, on probation and with a clean score. Its replicas count again by and by, but
/// for those that failed by themselves.
pub async fn restore(
    pool: &PgPool,
    node: NodeId,
    reason: &str,
    now: Timestamp,
) -> Result<NodeState, AdminError> {
    let mut transaction = pool.begin().await?;
    let before = db::node_standing::lock_reputation(&mut transaction, node)
        .await?
        .ok_or(AdminError::NoSuchNode)?;
    let held_up = match before.state {
        NodeState::Suspended | NodeState::Disqualified => true,
        NodeState::Probation | NodeState::Active => before.on_hold(now),
        NodeState::Draining | NodeState::Drained => false,
    };
    if !held_up {
        return Err(AdminError::NotRestorable(before.state));
    }
    let after: Reputation = before.anew(NodeState::Probation, now);
    db::node_standing::save_reputation(&mut transaction, node, &after).await?;
    db::node_standing::work_through(&mut transaction, node, true).await?;
    let change = StateChange {
        to: NodeState::Probation,
        reason: format!("restored by an administrator: {reason}"),
    };
    enter(&mut transaction, node, &change, Cause::Admin, now).await?;
    db::audit_schedule::enter(&mut transaction, node, now).await?;
    transaction.commit().await?;
    Ok(before.state)
}
