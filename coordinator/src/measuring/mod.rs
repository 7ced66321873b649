//! What only the database can tell is measured at a steady pace, so that reading the metrics asks nobody: whoever reads
//! them often costs nothing, and they can be read while the database is away. Each concern asks for its own.

use std::sync::Arc;

use kit::{Job, Step};

use crate::billing::Billing;
use crate::files::Files;
use crate::fleet::Nodes;
use crate::proofs::Proofs;

/// Brings the gauges of what is in the database up to now.
pub struct Measure {
    pub nodes: Arc<Nodes>,
    pub billing: Arc<Billing>,
    pub files: Arc<Files>,
    pub proofs: Arc<Proofs>,
}

impl Job for Measure {
    const NAME: &'static str = "measure";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.nodes.db.acquire().await?;
        self.nodes.metrics.count_nodes(&mut connection).await?;
        self.billing.metrics.measure(&mut connection).await?;
        self.files.metrics.measure(&mut connection).await?;
        self.files.blobs.metrics.measure(&mut connection).await?;
        self.proofs.metrics.measure(&mut connection).await?;
        Ok(Step::Idle)
    }
}
