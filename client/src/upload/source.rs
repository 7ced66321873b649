//! What is stored: bytes in memory, or a file that must not change meanwhile.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Which state of a file it is. The time of its last change (ctime) is set by the system alone, so that also a change
/// shows that leaves length and modification time as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileState {
    device: u64,
    inode: u64,
    pub size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileState {
    fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    pub(crate) fn modified_ms(&self) -> i64 {
        (self.modified_ns / 1_000_000) as i64
    }
}

#[derive(Debug)]
pub(crate) enum Source {
    Bytes(Bytes),
    File {
        path: PathBuf,
        file: File,
        state: FileState,
    },
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if !metadata.is_file() {
            return Err(Error::unusable(format!(
                "{} is not a file; directories are stored with all that is in them by `-r`",
                path.display()
            )));
        }
        Ok(Self::File {
            path: path.to_owned(),
            file,
            state: FileState::of(&metadata),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { state, .. } => state.size,
        }
    }

    pub(crate) fn modified_ms(&self) -> Option<i64> {
        match self {
            Self::Bytes(_) => None,
            Self::File { state, .. } => Some(state.modified_ms()),
        }
    }

    /// Hands a range to `take`, block by block. Blocks.
    pub(crate) fn read(
        &self,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Bytes(bytes) => take(&bytes[range.start as usize..range.end as usize]),
            Self::File { path, file, .. } => {
                let mut block = [0; 65_536];
                let mut at = range.start;
                while at < range.end {
                    let wanted = block.len().min((range.end - at) as usize);
                    let block = &mut block[..wanted];
                    match file.read_exact_at(block, at) {
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Err(Error::SourceChanged(path.clone()));
                        }
                        outcome => outcome.map_err(Error::io(path))?,
                    }
                    take(block)?;
                    at += wanted as u64;
                }
                Ok(())
            }
        }
    }

    /// An error if it is not what it was when it was opened.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self::File { path, file, state } = self else {
            return Ok(());
        };
        let now = file.metadata().map_err(Error::io(path))?;
        match FileState::of(&now) == *state {
            true => Ok(()),
            false => Err(Error::SourceChanged(path.clone())),
        }
    }
}
