//! Walks over the records of a segment by their headers, without reading blobs.
//!
//! Removed records are holes, which the file system lets us step over, or zeros where it knows none.
//! What is neither a record nor zeros is passed page by page until a record begins again.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::record::{ALIGNMENT, HEADER_LEN, Header, span};
use crate::blob::{BadLabel, Location};

#[derive(Debug)]
pub(super) enum Item {
    /// All its bytes are within the file.
    Record { at: Location, header: Header },
    /// So many bytes that are no record: damaged, or torn by a crash.
    Garbage { bytes: u64 },
}

/// From `from`, a multiple of the alignment, to the end of the file.
pub(super) struct Scan<'a> {
    file: &'a File,
    segment: u64,
    position: u64,
    len: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(file: &'a File, segment: u64, from: u64) -> io::Result<Self> {
        Ok(Self {
            file,
            segment,
            position: from,
            len: file.metadata()?.len(),
        })
    }

    /// `None` at the end. It is an error when a later version of this program has written a record:
    /// whoever went on would take it for garbage.
    pub(super) fn next(&mut self) -> io::Result<Option<Item>> {
        while let Some(position) = self.next_data()? {
            let at = Location {
                segment: self.segment,
                position,
            };
            let mut bytes = [0; HEADER_LEN];
            if self.len - position < HEADER_LEN as u64 {
                self.position = self.len;
                let bytes = self.len - position;
                return Ok(Some(Item::Garbage { bytes }));
            }
            self.file.read_exact_at(&mut bytes, position)?;
            match Header::decode(&bytes, at) {
                Ok(header) => {
                    self.position = position + span(header.label.length);
                    if position + HEADER_LEN as u64 + header.label.length > self.len {
                        let bytes = self.len - position;
                        return Ok(Some(Item::Garbage { bytes }));
                    }
                    return Ok(Some(Item::Record { at, header }));
                }
                Err(error @ BadLabel::UnknownVersion(_)) => {
                    let what = format!("segment {} at {position}: {error}", self.segment);
                    return Err(io::Error::new(ErrorKind::InvalidData, what));
                }
                Err(_) => {
                    self.position = position + ALIGNMENT;
                    if bytes.iter().any(|byte| *byte != 0) {
                        let bytes = ALIGNMENT.min(self.len - position);
                        return Ok(Some(Item::Garbage { bytes }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Where the next page begins that is not in a hole.
    fn next_data(&self) -> io::Result<Option<u64>> {
        if self.position >= self.len {
            return Ok(None);
        }
        match rustix::fs::seek(self.file, rustix::fs::SeekFrom::Data(self.position)) {
            // Holes begin and end where blocks do, which may be smaller than our pages.
            Ok(data) => Ok(Some(data - data % ALIGNMENT).filter(|data| *data < self.len)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(rustix::io::Errno::INVAL) => Ok(Some(self.position)), // it knows no holes
            Err(error) => Err(error.into()),
        }
    }
}
