//! Forgets what nobody can use any more of what logins and registrations have left, and brings the addresses of accounts
//! that an older coordinator has opened into their form.

use std::sync::Arc;

use kit::{Job, Step};

use crate::accounts::{Accounts, access_keys, addresses, tables};

/// Rows that one step touches.
const BATCH: i64 = 1000;

pub struct CleanUp(pub Arc<Accounts>);

impl Job for CleanUp {
    const NAME: &'static str = "account-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let tokens = tables::refresh_tokens::delete_expired(&mut connection, BATCH).await?;
        let old = tables::users::delete_old_registrations(&mut connection, BATCH).await?;
        let keys = access_keys::sweep(&mut connection, BATCH).await?;
        let decisions = tables::decisions::delete_old(&mut connection, BATCH).await?;
        let letters = tables::tokens::delete_expired(&mut connection, BATCH).await?;
        let waiting = tables::second_factors::delete_expired(&mut connection, BATCH).await?;
        let asked = tables::passkeys::delete_expired(&mut connection, BATCH).await?;
        let most = [tokens, old, keys, decisions, letters, waiting, asked]
            .into_iter()
            .max();
        Ok(Step::more_if(most == Some(BATCH.unsigned_abs())))
    }
}

/// Hears of changes to credentials that any coordinator makes. One step lasts as long as its connection.
pub struct HearChanges(pub Arc<Accounts>);

impl Job for HearChanges {
    const NAME: &'static str = "credential-changes";

    async fn step(&self) -> anyhow::Result<Step> {
        self.0.known.hear(&self.0.db).await?;
        anyhow::bail!(
            "the connection on which changes are told was lost: each request asks the database meanwhile"
        )
    }
}

/// During a rolling upgrade accounts are opened without a form.
pub struct FormAddresses(pub Arc<Accounts>);

impl Job for FormAddresses {
    const NAME: &'static str = "address-forms";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(addresses::form_some(&self.0).await?))
    }
}
