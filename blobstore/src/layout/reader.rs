//! A blob that is held open, so that parts of it can be read without the whole in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::pins::Pin;

/// Reads anywhere in a blob. Cheap to keep; what it reads is not checked against the blob's id.
///
/// The bytes stay readable for as long as the reader lives, whatever happens to the blob meanwhile.
#[derive(Debug)]
pub struct BlobReader {
    file: Arc<File>,
    /// Where in the file the blob begins.
    start: u64,
    len: u64,
    /// Keeps the bytes from being wiped, where that is needed.
    _pin: Option<Pin>,
}

impl BlobReader {
    pub(crate) fn new(file: Arc<File>, start: u64, len: u64) -> Self {
        Self {
            file,
            start,
            len,
            _pin: None,
        }
    }

    pub(crate) fn pinned(file: Arc<File>, start: u64, len: u64, pin: Pin) -> Self {
        Self {
            _pin: Some(pin),
            ..Self::new(file, start, len)
        }
    }

    /// Bytes of the blob.
    #[expect(clippy::len_without_is_empty, reason = "no blob is empty")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` with the bytes of the blob from `at` on. Blocks. `UnexpectedEof` when they would go
    /// beyond the blob's end, or when its file has been cut.
    pub fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.start + at)
    }
}
