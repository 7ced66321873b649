//! How long those who write batches wait for a database that is away, and when they need not.

use std::time::Duration;

use backon::ExponentialBuilder;

/// The pauses in which a commit is tried again; clients wait with it, for half a minute at most.
pub fn pauses() -> ExponentialBuilder {
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
