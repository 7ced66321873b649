//! Which nodes are there, look by look: what uptime is made of.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto::NodeId;
use sqlx::PgConnection;

use crate::db;
use crate::domain::uptime::windows_between;

/// Remembers when it last looked.
#[derive(Debug)]
pub struct Lookout {
    begins: Instant,
    last: Mutex<Option<Timestamp>>,
}

impl Lookout {
    /// Says nothing of the first `settling`, in which nodes are still on their way here.
    pub fn new(settling: Duration) -> Self {
        let now = Instant::now();
        Self {
            begins: now.checked_add(settling).unwrap_or(now),
            last: Mutex::default(),
        }
    }

    /// Notes that these nodes, at least one, are there now. When none is, that is rather this
    /// coordinator's own trouble: it does not look.
    pub async fn look(&self, connection: &mut PgConnection, online: &[NodeId]) -> sqlx::Result<()> {
        if online.is_empty() || Instant::now() < self.begins {
            return Ok(());
        }
        let now = db::settlement::database_clock(connection).await?;
        let before = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.replace(now)
        };
        let windows = before.map_or_else(Vec::new, |before| windows_between(before, now));
        db::uptime::record(connection, &windows, online).await
    }
}
