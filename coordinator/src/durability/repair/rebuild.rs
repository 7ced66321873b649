//! The copies, or pieces, that a chunk lacks: a verified read, and for each a fresh seal, a store and a receipt.
//!
//! Of a coded chunk the missing pieces are read where they still are, as on a node that leaves; else any k give the chunk,
//! and what that codes to is compared with the chunk's digest before a piece of it goes to a node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::{BlobId, NodeId};
use sqlx::PgConnection;

use crate::blobs::body::ChunkBody;
use crate::blobs::get::{StoredAs, Unreadable, code_of, decode, read_chunk, read_pieces};
use crate::blobs::put::{FileKey, Parts, StoreChunkError, Wanted, put_beside};
use crate::blobs::tentative::Tentative;
use crate::durability::{Durability, tables};

use crate::durability::tables::repair::{Queued, SealedChunk};
use model::chunk::{ReplicaLocation, StoredReplica};
use rules::placement::Rules;
use rules::repair::{Replica, health};
use sealing::{ChunkRef, ChunkVersion};
use sha2::{Digest, Sha256};

/// How long a read waits for nodes that may come back; the queue waits longer.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A chunk that was taken from the queue, as it is before it is worked on.
#[derive(Debug)]
pub(super) struct Work {
    pub queued: Queued,
    /// `None` when it is gone.
    sealed: Option<SealedChunk>,
    replicas: Vec<Replica>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub queued: Queued,
    /// Of the chunk that was copied.
    pub version: u64,
    /// The copies that were made.
    pub copies: Vec<Tentative>,
    pub trouble: Option<Trouble>,
}

impl Rebuilt {
    pub(super) fn stored(&self) -> impl Iterator<Item = &StoredReplica> {
        self.copies
            .iter()
            .flat_map(crate::blobs::tentative::Tentative::replicas)
    }

    pub(super) fn unknown(&self) -> impl Iterator<Item = (NodeId, BlobId)> {
        let unknown = self
            .copies
            .iter()
            .flat_map(crate::blobs::tentative::Tentative::unknown);
        unknown.copied()
    }
}

/// Why a chunk did not get all its copies.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no replica can be read now")]
    Unreadable,
    #[error("its pieces give something else than was stored")]
    OtherContent,
    #[error("its key cannot be opened: {0:#}")]
    Key(anyhow::Error),
    #[error(transparent)]
    Store(#[from] StoreChunkError),
}

/// Reads what is known of the chunks that were taken.
pub(super) async fn look_up(
    connection: &mut PgConnection,
    taken: Vec<Queued>,
) -> anyhow::Result<Vec<Work>> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let chunks: Vec<ChunkRef> = taken.iter().map(|queued| queued.chunk).collect();
    let sealed = tables::repair::with_keys(connection, &chunks).await?;
    let mut sealed: HashMap<ChunkRef, SealedChunk> = sealed
        .into_iter()
        .map(|sealed| (sealed.kept.chunk, sealed))
        .collect();
    let mut replicas: HashMap<ChunkRef, Vec<Replica>> = HashMap::new();
    for (chunk, replica) in tables::repair::replicas(connection, &chunks).await? {
        replicas.entry(chunk).or_default().push(replica);
    }
    let work = taken.into_iter().map(|queued| Work {
        sealed: sealed.remove(&queued.chunk),
        replicas: replicas.remove(&queued.chunk).unwrap_or_default(),
        queued,
    });
    Ok(work.collect())
}

/// Makes the copies that are missing, as many as it can.
pub(super) async fn rebuild(durability: Arc<Durability>, work: Work) -> Rebuilt {
    let mut rebuilt = Rebuilt {
        queued: work.queued,
        version: work.sealed.as_ref().map_or(0, |sealed| sealed.kept.version),
        copies: Vec::new(),
        trouble: None,
    };
    if let Some(sealed) = &work.sealed
        && let Err(trouble) = copy(&durability, sealed, &work.replicas, &mut rebuilt).await
    {
        rebuilt.trouble = Some(trouble);
    }
    rebuilt
}

async fn copy(
    durability: &Durability,
    sealed: &SealedChunk,
    replicas: &[Replica],
    rebuilt: &mut Rebuilt,
) -> Result<(), Trouble> {
    let kept = &sealed.kept;
    let scheme = kept.scheme;
    let replicas = super::with_domains(durability, replicas);
    let missing = health(&replicas, scheme).missing;
    let moved = if missing.is_empty() && durability.blobs.placement.distinct_domains {
        super::better_placed(
            &durability.blobs.fleet.candidates(),
            &replicas,
            kept,
            &mut durability.entropy.rng(),
        )
    } else {
        None
    };
    let (numbers, rules) = match moved {
        Some(at) => (vec![replicas[at].piece], Rules::Hard),
        None => (missing, Rules::Preferred),
    };
    if numbers.is_empty() {
        return Ok(());
    }
    // What came from the sockets, what is made of it, and a sealed copy.
    let stored = StoredAs {
        chunk: kept.chunk,
        scheme,
        size_bytes: kept.size_bytes,
    };
    let bytes = stored.reading_bytes() + u64::from(kept.size_bytes);
    let _share = durability.repair.memory.reserve(bytes).await;
    let key = Arc::new(open_key(durability, sealed).await?);
    let locations = locations(&replicas);
    let parts = read(
        durability,
        &key,
        stored,
        sealed.sha256,
        &numbers,
        &locations,
    )
    .await?;
    let place = ChunkVersion {
        chunk: kept.chunk,
        version: kept.version,
    };
    let (demoted, held): (Vec<_>, Vec<_>) = replicas
        .iter()
        .partition(|replica| replica.demoted_at.is_some());
    // Whatever stands where a replica is that leaves is no reason to go elsewhere.
    let leaving = moved.map(|at| replicas[at].blob_id);
    let beside = |replica: &&Replica| {
        let stays = replica.stays() && leaving != Some(replica.blob_id);
        let domains = stays.then(|| replica.domains.clone());
        (replica.node_id, domains.unwrap_or_default())
    };
    let mut held: Vec<_> = held.iter().map(beside).collect();
    let demoted: Vec<_> = demoted.iter().map(beside).collect();
    for parts in parts {
        let bytes = kept.blob_bytes();
        durability.repair.spend(bytes).await;
        let wanted = |beside: Vec<_>| Wanted {
            beside,
            rules,
            timeout: Duration::ZERO,
        };
        // A node that lost its copy gets another one only when nobody else takes it.
        let others = [&held[..], &demoted[..]].concat();
        let first = put_beside(
            &durability.blobs,
            &key,
            place,
            parts.clone(),
            wanted(others),
        )
        .await;
        let copies = match first {
            Err(StoreChunkError::Placement(_)) if !demoted.is_empty() => {
                put_beside(&durability.blobs, &key, place, parts, wanted(held.clone())).await
            }
            outcome => outcome,
        };
        match copies {
            Ok(copies) => {
                durability
                    .metrics
                    .repaired_bytes
                    .inc_by(bytes * copies.replicas().len() as u64);
                let domains = |node| {
                    durability
                        .blobs
                        .fleet
                        .member(node)
                        .map(|member| member.domains())
                };
                let stored = copies.replicas().iter().map(|replica| replica.node_id);
                held.extend(stored.map(|node| (node, domains(node).unwrap_or_default())));
                rebuilt.copies.push(copies);
            }
            Err(error) => {
                let no_better_place =
                    moved.is_some() && matches!(error, StoreChunkError::Placement(_));
                return match no_better_place {
                    true => Ok(()),
                    false => Err(error.into()),
                };
            }
        }
    }
    Ok(())
}

/// What goes to nodes, one after the other: so many copies, or these pieces.
async fn read(
    durability: &Durability,
    key: &FileKey,
    stored: StoredAs,
    sha256: Option<[u8; 32]>,
    numbers: &[u8],
    locations: &[ReplicaLocation],
) -> Result<Vec<Parts>, Trouble> {
    let (blobs, data_key) = (&durability.blobs, &key.data_key);
    let unreadable = |Unreadable| Trouble::Unreadable;
    if !stored.scheme.is_coded() {
        let whole = 0..stored.size_bytes;
        let text = read_chunk(blobs, data_key, stored, whole, locations, READ_TIMEOUT);
        let body = ChunkBody::from(text.await.map_err(unreadable)?);
        return Ok(vec![Parts::Copies(body, 1); numbers.len()]);
    }
    let read = read_pieces(blobs, data_key, stored, numbers, locations, READ_TIMEOUT);
    let mut pieces = read.await.map_err(unreadable)?;
    let is_there = |number: &u8| pieces.iter().any(|(other, _)| other == number);
    if !numbers.iter().all(is_there) {
        let chunk = decode(blobs, stored, pieces).await.map_err(unreadable)?;
        let coding = move || {
            let is_other = sha256.is_some_and(|sha256| Sha256::digest(&chunk)[..] != sha256);
            (!is_other).then(|| code_of(stored.scheme)?.encode(&[chunk]))
        };
        let coded = blobs.crypto.run_over(stored.size_bytes as usize, coding);
        let coded = coded.await.map_err(StoreChunkError::from)?;
        let coded = coded.ok_or(Trouble::OtherContent)?;
        let coded = coded.map_err(StoreChunkError::from)?;
        pieces = (0..).zip(coded).collect();
    }
    let wanted = pieces
        .into_iter()
        .filter(|(number, _)| numbers.contains(number));
    let parts = wanted.map(|piece| Parts::Pieces {
        chunk_bytes: stored.size_bytes,
        pieces: vec![piece],
    });
    Ok(parts.collect())
}

async fn open_key(durability: &Durability, sealed: &SealedChunk) -> Result<FileKey, Trouble> {
    let (keys, file_id) = (&durability.blobs.keys, sealed.kept.chunk.file_id);
    let data_key = keys.data_key(file_id, &sealed.key, &durability.db).await;
    Ok(FileKey {
        data_key: Arc::new(data_key.map_err(Trouble::Key)?),
        scheme: sealed.kept.scheme,
    })
}

fn locations(replicas: &[Replica]) -> Vec<ReplicaLocation> {
    let locations = replicas.iter().map(|replica| ReplicaLocation {
        node_id: replica.node_id,
        blob_id: replica.blob_id,
        piece: replica.piece,
        suspect: replica.suspect,
        demoted: replica.demoted_at.is_some(),
    });
    locations.collect()
}
