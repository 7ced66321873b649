//! Blobs that no row names and whose locators name stored chunks.
//!
//! A locator is only a hint: the node keeps it beside the blob and could put it beside another. What counts
//! is the bytes. They have to hash to the blob's name, open with the file's key at the chunk's place, and,
//! where a chunk may have been sent more than once, be the content that was acknowledged. Where an older coordinator
//! took a file in one request no chunk has a digest, and none was ever sent twice: there the seal alone says it.
//! A blob that another row names already is a copy of a copy, and counts for nothing. Of a coded chunk a piece opens as that
//! piece of that chunk and no other; its locator names the blob, so that none of an older content passes for it.
//!
//! The receipt comes from sending the node its own blob again, which it does not write twice: a row without
//! one could not be shown to the file's owner.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use backon::{ConstantBuilder, Retryable};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use network::CallError;
use proto::{BlobId, InventoryItem, Piece, RefusalCode};
use sha2::{Digest, Sha256};

use crate::durability::restore::{LEASE, Means};
use crate::durability::{Durability, tables};
use crate::fleet::{ReadFailure, StoreFailure};
use crate::{billing, blobs};

use crate::durability::tables::repair::{KeptChunk, SealedChunk};
use crate::durability::tables::restore::nodes::{Lease, Page};
use model::chunk::StoredReplica;
use sealing::{ChunkRef, ChunkVersion, DataKey, Located, PieceRef, SealedBlob};

/// Blobs that are looked at at one time, and that get their rows together.
const AT_ONE_TIME: usize = 8;
const GROUP: usize = 64;

/// What the node says that it holds, and what its locator says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub item: InventoryItem,
    pub located: Located,
}

/// What a candidate turned out to be.
enum Verdict {
    Good(ChunkVersion, StoredReplica),
    Bad,
}

/// Gives rows to those that are copies of stored chunks. On the last try, what the node cannot do with a blob is no
/// reason to come back.
pub(super) async fn adopt(
    means: &Means<'_>,
    lease: &Lease,
    candidates: Vec<Candidate>,
    last_try: bool,
    page: &mut Page,
) -> anyhow::Result<()> {
    let durability = means.durability;
    for group in candidates.chunks(GROUP) {
        let wanted = look_up(durability, group).await?;
        page.unknown += (group.len() - wanted.len()) as u64;
        let verdicts = wanted
            .into_iter()
            .map(|(candidate, chunk)| judge(means, lease, candidate, chunk, last_try));
        let verdicts: Vec<Verdict> = stream::iter(verdicts)
            .buffer_unordered(AT_ONE_TIME)
            .try_collect()
            .await?;
        let (mut good, all) = (Vec::new(), verdicts.len());
        for verdict in verdicts {
            if let Verdict::Good(place, replica) = verdict {
                good.push((place, replica));
            }
        }
        page.refused += (all - good.len()) as u64;
        if !good.is_empty() {
            write(durability, lease, &good, page).await?;
        }
    }
    Ok(())
}

/// Those that belong to chunks that are stored, in the content that they have now.
async fn look_up(
    durability: &Durability,
    group: &[Candidate],
) -> anyhow::Result<Vec<(Candidate, Arc<SealedChunk>)>> {
    let chunks: Vec<ChunkRef> = group.iter().map(|it| it.located.place.chunk).collect();
    let mut connection = durability.db.acquire().await?;
    let stored = tables::repair::with_keys(&mut connection, &chunks).await?;
    let stored: HashMap<ChunkRef, Arc<SealedChunk>> = stored
        .into_iter()
        .map(|sealed| (sealed.kept.chunk, Arc::new(sealed)))
        .collect();
    let wanted = group.iter().filter_map(|candidate| {
        let sealed = stored.get(&candidate.located.place.chunk)?;
        let is_current = sealed.kept.version == candidate.located.place.version;
        is_current.then(|| (*candidate, Arc::clone(sealed)))
    });
    Ok(wanted.collect())
}

/// Reads a blob, opens it, and has its node sign for it. An error is for now: the node is asked again, and only on
/// the last try is what it cannot do with one blob that blob's matter.
async fn judge(
    means: &Means<'_>,
    lease: &Lease,
    candidate: Candidate,
    chunk: Arc<SealedChunk>,
    last_try: bool,
) -> anyhow::Result<Verdict> {
    let Candidate { item, located } = candidate;
    let place = located.place;
    let (durability, node_id) = (means.durability, lease.node);
    let bad = |reason: &str| {
        tracing::warn!(%node_id, blob_id = %item.blob_id, reason, "a blob is not adopted");
        Ok(Verdict::Bad)
    };
    let Some(piece) = kept_as(&chunk.kept, &located, item.blob_id) else {
        return bad("it is no piece as its file has them, or its locator is another blob's");
    };
    let length = chunk.kept.blob_bytes();
    if item.length != length {
        return bad("it is not as long as what its chunk is kept in");
    }
    let _share = means.memory.reserve(length * 3).await;
    for _comes_and_goes_back in 0..2 {
        durability.repair.spend(length).await;
    }
    let data = match read(durability, lease, item.blob_id).await {
        Ok(data) => data,
        Err(failure @ (ReadFailure::Missing | ReadFailure::Ordered(_) | ReadFailure::Corrupt)) => {
            return bad(&failure.to_string());
        }
        Err(failure @ ReadFailure::Later(_)) if last_try => {
            return bad(&failure.to_string());
        }
        Err(failure) => {
            return Err(failure).with_context(|| format!("blob {}", item.blob_id));
        }
    };
    let (keys, file_id) = (&durability.blobs.keys, place.chunk.file_id);
    let key = keys.data_key(file_id, &chunk.key, &durability.db).await?;
    let looked_at = {
        let data = data.clone();
        let work = move || check(&key, &chunk, piece, item.blob_id, data);
        durability
            .blobs
            .crypto
            .run_over(length as usize, work)
            .await?
    };
    if let Err(reason) = looked_at {
        return bad(reason);
    }
    let blob = SealedBlob {
        blob_id: item.blob_id,
        data,
    };
    match durability
        .blobs
        .fleet
        .confirm(node_id, blob, item.locator)
        .await
    {
        Ok(receipt) => {
            let replica = StoredReplica {
                node_id,
                blob_id: item.blob_id,
                piece: piece.map_or(0, Piece::number),
                receipt,
            };
            Ok(Verdict::Good(place, replica))
        }
        Err(failure @ StoreFailure::ForgedReceipt) => {
            durability.blobs.receipts.note_forged(node_id);
            bad(&failure.to_string())
        }
        Err(StoreFailure::Refused(refusal)) => match refusal.code {
            RefusalCode::HashMismatch | RefusalCode::Malformed => bad(&refusal.to_string()),
            _ if last_try => bad(&refusal.to_string()),
            _ => bail!("the node does not sign for a blob that it holds: {refusal}"),
        },
        Err(failure @ StoreFailure::Call(_)) => Err(failure.into()),
    }
}

/// A blob's bytes. Whatever may pass is tried a few times, and then the whole page later.
async fn read(durability: &Durability, lease: &Lease, blob: BlobId) -> Result<Bytes, ReadFailure> {
    let pauses = ConstantBuilder::default()
        .with_delay(Duration::from_millis(500))
        .with_max_times(2);
    let read = || durability.blobs.fleet.retrieve(lease.node, blob);
    let passes = |failure: &ReadFailure| {
        matches!(
            failure,
            ReadFailure::Later(_) | ReadFailure::Call(CallError::Timeout)
        )
    };
    read.retry(pauses).when(passes).await
}

/// Which piece of its chunk a blob is by its locator, if the file is kept so and the locator was made for the blob. The
/// inner `None`: a whole copy.
fn kept_as(kept: &KeptChunk, located: &Located, blob: BlobId) -> Option<Option<Piece>> {
    match (kept.scheme.is_coded(), located.piece) {
        (false, None) => Some(None),
        (true, Some(located)) => {
            let expected = kept.scheme.piece(located.piece.number()).ok()?;
            (expected == located.piece && located.is_of(blob)).then_some(Some(expected))
        }
        _ => None,
    }
}

/// Whether these bytes are the chunk, or this piece of it.
fn check(
    key: &DataKey,
    chunk: &SealedChunk,
    piece: Option<Piece>,
    blob_id: BlobId,
    data: Bytes,
) -> Result<(), &'static str> {
    if BlobId::of(&data) != blob_id {
        return Err("its bytes are not the blob's");
    }
    let data = BytesMut::from(&data[..]);
    if let Some(piece) = piece {
        // That it is of the newest content its locator says, which names the blob.
        let place = PieceRef {
            chunk: chunk.kept.chunk,
            piece,
            chunk_bytes: chunk.kept.size_bytes,
        };
        let opened = key.open_piece(place, data);
        let opened = opened.map_err(|_| "it is not the piece that its locator names");
        return opened.map(drop);
    }
    let text = key.open(chunk.kept.chunk, data);
    let text = text.map_err(|_| "it is not the chunk that its locator names")?;
    match chunk.sha256 {
        Some(sha256) if Sha256::digest(&text)[..] != sha256 => {
            Err("it is another content of its chunk than was acknowledged")
        }
        _ => Ok(()),
    }
}

/// Writes the rows, under the locks of their chunks and the lease. Whoever earns goes on; a new replica
/// begins where its chunk has too few that do.
async fn write(
    durability: &Durability,
    lease: &Lease,
    good: &[(ChunkVersion, StoredReplica)],
    page: &mut Page,
) -> anyhow::Result<()> {
    let mut transaction = durability.db.begin().await?;
    let kept_lease = tables::restore::nodes::renew(&mut transaction, lease, LEASE).await?;
    anyhow::ensure!(kept_lease, "another coordinator has taken the node over");
    let chunks: Vec<ChunkRef> = good.iter().map(|(place, _)| place.chunk).collect();
    let kept = tables::repair::lock_chunks(&mut transaction, &chunks).await?;
    let kept: HashMap<ChunkRef, KeptChunk> =
        kept.into_iter().map(|kept| (kept.chunk, kept)).collect();
    let named = tables::repair::replicas(&mut transaction, &chunks).await?;
    let named: HashSet<BlobId> = named.iter().map(|(_, replica)| replica.blob_id).collect();

    let (mut of_files, mut of_uploads) = (Vec::new(), Vec::new());
    for (place, replica) in good {
        match kept.get(&place.chunk) {
            Some(chunk) if chunk.version == place.version => {
                if named.contains(&replica.blob_id) {
                    page.refused += 1;
                    tracing::warn!(node_id = %lease.node, blob_id = %replica.blob_id,
                        "a blob is not adopted: a row names it already, and a copy of a copy is none");
                    continue;
                }
                let rows = match chunk.ready {
                    true => &mut of_files,
                    false => &mut of_uploads,
                };
                rows.push(((place.chunk.file_id, place.chunk.index), *replica));
            }
            _ => page.unknown += 1, // deleted, or sent again, meanwhile
        }
    }
    let rows = of_files.iter().chain(&of_uploads);
    let adopted: Vec<BlobId> = rows.map(|(_, replica)| replica.blob_id).collect();
    if adopted.is_empty() {
        return Ok(());
    }
    blobs::tables::chunks::insert_replicas(&mut transaction, &of_files, false).await?;
    for (_, replica) in &of_files {
        billing::tables::earnings::start(&mut transaction, lease.node, replica.blob_id, "adopted")
            .await?;
    }
    // Those of an upload begin to earn when it is complete.
    blobs::tables::chunks::insert_replicas(&mut transaction, &of_uploads, true).await?;
    tables::restore::nodes::note_adopted(&mut transaction, lease, &adopted).await?;
    transaction.commit().await?;
    durability
        .metrics
        .restored_replicas
        .inc_by(adopted.len() as u64);
    Ok(())
}
