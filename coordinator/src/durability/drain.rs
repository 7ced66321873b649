//! A node leaves in order: its operator asks, repair moves what it holds elsewhere, and when nothing is
//! left the node has drained: what was held back from its pay comes back with the next settlement.
//!
//! All of it is state of the database, so that a restart of node or coordinator changes nothing. While
//! it drains a node can be called back; once it has drained that is final, because its held credits are
//! paid out.
//!
//! A node is empty when no row names it, but for those of replicas that failed and whose chunks have been
//! mended. They are not moved, the audit goes on to count them for 30 days, and of a node that is almost
//! empty it would see nothing else. Rejected: to count the end by what was moved.

use crate::bookkeeping::balances;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proto::{MicroCredits, NodeId};
use rand::RngExt;
use sqlx::PgConnection;

use crate::durability::{Durability, tables};
use crate::{fleet, proofs};
use rand::Rng;

use crate::durability::tables::drains::Drain;
use crate::fleet::tables::node_status::Cause;
use model::ids::uuid_v7;
use model::node::Node;
use model::node_state::NodeState;
use rules::audit::Sample;
use rules::drain::{Load, NoRoom, Pace, Room, SAMPLE, estimate};
use rules::reputation::StateChange;

/// Every coordinator has read the node's state by then, and what was on its way to it has arrived. An
/// upload that takes longer still is noticed by [`REFILLED_WITHIN`].
const SETTLES: SignedDuration = SignedDuration::from_secs(20);

/// A node that has drained and is named by an upload that began before goes on draining.
const REFILLED_WITHIN: SignedDuration = SignedDuration::from_hours(48);

/// Nodes that one step looks at.
const BATCH: i64 = 100;

#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    #[error("no node has this id")]
    NoSuchNode,
    #[error("the node was disqualified: {0}")]
    Disqualified(String),
    #[error("the network's database was restored, and the node has not been gone through since")]
    AwaitsRestore,
    #[error("the node is {0}, it is not draining")]
    NotDraining(NodeState),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What draining a node would mean now.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub load: Load,
    /// The rest of the fleet.
    pub room: Room,
    pub no_room: Option<NoRoom>,
    /// `None` while nothing is known of how fast this network moves data.
    pub estimated: Option<Duration>,
    /// Comes back at the end.
    pub held: MicroCredits,
}

/// How far a node has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub drain: Drain,
    pub left: Load,
    pub estimated: Option<Duration>,
    pub pay: Pay,
}

/// What the node has got, and has yet to get.
#[derive(Debug, Clone, Copy)]
pub struct Pay {
    /// In all settled days.
    pub earned: MicroCredits,
    pub paid_out: MicroCredits,
    pub held: MicroCredits,
    pub available: MicroCredits,
}

pub async fn plan(durability: &Durability, node: NodeId) -> sqlx::Result<Plan> {
    let mut connection = durability.db.acquire().await?;
    let load = load_of(&mut connection, node, &mut durability.entropy.rng()).await?;
    let mut others = durability.blobs.fleet.candidates();
    others.retain(|candidate| candidate.node_id != node);
    let ids: Vec<NodeId> = others.iter().map(|other| other.node_id).collect();
    let from = match load.blobs > u64::from(SAMPLE) {
        true => durability.entropy.rng().random::<u64>() / 2, // enough of the ids lie behind it
        false => 0,
    };
    let stuck = tables::drains::stuck(&mut connection, node, from, &ids).await?;
    let room = Room::of(&others);
    let pace = tables::drains::last_pace(&mut connection).await?;
    Ok(Plan {
        load,
        room,
        no_room: NoRoom::find(load, room, stuck),
        estimated: estimate(load.bytes, pace, budget(durability)),
        held: pay_of(&mut connection, node).await?.held,
    })
}

fn budget(durability: &Durability) -> Option<u64> {
    let budget = durability.config.bytes_per_second;
    budget.map(|bytes| bytes.as_u64())
}

/// How far the last drain of a node has come; `None` when nobody has asked for one.
pub async fn progress(
    durability: &Durability,
    node: NodeId,
    now: Timestamp,
) -> sqlx::Result<Option<Progress>> {
    let mut connection = durability.db.acquire().await?;
    let Some(drain) = tables::drains::last(&mut connection, node).await? else {
        return Ok(None);
    };
    let left = load_of(&mut connection, node, &mut durability.entropy.rng()).await?;
    let pace = Pace {
        bytes: left.moved_since(drain.load).bytes,
        elapsed: Duration::try_from(now.duration_since(drain.started_at)).unwrap_or_default(),
    };
    let estimated = match drain.ended {
        Some(_) => None,
        None => pace.foretell(left.bytes),
    };
    Ok(Some(Progress {
        drain,
        left,
        estimated,
        pay: pay_of(&mut connection, node).await?,
    }))
}

/// Of a large node a part is counted and the rest inferred.
async fn load_of(
    connection: &mut PgConnection,
    node: NodeId,
    rng: &mut impl Rng,
) -> sqlx::Result<Load> {
    let replicas = proofs::tables::audit_schedule::estimated_replicas(connection, node).await?;
    let sample = Sample::of(replicas.unwrap_or(0), rng.random());
    let part = tables::drains::load(connection, node, &sample.ids).await?;
    Ok(Load {
        blobs: part.blobs << sample.shift,
        bytes: part.bytes << sample.shift,
    })
}

async fn pay_of(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<Pay> {
    let (earned, paid_out) = tables::drains::lifetime_pay(connection, node).await?;
    let balances = balances::of_nodes(connection, &[node]).await?;
    let balance = balances.first();
    Ok(Pay {
        earned,
        paid_out,
        held: balance.map_or(MicroCredits::ZERO, |balance| balance.held),
        available: balance.map_or(MicroCredits::ZERO, |balance| balance.available),
    })
}

/// The operator asks. A node that drains or has drained already stays as it is.
pub async fn begin(durability: &Durability, node: &Node, now: Timestamp) -> Result<(), DrainError> {
    if matches!(node.state, NodeState::Draining | NodeState::Drained) {
        return Ok(());
    }
    let plan = plan(durability, node.id).await?;
    let mut transaction = durability.db.begin().await?;
    if !fleet::tables::awaiting_restore::kept_out(&mut transaction, &[node.id])
        .await?
        .is_empty()
    {
        return Err(DrainError::AwaitsRestore);
    }
    let before = fleet::tables::node_status::lock_reputation(&mut transaction, node.id)
        .await?
        .ok_or(DrainError::NoSuchNode)?;
    match before.state {
        NodeState::Draining | NodeState::Drained => return Ok(()), // asked twice at once
        NodeState::Disqualified => {
            return Err(DrainError::Disqualified(node.state_reason.clone()));
        }
        NodeState::Probation | NodeState::Active | NodeState::Suspended => {}
    }
    if let Some(no_room) = plan.no_room {
        return Err(no_room.into());
    }
    let id = uuid_v7(now, &mut durability.entropy.rng());
    tables::drains::insert(&mut transaction, id, node.id, plan.load, now).await?;
    let change = StateChange {
        to: NodeState::Draining,
        reason: "its operator asked to drain it".to_owned(),
    };
    durability
        .node_states
        .enter(&mut transaction, node.id, &change, Cause::Operator, now)
        .await?;
    transaction.commit().await?;
    tell_fleet(durability, node.id, &change);
    Ok(())
}

/// The operator has changed his mind: the node goes on as its score says.
pub async fn cancel(
    durability: &Durability,
    node: NodeId,
    now: Timestamp,
) -> Result<(), DrainError> {
    let mut transaction = durability.db.begin().await?;
    let before = fleet::tables::node_status::lock_reputation(&mut transaction, node)
        .await?
        .ok_or(DrainError::NoSuchNode)?;
    if before.state != NodeState::Draining {
        return Err(DrainError::NotDraining(before.state));
    }
    let change = StateChange {
        to: before.by_score(durability.vetting, now),
        reason: "its operator called the drain off".to_owned(),
    };
    durability
        .node_states
        .enter(&mut transaction, node, &change, Cause::Operator, now)
        .await?;
    transaction.commit().await?;
    tell_fleet(durability, node, &change);
    Ok(())
}

/// Ends the drains of nodes that hold nothing any more that anybody needs. `true` when there may be more.
pub async fn finish_some(durability: &Durability, now: Timestamp) -> anyhow::Result<bool> {
    let mut connection = durability.db.acquire().await?;
    let began_before = now.saturating_sub(SETTLES)?;
    let emptied = tables::drains::emptied(&mut connection, began_before, BATCH).await?;
    let drained_since = now.saturating_sub(REFILLED_WITHIN)?;
    let refilled = tables::drains::refilled(&mut connection, drained_since, BATCH).await?;
    drop(connection);
    for node in &emptied {
        let change = StateChange {
            to: NodeState::Drained,
            reason: "it holds nothing any more".to_owned(),
        };
        settle_state(durability, *node, NodeState::Draining, &change, now).await?;
    }
    for node in &refilled {
        let change = StateChange {
            to: NodeState::Draining,
            reason: "an upload that was under way when it drained has left a copy on it".to_owned(),
        };
        settle_state(durability, *node, NodeState::Drained, &change, now).await?;
    }
    Ok(emptied.len().max(refilled.len()) as i64 == BATCH)
}

/// From `draining` to `drained` or back, if what was seen still holds under the lock of the node.
async fn settle_state(
    durability: &Durability,
    node: NodeId,
    from: NodeState,
    change: &StateChange,
    now: Timestamp,
) -> sqlx::Result<()> {
    let mut transaction = durability.db.begin().await?;
    let before = fleet::tables::node_status::lock_reputation(&mut transaction, node).await?;
    let is_needed = tables::drains::is_needed(&mut transaction, node).await?;
    let is_end = change.to == NodeState::Drained;
    if before.is_none_or(|before| before.state != from) || is_needed == is_end {
        return Ok(());
    }
    if !is_end {
        let load = load_of(&mut transaction, node, &mut durability.entropy.rng()).await?;
        let id = uuid_v7(now, &mut durability.entropy.rng());
        tables::drains::insert(&mut transaction, id, node, load, now).await?;
        proofs::tables::audit_schedule::enter(&mut transaction, node, now).await?;
    }
    durability
        .node_states
        .enter(&mut transaction, node, change, Cause::Operator, now)
        .await?;
    transaction.commit().await?;
    tell_fleet(durability, node, change);
    Ok(())
}

/// This coordinator knows at once; the others when they next look.
fn tell_fleet(durability: &Durability, node: NodeId, change: &StateChange) {
    if let Some(member) = durability.blobs.fleet.member(node) {
        let mut standing = member.standing();
        standing.state = change.to;
        standing.state_reason.clone_from(&change.reason);
        member.set_standing(standing);
    }
}
