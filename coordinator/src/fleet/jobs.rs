//! Who is there: written down in batches, so that a heartbeat costs no query; and the conclusions about those
//! who are not.

use crate::bookkeeping::balances;
use std::collections::HashMap;
use std::sync::Arc;

use proto::{MicroCredits, NodeId};
use sqlx::{Connection, PgConnection};

use crate::facts::Fact;
use crate::fleet::tables::nodes::NodeStanding;
use crate::fleet::{Member, Nodes, Standing, guard, node_status, removal, tables, uptime_sampler};
use kit::{Job, Step};

use crate::fleet::tables::nodes::NodeReport;
use crate::fleet::tables::presence::Changes;
use rules::reputation::hold;
use rules::uptime::SETTLING;

/// Writes in one batch what the nodes that are online have reported, and reads how they stand.
pub struct RecordLiveness(pub Arc<Nodes>);

impl Job for RecordLiveness {
    const NAME: &'static str = "liveness";

    async fn step(&self) -> anyhow::Result<Step> {
        record_liveness(&self.0).await
    }
}

/// Asks nodes for signs of life at random moments.
pub struct SampleUptime(pub Arc<Nodes>);

impl Job for SampleUptime {
    const NAME: &'static str = "uptime";

    async fn step(&self) -> anyhow::Result<Step> {
        let Self(nodes) = self;
        uptime_sampler::sample(
            &nodes.uptime_sampler,
            &nodes.fleet,
            &mut nodes.entropy.rng(),
        );
        Ok(Step::Idle)
    }
}

/// Writes which connections were lost, so that nobody waits for the heartbeats that will not come.
pub struct RecordConnections(pub Arc<Nodes>);

impl Job for RecordConnections {
    const NAME: &'static str = "connections";

    async fn step(&self) -> anyhow::Result<Step> {
        record_connections(&self.0).await
    }
}

/// Suspects this coordinator when much of the fleet fails at once.
pub struct WatchFleet(pub Arc<Nodes>);

impl Job for WatchFleet {
    const NAME: &'static str = "fleet-guard";

    async fn step(&self) -> anyhow::Result<Step> {
        guard::watch_fleet(&self.0, self.0.clock.now()).await?;
        Ok(Step::Idle)
    }
}

/// Disqualifies nodes that have been away for too long.
pub struct DisqualifyGone(pub Arc<Nodes>);

impl Job for DisqualifyGone {
    const NAME: &'static str = "disqualification";

    async fn step(&self) -> anyhow::Result<Step> {
        if !self.0.uptime_sampler.has_settled() {
            return Ok(Step::Idle);
        }
        let more = node_status::disqualify_gone(&self.0, self.0.clock.now()).await?;
        Ok(Step::more_if(more))
    }
}

/// Forgets what nobody can use any more of what nodes have left.
pub struct CleanUp(pub Arc<Nodes>);

/// Rows that one step touches.
const CLEAN_UP_BATCH: i64 = 1000;

impl Job for CleanUp {
    const NAME: &'static str = "node-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let nonces = tables::nodes::delete_expired_nonces(&mut connection, CLEAN_UP_BATCH).await?;
        let windows = tables::uptime::delete_settled(&mut connection, CLEAN_UP_BATCH).await?;
        let tokens = tables::nodes::delete_expired_tokens(&mut connection, CLEAN_UP_BATCH).await?;
        drop(connection);
        let before = self.0.config.forget_unseen_after;
        let forgotten = removal::forget_never_seen(&self.0, before, CLEAN_UP_BATCH).await?;
        let most = nonces.max(windows).max(tokens).max(forgotten);
        Ok(Step::more_if(most as i64 == CLEAN_UP_BATCH))
    }
}

async fn record_liveness(nodes: &Nodes) -> anyhow::Result<Step> {
    let online = nodes.fleet.online();
    nodes.metrics.nodes_online.set(online.len() as i64);
    if online.is_empty() {
        return Ok(Step::Idle);
    }
    // First: how long ago each was heard of is true when it is written.
    let mut connection = nodes.db.acquire().await?;
    let reports: Vec<NodeReport> = online
        .iter()
        .map(|member| {
            let live = member.live();
            NodeReport {
                id: member.node_id,
                capacity_bytes: live.capacity_bytes,
                used_bytes: live.used_bytes,
                free_bytes: live.free_bytes,
                blob_count: live.blob_count,
                heard_ago: live.heard.elapsed(),
            }
        })
        .collect();
    let ids: Vec<NodeId> = reports.iter().map(|report| report.id).collect();
    let states = tables::nodes::record_reports(&mut connection, &reports).await?;
    let balances = balances::of_nodes(&mut connection, &ids).await?;
    let earned: HashMap<NodeId, MicroCredits> = balances
        .iter()
        .map(|balance| (balance.node_id, balance.earned()))
        .collect();
    let sampler = &nodes.uptime_sampler;
    sampler
        .list(&mut connection, &mut nodes.entropy.rng())
        .await?;
    let coordinator = nodes.fleet.network().local_peer_id();
    sampler.write(&mut connection, &coordinator).await?;
    presence(nodes, &mut connection).await?;
    keep_out(nodes, &mut connection, &ids).await?;
    drop(connection);
    expel_others(nodes, &online, &states).await;
    for node in states {
        if let Some(member) = nodes.fleet.member(node.id) {
            member.set_standing(Standing {
                state: node.state,
                state_reason: node.state_reason,
                hold: hold(&node.holds, nodes.clock.now()),
                earned: earned.get(&node.id).copied().unwrap_or_default(),
            });
        }
    }
    Ok(Step::Idle)
}

/// Nodes that were removed, and copies of nodes whose place another copy has taken, at another coordinator.
async fn expel_others(nodes: &Nodes, online: &[Arc<Member>], states: &[NodeStanding]) {
    let states: HashMap<NodeId, &NodeStanding> =
        states.iter().map(|state| (state.id, state)).collect();
    for member in online {
        let stays = states.get(&member.node_id).is_some_and(|known| {
            let (known, own) = (known.instance, member.instance);
            known.is_none() || own.is_none() || known == own
        });
        // Whoever came meanwhile has just been judged.
        let is_here = nodes
            .fleet
            .member(member.node_id)
            .is_some_and(|here| Arc::ptr_eq(&here, member));
        if !stays && is_here {
            tracing::warn!(
                node_id = %member.node_id,
                "hanging up on a node: it was removed, or another copy of its data directory is the node now"
            );
            nodes.admission.note_removed(&member.peer_id);
            nodes.fleet.expel(member.peer_id).await;
        }
    }
}

/// Restore mode has ended without these nodes, which are connected nevertheless.
async fn keep_out(
    nodes: &Nodes,
    connection: &mut PgConnection,
    online: &[NodeId],
) -> anyhow::Result<()> {
    for node in tables::awaiting_restore::kept_out(connection, online).await? {
        if let Some(member) = nodes.fleet.member(node) {
            tracing::warn!(
                node_id = %node,
                "restore mode has ended without a node: it is kept out until `coordinator restore begin`"
            );
            nodes.fleet.remove_peer(&member.peer_id);
        }
    }
    Ok(())
}

/// Which nodes are there and which are not, as far as this coordinator can tell: it has to have looked for a
/// while without a break. After one, others may not have written yet what they know.
async fn presence(nodes: &Nodes, connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    let now = tables::presence::now(&mut transaction).await?;
    let since = nodes.uptime_sampler.watching_since(now);
    let grace = nodes.grace;
    let changes = tables::presence::update(&mut transaction, since, SETTLING, grace).await?;
    tell_facts(nodes, &mut transaction, &changes).await?;
    transaction.commit().await?;
    tell(nodes, &changes);
    Ok(())
}

async fn record_connections(nodes: &Nodes) -> anyhow::Result<Step> {
    // In this order: who is lost meanwhile is lost, and not here.
    let lost = nodes.fleet.lost();
    let online: Vec<NodeId> = nodes.fleet.online().iter().map(|m| m.node_id).collect();
    // With nobody left, it is rather this coordinator that has lost the network.
    if online.is_empty() {
        return Ok(Step::Idle);
    }
    let gone: Vec<NodeId> = lost.keys().copied().collect();
    let mut connection = nodes.db.acquire().await?;
    if lost.is_empty() && !tables::presence::any_lost(&mut connection).await? {
        return Ok(Step::Idle);
    }
    let mut transaction = connection.begin().await?;
    let grace = nodes.grace;
    let changes =
        tables::presence::update_connections(&mut transaction, &gone, &online, grace).await?;
    tell_facts(nodes, &mut transaction, &changes).await?;
    transaction.commit().await?;
    nodes.fleet.lost_is_known(&lost);
    tell(nodes, &changes);
    Ok(Step::Idle)
}

/// What follows is written with the changes.
async fn tell_facts(
    nodes: &Nodes,
    connection: &mut PgConnection,
    changes: &Changes,
) -> sqlx::Result<()> {
    let changed = changes.nodes();
    if changed.is_empty() {
        return Ok(());
    }
    let fact = Fact::PresenceChanged { nodes: &changed };
    nodes.facts.tell(connection, fact).await
}

fn tell(nodes: &Nodes, changes: &Changes) {
    if changes.is_empty() {
        return;
    }
    let grace = nodes.grace;
    for node in &changes.back {
        tracing::info!(node_id = %node, "a node is back: its replicas count again");
    }
    for node in &changes.offline {
        tracing::warn!(node_id = %node, ?grace, "a node is offline");
    }
    for node in &changes.away {
        tracing::warn!(node_id = %node, "a node is away: its replicas do not count, and are replaced");
    }
    nodes.scan_wake.wake();
}
