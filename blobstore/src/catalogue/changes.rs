//! What the writer changes in one transaction.

use proto::BlobId;
use rusqlite::{Transaction, params};

use super::Result;
use crate::blob::{BlobState, Location, Row};

/// A transaction of the writer.
pub struct Changes<'a>(Transaction<'a>);

impl<'a> Changes<'a> {
    pub(super) fn new(transaction: Transaction<'a>) -> Self {
        Self(transaction)
    }

    pub(super) fn commit(self) -> Result<()> {
        Ok(self.0.commit()?)
    }

    pub fn upsert(&self, row: &Row) -> Result<()> {
        let sql = "INSERT INTO blobs (id, length, stored_at, locator, state, state_at, disk_bytes, segment, position,
              deferred_until)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
            ON CONFLICT (id) DO UPDATE SET length = excluded.length, stored_at = excluded.stored_at,
              locator = excluded.locator, state = excluded.state, state_at = excluded.state_at,
              disk_bytes = excluded.disk_bytes, segment = excluded.segment, position = excluded.position,
              deferred_until = excluded.deferred_until";
        self.0.prepare_cached(sql)?.execute(params![
            row.id.as_bytes(),
            row.length as i64,
            row.stored_at_ms as i64,
            row.locator.as_bytes(),
            row.state as i64,
            row.state_at_ms as i64,
            row.disk_bytes as i64,
            row.location.map(|at| at.segment as i64),
            row.location.map(|at| at.position as i64),
            row.deferred_until_ms.map(|ms| ms as i64),
        ])?;
        Ok(())
    }

    /// In the trash with or without a time until which it stays there; elsewhere without.
    pub fn set_state(
        &self,
        id: &BlobId,
        state: BlobState,
        at_ms: u64,
        deferred_until_ms: Option<u64>,
    ) -> Result<()> {
        let sql = "UPDATE blobs SET state = ?2, state_at = ?3, deferred_until = ?4 WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![
            id.as_bytes(),
            state as i64,
            at_ms as i64,
            deferred_until_ms.map(|ms| ms as i64),
        ])?;
        Ok(())
    }

    /// So many blobs were held in this hour. Hours before `first` are forgotten.
    pub fn note_count(&self, hour: i64, blobs: u64, first: i64) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM highest WHERE hour < ?1")?
            .execute([first])?;
        self.0
            .prepare_cached(
                "INSERT INTO highest (hour, blobs) VALUES (?1, ?2)
                 ON CONFLICT (hour) DO UPDATE SET blobs = max(blobs, excluded.blobs)",
            )?
            .execute(params![hour, blobs as i64])?;
        Ok(())
    }

    /// So many blobs are removed in this minute because somebody orders it. Minutes before `first` are forgotten.
    pub fn note_removals(&self, minute: i64, blobs: u64, first: i64) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM removals WHERE minute < ?1")?
            .execute([first])?;
        if blobs > 0 {
            self.0
                .prepare_cached(
                    "INSERT INTO removals (minute, blobs) VALUES (?1, ?2)
                     ON CONFLICT (minute) DO UPDATE SET blobs = blobs + excluded.blobs",
                )?
                .execute(params![minute, blobs as i64])?;
        }
        Ok(())
    }

    pub fn remove(&self, id: &BlobId) -> Result<()> {
        self.0
            .prepare_cached("DELETE FROM blobs WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        Ok(())
    }

    /// These records are wiped.
    pub fn clear_tombstones(&self, wiped: &[Location]) -> Result<()> {
        let sql = "DELETE FROM tombstones WHERE segment = ?1 AND position = ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        for at in wiped {
            statement.execute(params![at.segment as i64, at.position as i64])?;
        }
        Ok(())
    }

    /// The file of this segment is gone, and no blob was left in it.
    pub fn forget_segment(&self, number: u64) -> Result<()> {
        let number = number as i64;
        self.0
            .prepare_cached("DELETE FROM tombstones WHERE segment = ?1")?
            .execute([number])?;
        self.0
            .prepare_cached("DELETE FROM segments WHERE number = ?1")?
            .execute([number])?;
        Ok(())
    }

    /// The file of this segment ends at `len`; 0: it is gone. What was behind is lost, or forgotten if
    /// it was trash. How many blobs that were.
    pub fn lose_records(&self, number: u64, len: u64, at_ms: u64) -> Result<u64> {
        let (number, len) = (number as i64, len as i64);
        let forgotten = self.0.execute(
            "DELETE FROM blobs WHERE segment = ?1 AND position + disk_bytes > ?2 AND state = 1",
            params![number, len],
        )?;
        let lost = self.0.execute(
            "UPDATE blobs SET state = 3, state_at = ?3, disk_bytes = 0, segment = NULL, position = NULL,
                 deferred_until = NULL
             WHERE segment = ?1 AND position + disk_bytes > ?2",
            params![number, len, at_ms as i64],
        )?;
        self.0.execute(
            "UPDATE segments SET committed = ?2 WHERE number = ?1",
            params![number, len],
        )?;
        if len == 0 {
            self.forget_segment(number as u64)?;
        }
        Ok((forgotten + lost) as u64)
    }

    /// A coordinator knows of these losses.
    pub fn clear_losses(&self, known: &[BlobId]) -> Result<()> {
        let sql = "DELETE FROM losses WHERE state IN (2, 3) AND id = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        for id in known {
            statement.execute([id.as_bytes()])?;
        }
        Ok(())
    }

    /// Whether nobody changes blobs any more.
    pub(super) fn set_closed(&self, closed: bool) -> Result<()> {
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
