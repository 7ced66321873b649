//! Files of any size that cost nothing to make and little to compare.

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use rand::Rng;
use reqwest::Response;

const PIECE: usize = 256 * 1024;
/// A prime number of pieces, so that chunks of any usual size differ from their neighbours.
const PIECES: usize = 61;

/// Random bytes, repeated without end; a file of some size is the beginning of it.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pieces: Bytes,
}

impl Content {
    pub(crate) fn random() -> Self {
        let mut pieces = vec![0; PIECE * PIECES];
        kit::Entropy::system().rng().fill_bytes(&mut pieces);
        Self {
            pieces: pieces.into(),
        }
    }

    /// The bytes at a place, at most `most`, without a copy.
    fn at(&self, offset: u64, most: u64) -> Bytes {
        let start = (offset % self.pieces.len() as u64) as usize;
        let end = (start as u64 + most).min(self.pieces.len() as u64) as usize;
        self.pieces.slice(start..end)
    }

    /// The first `size` bytes, in pieces.
    pub(crate) fn stream(
        &self,
        size: u64,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
        let content = self.clone();
        let pieces = (0..size).step_by(PIECE);
        stream::iter(pieces.map(move |at| Ok(content.at(at, (size - at).min(PIECE as u64)))))
    }

    /// Reads a body to its end and fails unless it is the first `size` bytes.
    pub(crate) async fn expect(&self, size: u64, response: Response) -> Result<()> {
        let mut body = response.bytes_stream();
        let mut offset = 0;
        while let Some(mut piece) = body.try_next().await? {
            while !piece.is_empty() {
                let wanted = self.at(offset, piece.len() as u64);
                let got = piece.split_to(wanted.len());
                ensure!(
                    got == wanted,
                    "the file is not what was stored, at {offset}"
                );
                offset += got.len() as u64;
            }
        }
        ensure!(offset == size, "{offset} bytes came back instead of {size}");
        Ok(())
    }
}
