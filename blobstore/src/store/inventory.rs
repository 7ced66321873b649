//! What the store holds, as coordinators ask for it: digests of groups, or the blobs one by one.
//!
//! One pass over the catalogue's index in the order of the ids, cut off after a bounded number of rows;
//! nothing is kept between two questions. Only sound blobs outside the trash are in a digest: what is
//! damaged is reported as a loss, and what is in the trash comes back when it is wanted.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use proto::{
    BlobId, GroupDigest, IdsDigest, InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest,
    MAX_INVENTORY_GROUPS, MAX_INVENTORY_ITEMS,
};
use tokio::task::spawn_blocking;

use kit::unix_ms;

use super::Store;
use crate::blob::{BlobState, Row};
use crate::catalogue::{CatalogueError, Readers};

/// Rows that one answer looks at: a fraction of a second, even where the index is not in memory.
const ROWS: usize = 65_536;

impl Store {
    /// As much of an answer as one message holds.
    pub async fn inventory(&self, request: InventoryRequest) -> io::Result<InventoryAnswer> {
        let _permit = self.reads.acquire().await.map_err(io::Error::other)?;
        let core = Arc::clone(&self.core);
        let answered = spawn_blocking(move || {
            let now_ms = unix_ms(core.clock.now());
            answer(&core.readers, &request, now_ms)
        });
        answered
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)
    }
}

fn answer(
    readers: &Readers,
    request: &InventoryRequest,
    now_ms: u64,
) -> Result<InventoryAnswer, CatalogueError> {
    let mut answer = InventoryAnswer::default();
    let mut rows = 0;
    for range in request.ranges() {
        let mut group = Group::default();
        readers.visit(range, |row| {
            if rows == ROWS || is_full(&answer) {
                answer.resume_from = Some(row.id);
                return ControlFlow::Break(());
            }
            rows += 1;
            match request.ask() {
                InventoryAsk::Items => answer.items.extend(item(&row, now_ms)),
                InventoryAsk::Trash if row.state == BlobState::Trashed => {
                    answer.items.extend(item(&row, now_ms));
                }
                InventoryAsk::Trash => {}
                InventoryAsk::Digests { group: size } if row.state == BlobState::Live => {
                    group.add(&row.id);
                    if group.digest.count() == size {
                        answer.groups.extend(group.close());
                    }
                }
                InventoryAsk::Digests { .. } => {}
            }
            ControlFlow::Continue(())
        })?;
        answer.groups.extend(group.close());
        if answer.resume_from.is_some() {
            break;
        }
    }
    Ok(answer)
}

/// The group that is not closed yet needs a place as well.
fn is_full(answer: &InventoryAnswer) -> bool {
    answer.groups.len() + 1 >= MAX_INVENTORY_GROUPS || answer.items.len() >= MAX_INVENTORY_ITEMS
}

fn item(row: &Row, now_ms: u64) -> Option<InventoryItem> {
    let trashed = match row.state {
        BlobState::Live => false,
        BlobState::Trashed => true,
        BlobState::Corrupt | BlobState::Lost => return None,
    };
    Some(InventoryItem {
        blob_id: row.id,
        length: row.length,
        age_s: now_ms.saturating_sub(row.stored_at_ms) / 1000,
        locator: row.locator,
        trashed,
        trashed_age_s: trashed.then(|| now_ms.saturating_sub(row.state_at_ms) / 1000),
    })
}

#[derive(Default)]
struct Group {
    digest: IdsDigest,
    last: Option<BlobId>,
}

impl Group {
    fn add(&mut self, id: &BlobId) {
        self.digest.add(id);
        self.last = Some(*id);
    }

    /// `None` when there is nothing in it.
    fn close(&mut self) -> Option<GroupDigest> {
        let Self { digest, last } = std::mem::take(self);
        Some(GroupDigest {
            count: digest.count(),
            digest: digest.finish(),
            last: last?,
        })
    }
}
