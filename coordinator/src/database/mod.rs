//! SQL stands here and nowhere else: plain functions on a connection, one file for each family of
//! tables. Rows become domain types here; absence is `None`. Transactions belong to the callers.

pub mod clocks;
pub mod commit_retry;
mod pool;
mod session;

pub use self::pool::{Connection, Pool, Transaction, Usage};

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::config::DatabaseConfig;
use kit::config::read_secret;

/// A connection that was used this lately is not asked whether it is still there: that would cost every
/// request a round trip. A query on one that has died meanwhile fails, and the client tries again.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Opens a pool and makes sure that somebody answers. A Postgres that is starting is waited for.
pub async fn connect(url: &str, config: &DatabaseConfig) -> anyhow::Result<Pool> {
    let mut options: PgConnectOptions = url
        .parse()
        .context("database.url is not of the form postgres://user:password@host:port/database")?;
    if let Some(path) = &config.password_file {
        options = options.password(&read_secret("database.password_file", path)?);
    }
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let options = options.application_name("coordinator");
    // A pool would wait as long, and then say no more than that it has timed out.
    let timeout = config.acquire_timeout;
    let first = || async {
        let connecting = Box::pin(PgConnection::connect_with(&options));
        match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => {
                let mut connection = connected?;
                session::prepare(&mut connection).await?;
                connection.close().await
            }
            Err(_) => Err(sqlx::Error::Io(ErrorKind::TimedOut.into())),
        }
    };
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_millis(200))
        .without_max_times()
        .with_total_delay(Some(timeout));
    first
        .retry(pauses)
        .when(|error| match error {
            sqlx::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            // It has no connection left, or is starting.
            sqlx::Error::Database(error) => {
                matches!(error.code().as_deref(), Some("53300" | "57P03"))
            }
            _ => false,
        })
        .await
        .map_err(|error| {
            let advice = match &error {
                sqlx::Error::Io(_) => {
                    "is it running, and are the host and port in database.url right?"
                }
                sqlx::Error::Configuration(unfit) => {
                    return anyhow!("Postgres at {place} cannot be used: {unfit}");
                }
                sqlx::Error::Database(error) => match error.code().as_deref() {
                    Some("28P01" | "28000") => {
                        "mend user and password in database.url, or database.password_file"
                    }
                    Some("3D000") => {
                        "make the database with createdb, or mend its name in database.url"
                    }
                    _ => "its message tells why",
                },
                _ => "check database.url, and that it runs",
            };
            anyhow!("Postgres at {place} cannot be used ({advice}): {error}")
        })?;
    let pool = PgPoolOptions::new()
        // One listens, as long as the coordinator runs.
        .max_connections(config.max_connections.saturating_add(1))
        // To open one takes a while, which is not there when many ask at one time.
        .min_connections(config.max_connections / 2)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(Duration::from_secs(600))
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move {
                session::prepare(connection).await.inspect_err(|error| {
                    tracing::error!(%error, "a session of the database cannot be used");
                })
            })
        })
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
        .with_context(|| {
            format!("Postgres at {place} cannot be used: check database.url, and that it runs")
        })?;
    Ok(Pool::new(pool))
}

/// Brings the schema up to date. Several coordinators may try at once: one does it.
pub async fn migrate(pool: &Pool) -> anyhow::Result<()> {
    match MIGRATIONS.run(pool.connections()).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => Err(unknown_migration(version)),
        Err(MigrateError::VersionMismatch(version)) => bail!(
            "migration {version} in the database differs from the one in this program: they \
             do not come from the same release"
        ),
        Err(error) => Err(error).context("the database cannot be migrated"),
    }
}

/// Fails unless the role of this pool may do with the schema what a coordinator does with it.
pub async fn check_rights(pool: &Pool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let checked = session::check_rights(&mut connection).await;
    checked.context("the database cannot be used")
}

/// Fails unless exactly the migrations of this program have been applied.
pub async fn check_schema(pool: &Pool) -> anyhow::Result<()> {
    const UNDEFINED_TABLE: &str = "42P01";
    let query = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
    let applied: Vec<i64> = match sqlx::query_scalar(query)
        .fetch_all(pool.connections())
        .await
    {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => {
            Vec::new() // nothing was ever applied
        }
        Err(error) => return Err(error).context("the database's schema cannot be read"),
    };
    let known: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    if let Some(newer) = applied.iter().find(|version| !known.contains(version)) {
        return Err(unknown_migration(*newer));
    }
    let missing = known.len() - applied.len();
    if missing > 0 {
        bail!(
            "the database schema is {missing} migrations behind this program: run \
             `coordinator migrate`, or start without --no-migrate"
        );
    }
    Ok(())
}

fn unknown_migration(version: i64) -> anyhow::Error {
    anyhow!(
        "the database has migration {version}, which this program does not know: it was upgraded \
         by a newer coordinator. Run that version"
    )
}

/// A column that its CHECK keeps sound holds something else after all.
pub(crate) fn corrupt(column: &'static str, error: impl std::fmt::Display) -> sqlx::Error {
    sqlx::Error::Decode(format!("{column}: {error}").into())
}

pub(crate) fn hash32(column: &'static str, bytes: &[u8]) -> Result<[u8; 32], sqlx::Error> {
    bytes
        .try_into()
        .map_err(|_| corrupt(column, "it does not have 32 bytes"))
}

/// The time by the database, wherever its clock was set.
pub async fn now(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let now = sqlx::query_scalar!(r#"SELECT database_clock() AS "now!: jiff_sqlx::Timestamp""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}
