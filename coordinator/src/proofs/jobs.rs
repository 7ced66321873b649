//! The audit as background work.

use std::sync::Arc;

use kit::{Job, Step};

use crate::proofs::{Proofs, audit, fresh_receipts};

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

/// Challenges what newcomers have just signed for, and holds forged receipts against their nodes.
pub struct CheckReceipts(pub Arc<Proofs>);

impl Job for CheckReceipts {
    const NAME: &'static str = "receipts";

    async fn step(&self) -> anyhow::Result<Step> {
        fresh_receipts::check(&self.0, self.0.clock.now()).await?;
        Ok(Step::Idle)
    }
}
