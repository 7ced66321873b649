//! Writes what strangers were refused, and forgets what is old.

use std::sync::Arc;

use kit::{Job, Step};

use crate::security::{SecurityLog, tables};

/// Rows that one step forgets.
const BATCH: i64 = 1000;

pub struct WriteRefused(pub Arc<SecurityLog>);

impl Job for WriteRefused {
    const NAME: &'static str = "security-log";

    async fn step(&self) -> anyhow::Result<Step> {
        self.0.flush().await?;
        Ok(Step::Idle)
    }
}

/// After 400 days.
pub struct Forget(pub Arc<SecurityLog>);

impl Job for Forget {
    const NAME: &'static str = "security-log-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let forgotten = tables::events::delete_old(&mut connection, BATCH).await?;
        Ok(Step::more_if(forgotten as i64 == BATCH))
    }
}
