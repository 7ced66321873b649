//! An upload that is under way, noted so that another process goes on with it: after kill -9, a crash, a closed laptop.
//!
//! What is noted is what cannot be asked for: the `Idempotency-Key` under which the session was begun, what seals the
//! content, and which state of the file it is. Which chunks are there, the coordinator knows. It is written before the
//! session is begun, and goes when the file is stored.
//!
//! The file's key lies sealed under one that comes from the root: whoever copies the state directory opens nothing.
//! Rejected: a digest of each chunk that was sent, to be compared with the source. Reading a file of terabytes again says
//! no more than the times of its last change, of which the system keeps one that nobody can set.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use kit::private_file;
use sealing::end_to_end::content::HEADER_LEN;
use sealing::end_to_end::{Commitments, DirectoryKey, Envelope, Root};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Target;
use super::content::Sealed;
use super::source::FileState;
use crate::Error;

fn unusable(error: anyhow::Error) -> Error {
    Error::unusable(format!("{error:#}"))
}

/// In place of a bucket's id, of which none is like it.
const PLACE: &[u8; 16] = b"fsn v1 transfers";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Noted {
    pub source: FileState,
    pub idempotency_key: String,
    /// What the session was begun for.
    pub target: Target,
    sealed: Option<NotedKey>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct NotedKey {
    /// An envelope.
    key: String,
    header: String,
}

/// The place of one upload: of this file, to this place, by this user.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    keys: DirectoryKey,
    /// Nobody else works on it.
    _lock: File,
}

impl Journal {
    /// Waits for nobody: an upload that another process works on is an error.
    pub(crate) fn open(
        dir: &Path,
        root: &Root,
        source: &Path,
        target: &str,
    ) -> Result<Self, Error> {
        let source = fs::canonicalize(source).map_err(Error::io(source))?;
        let keys = root.vault(PLACE);
        let mut name = blake3::Hasher::new_keyed(keys.as_bytes());
        name.update(source.as_os_str().as_encoded_bytes());
        name.update(&[0]);
        name.update(target.as_bytes());
        let name = &name.finalize().to_hex()[..32];
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        let path = dir.join(format!("{name}.json"));
        let lock = path.with_extension("lock");
        let file = File::create(&lock).map_err(Error::io(&lock))?;
        match file.try_lock() {
            // Whoever had it may have removed it at this moment, and somebody else made another.
            Ok(()) if is_at(&file, &lock) => {}
            Ok(()) | Err(fs::TryLockError::WouldBlock) => return Err(Error::UnderWay(source)),
            Err(fs::TryLockError::Error(error)) => return Err(Error::io(&lock)(error)),
        }
        Ok(Self {
            path,
            keys,
            _lock: file,
        })
    }

    /// What an earlier run has noted, if it is of this state of the file and can be read.
    pub(crate) fn noted(&self, source: &FileState) -> Option<(Noted, Option<Sealed>)> {
        let noted: Noted = private_file::read_json(&self.path).ok()??;
        if noted.source != *source {
            return None;
        }
        let sealed = match &noted.sealed {
            None => None,
            Some(key) => Some(self.open_key(key)?),
        };
        Some((noted, sealed))
    }

    pub(crate) fn note(
        &self,
        (source, idempotency_key, target): (&FileState, &str, &Target),
        sealed: Option<&Sealed>,
        rng: &mut rand::rngs::StdRng,
    ) -> Result<(), Error> {
        let noted = Noted {
            source: source.clone(),
            idempotency_key: idempotency_key.to_owned(),
            target: target.clone(),
            sealed: match sealed {
                None => None,
                Some(sealed) => Some(self.seal_key(sealed, rng)?),
            },
        };
        private_file::write_json(&self.path, &noted).map_err(unusable)
    }

    /// The upload is over.
    pub(crate) fn forget(self) -> Result<(), Error> {
        private_file::remove(&self.path).map_err(unusable)?;
        private_file::remove(&self.path.with_extension("lock")).map_err(unusable)
    }

    fn seal_key(&self, sealed: &Sealed, rng: &mut rand::rngs::StdRng) -> Result<NotedKey, Error> {
        let envelope = Envelope {
            commit: Commitments::One(sealed.commitment()),
            k: Zeroizing::new(*sealed.key.as_bytes()),
            meta: std::collections::BTreeMap::new(),
            mtime_ms: None,
            size: 0,
            media_type: None,
        };
        let header = BASE64.encode(sealed.header);
        let key = self.keys.seal_envelope((PLACE, &header), &envelope, rng)?;
        Ok(NotedKey {
            key: BASE64.encode(key),
            header,
        })
    }

    fn open_key(&self, noted: &NotedKey) -> Option<Sealed> {
        let envelope = BASE64.decode(&noted.key).ok()?;
        let place = (PLACE, noted.header.as_str());
        let envelope = self.keys.open_envelope(place, &envelope).ok()?;
        let header = BASE64.decode(&noted.header).ok()?;
        let header: [u8; HEADER_LEN] = header.try_into().ok()?;
        Some(Sealed {
            key: std::sync::Arc::new(envelope.key()),
            header,
        })
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (file, there) = (file.metadata().map(inode), fs::metadata(path).map(inode));
    matches!((file, there), (Ok(file), Ok(there)) if file == there)
}

#[cfg(test)]
mod tests {
    use kit::Entropy;

    use super::super::source::Source;
    use super::*;

    #[test]
    fn what_one_run_notes_the_next_one_finds_and_nobody_without_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film");
        fs::write(&path, "text").unwrap();
        let Source::File { state, .. } = Source::open(&path).unwrap() else {
            unreachable!("a file was opened");
        };
        let entropy = Entropy::seeded(1);
        let (root, other) = (
            Root::generate(&mut entropy.rng()),
            Root::generate(&mut entropy.rng()),
        );
        let sealed = Sealed::fresh(&entropy).unwrap();
        let open = |root: &Root| Journal::open(dir.path(), root, &path, "bucket/film");

        let journal = open(&root).unwrap();
        assert!(matches!(open(&root), Err(Error::UnderWay(_))));
        assert!(journal.noted(&state).is_none());
        let target = Target::File {
            name: "name".to_owned(),
        };
        journal
            .note((&state, "key", &target), Some(&sealed), &mut entropy.rng())
            .unwrap();
        drop(journal);

        let journal = open(&root).unwrap();
        let (noted, found) = journal.noted(&state).unwrap();
        assert_eq!(noted.idempotency_key, "key");
        assert!(matches!(noted.target, Target::File { name } if name == "name"));
        let found = found.unwrap();
        assert_eq!(
            (found.key.as_bytes(), found.header),
            (sealed.key.as_bytes(), sealed.header)
        );
        let text = fs::read_to_string(&journal.path).unwrap();
        assert!(!text.contains(&BASE64.encode(sealed.key.as_bytes())));
        assert!(open(&other).unwrap().noted(&state).is_none());
        let elsewhere = Journal::open(dir.path(), &root, &path, "another/film").unwrap();
        assert!(elsewhere.noted(&state).is_none());

        // Another state of the file, of the same length.
        fs::write(&path, "next").unwrap();
        let Source::File { state: changed, .. } = Source::open(&path).unwrap() else {
            unreachable!("a file was opened");
        };
        assert!(journal.noted(&changed).is_none());
        journal.forget().unwrap();
        assert!(open(&root).unwrap().noted(&state).is_none());
    }
}
