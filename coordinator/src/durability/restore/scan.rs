//! One node is gone through, a page at a time, in the order of the blobs' ids.
//!
//! The rows of a page are read *before* the node is asked: a row is written after its blob is durable, so a
//! row that was there and whose blob the node does not list is no upload that overtook us.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use proto::{
    BlobId, BlobRange, Delete, Deletion, DeletionMode, DeletionOutcome, InventoryAsk,
    InventoryItem, InventoryRequest, MAX_DELETIONS_PER_MESSAGE, MAX_INVENTORY_ITEMS, PeerId,
};

use crate::durability::inventory::ask;
use crate::durability::restore::candidate::{Candidate, adopt};
use crate::durability::restore::{LEASE, Means};
use crate::durability::{Durability, tables};

use crate::durability::tables::restore::nodes::{Due, Lease, Page};

/// Pages that a node may have, beside one for so many blobs that it has told of: it could go on for ever
/// otherwise.
const PAGES: u64 = 1000;
const BLOBS_PER_PAGE: u64 = 100;

/// How long a node waits after a run that failed, doubled with each attempt.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A page that has failed so often, for some minutes, is gone through without the blobs that the node cannot read or
/// sign for: a bad sector, or bad will, holds the whole network up no longer.
const LAST_TRY: u32 = 5;

/// Goes through a node from where it was left, and writes down how that ended.
pub(super) async fn run(means: &Means<'_>, due: Due, lease: Lease) -> anyhow::Result<()> {
    let (durability, node) = (means.durability, lease.node);
    let ended = tokio::select! {
        ended = go_through(means, due, lease) => ended,
        lost = keep_lease(durability, lease) => lost,
    };
    let Err(error) = ended else {
        return Ok(());
    };
    let error = format!("{error:#}");
    tracing::warn!(
        node_id = %node, error,
        "a node could not be gone through; it is taken up again where it was left. \
         `coordinator restore status` shows how far each node is"
    );
    let doubled = 1_u32 << due.attempts.min(6);
    let pause = (AGAIN_AFTER * doubled).min(LONGEST_PAUSE);
    let mut connection = durability.db.acquire().await?;
    tables::restore::nodes::give_back(&mut connection, &lease, &error, pause).await?;
    Ok(())
}

/// Ends when the lease is lost.
async fn keep_lease(durability: &Durability, lease: Lease) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        let mut connection = durability.db.acquire().await?;
        let kept = tables::restore::nodes::renew(&mut connection, &lease, LEASE).await?;
        ensure!(kept, "another coordinator has taken the node over");
    }
}

async fn go_through(means: &Means<'_>, due: Due, lease: Lease) -> anyhow::Result<()> {
    let durability = means.durability;
    let member = durability.blobs.fleet.member(due.node_id);
    let member = member.context("the node has gone; it is taken up again when it is back")?;
    let mut scan = Scan {
        durability,
        means,
        lease,
        peer: member.peer_id,
        last_try: due.attempts >= LAST_TRY,
    };
    let limit = PAGES + member.live().blob_count / BLOBS_PER_PAGE;
    let mut rest = match due.scanned_upto {
        None => Some(BlobRange::ALL),
        Some(upto) => BlobRange::ALL.behind(&upto),
    };
    let mut pages = due.pages;
    while let Some(range) = rest {
        ensure!(
            pages < limit,
            "the node does not come to an end: it has told of {limit} pages of blobs. Without it: \
             `coordinator restore finish --without-missing-nodes`"
        );
        pages += 1;
        rest = scan.page(range).await?;
        scan.last_try = false;
    }
    Ok(())
}

struct Scan<'a> {
    durability: &'a Durability,
    means: &'a Means<'a>,
    lease: Lease,
    peer: PeerId,
    /// Of the page that was left the last time.
    last_try: bool,
}

impl Scan<'_> {
    /// Deals with the first blobs of the range, as many as the node tells of at once; what is left of it.
    async fn page(&self, range: BlobRange) -> anyhow::Result<Option<BlobRange>> {
        let (told, rows, upto) = self.both_sides(range).await?;
        let mut rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.blob_id, row)).collect();
        let mut page = Page {
            held: told.len() as u64,
            ..Page::default()
        };
        let (mut in_trash, mut candidates) = (Vec::new(), Vec::new());
        for item in told {
            if let Some(row) = rows.remove(&item.blob_id) {
                page.known += u64::from(!row.adopted); // what was adopted a moment ago has been counted
                in_trash.extend(item.trashed.then_some(item.blob_id));
            } else if let Some(located) = self.means.open_locator(&item.locator) {
                candidates.push(Candidate { item, located });
            } else {
                page.unreadable += 1;
            }
        }
        // Of a demoted replica it is known that it may be gone.
        let gone = rows.into_values().filter(|row| !row.demoted);
        page.missing = gone.map(|row| row.blob_id).collect();
        self.bring_back(&in_trash, &mut page).await?;
        adopt(
            self.means,
            &self.lease,
            candidates,
            self.last_try,
            &mut page,
        )
        .await?;

        let rest = range.behind(&upto);
        let mut transaction = self.durability.db.begin().await?;
        let (lease, is_last) = (&self.lease, rest.is_none());
        let saved =
            tables::restore::nodes::save_page(&mut transaction, lease, &page, &upto, is_last)
                .await?;
        ensure!(saved, "another coordinator has taken the node over");
        transaction.commit().await?;
        self.report(&page, is_last);
        Ok(rest)
    }

    /// What the node tells of the beginning of a range, what the database names there, and how far that goes.
    async fn both_sides(
        &self,
        range: BlobRange,
    ) -> anyhow::Result<(
        Vec<InventoryItem>,
        Vec<tables::restore::nodes::NamedReplica>,
        BlobId,
    )> {
        let mut rows = {
            let mut connection = self.durability.db.acquire().await?;
            let limit = MAX_INVENTORY_ITEMS;
            tables::restore::nodes::named(&mut connection, &self.lease, &range, limit).await?
        };
        let last = rows.last().filter(|_| rows.len() == MAX_INVENTORY_ITEMS);
        let last = last.map_or(range.last, |row| row.blob_id);
        let asked = BlobRange { last, ..range };
        let request = InventoryRequest::new(vec![asked], InventoryAsk::Items)?;
        let answer = ask(self.durability.blobs.fleet.network(), self.peer, &request).await?;
        let upto = match answer.resume_from {
            Some(resume_from) => resume_from.previous().unwrap_or(last),
            None => last,
        };
        rows.retain(|row| row.blob_id <= upto);
        Ok((answer.items, rows, upto))
    }

    /// Brings blobs back from the node's trash before it is emptied.
    async fn bring_back(&self, blobs: &[BlobId], page: &mut Page) -> anyhow::Result<()> {
        for blobs in blobs.chunks(MAX_DELETIONS_PER_MESSAGE) {
            let deletions = blobs.iter().map(|blob| Deletion {
                blob_id: *blob,
                mode: DeletionMode::Restore,
            });
            let now = self.durability.clock.now();
            let keys = &self.durability.blobs.keys;
            let order = keys.order(self.peer, deletions.collect(), now)?;
            let network = self.durability.blobs.fleet.network();
            let outcomes = network.call::<Delete>(self.peer, order).await?.0;
            ensure!(
                outcomes.len() == blobs.len(),
                "the node answered another number of blobs than it was asked to bring back"
            );
            for (blob, outcome) in blobs.iter().zip(outcomes) {
                match outcome {
                    DeletionOutcome::Done => page.restored += 1,
                    DeletionOutcome::NotHeld => page.missing.push(*blob),
                    // A read brings it back, should it ever work.
                    DeletionOutcome::Failed | DeletionOutcome::Deferred if self.last_try => {}
                    DeletionOutcome::Failed | DeletionOutcome::Deferred => {
                        bail!("the node cannot bring blob {blob} back from its trash now")
                    }
                }
            }
        }
        Ok(())
    }

    fn report(&self, page: &Page, is_last: bool) {
        let node_id = self.lease.node;
        let missing = page.missing.len();
        tracing::debug!(%node_id, ?page, "went through a page of a node's blobs");
        if page.refused > 0 {
            tracing::error!(
                %node_id, blobs = page.refused,
                "a node holds blobs that are not what their locators say, or does not give them: \
                 they are not adopted"
            );
        }
        if missing > 0 {
            tracing::warn!(%node_id, missing, "a node does not hold what the restored database names on it");
        }
        if is_last {
            tracing::info!(%node_id, "a node has been gone through");
        }
    }
}
