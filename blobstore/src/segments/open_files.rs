//! The segment files: their names, and a bounded number of them held open.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::sync_dir;

/// Segments held open at one time: well below the 1024 files that a process has by default.
const MAX_OPEN: usize = 128;

/// The lock is held to look a file up or to open it, never while one is read or written.
#[derive(Debug)]
pub(super) struct OpenFiles {
    dir: PathBuf,
    writable: bool,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    files: HashMap<u64, (Arc<File>, u64)>,
    /// Counts uses, to tell what was used last.
    uses: u64,
}

impl OpenFiles {
    pub(super) fn new(dir: PathBuf, writable: bool) -> Self {
        Self {
            dir,
            writable,
            cache: Mutex::default(),
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `None` when there is no such segment.
    pub(super) fn get(&self, number: u64) -> io::Result<Option<Arc<File>>> {
        let mut cache = self.lock();
        if let Some(file) = cache.touch(number) {
            return Ok(Some(file));
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(self.writable)
            .open(self.path(number));
        match opened {
            Ok(file) if self.writable => Ok(Some(cache.insert(number, file))),
            // Another process may remove the segment: what is open would not tell.
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a new, empty segment whose name is durable.
    pub(super) fn create(&self, number: u64) -> io::Result<Arc<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(number))?;
        sync_dir(&self.dir)?;
        Ok(self.lock().insert(number, file))
    }

    /// Removes a segment; one that is not there is fine.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        self.lock().files.remove(&number);
        match fs::remove_file(self.path(number)) {
            Ok(()) => sync_dir(&self.dir),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// In order. Files under other names are not ours.
    pub(super) fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> = name.to_str().and_then(|name| name.parse().ok());
            numbers.extend(number.filter(|number| name == *file_name(*number)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file_name(number))
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn touch(&mut self, number: u64) -> Option<Arc<File>> {
        self.uses += 1;
        let (file, used) = self.files.get_mut(&number)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }

    fn insert(&mut self, number: u64, file: File) -> Arc<File> {
        if self.files.len() >= MAX_OPEN {
            let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                self.files.remove(&oldest); // who reads it still has it
            }
        }
        let file = Arc::new(file);
        self.files.insert(number, (Arc::clone(&file), self.uses));
        file
    }
}

fn file_name(number: u64) -> String {
    format!("{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_files_are_open_than_the_bound_and_all_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = OpenFiles::new(dir.path().to_owned(), true);
        let count = MAX_OPEN as u64 + 40;
        for number in 0..count {
            files.create(number).unwrap();
        }
        assert_eq!(files.numbers().unwrap(), (0..count).collect::<Vec<_>>());
        for number in (0..count).chain(0..count) {
            assert!(files.get(number).unwrap().is_some());
            assert!(files.lock().files.len() <= MAX_OPEN);
        }
        files.remove(7).unwrap();
        assert!(files.get(7).unwrap().is_none());
        files.remove(7).unwrap();
    }

    #[test]
    fn other_names_are_not_taken_for_segments() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0000000003", "3", "+000000004", "probe", "0000000005.bak"] {
            fs::write(dir.path().join(name), b"").unwrap();
        }
        let files = OpenFiles::new(dir.path().to_owned(), true);
        assert_eq!(files.numbers().unwrap(), [3]);
    }
}
