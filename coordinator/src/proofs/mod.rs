//! Continuous proof that nodes hold what they were given: challenges, audits, evidence for owners.

use std::sync::Arc;

use futures::future::BoxFuture;
use kit::{Clock, Entropy, Wake};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Semaphore;

use self::audit::Partitions;
use crate::blobs::Blobs;
use crate::config::ProofsConfig;
use crate::facts::{Fact, Facts};
use crate::fleet::node_status::NodeStates;
use crate::metrics::Metrics;
use model::node_state::NodeState;

pub mod audit;
pub mod challenge;
pub mod demotion;
pub mod evidence;
pub mod history;
pub mod jobs;
pub mod orders;
pub mod read_failures;
pub mod tables;

/// What proofs work with.
pub struct Proofs {
    pub db: PgPool,
    pub blobs: Arc<Blobs>,
    pub config: ProofsConfig,
    pub partitions: Partitions,
    /// Requests of owners for proofs that are worked on at one time.
    pub evidence_slots: Semaphore,
    /// Chunks have lost replicas.
    pub repair_wake: Wake,
    pub facts: Facts,
    pub node_states: NodeStates,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// What the audit makes of what happens below: registered nodes are asked, those that are out are not.
pub fn on_fact<'a>(
    connection: &'a mut PgConnection,
    fact: Fact<'a>,
) -> BoxFuture<'a, sqlx::Result<()>> {
    Box::pin(async move {
        match fact {
            Fact::NodeRegistered { node, state, at } if state.replicas_count() => {
                tables::audit_schedule::enter(connection, node, at).await
            }
            Fact::NodeChanged { node, to, .. } if !to.replicas_count() => {
                tables::audit_schedule::leave(connection, node).await
            }
            // Restored by an administrator.
            Fact::NodeChanged {
                node,
                to: NodeState::Probation,
                at,
                ..
            } => tables::audit_schedule::enter(connection, node, at).await,
            _ => Ok(()),
        }
    })
}
