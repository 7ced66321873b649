//! What the API's handlers are given. Each names, in its `State`, the one concern that it speaks for; nobody takes
//! all of this but the router.

use std::sync::Arc;

use axum::extract::FromRef;
use kit::{Clock, Entropy, Statuses};

use crate::accounts::Accounts;
use crate::billing::Billing;
use crate::closing::Closing;
use crate::compose::Coordinator;
use crate::config::HttpConfig;
use crate::durability::Durability;
use crate::files::Files;
use crate::fleet::Nodes;
use crate::fleet::peers::PeerNetwork;
use crate::metrics::{HttpMetrics, JobMetrics, Metrics, ShareMetrics};
use crate::objects::Objects;
use crate::proofs::Proofs;
use crate::shares::Shares;

#[derive(Clone)]
pub struct ApiState {
    accounts: Arc<Accounts>,
    nodes: Arc<Nodes>,
    peers: PeerNetwork,
    billing: Arc<Billing>,
    files: Arc<Files>,
    objects: Arc<Objects>,
    closing: Arc<Closing>,
    shares: Arc<Shares>,
    proofs: Arc<Proofs>,
    durability: Arc<Durability>,
    metrics: Arc<Metrics>,
    job_metrics: Arc<JobMetrics>,
    http_metrics: Arc<HttpMetrics>,
    share_metrics: Arc<ShareMetrics>,
    jobs: Statuses,
    config: Arc<HttpConfig>,
    clock: Clock,
    entropy: Entropy,
}

impl ApiState {
    pub fn of(coordinator: &Coordinator, jobs: Statuses) -> Self {
        Self {
            accounts: Arc::clone(&coordinator.accounts),
            nodes: Arc::clone(&coordinator.nodes),
            peers: coordinator.peers.clone(),
            billing: Arc::clone(&coordinator.billing),
            files: Arc::clone(&coordinator.files),
            objects: Arc::clone(&coordinator.objects),
            closing: Arc::clone(&coordinator.closing),
            shares: Arc::clone(&coordinator.shares),
            proofs: Arc::clone(&coordinator.proofs),
            durability: Arc::clone(&coordinator.durability),
            metrics: Arc::clone(&coordinator.metrics),
            job_metrics: Arc::clone(&coordinator.job_metrics),
            http_metrics: Arc::clone(&coordinator.http_metrics),
            share_metrics: Arc::clone(&coordinator.share_metrics),
            jobs,
            config: Arc::new(coordinator.config.http.clone()),
            clock: coordinator.clock.clone(),
            entropy: coordinator.entropy.clone(),
        }
    }
}

/// A handler takes any one of the parts.
macro_rules! parts {
    ($($part:ident: $of:ty),* $(,)?) => {$(
        impl FromRef<ApiState> for $of {
            fn from_ref(state: &ApiState) -> Self {
                state.$part.clone()
            }
        }
    )*};
}

parts! {
    share_metrics: Arc<ShareMetrics>,
    accounts: Arc<Accounts>,
    closing: Arc<Closing>,
    nodes: Arc<Nodes>,
    peers: PeerNetwork,
    billing: Arc<Billing>,
    files: Arc<Files>,
    objects: Arc<Objects>,
    shares: Arc<Shares>,
    proofs: Arc<Proofs>,
    durability: Arc<Durability>,
    metrics: Arc<Metrics>,
    job_metrics: Arc<JobMetrics>,
    http_metrics: Arc<HttpMetrics>,
    jobs: Statuses,
    config: Arc<HttpConfig>,
    clock: Clock,
    entropy: Entropy,
}
