//! Content on its way back: in pieces, several at a time, each opened and checked before a byte of it is handed out.
//!
//! What is asked for is a [`Place`], a file or an object; what comes is checked by its seal, or, of a file that is stored
//! as it is, by the digests of its chunks where they are known. A piece that a stream's reader waits for needs no share of
//! the memory: whoever leaves a stream unread keeps no other one waiting.

mod to_file;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use proto::FileId;
use reqwest::Response;
use sealing::end_to_end::content::{HEADER_LEN, SEGMENT_LEN, text_len};
use sealing::end_to_end::{FileKey, SegmentOpener};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use uuid::Uuid;

pub(crate) use self::to_file::to_file;
use crate::core::{Core, Room};
use crate::layout::{Layout, PIECE, pieces};
use crate::pace::MOST;
use crate::progress::Progress;
use crate::rest::Session;
use crate::upload::content::{self, PART, Sealed};
use crate::{ApiError, Error};

/// Where stored bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    File(FileId),
    Object {
        bucket: String,
        /// As the coordinator knows it.
        key: String,
        version: Uuid,
    },
}

impl Place {
    async fn open(&self, session: &Session, range: Range<u64>) -> Result<Response, ApiError> {
        match self {
            Self::File(id) => session.open_range(*id, range).await,
            Self::Object {
                bucket,
                key,
                version,
            } => {
                session
                    .open_object((bucket, key), Some(*version), range)
                    .await
            }
        }
    }
}

/// What stored bytes are checked by.
enum Check {
    /// With the header that the content has to begin with.
    Seal(Box<SegmentOpener>, [u8; HEADER_LEN]),
    /// Of each chunk, in hex.
    Digests {
        chunk_size: u64,
        sha256: Vec<String>,
    },
    Nothing,
}

/// Content that can be read.
pub(crate) struct Content {
    core: Arc<Core>,
    place: Place,
    pub layout: Layout,
    check: Check,
    /// The first piece, where it had to be fetched to open the content.
    first: Mutex<Option<BytesMut>>,
}

impl Content {
    /// Sealed; the header is fetched, and `whole_piece`: what follows it, too.
    pub(crate) async fn open_sealed(
        core: &Arc<Core>,
        place: Place,
        (key, commitment): (&FileKey, &[u8; 32]),
        stored: u64,
        whole_piece: bool,
    ) -> Result<Arc<Self>, Error> {
        // Nothing sealed is as short as to have no header.
        let text = text_len(stored).ok_or(Error::WrongContent)?;
        let wanted = match whole_piece {
            true => PIECE,
            false => HEADER_LEN as u64,
        };
        let begin = Self::stored(core, &place, &(0..wanted.min(stored))).await?;
        let header: [u8; HEADER_LEN] = begin.first_chunk().copied().ok_or(Error::WrongContent)?;
        if content::commitment(&header) != *commitment {
            return Err(Error::WrongContent);
        }
        let opener = SegmentOpener::new(key, PART, &header, stored);
        let opener = opener.map(Box::new).map_err(|_| Error::WrongKey)?;
        Ok(Arc::new(Self {
            core: Arc::clone(core),
            place,
            layout: layout(text, true)?,
            check: Check::Seal(opener, header),
            first: Mutex::new(whole_piece.then_some(begin)),
        }))
    }

    /// Sealed; its header is known.
    pub(crate) fn sealed(
        core: &Arc<Core>,
        place: Place,
        text: u64,
        sealed: &Sealed,
    ) -> Result<Arc<Self>, Error> {
        let layout = layout(text, true)?;
        let opener = SegmentOpener::new(&sealed.key, PART, &sealed.header, layout.stored);
        let opener = opener.map(Box::new).map_err(|_| Error::WrongKey)?;
        Ok(Arc::new(Self {
            core: Arc::clone(core),
            place,
            layout,
            check: Check::Seal(opener, sealed.header),
            first: Mutex::new(None),
        }))
    }

    /// As it is; `chunks` are the digests of its chunks, where they are known.
    pub(crate) fn plain(
        core: &Arc<Core>,
        place: Place,
        text: u64,
        chunks: Option<(u32, Vec<String>)>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            core: Arc::clone(core),
            place,
            layout: layout(text, false)?,
            check: match chunks {
                Some((chunk_size, sha256)) => Check::Digests {
                    chunk_size: chunk_size.max(1).into(),
                    sha256,
                },
                None => Check::Nothing,
            },
            first: Mutex::new(None),
        }))
    }

    /// Stored bytes, all of them or an error.
    pub(crate) async fn stored(
        core: &Core,
        place: &Place,
        range: &Range<u64>,
    ) -> Result<BytesMut, Error> {
        let fetch = |session: Session| {
            let (place, range) = (place.clone(), range.clone());
            async move {
                let watch = core.watch();
                let answer = watch.over(place.open(&session, range.clone())).await?;
                body_of(core, answer, range.end - range.start).await
            }
        };
        core.ask_in_turn(fetch).await
    }

    /// The stored bytes in which a range of the text lies. All of them for all of the text, so that what is empty is
    /// checked, too.
    fn wanted(&self, text: &Range<u64>) -> Range<u64> {
        if *text == (0..self.layout.text) {
            return 0..self.layout.stored;
        }
        let stored = self.layout.stored_of(text);
        let Check::Digests { chunk_size, .. } = &self.check else {
            return stored;
        };
        let end = stored.end.next_multiple_of(*chunk_size);
        stored.start / chunk_size * chunk_size..end.min(self.layout.stored)
    }

    /// Each holds whole segments, and whole chunks where they are looked at.
    fn piece_length(&self) -> u64 {
        match &self.check {
            Check::Digests { chunk_size, .. } => (PIECE / chunk_size).max(1) * chunk_size,
            Check::Seal(..) | Check::Nothing => PIECE,
        }
    }

    /// Pieces of the text, in order, each with where it begins; the first and last may reach beyond the range.
    async fn piece(self: Arc<Self>, stored: Range<u64>) -> Result<(u64, Vec<Bytes>), Error> {
        let bytes = match self.first(&stored) {
            Some(bytes) => bytes,
            None => Self::stored(&self.core, &self.place, &stored).await?,
        };
        let begin = self.layout.text_of(&stored).start;
        let check = move || self.open(&stored, bytes);
        let opened = tokio::task::spawn_blocking(check).await;
        let opened = opened.map_err(|lost| Error::unusable(format!("a piece was lost: {lost}")))?;
        Ok((begin, opened?))
    }

    /// What was fetched already.
    fn first(&self, stored: &Range<u64>) -> Option<BytesMut> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |bytes: &BytesMut| *stored == (0..bytes.len() as u64);
        first.take_if(|bytes| is_it(bytes))
    }

    fn open(&self, stored: &Range<u64>, mut bytes: BytesMut) -> Result<Vec<Bytes>, Error> {
        match &self.check {
            Check::Nothing => Ok(vec![bytes.freeze()]),
            Check::Digests { chunk_size, sha256 } => {
                let first = (stored.start / chunk_size) as usize;
                let chunks = bytes.chunks(*chunk_size as usize);
                let right = chunks.zip(first..).all(|(chunk, index)| {
                    let digest = hex::encode(Sha256::digest(chunk));
                    sha256.get(index).is_some_and(|known| *known == digest)
                });
                match right {
                    true => Ok(vec![bytes.freeze()]),
                    false => Err(Error::WrongDigest),
                }
            }
            Check::Seal(opener, expected) => {
                let mut segments = self.layout.segments(stored);
                let mut texts = Vec::with_capacity(segments.end as usize - segments.start as usize);
                if segments.start == 0 {
                    let header = bytes.split_to(HEADER_LEN.min(bytes.len()));
                    if header != expected[..] {
                        return Err(Error::WrongContent);
                    }
                    let rest = bytes.split_to((SEGMENT_LEN - header.len()).min(bytes.len()));
                    texts.push(open_one(opener, 0, rest)?);
                    segments.start = 1;
                }
                for segment in segments {
                    let sealed = bytes.split_to(SEGMENT_LEN.min(bytes.len()));
                    texts.push(open_one(opener, segment, sealed)?);
                }
                Ok(texts)
            }
        }
    }

    /// A range of the text, in order, as it comes.
    pub(crate) fn stream(
        self: Arc<Self>,
        text: Range<u64>,
        progress: Progress,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        let (delivered, head) = watch::channel(0_usize);
        let content = Arc::clone(&self);
        let pieces = pieces(self.wanted(&text), self.piece_length()).enumerate();
        let fetched = pieces.map(move |(number, stored)| {
            let (content, head) = (Arc::clone(&content), head.clone());
            async move {
                let room = content.room_or_head(&stored, number, head).await?;
                Ok((room, content.piece(stored).await?))
            }
        });
        let fetched = stream::iter(fetched).buffered(MOST);
        fetched.flat_map(move |piece| {
            delivered.send_modify(|number| *number += 1);
            let parts: Vec<Result<Bytes, Error>> = match piece {
                Ok((_room, (begin, texts))) => {
                    let within = within(&text, begin, texts).into_iter();
                    let within = within.inspect(|part| progress.add(part.len() as u64));
                    within.map(Ok).collect()
                }
                Err(error) => vec![Err(error)],
            };
            stream::iter(parts)
        })
    }

    /// Memory for a piece, or none if it is the one that the reader waits for.
    async fn room_or_head(
        &self,
        stored: &Range<u64>,
        number: usize,
        mut head: watch::Receiver<usize>,
    ) -> Result<Option<Room>, Error> {
        tokio::select! {
            biased;
            room = self.core.room(stored.end - stored.start) => room.map(Some),
            _ = head.wait_for(|delivered| *delivered >= number) => Ok(None),
        }
    }

    /// A range of the text, at once: it has to fit into memory.
    pub(crate) async fn bytes(self: Arc<Self>, text: Range<u64>) -> Result<Bytes, Error> {
        let mut bytes = BytesMut::new();
        let mut parts = std::pin::pin!(self.stream(text, Progress::new(None, None)));
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part?);
        }
        Ok(bytes.freeze())
    }
}

fn layout(text: u64, is_sealed: bool) -> Result<Layout, Error> {
    Layout::new(text, is_sealed).ok_or_else(|| Error::unusable("nothing so long can be stored"))
}

fn open_one(opener: &SegmentOpener, segment: u64, sealed: BytesMut) -> Result<Bytes, Error> {
    let opened = opener.open(segment, sealed);
    opened.map_err(|_| Error::Damaged { segment })
}

/// What of these texts, the first of which begins at `begin`, lies in a range.
fn within(range: &Range<u64>, mut begin: u64, texts: Vec<Bytes>) -> Vec<Bytes> {
    let mut parts = Vec::with_capacity(texts.len());
    for text in texts {
        let end = begin + text.len() as u64;
        let (from, to) = (range.start.max(begin), range.end.min(end));
        if from < to {
            parts.push(text.slice((from - begin) as usize..(to - begin) as usize));
        }
        begin = end;
    }
    parts
}

/// The bytes of an answer, which have to be so many.
async fn body_of(core: &Core, mut answer: Response, expected: u64) -> Result<BytesMut, Error> {
    let mut bytes = BytesMut::with_capacity(expected as usize);
    loop {
        let frame = next_frame(&mut answer, core.patience).await?;
        let Some(frame) = frame else { break };
        if bytes.len() as u64 + frame.len() as u64 > expected {
            let got = bytes.len() as u64 + frame.len() as u64;
            return Err(Error::WrongLength { expected, got });
        }
        core.down.take(frame.len()).await;
        bytes.extend_from_slice(&frame);
    }
    match bytes.len() as u64 {
        got if got == expected => Ok(bytes),
        got => Err(Error::WrongLength { expected, got }),
    }
}

async fn next_frame(answer: &mut Response, patience: Duration) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(patience, answer.chunk()).await {
        Ok(frame) => Ok(frame.map_err(ApiError::from)?),
        Err(_) => Err(Error::Stalled(patience)),
    }
}
