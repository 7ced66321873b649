//! Content on its way out: as it is, or sealed piece by piece.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kit::Entropy;
use sealing::end_to_end::content::HEADER_LEN;
use sealing::end_to_end::{ContentSealer, FileKey};

use super::source::Source;
use crate::Error;
use crate::layout::Layout;

/// Files are one part, which is counted from 1.
pub(crate) const PART: u32 = 1;

/// What seals a content, and goes on where another run left off.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub key: Arc<FileKey>,
    pub header: [u8; HEADER_LEN],
}

impl Sealed {
    /// With a fresh key.
    pub(crate) fn fresh(entropy: &Entropy) -> Result<Self, Error> {
        let mut rng = entropy.rng();
        let key = FileKey::generate(&mut rng);
        let sealer = ContentSealer::new(&key, PART, &mut rng)?;
        let header = *sealer.header();
        Ok(Self {
            key: Arc::new(key),
            header,
        })
    }

    /// Which the key has committed itself to.
    pub(crate) fn commitment(&self) -> [u8; 32] {
        commitment(&self.header)
    }
}

pub(crate) fn commitment(header: &[u8; HEADER_LEN]) -> [u8; 32] {
    let mut commitment = [0; 32];
    commitment.copy_from_slice(&header[HEADER_LEN - 32..]);
    commitment
}

#[derive(Debug)]
pub(crate) struct Content {
    pub source: Source,
    pub sealed: Option<Sealed>,
    pub layout: Layout,
}

impl Content {
    pub(crate) fn new(source: Source, sealed: Option<Sealed>) -> Result<Self, Error> {
        let layout = Layout::new(source.size(), sealed.is_some());
        let layout = layout.ok_or_else(|| Error::unusable("nothing so long can be stored"))?;
        Ok(Self {
            source,
            sealed,
            layout,
        })
    }

    /// The bytes to be stored of a range that begins and ends with segments. Sealed once more, they are others.
    pub(crate) async fn piece(
        self: &Arc<Self>,
        range: Range<u64>,
        entropy: &Entropy,
    ) -> Result<Bytes, Error> {
        let (content, mut rng) = (Arc::clone(self), entropy.rng());
        let work = move || content.make(&range, &mut rng);
        let made = tokio::task::spawn_blocking(work).await;
        made.map_err(|lost| Error::unusable(format!("a piece was not made: {lost}")))?
    }

    fn make(&self, range: &Range<u64>, rng: &mut rand::rngs::StdRng) -> Result<Bytes, Error> {
        let text = self.layout.text_of(range);
        if let (None, Source::Bytes(bytes)) = (&self.sealed, &self.source) {
            return Ok(bytes.slice(text.start as usize..text.end as usize));
        }
        let mut made = BytesMut::with_capacity((range.end - range.start) as usize);
        let Some(sealed) = &self.sealed else {
            self.source.read(text, |block| {
                made.extend_from_slice(block);
                Ok(())
            })?;
            return Ok(made.freeze());
        };
        let segment = self.layout.segments(range).start;
        let sealer = ContentSealer::resume(&sealed.key, PART, sealed.header, segment);
        let mut sealer = sealer.map_err(|_| Error::WrongKey)?;
        self.source.read(text, |block| {
            sealer.push(block, &mut made, rng)?;
            Ok(())
        })?;
        match range.end == self.layout.stored {
            true => sealer.finish(&mut made, rng)?,
            false => sealer.leave(&mut made, rng)?,
        }
        Ok(made.freeze())
    }
}
