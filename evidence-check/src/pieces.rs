//! Pieces of coded chunks that were opened: k of them give the chunk, and the others have to be what it codes to.
//!
//! A piece alone shows nothing of what its owner stored. So pieces are kept until there are k, a few chunks at a time; then the
//! chunk is decoded, and of its pieces only digests stay, for those that are shown later.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use coding::Code;
use proto::evidence::Content;
use proto::{ChunkSha256, ChunkStatement, FileId};
use sealing::{ChunkKey, ChunkRef, PieceRef};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of pieces that wait for others: 30 chunks of the default length.
const MOST_BYTES: usize = 64 << 20;

type Pieces = Vec<(u8, Bytes)>;

#[derive(Debug, Default)]
pub(super) struct OpenedPieces {
    chunks: BTreeMap<(FileId, u32), Chunk>,
    bytes: usize,
}

#[derive(Debug)]
enum Chunk {
    Waiting(Pieces),
    Known {
        content: Content,
        /// SHA-256 of each piece.
        pieces: Vec<[u8; 32]>,
    },
}

impl OpenedPieces {
    /// Opens a blob that is said to be a piece; `None` when it is not that, or its chunk is not what its pieces give.
    pub(super) fn open(
        &mut self,
        statement: &ChunkStatement,
        key: &[u8; 32],
        blob: &[u8],
    ) -> Option<Content> {
        let chunk = ChunkRef {
            file_id: statement.file_id,
            index: statement.index,
        };
        let place = PieceRef {
            chunk,
            piece: statement.piece,
            chunk_bytes: statement.chunk_bytes,
        };
        let key = ChunkKey::from_bytes(Zeroizing::new(*key));
        let piece = key.open_piece(place, BytesMut::from(blob)).ok()?;
        let number = statement.piece.number();
        let place = (chunk.file_id, chunk.index);
        let known = self
            .chunks
            .entry(place)
            .or_insert(Chunk::Waiting(Vec::new()));
        let waiting = match known {
            Chunk::Known { content, pieces } => {
                let expected = pieces.get(usize::from(number))?;
                return (Sha256::digest(&piece)[..] == *expected).then_some(*content);
            }
            Chunk::Waiting(waiting) => waiting,
        };
        if waiting.iter().all(|(other, _)| *other != number) {
            if self.bytes + piece.len() > MOST_BYTES {
                return Some(Content::Unkept);
            }
            self.bytes += piece.len();
            waiting.push((number, piece));
        }
        if waiting.len() < usize::from(statement.piece.needed()) {
            return Some(Content::Piece);
        }
        self.bytes -= waiting.iter().map(|(_, piece)| piece.len()).sum::<usize>();
        let decoded = decoded(statement, waiting);
        let Some((content, pieces)) = decoded else {
            self.chunks.remove(&place);
            return None;
        };
        *known = Chunk::Known { content, pieces };
        Some(content)
    }

    /// Chunks of which too few pieces were shown.
    pub(super) fn incomplete(&self) -> usize {
        let chunks = self.chunks.values();
        chunks
            .filter(|chunk| matches!(chunk, Chunk::Waiting(_)))
            .count()
    }
}

fn decoded(statement: &ChunkStatement, pieces: &Pieces) -> Option<(Content, Vec<[u8; 32]>)> {
    let code = Code::of(statement.piece).ok()?;
    let chunk = code.decode(statement.chunk_bytes, pieces).ok()?;
    let sha256 = ChunkSha256::from_bytes(Sha256::digest(&chunk).into());
    let content = Content::Chunk(sha256, statement.chunk_bytes);
    let all = code.encode(&[chunk]).ok()?;
    let digests = all.iter().map(|piece| Sha256::digest(piece).into());
    let digests: Vec<[u8; 32]> = digests.collect();
    // What was shown besides k has to be of this chunk, too.
    let is_of_it = |(number, piece): &(u8, Bytes)| all.get(usize::from(*number)) == Some(piece);
    pieces.iter().all(is_of_it).then_some((content, digests))
}

#[cfg(test)]
mod tests {
    use proto::{BlobId, NetworkId, Piece};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use sealing::{DataKey, Sealing};

    use super::*;

    const TEXT: &[u8] = b"what a user stored, in pieces";

    /// Statements and blobs of all pieces, and the key of the chunk.
    fn shown(text: &[u8]) -> (Vec<(ChunkStatement, Vec<u8>)>, [u8; 32]) {
        let mut rng = StdRng::seed_from_u64(1);
        let key = DataKey::generate(Sealing::V2, &mut rng).unwrap();
        let chunk = ChunkRef {
            file_id: FileId::from_bytes([1; 16]),
            index: 3,
        };
        let code = Code::new(3, 6).unwrap();
        let pieces = code.encode(&[Bytes::copy_from_slice(text)]).unwrap();
        let keypair = proto::Keypair::ed25519_from_bytes([1; 32]).unwrap();
        let shown = (0..).zip(&pieces).map(|(number, piece)| {
            let place = PieceRef {
                chunk,
                piece: Piece::new(number, 3, 6).unwrap(),
                chunk_bytes: text.len() as u32,
            };
            let blob = key.seal_piece(place, piece, &mut rng).unwrap();
            let statement = ChunkStatement {
                network_id: NetworkId::from_bytes([9; 32]),
                coordinator: keypair.public().to_peer_id(),
                file_id: chunk.file_id,
                index: chunk.index,
                chunk_bytes: text.len() as u32,
                chunk_sha256: ChunkSha256::from_bytes([0; 32]),
                piece: place.piece,
                sealing: Sealing::V2,
                blob_id: BlobId::of(&blob.data),
                length: blob.data.len() as u64,
            };
            (statement, blob.data.to_vec())
        });
        let shown = shown.collect();
        (shown, *key.chunk_key(3).unwrap().as_bytes())
    }

    fn content(text: &[u8]) -> Content {
        let sha256 = ChunkSha256::from_bytes(Sha256::digest(text).into());
        Content::Chunk(sha256, text.len() as u32)
    }

    #[test]
    fn three_of_six_pieces_show_the_chunk_and_every_further_one_is_held_against_it() {
        let (shown, key) = shown(TEXT);
        let mut opened = OpenedPieces::default();
        let mut open = |at: usize| opened.open(&shown[at].0, &key, &shown[at].1);
        assert_eq!(open(5), Some(Content::Piece));
        assert_eq!(open(5), Some(Content::Piece), "the same once more is none");
        assert_eq!(open(0), Some(Content::Piece));
        assert_eq!(open(4), Some(content(TEXT)));
        assert_eq!([1, 2, 3].map(&mut open), [Some(content(TEXT)); 3]);
        assert_eq!((opened.incomplete(), opened.bytes), (0, 0));
    }

    #[test]
    fn a_piece_of_another_content_does_not_pass() {
        let (one, key) = shown(TEXT);
        let (other, _) = shown(b"what a user replaced, in pieces"[..TEXT.len()].as_ref());
        let mut opened = OpenedPieces::default();
        for (statement, blob) in &one[..3] {
            opened.open(statement, &key, blob);
        }
        // The same key and place, as it may be of an older sending of the chunk.
        assert_eq!(opened.open(&other[4].0, &key, &other[4].1), None);
        let mut mixed = OpenedPieces::default();
        let shown = [&one[0], &one[1], &other[4]];
        let found = shown.map(|(statement, blob)| mixed.open(statement, &key, blob));
        assert_ne!(found[2], Some(content(TEXT)));
        let mut swapped = OpenedPieces::default();
        assert_eq!(swapped.open(&one[0].0, &key, &one[1].1), None);
    }
}
