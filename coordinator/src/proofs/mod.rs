//! Continuous proof that nodes hold what they were given: challenges, audits, evidence for owners.

use std::sync::Arc;

use futures::future::BoxFuture;
use kit::{Clock, Entropy, Wake};
use sqlx::PgConnection;

use crate::database::Pool;

use self::audit::Partitions;
use self::evidence_slots::EvidenceSlots;
use self::metrics::ProofMetrics;
use crate::blobs::Blobs;
use crate::config::{EvidenceConfig, ProofsConfig};
use crate::facts::{Fact, Facts};
use crate::fleet::node_status::NodeStates;
use model::node_state::NodeState;
use rules::reputation::Vetting;

pub mod audit;
pub mod challenge;
pub mod demotion;
pub mod evidence;
pub mod evidence_slots;
pub mod fresh_receipts;
pub mod history;
pub mod jobs;
pub mod metrics;
pub mod orders;
pub mod read_failures;
pub mod sealed;
pub mod statements;
pub mod tables;

/// What proofs work with.
pub struct Proofs {
    pub db: Pool,
    pub blobs: Arc<Blobs>,
    pub config: ProofsConfig,
    pub evidence: EvidenceConfig,
    /// What ends probation.
    pub vetting: Vetting,
    pub partitions: Partitions,
    /// Requests of owners for proofs that are worked on at one time.
    pub evidence_slots: EvidenceSlots,
    /// Chunks have lost replicas.
    pub repair_wake: Wake,
    pub facts: Facts,
    pub node_states: NodeStates,
    pub metrics: ProofMetrics,
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
