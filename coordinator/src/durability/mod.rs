//! That every chunk keeps its replicas: repair, drain, reconciliation of nodes with the database, restore from a backup.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kit::{Clock, Entropy};
use sqlx::PgConnection;

use crate::database::Pool;

use self::metrics::DurabilityMetrics;
use self::repair::Repair;
use self::summary::Summaries;
use crate::blobs::Blobs;
use crate::config::{ReconcileConfig, RepairConfig};
use crate::facts::{Fact, Facts};
use crate::fleet::node_status::NodeStates;
use rules::reputation::Vetting;

pub mod demotion;
pub mod drain;
pub mod inventory;
pub mod jobs;
pub mod metrics;
pub mod purge_undo;
pub mod reconcile;
pub mod repair;
pub mod restore;
pub mod summary;
pub mod tables;

/// What durability works with.
pub struct Durability {
    /// What ends probation.
    pub vetting: Vetting,
    pub db: Pool,
    pub blobs: Arc<Blobs>,
    pub config: RepairConfig,
    pub reconcile: ReconcileConfig,
    /// How long an upload may be open: blobs without a row may belong to one.
    pub session_ttl: Duration,
    pub repair: Repair,
    pub facts: Facts,
    pub node_states: NodeStates,
    pub metrics: DurabilityMetrics,
    pub summaries: Summaries,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// What repair makes of what happens below: nodes whose worth has changed are gone through, chunks that lost
/// replicas are entered.
pub fn on_fact<'a>(
    connection: &'a mut PgConnection,
    fact: Fact<'a>,
) -> BoxFuture<'a, sqlx::Result<()>> {
    Box::pin(async move {
        match fact {
            Fact::NodeRegistered { node, .. } | Fact::ReplicasGained { node } => {
                tables::repair::schedule_scans(connection, &[node]).await
            }
            Fact::NodeChanged { node, from, to, .. }
                if from.replicas_stay() != to.replicas_stay() =>
            {
                tables::repair::schedule_scans(connection, &[node]).await
            }
            Fact::PresenceChanged { nodes } => {
                tables::repair::schedule_scans(connection, nodes).await
            }
            Fact::ReplicasLost { chunks } => {
                tables::repair::enqueue_needy(connection, chunks).await?;
                Ok(())
            }
            Fact::NodeChanged { .. } => Ok(()),
        }
    })
}
