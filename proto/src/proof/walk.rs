//! `prove` and `verify`.

use blake3::hazmat::{ChainingValue, HasherExt};
use blake3::{CHUNK_LEN, Hasher};
use bytes::{Buf, Bytes};

use super::chain::Chain;
use super::question::Question;
use super::tree::{self, Visited};
use crate::ProofHash;

/// The most bytes that [`prove`] asks a source for at once.
pub const MAX_PIECE_BYTES: usize = 64 * 1024;

/// That the node held the blob's bytes when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub proof_hash: ProofHash,
    /// The visited leaves in the order of their first visit, then the hashes of the largest
    /// subtrees without a visited leaf, in pre-order.
    pub body: Bytes,
}

/// Where [`prove`] reads a blob: some leaves first, then the rest in ascending order.
pub trait BlobSource {
    type Error;

    /// The bytes `offset..offset + len` of the blob; `len` is at most [`MAX_PIECE_BYTES`].
    fn piece(&mut self, offset: u64, len: usize) -> Result<&[u8], Self::Error>;
}

/// A source that holds fewer bytes than the blob has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the blob ends early")]
pub struct OutsideBlob;

impl BlobSource for &[u8] {
    type Error = OutsideBlob;

    fn piece(&mut self, offset: u64, len: usize) -> Result<&[u8], OutsideBlob> {
        let begin = usize::try_from(offset).map_err(|_| OutsideBlob)?;
        let end = begin.checked_add(len).ok_or(OutsideBlob)?;
        self.get(begin..end).ok_or(OutsideBlob)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    #[error("a blob has 1 to 2^63 - 1 bytes")]
    ImpossibleLength,
    /// What was read is not the blob.
    #[error("the bytes no longer hash to the blob's id")]
    Corrupt,
    #[error("{0}")]
    Source(E),
}

/// Why a proof does not show that the blob was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a blob has 1 to 2^63 - 1 bytes")]
    ImpossibleLength,
    #[error("its body is longer than any proof of this blob can be")]
    Oversized,
    #[error("its body ends before the last visited leaf")]
    MissingLeaf,
    #[error("its body does not hold exactly the hashes that lead to the root")]
    WrongSiblings,
    #[error("its leaves and hashes do not lead to the blob's id")]
    WrongRoot,
    #[error("its hash is not that of this walk")]
    WrongHash,
}

/// The leaves visited so far, as ranges of the body, by index.
#[derive(Default)]
struct Visits(Vec<(u64, usize)>);

impl Visits {
    /// Where the leaf lies in the body, or where its entry belongs.
    fn find(&self, index: u64) -> Result<usize, usize> {
        let found = self.0.binary_search_by_key(&index, |entry| entry.0);
        found.map(|at| self.0[at].1)
    }

    fn leaves<'a>(&self, question: &Question, body: &'a [u8]) -> Vec<Visited<'a>> {
        let leaf = |&(index, begin): &(u64, usize)| {
            (index, &body[begin..begin + question.leaf_len(index)])
        };
        self.0.iter().map(leaf).collect()
    }
}

/// Answers `question` from the blob's bytes. Reads the visited leaves, then the whole blob once from
/// front to end, in pieces: memory does not grow with the blob.
pub fn prove<B: BlobSource>(
    question: &Question,
    blob: &mut B,
) -> Result<Proof, ProveError<B::Error>> {
    if !question.is_possible() {
        return Err(ProveError::ImpossibleLength);
    }
    let mut body = Vec::with_capacity(question.max_body_bytes() as usize);
    let mut visits = Visits::default();
    let mut chain = Chain::start(question);
    for _ in 0..question.difficulty.get() {
        let index = chain.next_index();
        let len = question.leaf_len(index);
        let begin = match visits.find(index) {
            Ok(begin) => begin,
            Err(at) => {
                let leaf = piece(blob, index * CHUNK_LEN as u64, len)?;
                visits.0.insert(at, (index, body.len()));
                body.extend_from_slice(leaf);
                body.len() - len
            }
        };
        chain.visit(index, &body[begin..begin + len]);
    }
    let leaves_end = body.len();
    let mut siblings = Vec::with_capacity(body.capacity() - leaves_end);
    let visited = visits.leaves(question, &body);
    let root = tree::root(question.length, &visited, |offset, len| {
        let hash = hash_subtree(blob, offset, len)?;
        siblings.extend_from_slice(&hash);
        Ok(hash)
    })?;
    if root != *question.blob_id.as_bytes() {
        return Err(ProveError::Corrupt);
    }
    body.extend_from_slice(&siblings);
    Ok(Proof {
        proof_hash: chain.finish(),
        body: body.into(),
    })
}

/// One hasher for the whole subtree, fed with pieces of many leaves: that is what keeps all lanes of
/// the vector unit busy.
fn hash_subtree<B: BlobSource>(
    blob: &mut B,
    mut offset: u64,
    mut len: u64,
) -> Result<ChainingValue, ProveError<B::Error>> {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    while len > 0 {
        let wanted = len.min(MAX_PIECE_BYTES as u64) as usize;
        hasher.update(piece(blob, offset, wanted)?);
        offset += wanted as u64;
        len -= wanted as u64;
    }
    Ok(hasher.finalize_non_root())
}

fn piece<B: BlobSource>(
    blob: &mut B,
    offset: u64,
    len: usize,
) -> Result<&[u8], ProveError<B::Error>> {
    let piece = blob.piece(offset, len).map_err(ProveError::Source)?;
    match piece.len() == len {
        true => Ok(piece),
        false => Err(ProveError::Corrupt),
    }
}

/// Accepts `proof` only if it answers exactly this question. Allocates in proportion to the
/// difficulty, whatever the proof or the length of the blob claim.
pub fn verify(question: &Question, proof: &Proof) -> Result<(), ProofError> {
    if !question.is_possible() {
        return Err(ProofError::ImpossibleLength);
    }
    let body = &proof.body[..];
    if body.len() as u64 > question.max_body_bytes() {
        return Err(ProofError::Oversized);
    }
    let mut taken = 0;
    let mut visits = Visits::default();
    let mut chain = Chain::start(question);
    for _ in 0..question.difficulty.get() {
        let index = chain.next_index();
        let len = question.leaf_len(index);
        let begin = match visits.find(index) {
            Ok(begin) => begin,
            Err(at) => {
                visits.0.insert(at, (index, taken));
                taken += len;
                taken - len
            }
        };
        let leaf = body.get(begin..begin + len);
        chain.visit(index, leaf.ok_or(ProofError::MissingLeaf)?);
    }
    let mut siblings = &body[taken..];
    let visited = visits.leaves(question, body);
    let root = tree::root(question.length, &visited, |_, _| {
        let mut hash = [0; 32];
        let read = siblings.try_copy_to_slice(&mut hash);
        read.map(|()| hash).map_err(|_| ProofError::WrongSiblings)
    })?;
    if !siblings.is_empty() {
        return Err(ProofError::WrongSiblings);
    }
    if root != *question.blob_id.as_bytes() {
        return Err(ProofError::WrongRoot);
    }
    if chain.finish() != proof.proof_hash {
        return Err(ProofError::WrongHash);
    }
    Ok(())
}
