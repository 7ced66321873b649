//! The audit as background work.

use std::sync::Arc;

use kit::{Job, Step};

use crate::proofs::{Proofs, audit};

/// Asks the nodes whose turn it is.
pub struct Audit(pub Arc<Proofs>);

impl Job for Audit {
    const NAME: &'static str = "audit";

    async fn step(&self) -> anyhow::Result<Step> {
        let clock = self.0.clock.clone();
        let more = audit::step(&self.0, &move || clock.now()).await?;
        Ok(Step::more_if(more))
    }
}
