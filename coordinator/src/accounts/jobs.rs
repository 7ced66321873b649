//! Forgets what nobody can use any more of what logins and registrations have left.

use std::sync::Arc;

use kit::{Job, Step};

use crate::accounts::{Accounts, tables};

/// Rows that one step touches.
const BATCH: i64 = 1000;

pub struct CleanUp(pub Arc<Accounts>);

impl Job for CleanUp {
    const NAME: &'static str = "account-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let tokens = tables::refresh_tokens::delete_expired(&mut connection, BATCH).await?;
        let old = tables::users::delete_old_registrations(&mut connection, BATCH).await?;
        Ok(Step::more_if(tokens.max(old) as i64 == BATCH))
    }
}
