//! Ends files and uploads whose time is up, and takes away what belonged to them, one short transaction after
//! the other.

use std::sync::Arc;

use kit::{Job, Step};

use crate::files::upload::{complete, digest};
use crate::files::{Files, delete, renewal, tables};

/// Takes chunks of deleted files away.
pub struct Forget(pub Arc<Files>);

impl Job for Forget {
    const NAME: &'static str = "forget";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(delete::forget_some(&self.0).await?))
    }
}

/// Ends uploads that nobody completed.
pub struct ExpireUploads(pub Arc<Files>);

impl Job for ExpireUploads {
    const NAME: &'static str = "expiry";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(complete::expire_one(&self.0).await?))
    }
}

/// Computes the digests of files that came in steps.
pub struct HashFiles(pub Arc<Files>);

impl Job for HashFiles {
    const NAME: &'static str = "file-digests";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(digest::step(&self.0).await?))
    }
}

/// Renews files that are due, and ends those that nobody pays for any longer.
pub struct ChargeFiles(pub Arc<Files>);

impl Job for ChargeFiles {
    const NAME: &'static str = "file-charges";

    async fn step(&self) -> anyhow::Result<Step> {
        let renewed = renewal::renew_one(&self.0).await?;
        let expired = renewal::expire_one(&self.0).await?;
        Ok(Step::more_if(renewed || expired))
    }
}

/// Forgets completed uploads whose `Idempotency-Key` need not be remembered any more.
pub struct CleanUp(pub Arc<Files>);

/// Rows that one step touches.
const CLEAN_UP_BATCH: i64 = 1000;

impl Job for CleanUp {
    const NAME: &'static str = "upload-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let old = tables::uploads::delete_old_completed(&mut connection, CLEAN_UP_BATCH).await?;
        Ok(Step::more_if(old as i64 == CLEAN_UP_BATCH))
    }
}
