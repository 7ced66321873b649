//! Writes in one batch what the nodes that are online have reported, and reads how they stand, so
//! that a heartbeat costs no query.

use std::collections::HashMap;
use std::sync::Arc;

use proto::{MicroCredits, NodeId};

use super::Step;
use crate::app::App;
use crate::app::fleet::Standing;
use crate::clock;
use crate::db;
use crate::db::nodes::NodeReport;
use crate::domain::reputation::on_hold;

pub(super) async fn step(app: &App) -> anyhow::Result<Step> {
    let online = app.fleet.online();
    app.metrics.nodes_online.set(online.len() as i64);
    if online.is_empty() {
        return Ok(Step::Idle);
    }
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
            }
        })
        .collect();
    let ids: Vec<NodeId> = reports.iter().map(|report| report.id).collect();
    let mut connection = app.db.acquire().await?;
    let states = db::nodes::record_reports(&mut connection, &reports).await?;
    let balances = db::ledger::node_balances(&mut connection, &ids).await?;
    let earned: HashMap<NodeId, MicroCredits> = balances
        .iter()
        .map(|balance| (balance.node_id, balance.earned()))
        .collect();
    app.lookout.look(&mut connection, &ids).await?;
    let head = db::settlement::last_head(&mut connection).await?;
    app.ledger_day.store(head.map(Arc::new));
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
