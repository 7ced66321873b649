//! Fields that several messages have, and the checks that each of them passes on its way in.

use crate::{BlobId, Malformed, PeerId};

/// Of an Ed25519 peer's id.
pub(crate) const PEER_ID_BYTES: usize = 38;

/// Text from a peer that is kept for people to read is cut to this many bytes.
const MAX_TEXT_BYTES: usize = 512;

pub(crate) fn blob_id(bytes: &[u8]) -> Result<BlobId, Malformed> {
    BlobId::try_from(bytes).map_err(|_| Malformed("a blob id must have 32 bytes"))
}

/// Cuts text for people to a length that cannot hurt, at a character's edge.
pub(crate) fn bounded_text(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.shrink_to_fit(); // a peer may have sent megabytes
    }
    text
}

/// Byte counts end up in signed 64-bit columns.
pub(crate) fn byte_count(value: u64) -> Result<u64, Malformed> {
    if value > i64::MAX as u64 {
        return Err(Malformed("a count beyond 2^63"));
    }
    Ok(value)
}

/// What is left to read of bytes that were signed: fields of fixed length, one behind the other.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("signed bytes that end early"))?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn peer(&mut self) -> Result<PeerId, Malformed> {
        PeerId::from_bytes(&self.take::<PEER_ID_BYTES>()?)
            .map_err(|_| Malformed("signed bytes with an unreadable peer id"))
    }
}
