//! A compressed tar archive that is written piece by piece, for whoever takes it as it comes: memory is one entry, and what
//! the compressor holds back.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;

const BLOCK: usize = 512;

pub(super) struct Archive {
    gzip: GzEncoder<Vec<u8>>,
    at: Timestamp,
}

impl Archive {
    /// Of entries that were all made at this time.
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            at,
        }
    }

    /// Adds a JSON document, and returns what of the archive is ready to be sent.
    pub(super) fn add(&mut self, name: &str, content: &impl Serialize) -> io::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(content)?;
        json.push(b'\n');
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(json.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.at.as_second().unsigned_abs());
        header.set_cksum();
        self.gzip.write_all(header.as_bytes())?;
        self.gzip.write_all(&json)?;
        let padding = json.len().next_multiple_of(BLOCK) - json.len();
        self.gzip.write_all(&[0; BLOCK][..padding])?;
        Ok(std::mem::take(self.gzip.get_mut()))
    }

    /// The rest.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.gzip.write_all(&[0; 2 * BLOCK])?;
        self.gzip.finish()
    }
}
