//! A request body cut into chunks. The pieces are slices of what the socket delivered: nothing is
//! copied before sealing copies it into the blobs.

use std::error::Error;
use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};

use limits::memory::MemoryShare;

/// Pieces shorter than this are joined. A client that sends byte by byte would otherwise cost many
/// times the memory that was set aside for its chunk.
const SHORT_PIECE: usize = 4096;

/// One chunk's plaintext, in pieces.
#[derive(Debug, Clone, Default)]
pub struct ChunkBody {
    pieces: Vec<Bytes>,
    /// Short pieces that have not been joined to one yet.
    tail: BytesMut,
    len: usize,
}

impl From<Bytes> for ChunkBody {
    fn from(bytes: Bytes) -> Self {
        Self {
            len: bytes.len(),
            pieces: vec![bytes],
            tail: BytesMut::new(),
        }
    }
}

impl ChunkBody {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub fn sha256(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for piece in &self.pieces {
            hasher.update(piece);
        }
        hasher.finalize().into()
    }

    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < SHORT_PIECE {
            self.tail.extend_from_slice(&piece);
            return;
        }
        self.seal_tail();
        self.pieces.push(piece);
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(self.tail.split().freeze());
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It ended before it should, or the client went away.
    #[error("the request body broke off: {0}")]
    BrokeOff(String),
    /// What was to come did not come in time.
    #[error("the request body came too slowly")]
    TooSlow,
}

impl BodyError {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                return Self::TooSlow;
            }
            // What an `io::Error` wraps is not its source.
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        Self::BrokeOff(error.to_string())
    }
}

/// Reads a body chunk by chunk.
pub struct ChunkReader<S> {
    stream: S,
    rest: Bytes,
    chunk_size: usize,
}

impl<S, E> ChunkReader<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Error + 'static,
{
    pub fn new(stream: S, chunk_size: u32) -> Self {
        Self {
            stream,
            rest: Bytes::new(),
            chunk_size: chunk_size as usize,
        }
    }

    /// The next chunk: full, or the last one; `None` when the body has ended. Its share grows with what has arrived.
    pub async fn next_chunk(
        &mut self,
        share: &mut MemoryShare,
    ) -> Result<Option<ChunkBody>, BodyError> {
        let mut chunk = ChunkBody::default();
        while chunk.len() < self.chunk_size {
            if self.rest.is_empty() {
                match self.stream.next().await {
                    Some(Ok(frame)) => self.rest = frame,
                    Some(Err(error)) => return Err(BodyError::of(&error)),
                    None => break,
                }
            }
            let wanted = self.chunk_size - chunk.len();
            let piece = self.rest.split_to(wanted.min(self.rest.len()));
            if !piece.is_empty() {
                share.grow(piece.len() as u64).await;
                chunk.push(piece);
            }
        }
        chunk.seal_tail();
        share.settle();
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// Whether anything follows the chunks that were read.
    pub async fn has_more(&mut self) -> Result<bool, BodyError> {
        while self.rest.is_empty() {
            match self.stream.next().await {
                Some(Ok(frame)) => self.rest = frame,
                Some(Err(error)) => return Err(BodyError::of(&error)),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use limits::memory::{Holder, MemoryBudget};
    use model::ids::UserId;
    use uuid::Uuid;

    fn share() -> MemoryShare {
        let holder = Holder {
            account: UserId::from_uuid(Uuid::nil()),
            address: [192, 0, 2, 1].into(),
        };
        MemoryBudget::new(1 << 20).open(holder)
    }

    fn read_all(frames: Vec<Vec<u8>>, chunk_size: u32) -> Vec<Vec<u8>> {
        let frames = frames
            .into_iter()
            .map(|f| Ok::<_, io::Error>(Bytes::from(f)));
        let mut reader = ChunkReader::new(futures::stream::iter(frames), chunk_size);
        let mut chunks = Vec::new();
        futures::executor::block_on(async {
            while let Some(chunk) = reader.next_chunk(&mut share()).await.unwrap() {
                chunks.push(chunk.pieces().concat());
            }
        });
        chunks
    }

    proptest! {
        #[test]
        fn however_a_body_arrives_its_chunks_are_the_same(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
            chunk_size in 1u32..40,
        ) {
            let whole = frames.concat();
            let expected: Vec<Vec<u8>> =
                whole.chunks(chunk_size as usize).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(read_all(frames, chunk_size), expected);
        }
    }

    #[test]
    fn a_body_that_comes_byte_by_byte_is_kept_in_few_pieces() {
        let frames = (0..100_000).map(|n| Ok::<_, io::Error>(Bytes::from(vec![n as u8])));
        let mut reader = ChunkReader::new(futures::stream::iter(frames), 100_000);
        let chunk = futures::executor::block_on(reader.next_chunk(&mut share())).unwrap();
        assert_eq!(chunk.unwrap().pieces().len(), 1);
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error_and_not_a_short_chunk() {
        let outcome = |kind: io::ErrorKind| {
            let gone = io::Error::other(io::Error::from(kind));
            let frames = [Ok(Bytes::from_static(b"abc")), Err(gone)];
            let mut reader = ChunkReader::new(futures::stream::iter(frames), 10);
            futures::executor::block_on(reader.next_chunk(&mut share())).unwrap_err()
        };
        let gone = outcome(io::ErrorKind::ConnectionReset);
        assert!(matches!(gone, BodyError::BrokeOff(_)), "{gone:?}");
        let late = outcome(io::ErrorKind::TimedOut);
        assert!(matches!(late, BodyError::TooSlow), "{late:?}");
    }
}
