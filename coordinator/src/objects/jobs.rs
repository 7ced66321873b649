//! Ends objects whose time is up, and takes away what nobody looks for any more.

use std::sync::Arc;

use kit::{Job, Step};

use super::{Objects, bucket_rules, expiry, tables};

/// Ends versions whose files nobody pays for any longer.
pub struct ChargeObjects(pub Arc<Objects>);

impl Job for ChargeObjects {
    const NAME: &'static str = "object-charges";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(expiry::expire_one(&self.0).await?))
    }
}

/// Deletes versions that were stored for a time.
pub struct DeleteExpired(pub Arc<Objects>);

impl Job for DeleteExpired {
    const NAME: &'static str = "object-expiry";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(expiry::expire_one_version(&self.0).await?))
    }
}

/// Deletes objects that their bucket keeps no longer.
pub struct WalkBuckets(pub Arc<Objects>);

impl Job for WalkBuckets {
    const NAME: &'static str = "object-lifecycle";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(bucket_rules::walk_one(&self.0).await?))
    }
}

/// Ends uploads in parts that nobody completed, and files that were let go.
pub struct EndLeftOvers(pub Arc<Objects>);

impl Job for EndLeftOvers {
    const NAME: &'static str = "object-left-overs";

    async fn step(&self) -> anyhow::Result<Step> {
        let given_up = expiry::expire_one_multipart(&self.0).await?;
        let ended = expiry::end_released(&self.0).await?;
        Ok(Step::more_if(given_up || ended))
    }
}

/// Forgets old changes, and names that have rested.
pub struct CleanUp(pub Arc<Objects>);

/// Rows that one step touches.
const CLEAN_UP_BATCH: i64 = 1000;

impl Job for CleanUp {
    const NAME: &'static str = "object-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let changes = tables::changes::delete_old(&mut connection, CLEAN_UP_BATCH).await?;
        let names = tables::buckets::delete_rested(&mut connection, CLEAN_UP_BATCH).await?;
        Ok(Step::more_if(changes.max(names) as i64 == CLEAN_UP_BATCH))
    }
}
