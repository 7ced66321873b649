//! What the audit, absence and administrators do to the state of a node.

use jiff::Timestamp;
use kit::Entropy;
use proto::NodeId;
use sqlx::PgConnection;

use crate::database::Pool;

use crate::facts::{Fact, Facts};
use crate::fleet::{Fleet, Nodes, tables};

use crate::fleet::tables::node_status::{Cause, NewState};
use model::ids::uuid_v7;
use model::node_state::NodeState;
use rules::reputation::{Passes, Reputation, StateChange, Tally, Vetting, hold};

/// What a piece of asking has shown of its node.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// In time.
    pub passed: Passes,
    /// Replicas that are lost.
    pub failed: u64,
    /// Replicas that count for the node, lost ones included, as far as is known.
    pub held: u64,
    /// The drawn half of the round so far.
    pub tally: Tally,
    /// The round is over with this.
    pub round_ends: bool,
}

/// Enters changes of nodes' states, and tells of them.
#[derive(Debug, Clone)]
pub struct NodeStates {
    pub facts: Facts,
    pub entropy: Entropy,
}

impl NodeStates {
    /// Brings the node's reputation up to date. `false` when it is out.
    pub async fn judge(
        &self,
        fleet: &Fleet,
        connection: &mut PgConnection,
        node: NodeId,
        judged: Judged,
        vetting: Vetting,
        now: Timestamp,
    ) -> sqlx::Result<bool> {
        if judged.failed > 0 {
            tables::node_status::note_failure(connection, node, now).await?;
        }
        let on_probation = fleet.member(node).is_none_or(|member| !member.is_vetted());
        let silent = judged.tally.mostly_missed();
        // Vetted nodes need no count of their passes.
        let counts = on_probation && judged.passed.count > 0;
        if !(judged.round_ends || judged.failed > 0 || silent || counts) {
            return Ok(true);
        }
        let Some(before) = tables::node_status::lock_reputation(connection, node).await? else {
            return Ok(false);
        };
        let (mut after, vetted) = before.after_passes(judged.passed, vetting, now);
        let mut changes: Vec<StateChange> = vetted.into_iter().collect();
        after = after.after_losses(judged.failed, judged.held, now);
        if judged.round_ends {
            let (next, change) = after.after_round(judged.tally, vetting, now);
            after = next;
            changes.extend(change);
        } else if silent {
            after = after.while_unanswered(now); // it need not be given data for the rest of the round
        }
        self.keep(fleet, connection, node, &after, &changes, now)
            .await?;
        Ok(after.state != NodeState::Disqualified)
    }

    /// The node has told that it lost so many of the replicas that count for it, of `held`.
    pub async fn told_of_losses(
        &self,
        fleet: &Fleet,
        connection: &mut PgConnection,
        node: NodeId,
        (lost, held): (u64, u64),
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let Some(before) = tables::node_status::lock_reputation(connection, node).await? else {
            return Ok(());
        };
        let (after, change) = before.after_report(lost, held, now);
        self.keep(
            fleet,
            connection,
            node,
            &after,
            &Vec::from_iter(change),
            now,
        )
        .await
    }

    /// The node has signed so many receipts for something else than it was sent.
    pub async fn forged_receipts(
        &self,
        fleet: &Fleet,
        connection: &mut PgConnection,
        node: NodeId,
        receipts: u64,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let Some(before) = tables::node_status::lock_reputation(connection, node).await? else {
            return Ok(());
        };
        let (after, change) = before.after_forged_receipts(receipts, now);
        self.keep(
            fleet,
            connection,
            node,
            &after,
            &Vec::from_iter(change),
            now,
        )
        .await
    }

    /// Writes what a node has become. This coordinator knows of a hold at once: what is lost is about to be repaired.
    async fn keep(
        &self,
        fleet: &Fleet,
        connection: &mut PgConnection,
        node: NodeId,
        after: &Reputation,
        changes: &[StateChange],
        now: Timestamp,
    ) -> sqlx::Result<()> {
        tables::node_status::save_reputation(connection, node, after).await?;
        if let (Some(hold), Some(member)) = (hold(&after.holds, now), fleet.member(node)) {
            member.hold(hold);
        }
        for change in changes {
            self.enter(connection, node, change, Cause::Audit, now)
                .await?;
        }
        Ok(())
    }

    /// A round begins for a node without replicas.
    pub async fn holds_nothing(
        &self,
        connection: &mut PgConnection,
        node: NodeId,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let Some(before) = tables::node_status::lock_reputation(connection, node).await? else {
            return Ok(());
        };
        let (after, change) = before.without_replicas(now);
        if let Some(change) = change {
            tables::node_status::save_reputation(connection, node, &after).await?;
            self.enter(connection, node, &change, Cause::Audit, now)
                .await?;
        }
        Ok(())
    }

    /// Enters a new state, with its line in the history. A node that is out or has drained is audited no
    /// longer. The replicas of one that is out are demoted by and by, and settlement forfeits what is held
    /// for it when it sees the line.
    pub async fn enter(
        &self,
        connection: &mut PgConnection,
        node: NodeId,
        change: &StateChange,
        cause: Cause,
        now: Timestamp,
    ) -> sqlx::Result<()> {
        let new = NewState {
            id: uuid_v7(now, &mut self.entropy.rng()),
            node_id: node,
            to: change.to,
            cause,
            reason: &change.reason,
        };
        if let Some(from) = tables::node_status::change_state(connection, &new, now).await? {
            let to = change.to;
            let fact = Fact::NodeChanged {
                node,
                from,
                to,
                at: now,
            };
            self.facts.tell(connection, fact).await?;
        }
        tracing::warn!(node_id = %node, state = %change.to, cause = cause.name(), reason = change.reason,
        "a node's state has changed");
        Ok(())
    }

    /// Suspends a node by hand. The score does not lift it again while it is below 980000; above, the next
    /// round does, so this is for nodes that do harm now.
    pub async fn suspend(
        &self,
        pool: &Pool,
        node: NodeId,
        reason: &str,
        now: Timestamp,
    ) -> Result<NodeState, AdminError> {
        let mut transaction = pool.begin().await?;
        let before = tables::node_status::lock_reputation(&mut transaction, node)
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
        self.enter(&mut transaction, node, &change, Cause::Admin, now)
            .await?;
        transaction.commit().await?;
        Ok(before.state)
    }

    /// Lets a node begin anew, on probation and with a clean score. Its replicas count again by and by, but
    /// for those that failed by themselves.
    pub async fn restore(
        &self,
        pool: &Pool,
        node: NodeId,
        reason: &str,
        now: Timestamp,
    ) -> Result<NodeState, AdminError> {
        let mut transaction = pool.begin().await?;
        let before = tables::node_status::lock_reputation(&mut transaction, node)
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
        tables::node_status::save_reputation(&mut transaction, node, &after).await?;
        tables::node_status::work_through(&mut transaction, node, true).await?;
        let change = StateChange {
            to: NodeState::Probation,
            reason: format!("restored by an administrator: {reason}"),
        };
        self.enter(&mut transaction, node, &change, Cause::Admin, now)
            .await?;
        transaction.commit().await?;
        Ok(before.state)
    }
}

/// Disqualifies nodes that have been offline for `nodes.gone_after`. `true` when there may be more.
pub async fn disqualify_gone(nodes: &Nodes, now: Timestamp) -> anyhow::Result<bool> {
    const BATCH: i64 = 100;
    let gone_after = nodes.config.gone_after;
    let mut transaction = nodes.db.begin().await?;
    let gone = tables::node_status::gone(&mut transaction, gone_after, BATCH).await?;
    let mut left = gone.len();
    for node in &gone {
        if nodes.fleet.is_online(*node) {
            left -= 1;
            continue; // it is here; the liveness worker has not written so yet
        }
        let after = humantime::format_duration(gone_after);
        let change = StateChange {
            to: NodeState::Disqualified,
            reason: format!("gone: offline for {after}"),
        };
        if tables::node_status::lock_reputation(&mut transaction, *node)
            .await?
            .is_some()
        {
            nodes
                .states
                .enter(&mut transaction, *node, &change, Cause::Gone, now)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(left as i64 == BATCH)
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
