//! Reading blobs out of a store.
//!
//! A read takes no lock that a writer holds. So the blob may be moved or removed between the look at
//! its row and the look at its bytes; what was read is then not the blob, and the row is looked at once
//! more.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::core::Core;
use super::{READ_UNITS, Store, WRITE_UNIT};
use crate::blob::{Address, BlobState, Row};
use crate::layout::{BlobReader, Content};

/// How often a blob is looked for anew because it was moved meanwhile.
const ATTEMPTS: usize = 4;

/// What a read brought. Only `Found` carries bytes, and they hash to the blob's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Found(Bytes),
    Missing,
    Corrupt,
    IoError(String),
}

impl Store {
    /// Reads a blob and checks it. A blob in the trash is brought back first.
    ///
    /// Waits while as much is in memory as may be: the bytes count until they are dropped.
    pub async fn get(&self, id: BlobId) -> Read {
        match self.try_get(id).await {
            Ok(read) => read,
            Err(error) => Read::IoError(error.to_string()),
        }
    }

    async fn try_get(&self, id: BlobId) -> io::Result<Read> {
        for _ in 0..ATTEMPTS {
            let Some((row, content)) = self.look(id).await? else {
                return Ok(Read::Missing);
            };
            if row.state == BlobState::Trashed {
                self.restore(id).await?;
                continue;
            }
            let content = match content {
                Some(content) => content,
                None => self.read(&row).await?,
            };
            match content {
                Content::Whole { data, .. } => {
                    if row.state != BlobState::Live {
                        self.recheck(id).await; // it is back
                    }
                    return Ok(Read::Found(data));
                }
                Content::Missing | Content::Corrupt => {
                    if self.row(id).await?.as_ref() != Some(&row) {
                        continue;
                    }
                }
            }
            match self.recheck(id).await {
                Some(BlobState::Corrupt) => {
                    tracing::error!(%id, "a blob no longer hashes to its id");
                    return Ok(Read::Corrupt);
                }
                Some(BlobState::Lost) => {
                    tracing::error!(%id, "the bytes of a blob are gone");
                    return Ok(Read::Missing);
                }
                None => return Ok(Read::Missing),
                Some(BlobState::Live | BlobState::Trashed) => {}
            }
        }
        Err(io::Error::other("the blob was moved again and again"))
    }

    /// Opens a blob to read parts of it, such as the leaves that a proof visits. `None`: it is not held.
    /// A blob in the trash is brought back first, as [`Self::get`] does.
    ///
    /// Nothing is read yet and nothing is checked: whoever finds that the bytes are not the blob's
    /// calls [`Self::recheck`].
    pub async fn open_blob(&self, id: BlobId) -> io::Result<Option<BlobReader>> {
        for _ in 0..ATTEMPTS {
            let Some(row) = self.row(id).await? else {
                return Ok(None);
            };
            if row.state == BlobState::Trashed {
                self.restore(id).await?;
                continue;
            }
            let core = Arc::clone(&self.core);
            let address = Address::of(&row);
            let opened = spawn_blocking(move || core.layout.open_blob(&address)).await;
            let opened = opened.map_err(io::Error::other)??;
            // Only what is still there after it was opened is kept from being wiped.
            if self.row(id).await?.as_ref() != Some(&row) {
                continue;
            }
            if opened.is_none() {
                self.recheck(id).await;
            }
            return Ok(opened);
        }
        Err(io::Error::other("the blob was moved again and again"))
    }

    /// Reads a blob about which there is doubt and notes what is found. `None`: it is not held, or the
    /// store is closed.
    pub async fn recheck(&self, id: BlobId) -> Option<BlobState> {
        self.inspect(id).await
    }

    /// The row, and what its place holds if there is memory for it right now: most reads need no more.
    async fn look(&self, id: BlobId) -> io::Result<Option<(Row, Option<Content>)>> {
        let _permit = self.reads.acquire().await.map_err(io::Error::other)?;
        let (core, memory) = (Arc::clone(&self.core), Arc::clone(&self.read_memory));
        let look = move || {
            let Some(row) = core.readers.row(&id).map_err(io::Error::other)? else {
                return Ok(None);
            };
            let memory = memory.try_acquire_many_owned(units_of(&row)).ok();
            let content = match memory.filter(|_| row.state != BlobState::Trashed) {
                Some(memory) => Some(read_counted(&core, &row, memory)?),
                None => None,
            };
            Ok(Some((row, content)))
        };
        spawn_blocking(look).await.map_err(io::Error::other)?
    }

    /// What the place of this row holds.
    pub(super) async fn read(&self, row: &Row) -> io::Result<Content> {
        let memory = Arc::clone(&self.read_memory).acquire_many_owned(units_of(row));
        let memory = memory.await.map_err(io::Error::other)?;
        let _permit = self.reads.acquire().await.map_err(io::Error::other)?;
        let (core, row) = (Arc::clone(&self.core), row.clone());
        let read = move || read_counted(&core, &row, memory);
        spawn_blocking(read).await.map_err(io::Error::other)?
    }

    async fn row(&self, id: BlobId) -> io::Result<Option<Row>> {
        let core: Arc<Core> = Arc::clone(&self.core);
        let row = spawn_blocking(move || core.readers.row(&id)).await;
        row.map_err(io::Error::other)?.map_err(io::Error::other)
    }

    async fn restore(&self, id: BlobId) -> io::Result<()> {
        let restore = Deletion {
            blob_id: id,
            mode: DeletionMode::Restore,
        };
        match self.delete(vec![restore]).await[..] {
            [DeletionOutcome::Failed] => Err(io::Error::other("the blob cannot be restored")),
            [DeletionOutcome::NotHeld] => {
                self.recheck(id).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn units_of(row: &Row) -> u32 {
    (row.length as usize)
        .div_ceil(WRITE_UNIT)
        .clamp(1, READ_UNITS as usize) as u32
}

fn read_counted(core: &Core, row: &Row, memory: OwnedSemaphorePermit) -> io::Result<Content> {
    Ok(match core.layout.read(&Address::of(row))? {
        Content::Whole { data, label } => Content::Whole {
            data: Bytes::from_owner(Counted {
                data,
                _memory: memory,
            }),
            label,
        },
        other => other,
    })
}

/// Bytes that count against what may be in memory until they are dropped.
struct Counted {
    data: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}
