//! Small files of a program: written whole or not at all, durable, readable by nobody else.
//!
//! Written beside its place, flushed, put there in one step, and the directory flushed. Rejected: writing in
//! place, which a crash cuts in half.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Replaces `path`; a crash leaves the old file or the new one.
pub fn write(path: &Path, contents: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let replace = || -> io::Result<()> {
        // One that a crash left may have other rights than this one should have.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        write_new(&temporary, contents)?;
        fs::rename(&temporary, path)?;
        sync_parent(path)
    };
    replace().with_context(|| format!("cannot write {}", path.display()))
}

/// Creates `path`, which must not exist yet.
pub fn create(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_new(&temporary, contents)?;
    // A link, not a rename: it fails where something is already.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_parent(path)
}

pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write(path, &text)
}

/// Reads a secret: refused where others than its owner have any right to it. `None` where there is no such file.
pub fn read_own(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            ensure!(
                mode & 0o077 == 0,
                "{} can be read by others (mode {mode:o}): run `chmod 600` on it",
                path.display()
            );
            read(path)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// `None` where there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// `None` where there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    read(path)?
        .map(|bytes| {
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
        })
        .transpose()
}

/// No error when it is not there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        assert_eq!(read_own(&path).unwrap(), None);
        write(&path, b"secret").unwrap();
        assert_eq!(read_own(&path).unwrap().unwrap(), b"secret");
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_own(&path).unwrap_err().to_string();
            assert!(error.contains("run `chmod 600` on it"), "{error}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.json");
        // What a crash left, with other rights.
        fs::write(dir.path().join("secret.new"), "half").unwrap();
        write_json(&path, &["one"]).unwrap();
        write_json(&path, &["two"]).unwrap();
        assert_eq!(read_json::<Vec<String>>(&path).unwrap().unwrap(), ["two"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"first").unwrap();
        let again = create(&path, b"second").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap().unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_a_damaged_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.json");
        assert_eq!(read_json::<u8>(&path).unwrap(), None);
        remove(&path).unwrap();
        fs::write(&path, "{").unwrap();
        let error = format!("{:#}", read_json::<u8>(&path).unwrap_err());
        assert!(error.contains("some.json is damaged"), "{error}");
    }
}
