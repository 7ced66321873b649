//! What keeps chunks whole, as background work.

use std::sync::Arc;

use kit::{Job, Step};

use crate::durability::{
    Durability, demotion, drain, purge_undo, reconcile, repair, restore, tables,
};

/// Lets replicas of nodes that are out count no more.
pub struct Demote(pub Arc<Durability>);

impl Job for Demote {
    const NAME: &'static str = "demotion";

    async fn step(&self) -> anyhow::Result<Step> {
        let more = demotion::demote_some(&self.0, self.0.clock.now()).await?;
        Ok(Step::more_if(more))
    }
}

/// Ends drains of nodes that hold nothing any more.
pub struct FinishDrains(pub Arc<Durability>);

impl Job for FinishDrains {
    const NAME: &'static str = "drain";

    async fn step(&self) -> anyhow::Result<Step> {
        let more = drain::finish_some(&self.0, self.0.clock.now()).await?;
        Ok(Step::more_if(more))
    }
}

/// Goes through the replicas of nodes whose worth has changed.
pub struct RepairScan(pub Arc<Durability>);

impl Job for RepairScan {
    const NAME: &'static str = "repair-scan";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(repair::scan(&self.0).await?))
    }
}

/// Works on chunks that need replicas, or have too many.
pub struct Repair(pub Arc<Durability>);

impl Job for Repair {
    const NAME: &'static str = "repair";

    async fn step(&self) -> anyhow::Result<Step> {
        let worked = repair::step(&self.0).await;
        repair::show_queue(&self.0).await?;
        Ok(Step::more_if(worked?))
    }

    async fn backlog(&self) -> anyhow::Result<Option<u64>> {
        let mut connection = self.0.db.acquire().await?;
        let waiting = tables::repair::waiting(&mut connection).await?;
        Ok(Some(waiting.iter().map(|level| level.chunks).sum()))
    }
}

/// Compares nodes with the database.
pub struct Reconcile(pub Arc<Durability>);

impl Job for Reconcile {
    const NAME: &'static str = "reconcile";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(reconcile::step(&self.0).await?))
    }
}

/// Has nodes bring back what they threw away, when an administrator wants it.
pub struct UndoPurges(pub Arc<Durability>);

impl Job for UndoPurges {
    const NAME: &'static str = "undo-purges";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(purge_undo::step(&self.0).await?))
    }
}

/// Goes through nodes after a restore of the database.
pub struct Restore(pub Arc<Durability>);

impl Job for Restore {
    const NAME: &'static str = "restore";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(restore::step(&self.0).await?))
    }
}
