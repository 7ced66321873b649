//! Checking evidence with nothing but what is signed and the keys inside the peer ids: offline, and without trusting the
//! coordinator that handed it out.
//!
//! All receipts first, then the rest, page by page: of a receipt is kept who promised which blob and what the blob is by
//! a coordinator's word, of a proof only that it was one. So memory follows the number of copies, not the length of the
//! evidence. What a coordinator has signed and cannot be true is a [`Lie`], whoever shows it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use uuid::Uuid;

use super::{Lie, ReceiptItem, Receipts, Sealed, StatementItem, signature};
use crate::{
    BlobId, ChunkSha256, ChunkStatement, FileId, Judgement, NetworkContext, NetworkId, PeerId,
    ProofSeed, SignedReceipt,
};

/// What one piece of evidence is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The node that signed the receipt held the blob when it was asked.
    Proven,
    /// The blob is what the coordinator signed that it is.
    Opened,
    /// The blob opens as the piece that it is said to be; what its chunk is shows with more of them.
    Piece,
    /// A verdict that nothing contradicts.
    Judged(Judgement),
    /// Worth nothing, and why.
    NotProven(String),
    /// It proves that the coordinator has signed what is not true.
    Refuted(Lie),
}

/// What was found of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub index: Option<u32>,
    pub peer_id: String,
    pub blob_id: BlobId,
    pub finding: Finding,
}

/// What a blob turns out to hold under the key that was shown for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// By itself, or with other pieces: a whole chunk, with its SHA-256 and length.
    Chunk(ChunkSha256, u32),
    /// A piece of a coded chunk, of which too few are there yet.
    Piece,
    /// A piece that cannot be kept until the others come.
    Unkept,
}

/// Separate copies, or pieces, of one chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    pub promised: usize,
    /// Of a coded chunk different pieces.
    pub proven: usize,
    /// So many different pieces give the chunk back; 0 of copies.
    pub needed: usize,
    /// Of those promised, the ones that a coordinator has signed to be this chunk of the file.
    pub bound: usize,
}

/// A chunk by a coordinator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    pub bytes: u32,
    pub sha256: ChunkSha256,
}

/// Who has signed for a blob.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub peer_id: PeerId,
    pub node_id: Uuid,
    pub index: u32,
    /// By the node's receipt.
    pub stored_at_ms: u64,
    pub proven: bool,
    /// Of a coded chunk, which piece.
    piece: Option<u8>,
}

impl Copies {
    /// All copies that are promised, or as many pieces as give the chunk back.
    pub const fn are_proven(&self) -> bool {
        match self.needed {
            0 => self.proven == self.promised,
            needed => self.proven >= needed,
        }
    }
}

/// Holds proofs against receipts, and receipts against the file that they are to be of.
#[derive(Debug, Default)]
pub struct Checker {
    /// The owner's own, if every proof has to answer it.
    pub(super) seed: Option<ProofSeed>,
    /// Known from elsewhere, or from what comes first.
    pub(super) network_id: Option<NetworkId>,
    file_id: Option<FileId>,
    pub(super) promises: BTreeMap<BlobId, Promise>,
    chunks: BTreeMap<u32, Copies>,
    proven_pieces: BTreeSet<(u32, u8)>,
    /// What coordinators sign, of whatever file.
    contents: BTreeMap<(FileId, u32), Stated>,
    places: BTreeMap<BlobId, (FileId, u32)>,
    opened: usize,
    judged: usize,
    bad: u64,
    refuted: u64,
}

impl Checker {
    pub fn new(
        seed: Option<ProofSeed>,
        network_id: Option<NetworkId>,
        file_id: Option<FileId>,
    ) -> Self {
        Self {
            seed,
            network_id,
            file_id,
            ..Self::default()
        }
    }

    /// For each chunk that has receipts, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Copies> {
        self.chunks.values().copied()
    }

    /// The file that the receipts are bound to.
    pub fn file_id(&self) -> Option<FileId> {
        self.file_id
    }

    /// What coordinators have signed of this file's chunks, by index.
    pub fn stated(&self) -> impl Iterator<Item = (u32, Stated)> {
        let file_id = self.file_id;
        let of_file = self.contents.iter();
        let of_file = of_file.filter(move |((file, _), _)| Some(*file) == file_id);
        of_file.map(|((_, index), stated)| (*index, *stated))
    }

    /// Chunk, node and blob of every copy that is promised.
    pub fn promised(&self) -> impl Iterator<Item = (u32, Uuid, BlobId)> {
        let promises = self.promises.iter();
        promises.map(|(blob, promise)| (promise.index, promise.node_id, *blob))
    }

    /// Pieces that give this chunk back; 0 where each blob is a copy.
    pub fn needed(&self, index: u32) -> usize {
        self.chunks.get(&index).map_or(0, |copies| copies.needed)
    }

    /// What proves that a coordinator has signed what is not true.
    pub fn refuted(&self) -> u64 {
        self.refuted
    }

    /// Blobs that were opened and are what they should be.
    pub fn opened(&self) -> usize {
        self.opened
    }

    /// Verdicts over blobs that nothing contradicts.
    pub fn judged(&self) -> usize {
        self.judged
    }

    /// Everything that was handed in is sound.
    pub fn is_sound(&self) -> bool {
        self.bad == 0 && self.refuted == 0
    }

    /// Of every chunk all copies that were promised are proven, or as many pieces as give it back.
    pub fn is_proven(&self) -> bool {
        let mut chunks = self.chunks();
        !self.chunks.is_empty() && chunks.all(|copies| copies.are_proven())
    }

    /// A coordinator has signed of every receipt that it is for this file.
    pub fn is_bound(&self) -> bool {
        let mut chunks = self.chunks();
        !self.chunks.is_empty() && chunks.all(|copies| copies.bound == copies.promised)
    }

    /// Every receipt is sound and of this file, and everything that was promised is proven.
    pub fn is_complete(&self) -> bool {
        self.is_sound() && self.is_proven() && self.is_bound()
    }

    /// Takes receipts in; returns what is wrong with them.
    pub fn receipts(&mut self, page: &Receipts) -> Vec<Found> {
        let items = page.items.iter();
        let found = items.filter_map(|item| {
            let outcome = self.receipt(page.network_id, item);
            let finding = match outcome {
                Ok(()) => return None,
                Err(finding) => finding,
            };
            Some(self.note(item, finding))
        });
        found.collect()
    }

    /// Takes in what a coordinator signs of blobs apart from receipts; returns what is wrong with it.
    pub fn statement(&mut self, peer_id: &str, item: &StatementItem) -> Option<Found> {
        let finding = self.stated_of(item).err()?;
        Some(self.count(Found {
            index: Some(item.index),
            peer_id: peer_id.to_owned(),
            blob_id: item.blob_id,
            finding,
        }))
    }

    /// Takes in the receipt that a blob was shown with. It may be of a copy that no other receipt promises.
    pub fn sealed_receipt(&mut self, sealed: &Sealed) -> Option<Found> {
        let item = &sealed.receipt;
        let network_id = item.statement.as_ref().map(|it| it.network_id);
        let network_id = network_id.or(self.network_id)?;
        let finding = self.receipt(network_id, item).err()?;
        Some(self.note(item, finding))
    }

    /// Checks a blob that was shown, and opens it. `content_of` is what a blob holds under a key (the crate `sealing` has
    /// it); of a piece, what it gives with those that came before.
    pub fn sealed(
        &mut self,
        sealed: &Sealed,
        content_of: impl FnOnce(&ChunkStatement, &[u8; 32], Vec<u8>) -> Option<Content>,
    ) -> Found {
        let finding = self.opened_as(sealed, content_of);
        let finding = finding.unwrap_or_else(Finding::NotProven);
        if finding == Finding::Opened {
            self.opened += 1;
        }
        self.note(&sealed.receipt, finding)
    }

    fn opened_as(
        &self,
        sealed: &Sealed,
        content_of: impl FnOnce(&ChunkStatement, &[u8; 32], Vec<u8>) -> Option<Content>,
    ) -> Result<Finding, String> {
        let item = sealed.receipt.statement.as_ref();
        let item = item.ok_or("no coordinator signs what the blob is")?;
        let statement = item.open()?;
        if self.file_id.is_some_and(|file| file != statement.file_id) {
            return Err(format!("it is of file {}", statement.file_id));
        }
        let key = sealed.key(&statement)?;
        let blob = BASE64_STANDARD.decode(&sealed.blob);
        let blob = blob.map_err(|_| "a blob that is not base64")?;
        if BlobId::of(&blob) != statement.blob_id || blob.len() as u64 != statement.length {
            return Err("the bytes are not the blob's".to_owned());
        }
        let expected = Content::Chunk(statement.chunk_sha256, statement.chunk_bytes);
        Ok(match content_of(&statement, &key, blob) {
            Some(content) if content == expected => Finding::Opened,
            Some(Content::Piece) if !statement.piece.is_copy() => Finding::Piece,
            Some(Content::Unkept) if !statement.piece.is_copy() => {
                return Err("pieces of too many chunks are open: those of one chunk have to follow each other".to_owned());
            }
            _ => Finding::Refuted(Lie::OpensOtherwise),
        })
    }

    /// A finding on what a receipt is about.
    fn note(&mut self, item: &ReceiptItem, finding: Finding) -> Found {
        self.count(Found {
            index: Some(item.index),
            peer_id: item.peer_id.clone(),
            blob_id: item.blob_id,
            finding,
        })
    }

    /// Counts what is bad in what is no proof of a promise: there it is the proof that is missing.
    fn count(&mut self, found: Found) -> Found {
        match &found.finding {
            Finding::Refuted(_) => self.refuted += 1,
            Finding::NotProven(_) => self.bad += 1,
            Finding::Judged(_) | Finding::Proven | Finding::Opened | Finding::Piece => {}
        }
        found
    }

    /// What a node or its coordinator has handed in is not what it should be.
    pub(super) fn note_bad(&mut self) {
        self.bad += 1;
    }

    pub(super) fn note_refuted(&mut self) {
        self.refuted += 1;
    }

    pub(super) fn note_judged(&mut self) {
        self.judged += 1;
    }

    fn receipt(&mut self, network_id: NetworkId, item: &ReceiptItem) -> Result<(), Finding> {
        let expected = *self.network_id.get_or_insert(network_id);
        let promised = receipt(expected, network_id, item);
        let peer_id = promised.map_err(Finding::NotProven)?;
        let bound = match &item.statement {
            None => false,
            Some(statement) => {
                let same = (statement.index, statement.blob_id, statement.length)
                    == (item.index, item.blob_id, item.length);
                if !same {
                    let text = "what the coordinator signs is about another blob or chunk";
                    return Err(Finding::NotProven(text.to_owned()));
                }
                self.stated_of(statement)?;
                true
            }
        };
        self.promise(peer_id, item, bound)
            .map_err(Finding::NotProven)
    }

    /// Takes a coordinator's word, and holds it against what else coordinators have signed.
    fn stated_of(&mut self, item: &StatementItem) -> Result<(), Finding> {
        let statement = item.open().map_err(Finding::NotProven)?;
        let place = (statement.file_id, statement.index);
        let stated = Stated {
            bytes: statement.chunk_bytes,
            sha256: statement.chunk_sha256,
        };
        let (file_id, index) = place;
        if *self.contents.entry(place).or_insert(stated) != stated {
            return Err(Finding::Refuted(Lie::TwoContents { file_id, index }));
        }
        let blob_id = statement.blob_id;
        if *self.places.entry(blob_id).or_insert(place) != place {
            return Err(Finding::Refuted(Lie::TwoPlaces { blob_id }));
        }
        let (network_id, of_file) = (statement.network_id, statement.file_id);
        if *self.network_id.get_or_insert(network_id) != network_id {
            let text = "what the coordinator signs is of another network";
            return Err(Finding::NotProven(text.to_owned()));
        }
        let expected = *self.file_id.get_or_insert(of_file);
        if expected != of_file {
            let text = format!("it is of file {of_file}, and not of {expected}");
            return Err(Finding::NotProven(text));
        }
        Ok(())
    }

    fn promise(&mut self, peer_id: PeerId, item: &ReceiptItem, bound: bool) -> Result<(), String> {
        match self.promises.get(&item.blob_id) {
            Some(before) if before.peer_id == peer_id => return Ok(()), // the same once more
            // Two nodes with one blob would share a copy and call it two.
            Some(_) => {
                let blob = item.blob_id;
                return Err(format!("blob {blob} has two holders: no separate copies"));
            }
            None => {}
        }
        let coded = item.statement.as_ref().filter(|statement| statement.k > 1);
        let needed = coded.map_or(0, |statement| usize::from(statement.k));
        let copies = self.chunks.entry(item.index).or_insert(Copies {
            needed,
            ..Copies::default()
        });
        if copies.needed != needed {
            return Err("its chunk is said to be kept in two ways".to_owned());
        }
        let promise = Promise {
            peer_id,
            node_id: item.node_id,
            index: item.index,
            stored_at_ms: item.stored_at_ms,
            proven: false,
            piece: coded.map(|statement| statement.piece),
        };
        self.promises.insert(item.blob_id, promise);
        copies.promised += 1;
        copies.bound += usize::from(bound);
        Ok(())
    }

    /// A copy that a receipt promises is proven.
    pub(super) fn prove(&mut self, blob_id: BlobId) {
        let Some(promise) = self.promises.get_mut(&blob_id) else {
            return;
        };
        let is_new = !std::mem::replace(&mut promise.proven, true);
        let (index, piece) = (promise.index, promise.piece);
        let is_different = piece.is_none_or(|piece| self.proven_pieces.insert((index, piece)));
        if is_new
            && is_different
            && let Some(copies) = self.chunks.get_mut(&index)
        {
            copies.proven += 1;
        }
    }
}

/// Who has signed the receipt, if somebody has.
fn receipt(
    expected: NetworkId,
    network_id: NetworkId,
    item: &ReceiptItem,
) -> Result<PeerId, String> {
    if expected != network_id {
        return Err("the receipt is of another network".to_owned());
    }
    let peer_id = peer(&item.peer_id)?;
    let receipt = SignedReceipt {
        stored_at_ms: item.stored_at_ms,
        signature: signature(&item.signature).map_err(|error| error.to_string())?,
    };
    let context = NetworkContext {
        network_id,
        peer_id,
    };
    receipt
        .verify(context, item.blob_id, item.length)
        .map_err(|_| "the node has not signed this receipt".to_owned())?;
    Ok(peer_id)
}

pub(super) fn peer(text: &str) -> Result<PeerId, String> {
    text.parse().map_err(|_| format!("{text} is not a peer id"))
}
