//! The database's clock beside this coordinator's own. What happens by time and cannot be taken back waits while they
//! differ: Postgres may stand on a machine whose clock was set wrong, and would end every file within seconds.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Pool;
use jiff::SignedDuration;
use kit::Clock;
use rules::clocks;

/// Remembers whether they differed, so that each change is told once.
#[derive(Debug)]
pub struct Clocks {
    db: Pool,
    clock: Clock,
    apart: AtomicBool,
}

impl Clocks {
    pub fn new(db: Pool, clock: Clock) -> Self {
        Self {
            db,
            clock,
            apart: AtomicBool::new(false),
        }
    }

    /// How far the database's clock is ahead. A change is told in the log.
    pub async fn ahead(&self) -> sqlx::Result<SignedDuration> {
        let ahead = clock_ahead(&self.db, &self.clock).await?;
        let apart = !clocks::agree(ahead);
        if self.apart.swap(apart, Ordering::Relaxed) != apart {
            if apart {
                tracing::error!(
                    database_ahead_seconds = ahead.as_secs(),
                    "the clocks of the database and of this coordinator differ: nothing expires, and nobody is \
                     charged, paid, demoted or disqualified until they agree. Set the one that is wrong (NTP)"
                );
            } else {
                tracing::info!("the clocks of the database and of this coordinator agree again");
            }
        }
        Ok(ahead)
    }
}

/// How far the database's clock is ahead of `clock`.
pub async fn clock_ahead(db: &Pool, clock: &Clock) -> sqlx::Result<SignedDuration> {
    let mut connection = db.acquire().await?;
    let asked = clock.now();
    let told: jiff_sqlx::Timestamp = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *connection)
        .await?;
    Ok(clocks::ahead(asked, told.to_jiff(), clock.now()))
}
