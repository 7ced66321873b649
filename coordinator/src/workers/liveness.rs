//! Writes in one batch what the nodes that are online have reported, and reads how they stand, so
//! that a heartbeat costs no query; then draws the conclusions about those that are not.

use std::collections::HashMap;
use std::sync::Arc;

use proto::{MicroCredits, NodeId};
use sqlx::{Connection, PgConnection};

use super::Step;
use crate::app::App;
use crate::app::fleet::Standing;
use crate::clock;
use crate::db;
use crate::db::nodes::NodeReport;
use crate::db::presence::Changes;
use crate::domain::reputation::on_hold;
use crate::domain::uptime::SETTLING;

pub(super) async fn step(app: &App) -> anyhow::Result<Step> {
    let online = app.fleet.online();
    app.metrics.nodes_online.set(online.len() as i64);
    if online.is_empty() {
        return Ok(Step::Idle);
    }
    // First: how long ago each was heard of is true when it is written.
    let mut connection = app.db.acquire().await?;
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
    let states = db::nodes::record_reports(&mut connection, &reports).await?;
    let balances = db::ledger::node_balances(&mut connection, &ids).await?;
    let earned: HashMap<NodeId, MicroCredits> = balances
        .iter()
        .map(|balance| (balance.node_id, balance.earned()))
        .collect();
    app.lookout.look(&mut connection, &ids).await?;
    let head = db::settlement::last_head(&mut connection).await?;
    app.ledger_day.store(head.map(Arc::new));
    presence(app, &mut connection).await?;
    keep_out(app, &mut connection, &ids).await?;
    for node in states {
        if let Some(member) = app.fleet.member(node.id) {
            member.set_standing(Standing {
                state: node.state,
                state_reason: node.state_reason,
                on_hold: on_hold(node.mass_failure_at, clock::now()),
                earned: earned.get(&node.id).copied().unwrap_or_default(),
            });
        }
    }
    Ok(Step::Idle)
}

/// Adopt mode has ended without these nodes, which are connected nevertheless.
async fn keep_out(
    app: &App,
    connection: &mut PgConnection,
    online: &[NodeId],
) -> anyhow::Result<()> {
    for node in db::adoption::kept_out(connection, online).await? {
        if let Some(member) = app.fleet.member(node) {
            tracing::warn!(
                node_id = %node,
                "adopt mode has ended without a node: it is kept out until `coordinator adopt begin`"
            );
            app.fleet.remove_peer(&member.peer_id);
        }
    }
    Ok(())
}

/// Which nodes are there and which are not, as far as this coordinator can tell: it has to have looked for a
/// while without a break. After one, others may not have written yet what they know.
async fn presence(app: &App, connection: &mut PgConnection) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    let now = db::presence::now(&mut transaction).await?;
    let since = app.lookout.watching_since(now);
    let grace = app.config.repair.grace;
    let changes = db::presence::update(&mut transaction, since, SETTLING, grace).await?;
    transaction.commit().await?;
    tell(app, &changes);
    Ok(())
}

/// Writes which connections were lost, so that nobody waits for the heartbeats that will not come.
pub(super) async fn connections(app: &App) -> anyhow::Result<Step> {
    // In this order: who is lost meanwhile is lost, and not here.
    let lost = app.fleet.lost();
    let online: Vec<NodeId> = app.fleet.online().iter().map(|m| m.node_id).collect();
    // With nobody left, it is rather this coordinator that has lost the network.
    if online.is_empty() {
        return Ok(Step::Idle);
    }
    let gone: Vec<NodeId> = lost.keys().copied().collect();
    let mut connection = app.db.acquire().await?;
    if lost.is_empty() && !db::presence::any_lost(&mut connection).await? {
        return Ok(Step::Idle);
    }
    let mut transaction = connection.begin().await?;
    let grace = app.config.repair.grace;
    let changes = db::presence::update_connections(&mut transaction, &gone, &online, grace).await?;
    transaction.commit().await?;
    app.fleet.lost_is_known(&lost);
    tell(app, &changes);
    Ok(Step::Idle)
}

fn tell(app: &App, changes: &Changes) {
    if changes.is_empty() {
        return;
    }
    let grace = app.config.repair.grace;
    for node in &changes.back {
        tracing::info!(node_id = %node, "a node is back: its replicas count again");
    }
    for node in &changes.offline {
        tracing::warn!(node_id = %node, ?grace, "a node is offline");
    }
    for node in &changes.away {
        tracing::warn!(node_id = %node, "a node is away: its replicas do not count, and are replaced");
    }
    app.repair.scan_nudge.notify_one();
}
