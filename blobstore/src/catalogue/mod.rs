//! The index over the blobs: SQLite, one writer, a few readers.
//!
//! [`Catalogue`] is the writing connection and lives in the writer thread; [`Readers`] are for
//! everyone else. WAL, so that neither waits for the other; each transaction is flushed
//! (`synchronous = FULL`), but for those that the bytes themselves would bring back after a power
//! failure ([`Catalogue::write_unflushed`]). Counts are kept by triggers.

mod changes;
mod readers;

use std::path::Path;
use std::time::Duration;

use proto::{BlobId, Locator};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::blob::{Address, Area, BlobState, Counts, Deferred, Location, Prefix, Row, Tally};

pub use changes::Changes;
pub use readers::Readers;

const MIGRATIONS: [&str; 4] = [
    include_str!("../../migrations/0001_catalogue.sql"),
    include_str!("../../migrations/0002_places.sql"),
    include_str!("../../migrations/0003_losses.sql"),
    include_str!("../../migrations/0004_brake.sql"),
];
const ROW: &str = "id, length, stored_at, locator, state, state_at, disk_bytes, segment, position, deferred_until";

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

/// A segment as the catalogue knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    pub number: u64,
    /// What lies behind this is not entered yet.
    pub committed: u64,
    /// Bytes of records that belong to a blob.
    pub held: u64,
}

/// The writing connection.
#[derive(Debug)]
pub struct Catalogue {
    connection: Connection,
    flush: Flush,
}

/// SQLite's `synchronous`, as it is set at present. In WAL, `normal` loses the last transactions to a
/// power failure, never one before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Full,
    Normal,
}

impl Catalogue {
    /// Opens or creates the catalogue and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let mut connection = Connection::open(path)?;
        configure(&connection)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        migrate(&mut connection)?;
        Ok(Self {
            connection,
            flush: Flush::Full,
        })
    }

    /// Runs one transaction; the changes, and all before them, are durable when this returns.
    pub fn write<T>(&mut self, change: impl FnOnce(&Changes<'_>) -> Result<T>) -> Result<T> {
        self.transact(Flush::Full, change)
    }

    /// Runs one transaction that outlives the process, but perhaps no power failure. For rows that the
    /// next start finds again where their bytes lie, which saves every store a flush.
    pub fn write_unflushed<T>(
        &mut self,
        change: impl FnOnce(&Changes<'_>) -> Result<T>,
    ) -> Result<T> {
        self.transact(Flush::Normal, change)
    }

    fn transact<T>(
        &mut self,
        flush: Flush,
        change: impl FnOnce(&Changes<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.flush != flush {
            let level = match flush {
                Flush::Full => "full",
                Flush::Normal => "normal",
            };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.flush = flush;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changes = Changes::new(transaction);
        let outcome = change(&changes)?;
        changes.commit()?;
        Ok(outcome)
    }

    pub fn row(&self, id: &BlobId) -> Result<Option<Row>> {
        row(&self.connection, id)
    }

    pub fn counts(&self) -> Result<Counts> {
        counts(&self.connection)
    }

    pub fn prefix_rows(&self, prefix: Prefix) -> Result<Vec<Row>> {
        prefix_rows(&self.connection, prefix)
    }

    /// Trash from before `cutoff_ms`, the oldest first; but for what was put off.
    pub fn due_trash(&self, cutoff_ms: u64, limit: u32) -> Result<Vec<BlobId>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM blobs WHERE state = 1 AND state_at <= ?1 AND deferred_until IS NULL
             ORDER BY state_at, id LIMIT ?2",
        )?;
        let ids = statement.query_map(params![cutoff_ms as i64, limit], |row| parse_id(row, 0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// What was put off until now or earlier, in that order.
    pub fn due_deferred(&self, now_ms: u64, limit: u32) -> Result<Vec<BlobId>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id FROM blobs WHERE deferred_until <= ?1 ORDER BY deferred_until LIMIT ?2",
        )?;
        let ids = statement.query_map(params![now_ms as i64, limit], |row| parse_id(row, 0))?;
        Ok(ids.collect::<rusqlite::Result<_>>()?)
    }

    /// Blobs that were removed since this minute because somebody ordered it.
    pub fn removed_since(&self, minute: i64) -> Result<u64> {
        let sql = "SELECT coalesce(sum(blobs), 0) FROM removals WHERE minute >= ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([minute], |row| row.get::<_, i64>(0))? as u64)
    }

    /// The most blobs that were held since this hour, as far as it was noted.
    pub fn highest_since(&self, hour: i64) -> Result<u64> {
        let sql = "SELECT coalesce(max(blobs), 0) FROM highest WHERE hour >= ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([hour], |row| row.get::<_, i64>(0))? as u64)
    }

    /// What was put off.
    pub fn deferred(&self) -> Result<Deferred> {
        deferred(&self.connection)
    }

    /// In the order of their numbers.
    pub fn segments(&self) -> Result<Vec<SegmentRow>> {
        let sql = "SELECT number, committed, held FROM segments ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([], parse_segment)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Segments that hold nothing, but for the one that is appended to.
    pub fn empty_segments(&self, active: Option<u64>) -> Result<Vec<u64>> {
        let sql = "SELECT number FROM segments WHERE held = 0 AND number IS NOT ?1 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let active = active.map(|number| number as i64);
        let numbers = statement.query_map([active], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// Segments more than half of which is held by nobody, but for the active one.
    pub fn wasteful_segments(&self, active: Option<u64>) -> Result<Vec<u64>> {
        let sql = "SELECT number FROM segments
            WHERE held > 0 AND held * 2 < committed AND number IS NOT ?1 ORDER BY number";
        let mut statement = self.connection.prepare_cached(sql)?;
        let active = active.map(|number| number as i64);
        let numbers = statement.query_map([active], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    }

    /// Records that are still to be wiped.
    pub fn tombstones(&self) -> Result<Vec<Address>> {
        let sql = "SELECT id, length, segment, position FROM tombstones";
        let mut statement = self.connection.prepare_cached(sql)?;
        let addresses = statement.query_map([], |row| {
            Ok(Address {
                id: parse_id(row, 0)?,
                area: Area::Blobs,
                length: row.get::<_, i64>(1)? as u64,
                location: parse_location(row, 2)?,
            })
        })?;
        Ok(addresses.collect::<rusqlite::Result<_>>()?)
    }

    /// Up to `limit` rows in the order of their ids, behind `after`.
    pub fn page(&self, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>> {
        page(&self.connection, after, limit)
    }

    /// Notes that someone may change blobs from now on, until [`Self::close`].
    pub fn mark_open(&mut self) -> Result<()> {
        self.write(|tx| tx.set_closed(false))
    }

    /// Notes an orderly end and moves everything from the log into the file.
    pub fn close(&mut self) -> Result<()> {
        self.write(|tx| tx.set_closed(true))?;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(self.connection.query_row(checkpoint, [], |_| Ok(()))?)
    }

    /// Whether the last user of this catalogue closed it in an orderly way.
    pub fn was_closed(&self) -> Result<bool> {
        Ok(self
            .connection
            .query_row("SELECT closed FROM progress", [], |row| row.get(0))?)
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

fn is_current(connection: &Connection) -> Result<bool> {
    Ok(check_version(connection)? as usize == MIGRATIONS.len())
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let applied = check_version(connection)?;
    if applied as usize == MIGRATIONS.len() {
        return Ok(());
    }
    for (version, sql) in (1u32..).zip(MIGRATIONS).skip(applied as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    // Out of the log while there is room: a full disk must not keep the next start from writing its few pages.
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    Ok(connection.query_row(checkpoint, [], |_| Ok(()))?)
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

fn page(connection: &Connection, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>> {
    let sql = format!("SELECT {ROW} FROM blobs WHERE id > ?1 ORDER BY id LIMIT ?2");
    let after: &[u8] = after.map_or(&[], |id| id.as_bytes());
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, limit], parse_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn counts(connection: &Connection) -> Result<Counts> {
    let mut statement =
        connection.prepare_cached("SELECT blobs, bytes, disk_bytes FROM counts ORDER BY state")?;
    let tallies = statement.query_map([], |row| {
        Ok(Tally {
            blobs: row.get::<_, i64>(0)? as u64,
            bytes: row.get::<_, i64>(1)? as u64,
            disk_bytes: row.get::<_, i64>(2)? as u64,
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

fn deferred(connection: &Connection) -> Result<Deferred> {
    let sql = "SELECT blobs, bytes, disk_bytes, (SELECT min(deferred_until) FROM blobs WHERE deferred_until IS NOT NULL)
        FROM deferred";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([], |row| {
        Ok(Deferred {
            held: Tally {
                blobs: row.get::<_, i64>(0)? as u64,
                bytes: row.get::<_, i64>(1)? as u64,
                disk_bytes: row.get::<_, i64>(2)? as u64,
            },
            first_until_ms: row.get::<_, Option<i64>>(3)?.map(|ms| ms as u64),
        })
    })?)
}

fn parse_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: parse_id(row, 0)?,
        length: row.get::<_, i64>(1)? as u64,
        stored_at_ms: row.get::<_, i64>(2)? as u64,
        locator: Locator::from_bytes(row.get(3)?),
        state: parse_state(row, 4)?,
        state_at_ms: row.get::<_, i64>(5)? as u64,
        disk_bytes: row.get::<_, i64>(6)? as u64,
        location: parse_location(row, 7)?,
        deferred_until_ms: row.get::<_, Option<i64>>(9)?.map(|ms| ms as u64),
    })
}

fn parse_state(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<BlobState> {
    let state: i64 = row.get(column)?;
    usize::try_from(state)
        .ok()
        .and_then(|state| BlobState::ALL.get(state).copied())
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, state))
}

/// From two columns.
fn parse_location(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Location>> {
    let (segment, position): (Option<i64>, Option<i64>) = (row.get(column)?, row.get(column + 1)?);
    Ok(segment.zip(position).map(|(segment, position)| Location {
        segment: segment as u64,
        position: position as u64,
    }))
}

fn parse_segment(row: &rusqlite::Row<'_>) -> rusqlite::Result<SegmentRow> {
    Ok(SegmentRow {
        number: row.get::<_, i64>(0)? as u64,
        committed: row.get::<_, i64>(1)? as u64,
        held: row.get::<_, i64>(2)? as u64,
    })
}

fn parse_id(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<BlobId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    BlobId::try_from(bytes).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
    })
}
