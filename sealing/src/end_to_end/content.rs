//! The content of a file, or of one part of it, sealed by its owner: segments that open in any order, none of which can be
//! left out, swapped, cut off or taken from elsewhere without being noticed.
//!
//! ```text
//! header 64: "FSNE2E\0\1"[8] ‖ version 1 ‖ algorithm 1 (AES-256-GCM) ‖ log2 segment 16 ‖ flags 0 ‖ part:u32 BE ‖ salt[16] ‖ commitment[32]
//! content key = HKDF-SHA256(file key, salt, info = "fsn e2e v1 content" ‖ header[0..32])
//! commitment  = the same with "fsn e2e v1 commit"
//! segment i   = nonce[12] ‖ AES-256-GCM(text) ‖ tag[16], AAD = commitment ‖ i:u64 BE ‖ last:u8
//! ```
//!
//! Segments end at multiples of 65,536 bytes of what is sealed, header included, so that none lies across two chunks.
//!
//! Invariants: nothing of a segment is handed out before its tag was checked, nothing at all before the commitment was;
//! the last segment says that it is, and is empty only in an empty file.
//!
//! Rejected: nonces that count. An upload that is taken up again with a source that has changed meanwhile would seal two
//! texts under one nonce. Rejected: leaving out the commitment. GCM opens one text under two keys for whoever wants that,
//! and a link could show two people two files.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::cipher::{Cipher, NONCE_LEN, SEALING_OVERHEAD, random_nonce};
use crate::derive::derive;
use crate::{OpenError, SealError};

/// Length of a header.
pub const HEADER_LEN: usize = 64;
/// At multiples of this a segment ends, unless it is the last.
pub const SEGMENT_LEN: usize = 65_536;

const FIXED: [u8; 12] = *b"FSNE2E\x00\x01\x01\x01\x10\x00";
const SALT: Range<usize> = 16..32;
/// What the keys are derived of.
const HEAD: usize = 32;

/// What opens a file, whoever has the bytes. Random, one for each file.
pub struct FileKey(Zeroizing<[u8; 32]>);

impl FileKey {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        Self(bytes)
    }

    /// One that was kept, in an envelope or a link.
    pub const fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// To be kept in an envelope or a link.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ZeroizeOnDrop for FileKey {}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey(..)")
    }
}

/// Text that fits into a segment.
const fn capacity(segment: u64) -> u64 {
    (SEGMENT_LEN - SEALING_OVERHEAD) as u64 - if segment == 0 { HEADER_LEN as u64 } else { 0 }
}

/// Segments that so much text takes: one at least.
pub const fn segments_of(text: u64) -> u64 {
    match text.checked_sub(capacity(0)) {
        None => 1,
        Some(rest) => 1 + rest.div_ceil(capacity(1)),
    }
}

/// Length of so much text when it is sealed. `None`: there is no such length.
pub const fn sealed_len(text: u64) -> Option<u64> {
    let added = HEADER_LEN as u64 + segments_of(text) * SEALING_OVERHEAD as u64;
    text.checked_add(added)
}

/// Length of the text in so many sealed bytes. `None`: nothing sealed is that long.
pub const fn text_len(sealed: u64) -> Option<u64> {
    let segments = sealed.div_ceil(SEGMENT_LEN as u64);
    let added = HEADER_LEN as u64 + segments * SEALING_OVERHEAD as u64;
    match sealed.checked_sub(added) {
        Some(text) if segments_of(text) == segments => Some(text),
        _ => None,
    }
}

/// The segments that hold a range of the text, and how much of the first of them comes before it.
pub fn segments_with(text: &Range<u64>) -> (Range<u64>, u64) {
    let of = |at: u64| match at.checked_sub(capacity(0)) {
        None => 0,
        Some(rest) => 1 + rest / capacity(1),
    };
    let first = of(text.start);
    let end = if text.is_empty() {
        first
    } else {
        of(text.end - 1) + 1
    };
    (first..end, text.start - text_start(first))
}

/// Where the text of a segment begins.
pub const fn text_start(segment: u64) -> u64 {
    match segment.checked_sub(1) {
        None => 0,
        Some(before) => capacity(0) + before * capacity(1),
    }
}

/// Where these segments lie among the sealed bytes, the header being there apart; of so many sealed bytes in all.
pub fn sealed_range(segments: &Range<u64>, sealed: u64) -> Range<u64> {
    let at = |segment: u64| match segment {
        0 => HEADER_LEN as u64,
        segment => segment.saturating_mul(SEGMENT_LEN as u64).min(sealed),
    };
    at(segments.start)..at(segments.end)
}

/// Seals and opens the segments of one content.
struct Segments {
    cipher: Cipher,
    commitment: [u8; 32],
}

impl Segments {
    fn new(key: &FileKey, head: &[u8; HEAD]) -> Result<Self, SealError> {
        let derived = |what: &[u8]| derive(&key.0, &head[SALT], &[what, &head[..]].concat());
        Ok(Self {
            cipher: Cipher::new(&derived(b"fsn e2e v1 content"))?,
            commitment: *derived(b"fsn e2e v1 commit"),
        })
    }

    /// Of a header that this key has made, for this part.
    fn of_header(key: &FileKey, part: u32, header: &[u8; HEADER_LEN]) -> Result<Self, OpenError> {
        let (head, commitment) = header.split_first_chunk::<HEAD>().ok_or(OpenError)?;
        if head[..FIXED.len()] != FIXED || head[FIXED.len()..SALT.start] != part.to_be_bytes() {
            return Err(OpenError);
        }
        let segments = Self::new(key, head).map_err(|_| OpenError)?;
        // Both sides are no secret to whoever has the key, and who has not learns nothing from the time it takes: the
        // commitment is the output of a one-way function.
        match segments.commitment == commitment {
            true => Ok(segments),
            false => Err(OpenError),
        }
    }

    fn aad(&self, segment: u64, is_last: bool) -> [u8; 41] {
        let mut aad = [0; 41];
        aad[..32].copy_from_slice(&self.commitment);
        aad[32..40].copy_from_slice(&segment.to_be_bytes());
        aad[40] = is_last.into();
        aad
    }

    fn open(&self, segment: u64, is_last: bool, sealed: &mut [u8]) -> Result<(), OpenError> {
        self.cipher
            .open_between(&self.aad(segment, is_last), sealed)
    }
}

/// Seals a content as its text comes.
///
/// ```
/// use bytes::BytesMut;
/// use rand::{SeedableRng, rngs::StdRng};
/// use sealing::end_to_end::{ContentOpener, ContentSealer, FileKey};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut rng = StdRng::seed_from_u64(1); // an example; a program hands in the system's source
/// let key = FileKey::generate(&mut rng);
/// let mut sealed = BytesMut::new();
/// let mut sealer = ContentSealer::new(&key, 1, &mut rng)?;
/// sealer.push(b"what nobody ", &mut sealed, &mut rng)?;
/// sealer.push(b"else reads", &mut sealed, &mut rng)?;
/// sealer.finish(&mut sealed, &mut rng)?;
///
/// let mut text = BytesMut::new();
/// let mut opener = ContentOpener::new(key, 1);
/// opener.push(&sealed, &mut text)?;
/// opener.finish(&mut text)?;
/// assert_eq!(&text[..], b"what nobody else reads");
/// # Ok(())
/// # }
/// ```
pub struct ContentSealer {
    segments: Segments,
    header: [u8; HEADER_LEN],
    is_header_due: bool,
    segment: u64,
    /// Text that may be the last segment's.
    waiting: Zeroizing<Vec<u8>>,
}

impl ContentSealer {
    /// For one part of a file, counted from 1.
    pub fn new(key: &FileKey, part: u32, rng: &mut impl CryptoRng) -> Result<Self, SealError> {
        let mut header = [0; HEADER_LEN];
        header[..FIXED.len()].copy_from_slice(&FIXED);
        header[FIXED.len()..SALT.start].copy_from_slice(&part.to_be_bytes());
        rng.fill_bytes(&mut header[SALT]);
        let head = header.first_chunk().ok_or(SealError::Library)?;
        let segments = Segments::new(key, head)?;
        header[HEAD..].copy_from_slice(&segments.commitment);
        Ok(Self::at(segments, header, 0))
    }

    /// Goes on where another left off, from the beginning of this segment on.
    pub fn resume(
        key: &FileKey,
        part: u32,
        header: [u8; HEADER_LEN],
        segment: u64,
    ) -> Result<Self, OpenError> {
        let segments = Segments::of_header(key, part, &header)?;
        Ok(Self::at(segments, header, segment))
    }

    fn at(segments: Segments, header: [u8; HEADER_LEN], segment: u64) -> Self {
        Self {
            segments,
            header,
            is_header_due: segment == 0,
            segment,
            waiting: Zeroizing::new(Vec::with_capacity(SEGMENT_LEN)),
        }
    }

    /// With what the content begins.
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// Which the key has committed itself to; it belongs into the envelope.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.segments.commitment
    }

    /// Takes text, and appends to `sealed` what is done.
    pub fn push(
        &mut self,
        mut text: &[u8],
        sealed: &mut BytesMut,
        rng: &mut impl CryptoRng,
    ) -> Result<(), SealError> {
        while !text.is_empty() {
            let room = capacity(self.segment) as usize - self.waiting.len();
            if room == 0 {
                self.seal(false, sealed, rng)?;
                continue;
            }
            let (taken, rest) = text.split_at(room.min(text.len()));
            self.waiting.extend_from_slice(taken);
            text = rest;
        }
        Ok(())
    }

    /// The text goes on, and another one seals it, from the next segment on. What was pushed has to end with a segment.
    pub fn leave(
        mut self,
        sealed: &mut BytesMut,
        rng: &mut impl CryptoRng,
    ) -> Result<(), SealError> {
        match self.waiting.len() as u64 == capacity(self.segment) {
            true => self.seal(false, sealed, rng),
            false => Err(SealError::MidSegment),
        }
    }

    /// The text has ended.
    pub fn finish(
        mut self,
        sealed: &mut BytesMut,
        rng: &mut impl CryptoRng,
    ) -> Result<(), SealError> {
        self.seal(true, sealed, rng)
    }

    fn seal(
        &mut self,
        is_last: bool,
        sealed: &mut BytesMut,
        rng: &mut impl CryptoRng,
    ) -> Result<(), SealError> {
        if std::mem::take(&mut self.is_header_due) {
            sealed.extend_from_slice(&self.header);
        }
        let nonce = random_nonce(rng);
        sealed.extend_from_slice(&nonce);
        let begin = sealed.len();
        sealed.extend_from_slice(&self.waiting);
        self.waiting.clear();
        let aad = self.segments.aad(self.segment, is_last);
        let tag = self
            .segments
            .cipher
            .seal(&nonce, &aad, &mut sealed[begin..])?;
        sealed.extend_from_slice(&tag);
        self.segment += 1;
        Ok(())
    }
}

impl fmt::Debug for ContentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentSealer(at segment {})", self.segment)
    }
}

/// Opens a content as its sealed bytes come, from the first to the last.
pub struct ContentOpener {
    key: FileKey,
    part: u32,
    segments: Option<Segments>,
    segment: u64,
    /// Sealed bytes that may be the last segment's.
    waiting: BytesMut,
}

impl ContentOpener {
    /// Of one part of a file, counted from 1.
    pub fn new(key: FileKey, part: u32) -> Self {
        Self {
            key,
            part,
            segments: None,
            segment: 0,
            waiting: BytesMut::new(),
        }
    }

    /// Takes sealed bytes, and appends to `text` what has proved to be right.
    pub fn push(&mut self, mut sealed: &[u8], text: &mut BytesMut) -> Result<(), OpenError> {
        while !sealed.is_empty() {
            let end = match (&self.segments, self.segment) {
                (None, _) => HEADER_LEN,
                (Some(_), 0) => SEGMENT_LEN - HEADER_LEN,
                (Some(_), _) => SEGMENT_LEN,
            };
            let room = end - self.waiting.len();
            if room == 0 {
                // More follows: a segment that says it is the last one does not open.
                self.open(false, text)?;
                continue;
            }
            let (taken, rest) = sealed.split_at(room.min(sealed.len()));
            self.waiting.extend_from_slice(taken);
            sealed = rest;
            if self.segments.is_none()
                && let Ok(header) = <&[u8; HEADER_LEN]>::try_from(&self.waiting[..])
            {
                self.segments = Some(Segments::of_header(&self.key, self.part, header)?);
                self.waiting.clear();
            }
        }
        Ok(())
    }

    /// The sealed bytes have ended. An error says that what was handed out is not all, or that something is wrong.
    pub fn finish(mut self, text: &mut BytesMut) -> Result<(), OpenError> {
        self.open(true, text)
    }

    fn open(&mut self, is_last: bool, text: &mut BytesMut) -> Result<(), OpenError> {
        let segments = self.segments.as_ref().ok_or(OpenError)?;
        segments.open(self.segment, is_last, &mut self.waiting)?;
        let end = self.waiting.len() - SEALING_OVERHEAD + NONCE_LEN;
        text.extend_from_slice(&self.waiting[NONCE_LEN..end]);
        self.waiting.clear();
        self.segment += 1;
        Ok(())
    }
}

impl fmt::Debug for ContentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentOpener(at segment {})", self.segment)
    }
}

/// Opens single segments of a content whose length is known, in any order.
pub struct SegmentOpener {
    segments: Segments,
    count: u64,
}

impl SegmentOpener {
    /// `sealed` is the length of the whole content. One that is not true opens all but the last segment.
    pub fn new(
        key: &FileKey,
        part: u32,
        header: &[u8; HEADER_LEN],
        sealed: u64,
    ) -> Result<Self, OpenError> {
        let text = text_len(sealed).ok_or(OpenError)?;
        Ok(Self {
            segments: Segments::of_header(key, part, header)?,
            count: segments_of(text),
        })
    }

    /// Opens one where it lies, and returns its text, a part of the same memory.
    pub fn open(&self, segment: u64, mut sealed: BytesMut) -> Result<Bytes, OpenError> {
        let is_last = segment + 1 == self.count;
        self.segments.open(segment, is_last, &mut sealed)?;
        let end = sealed.len() - SEALING_OVERHEAD + NONCE_LEN;
        Ok(sealed.freeze().slice(NONCE_LEN..end))
    }
}

impl fmt::Debug for SegmentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentOpener({} segments)", self.count)
    }
}
