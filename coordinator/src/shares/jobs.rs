//! Cuts what runs for shares that have ended, and forgets what nobody looks for any more.

use std::collections::HashSet;
use std::sync::Arc;

use credentials::share::ShareHash;
use kit::{Job, Step};

use super::{Shares, tables};

pub struct CutEnded(pub Arc<Shares>);

impl Job for CutEnded {
    const NAME: &'static str = "share-ends";

    async fn step(&self) -> anyhow::Result<Step> {
        let running = self.0.running.all();
        if running.is_empty() {
            return Ok(Step::Idle);
        }
        let mut connection = self.0.db.acquire().await?;
        let alive = tables::shares::alive(&mut connection, &running).await?;
        let alive: HashSet<ShareHash> = alive.into_iter().collect();
        for ended in running.iter().filter(|share| !alive.contains(share)) {
            self.0.running.cut(*ended);
        }
        Ok(Step::Idle)
    }
}

pub struct CleanUp(pub Arc<Shares>);

/// Rows that one step touches.
const BATCH: i64 = 1000;

impl Job for CleanUp {
    const NAME: &'static str = "share-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let visitors = tables::visitors::delete_old(&mut connection, BATCH).await?;
        let shares = tables::shares::delete_expired(&mut connection, BATCH).await?;
        Ok(Step::more_if(visitors.max(shares) == BATCH.unsigned_abs()))
    }
}
