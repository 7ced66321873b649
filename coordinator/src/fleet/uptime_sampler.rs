//! Which nodes are there, look by look: what uptime is made of.

use crate::bookkeeping::tables::days;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto::NodeId;
use sqlx::{Connection, PgConnection};

use crate::database;
use crate::fleet::tables;
use rules::uptime::{LONGEST_GAP, Stretch, windows_between};

/// Remembers when it last looked.
#[derive(Debug)]
pub struct UptimeSampler {
    begins: Instant,
    last: Mutex<Option<Timestamp>>,
    watch: Mutex<Option<Watch>>,
}

/// Looks without a break.
#[derive(Debug, Clone, Copy)]
struct Watch {
    /// By the database's clock.
    since: Timestamp,
    last: Instant,
}

impl UptimeSampler {
    /// Says nothing of the first `settling`, in which nodes are still on their way here.
    pub fn new(settling: Duration) -> Self {
        let now = Instant::now();
        Self {
            begins: now.checked_add(settling).unwrap_or(now),
            last: Mutex::default(),
            watch: Mutex::default(),
        }
    }

    /// Whether nodes have had time to come here since this began.
    pub fn has_settled(&self) -> bool {
        Instant::now() >= self.begins
    }

    /// Looks at `now`, by the database's clock: since when this has gone on without a break.
    pub fn watching_since(&self, now: Timestamp) -> Timestamp {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let unbroken = watch.filter(|watch| watch.last.elapsed() <= LONGEST_GAP);
        let since = unbroken.map_or(now, |watch| watch.since);
        *watch = Some(Watch {
            since,
            last: Instant::now(),
        });
        since
    }

    /// Notes that these nodes, at least one, are there now. When none is, that is rather this
    /// coordinator's own trouble: it does not look.
    ///
    /// Nothing is added to a day that has been cut off: what was settled can be worked out again.
    pub async fn look(&self, connection: &mut PgConnection, online: &[NodeId]) -> sqlx::Result<()> {
        if online.is_empty() || !self.has_settled() {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        days::ledger_now(&mut transaction).await?; // no day is cut off until the commit
        let now = database::now(&mut transaction).await?;
        let (_, cut) = days::last_day(&mut transaction).await?;
        let before = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.replace(now)
        };
        let windows = before.map_or_else(Vec::new, |before| windows_between(before, now));
        let open = Stretch::new(cut, Timestamp::MAX);
        let windows: Vec<_> = windows.iter().filter_map(|w| open.part_of(w)).collect();
        tables::uptime::record(&mut transaction, &windows, online).await?;
        transaction.commit().await
    }
}
