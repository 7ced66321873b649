//! The index over the blobs: SQLite, one writer, a few readers.
//!
//! [`Catalogue`] is the writing connection and lives in the writer thread; [`Readers`] are for
//! everyone else. WAL, so that neither waits for the other; `synchronous = FULL`, so that a committed
//! row survives a power failure, as its receipt promises. Counts are kept by triggers.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::{BlobId, Locator};
use rusqlite::types::Type;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::area::Prefix;

const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_catalogue.sql")];
const READERS: usize = 4;
const ROW: &str = "id, length, stored_at, locator, state, state_at";

#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("catalogue: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "the catalogue has schema version {found} and this program knows versions up to {known}: \
         use the newer storage-node, or rebuild the catalogue with `storage-node chunks verify --rebuild`"
    )]
    TooNew { found: u32, known: u32 },
}

impl CatalogueError {
    /// Whether the file itself is not a usable database, which a rebuild mends.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Sqlite(error) => {
                matches!(
                    error.sqlite_error_code(),
                    Some(DatabaseCorrupt | NotADatabase)
                )
            }
            Self::TooNew { .. } => false,
        }
    }
}

type Result<T> = std::result::Result<T, CatalogueError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobState {
    Live,
    /// In the trash since `state_at`.
    Trashed,
    /// On disk, but its bytes no longer hash to its id.
    Corrupt,
    /// Its file is gone.
    Lost,
}

impl BlobState {
    pub const ALL: [Self; 4] = [Self::Live, Self::Trashed, Self::Corrupt, Self::Lost];
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: BlobId,
    pub length: u64,
    pub stored_at_ms: u64,
    pub locator: Locator,
    pub state: BlobState,
    pub state_at_ms: u64,
}

/// How many blobs, and their bytes without trailers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    pub blobs: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    pub live: Tally,
    pub trashed: Tally,
    pub corrupt: Tally,
    pub lost: Tally,
}

impl Counts {
    /// What has a file on disk.
    pub fn on_disk(&self) -> Tally {
        let kinds = [self.live, self.trashed, self.corrupt];
        Tally {
            blobs: kinds.iter().map(|tally| tally.blobs).sum(),
            bytes: kinds.iter().map(|tally| tally.bytes).sum(),
        }
    }
}

/// The writing connection.
#[derive(Debug)]
pub struct Catalogue(Connection);

impl Catalogue {
    /// Opens or creates the catalogue and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        configure(&connection)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        migrate(&mut connection)?;
        Ok(Self(connection))
    }

    /// Runs one transaction; the changes are durable when this returns.
    pub fn write<T>(&mut self, change: impl FnOnce(&Changes<'_>) -> Result<T>) -> Result<T> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changes = Changes(transaction);
        let outcome = change(&changes)?;
        changes.0.commit()?;
        Ok(outcome)
    }

    pub fn row(&self, id: &BlobId) -> Result<Option<Row>> {
        row(&self.0, id)
    }

    pub fn counts(&self) -> Result<Counts> {
        counts(&self.0)
    }

    pub fn prefix_rows(&self, prefix: Prefix) -> Result<Vec<Row>> {
        prefix_rows(&self.0, prefix)
    }

    /// Trash from before `cutoff_ms`, the oldest first.
    pub fn due_trash(&self, cutoff_ms: u64, limit: u32) -> Result<Vec<BlobId>> {
        let mut statement = self.0.prepare_cached(
            "SELECT id FROM blobs WHERE state = 1 AND state_at <= ?1 ORDER BY state_at, id LIMIT ?2",
        )?;
        let ids = statement.query_map(params![cutoff_ms as i64, limit], |row| parse_id(row, 0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes that someone may change blobs from now on, until [`Self::close`].
    pub fn mark_open(&mut self) -> Result<()> {
        self.0.execute("UPDATE progress SET closed = 0", [])?;
        Ok(())
    }

    /// Notes an orderly end and moves everything from the log into the file.
    pub fn close(&mut self) -> Result<()> {
        self.0.execute("UPDATE progress SET closed = 1", [])?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.0.query_row(checkpoint, [], |_| Ok(()))?)
    }

    /// Whether the last user of this catalogue closed it in an orderly way.
    pub fn was_closed(&self) -> Result<bool> {
        Ok(self
            .0
            .query_row("SELECT closed FROM progress", [], |row| row.get(0))?)
    }
}

/// A transaction of the writer.
pub struct Changes<'a>(Transaction<'a>);

impl Changes<'_> {
    pub fn upsert(&self, row: &Row) -> Result<()> {
        let sql = "INSERT INTO blobs (id, length, stored_at, locator, state, state_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (id) DO UPDATE SET length = excluded.length, stored_at = excluded.stored_at,
              locator = excluded.locator, state = excluded.state, state_at = excluded.state_at";
        self.0.prepare_cached(sql)?.execute(params![
            row.id.as_bytes(),
            row.length as i64,
            row.stored_at_ms as i64,
            row.locator.as_bytes(),
            row.state as i64,
            row.state_at_ms as i64,
        ])?;
        Ok(())
    }

    pub fn set_state(&self, id: &BlobId, state: BlobState, at_ms: u64) -> Result<()> {
        self.0
            .prepare_cached("UPDATE blobs SET state = ?2, state_at = ?3 WHERE id = ?1")?
            .execute(params![id.as_bytes(), state as i64, at_ms as i64])?;
        Ok(())
    }

    pub fn remove(&self, id: &BlobId) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM blobs WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    pub fn set_closed(&self, closed: bool) -> Result<()> {
        self.0
            .execute("UPDATE progress SET closed = ?1", [closed])?;
        Ok(())
    }

    pub fn set_scrub_cursor(&self, last_read: Option<&BlobId>) -> Result<()> {
        let cursor = last_read.map(BlobId::as_bytes);
        self.0
            .execute("UPDATE progress SET scrub_cursor = ?1", [cursor])?;
        Ok(())
    }
}

/// A few read-only connections; each query takes one for its duration. To be used off the async
/// threads.
#[derive(Debug)]
pub struct Readers {
    idle: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
}

impl Readers {
    /// The catalogue must exist.
    pub fn open(path: &Path) -> Result<Self> {
        let readers = Self {
            idle: Mutex::default(),
            path: path.to_owned(),
        };
        let first = readers.connect()?;
        readers.put_back(first);
        Ok(readers)
    }

    pub fn row(&self, id: &BlobId) -> Result<Option<Row>> {
        self.with(|connection| row(connection, id))
    }

    pub fn counts(&self) -> Result<Counts> {
        self.with(counts)
    }

    pub fn prefix_rows(&self, prefix: Prefix) -> Result<Vec<Row>> {
        self.with(|connection| prefix_rows(connection, prefix))
    }

    /// Up to `limit` rows in the order of their ids, behind `after`.
    pub fn page(&self, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>> {
        self.with(|connection| {
            let sql = format!("SELECT {ROW} FROM blobs WHERE id > ?1 ORDER BY id LIMIT ?2");
            let after: &[u8] = after.map_or(&[], |id| id.as_bytes());
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![after, limit], parse_row)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    pub fn scrub_cursor(&self) -> Result<Option<BlobId>> {
        self.with(|connection| {
            let sql = "SELECT scrub_cursor FROM progress WHERE scrub_cursor IS NOT NULL";
            let cursor = connection.query_row(sql, [], |row| parse_id(row, 0));
            Ok(cursor.optional()?)
        })
    }

    fn with<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let outcome = query(&connection);
        self.put_back(connection);
        outcome
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        configure(&connection)?;
        check_version(&connection)?;
        Ok(connection)
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < READERS {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn check_version(connection: &Connection) -> Result<u32> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(CatalogueError::TooNew { found, known });
    }
    Ok(found)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let applied = check_version(connection)?;
    for (version, sql) in (1u32..).zip(MIGRATIONS).skip(applied as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}

fn row(connection: &Connection, id: &BlobId) -> Result<Option<Row>> {
    let sql = format!("SELECT {ROW} FROM blobs WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([id.as_bytes()], parse_row).optional()?)
}

fn prefix_rows(connection: &Connection, prefix: Prefix) -> Result<Vec<Row>> {
    let (low, high) = prefix.range();
    let sql = format!("SELECT {ROW} FROM blobs WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([low.as_bytes(), high.as_bytes()], parse_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn counts(connection: &Connection) -> Result<Counts> {
    let mut statement =
        connection.prepare_cached("SELECT blobs, bytes FROM counts ORDER BY state")?;
    let tallies = statement.query_map([], |row| {
        Ok(Tally {
            blobs: row.get::<_, i64>(0)? as u64,
            bytes: row.get::<_, i64>(1)? as u64,
        })
    })?;
    let tallies: Vec<Tally> = tallies.collect::<rusqlite::Result<_>>()?;
    let [live, trashed, corrupt, lost] = tallies[..] else {
        return Err(rusqlite::Error::QueryReturnedNoRows.into());
    };
    Ok(Counts {
        live,
        trashed,
        corrupt,
        lost,
    })
}

fn parse_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let state: i64 = row.get(4)?;
    Ok(Row {
        id: parse_id(row, 0)?,
        length: row.get::<_, i64>(1)? as u64,
        stored_at_ms: row.get::<_, i64>(2)? as u64,
        locator: Locator::from_bytes(row.get(3)?),
        state: usize::try_from(state)
            .ok()
            .and_then(|state| BlobState::ALL.get(state).copied())
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(4, state))?,
        state_at_ms: row.get::<_, i64>(5)? as u64,
    })
}

fn parse_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<BlobId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    BlobId::try_from(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
    })
}
