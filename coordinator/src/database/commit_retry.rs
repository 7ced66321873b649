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

/// Whether it may be one item of a batch that the transaction failed for: a value that the database cannot take, or a
/// row that another one rules out. SQLSTATE class 53, the server is short of something, is everybody's affair.
pub fn may_be_of_one_item(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => false,
        sqlx::Error::Database(of_database) => {
            let is_short = of_database
                .code()
                .is_some_and(|code| code.starts_with("53"));
            !is_short && !is_passing(error)
        }
        _ => !is_passing(error),
    }
}

/// Whether it is what was to be written that the database refuses. SQLSTATE classes: 22 the value, 23 a
/// constraint, 54 a limit of the program.
pub fn is_refused(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| {
        ["22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class))
    })
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
