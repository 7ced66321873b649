//! What reaches over all that an account has: closing it, and taking along what is kept about it.
//!
//! It stands above accounts, fleet, billing, files and objects, since it uses them all. An account is closed in one short transaction,
//! after which nobody can use it and nothing says whose it was; what it stored is ended after that, a bounded number at a
//! time, by whoever closed it and then by a job. Rejected: deleting the row. The books name accounts by their id for
//! ever, and are verified against it.

use std::sync::Arc;
use std::time::Duration;

use kit::{Clock, Entropy};

use crate::accounts::Accounts;
use crate::database::Pool;
use crate::files::Files;
use crate::objects::Objects;

mod archive;
pub mod close;
pub mod export;
pub mod jobs;

/// What closing works with.
pub struct Closing {
    pub db: Pool,
    pub accounts: Arc<Accounts>,
    pub files: Arc<Files>,
    pub objects: Arc<Objects>,
    /// How long an access token that was given before goes on.
    pub tokens_live: Duration,
    /// How long whoever takes an archive may take nothing.
    pub idle_timeout: Duration,
    pub clock: Clock,
    pub entropy: Entropy,
}
