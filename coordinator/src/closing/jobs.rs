//! Ends what closed accounts have left behind.

use std::sync::Arc;

use kit::{Job, Step};

use super::{Closing, close};
use crate::accounts::tables::closed;

/// Accounts that one step looks at.
const BATCH: i64 = 1000;

pub struct EmptyClosed(pub Arc<Closing>);

impl Job for EmptyClosed {
    const NAME: &'static str = "closed-accounts";

    async fn step(&self) -> anyhow::Result<Step> {
        let closing = &self.0;
        let by = (&closing.clock, &closing.entropy);
        let mut connection = closing.db.acquire().await?;
        let left = closed::to_empty(&mut connection, BATCH).await?;
        drop(connection);
        let mut more = false;
        for user in left {
            if close::empty(&closing.db, by, user).await? {
                more = true;
                continue;
            }
            let mut connection = closing.db.acquire().await?;
            closed::mark_emptied(&mut connection, user, closing.tokens_live).await?;
        }
        closing.files.forget_wake.wake();
        Ok(Step::more_if(more))
    }
}
