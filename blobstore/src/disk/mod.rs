//! The few things that a layout asks of the file system.

mod pool;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(crate) use pool::Pool;

/// What one call takes.
const MOST_SLICES: usize = 1024;

/// Renames, and enters which directories have to be flushed before the new name is durable. The
/// first blob of a directory creates it; that is not worth a flush of its own, since nobody has been
/// told of the blob yet.
pub(crate) fn rename(from: &Path, to: &Path, dirs: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let renamed = fs::rename(from, to);
    let missing = |error: &io::Error| error.kind() == ErrorKind::NotFound;
    if renamed.as_ref().is_err_and(missing) {
        if !from.exists() {
            return renamed;
        }
        to.parent().map_or(Ok(()), create_dir)?;
        fs::rename(from, to)?;
        dirs.extend(to.ancestors().skip(1).take(3).map(Path::to_owned));
        return Ok(());
    }
    renamed?;
    dirs.extend(to.parent().map(Path::to_owned));
    Ok(())
}

/// Into memory that is not zeroed first. `None` when the file ends early.
pub(crate) fn read_exactly_at(file: &File, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = at + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(len);
    Ok(Some(bytes))
}

/// In one system call, as a rule, and without joining the slices in memory.
pub(crate) fn write_all_at(file: &File, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
    let mut slices = slices;
    let mut at = at;
    while !slices.is_empty() {
        match rustix::io::pwritev(file, &slices[..slices.len().min(MOST_SLICES)], at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut slices, written);
                at += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// `io::Error` cannot be cloned, and one failed flush concerns every blob of a batch.
pub(crate) fn same_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What a flush says holds for everything that it was to make durable.
pub(crate) fn with_outcome_of<T>(
    results: Vec<io::Result<T>>,
    synced: &io::Result<()>,
) -> Vec<io::Result<T>> {
    let both = |result: io::Result<T>| match synced {
        Ok(()) => result,
        Err(error) => result.and(Err(same_error(error))),
    };
    results.into_iter().map(both).collect()
}

/// Free and total bytes of the disk under `dir`.
pub fn disk_space(dir: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok((
        disk.f_bavail.saturating_mul(disk.f_frsize),
        disk.f_blocks.saturating_mul(disk.f_frsize),
    ))
}
