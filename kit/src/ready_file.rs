//! Tells whoever started this process that it is ready, and where it listens. Gone when it is not.
//!
//! Appears whole: who waits for it never reads half of it. Not private: it holds addresses, and who waits may
//! run under another account.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    /// Removes what an earlier process left.
    pub fn new(path: PathBuf) -> Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", path.display()))
            }
            _ => Ok(Self { path }),
        }
    }

    /// As JSON.
    pub fn write(&self, content: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(content)?;
        let write = || -> io::Result<()> {
            let temporary = self.path.with_extension("tmp");
            fs::write(&temporary, text)?;
            fs::rename(&temporary, &self.path)
        };
        write().with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_from_ready_to_the_end_and_never_of_an_earlier_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        fs::write(&path, "of an earlier process").unwrap();
        let file = ReadyFile::new(path.clone()).unwrap();
        assert!(!path.exists());
        file.write(&serde_json::json!({"http": "127.0.0.1:80"}))
            .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"{"http":"127.0.0.1:80"}"#);
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
