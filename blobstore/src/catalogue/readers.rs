//! Read-only connections, beside the writer.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use proto::{BlobId, BlobRange};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{
    Catalogue, ROW, Result, check_version, configure, counts, deferred, is_current, page, parse_id,
    parse_row, parse_state, prefix_rows, row,
};
use crate::blob::{BlobState, Counts, Deferred, Prefix, Row};

/// As many as there are reads at one time, so that none has to be opened for one query.
const READERS: usize = 16;

/// A few read-only connections; each query takes one for its duration. To be used off the async
/// threads.
#[derive(Debug)]
pub struct Readers {
    idle: Mutex<Vec<Connection>>,
    path: std::path::PathBuf,
}

impl Readers {
    /// The catalogue must exist. One that an older version has left is brought up to date, as a start of the store
    /// does it.
    pub fn open(path: &Path) -> Result<Self> {
        let readers = Self {
            idle: Mutex::default(),
            path: path.to_owned(),
        };
        let mut first = readers.connect()?;
        if !is_current(&first)? {
            drop(Catalogue::open(path)?);
            first = readers.connect()?;
        }
        readers.put_back(first);
        Ok(readers)
    }

    pub fn row(&self, id: &BlobId) -> Result<Option<Row>> {
        self.with(|connection| row(connection, id))
    }

    pub fn counts(&self) -> Result<Counts> {
        self.with(counts)
    }

    /// What was put off.
    pub fn deferred(&self) -> Result<Deferred> {
        self.with(deferred)
    }

    pub fn prefix_rows(&self, prefix: Prefix) -> Result<Vec<Row>> {
        self.with(|connection| prefix_rows(connection, prefix))
    }

    /// Up to `limit` rows in the order of their ids, behind `after`.
    pub fn page(&self, after: Option<&BlobId>, limit: u32) -> Result<Vec<Row>> {
        self.with(|connection| page(connection, after, limit))
    }

    /// Rows of a range in the order of their ids, until `visit` breaks.
    pub fn visit(
        &self,
        range: &BlobRange,
        mut visit: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<()> {
        self.with(|connection| {
            let sql = format!("SELECT {ROW} FROM blobs WHERE id BETWEEN ?1 AND ?2 ORDER BY id");
            let mut statement = connection.prepare_cached(&sql)?;
            let bounds = [range.first.as_bytes(), range.last.as_bytes()];
            for row in statement.query_map(bounds, parse_row)? {
                if visit(row?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Blobs that are damaged or gone and of which no coordinator knows yet, those of one state first.
    pub fn losses(&self, limit: u32) -> Result<Vec<(BlobId, BlobState)>> {
        self.with(|connection| {
            let sql = "SELECT id, state FROM losses ORDER BY state, id LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let losses = statement
                .query_map([limit], |row| Ok((parse_id(row, 0)?, parse_state(row, 1)?)))?;
            Ok(losses.collect::<rusqlite::Result<_>>()?)
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
