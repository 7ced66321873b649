//! What the tasks that write batches have in common: how long they wait for a database that is away,
//! and what they remember meanwhile.

use std::time::Duration;

use backon::ExponentialBuilder;
use proto::{BlobId, NodeId};

/// Blobs that are remembered at most.
const MAX_LEFTOVERS: usize = 65_536;

/// How long a database that is away is waited for; clients wait with it.
pub fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(14)
}

/// Postgres has ended the session of a process that stood still in a transaction.
const IDLE_IN_TRANSACTION: &str = "25P03";

/// Whether the same transaction may go through later. SQLSTATE classes: 08 connection, 40 rolled
/// back in favour of another, 57 the server stops or starts.
pub fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "57", IDLE_IN_TRANSACTION]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Blobs of transactions that failed for good, to be purged by the next that succeeds. A row that
/// stands after all keeps its blob: purges of those are not enqueued.
#[derive(Debug, Default)]
pub struct Leftovers(Vec<(NodeId, BlobId)>);

impl Leftovers {
    pub fn add(&mut self, blobs: impl Iterator<Item = (NodeId, BlobId)>) {
        self.0.extend(blobs);
        if self.0.len() > MAX_LEFTOVERS {
            tracing::warn!(
                blobs = self.0.len() - MAX_LEFTOVERS,
                "left blobs behind that no row names; reconciling finds them"
            );
            self.0.truncate(MAX_LEFTOVERS);
        }
    }

    pub fn blobs(&self) -> &[(NodeId, BlobId)] {
        &self.0
    }

    /// They are in the outbox.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
