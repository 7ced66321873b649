//! The files that keys lie in, in one directory: `<id>.key`, 64 hex digits each, for its owner only; and which of them follow
//! from others.
//!
//! A file is written durably and never over another one. The database names keys by id and check value, and never has their
//! bytes; this crate never sees a database.

#![warn(unreachable_pub)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use libp2p_identity::Keypair;
use rand::CryptoRng;
use zeroize::Zeroizing;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    Network,
    Master,
    Token,
}

impl KeyPurpose {
    pub const ALL: [Self; 3] = [Self::Network, Self::Master, Self::Token];

    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Master => "master",
            Self::Token => "token",
        }
    }
}

/// How far a key has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// To be used once every coordinator has it.
    Announced,
    InUse,
    /// Opens what it sealed; nothing new is made with it.
    Retired,
}

impl KeyState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::InUse => "in use",
            Self::Retired => "retired",
        }
    }
}

/// What the database knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    pub id: String,
    pub purpose: KeyPurpose,
    pub check_value: [u8; 32],
    pub state: KeyState,
}

/// Periods that a coordinator can have missed.
const LONGEST_CHAIN: u32 = 100_000;

/// Where the keys of a coordinator are.
#[derive(Debug, Clone)]
pub struct KeyDir {
    path: PathBuf,
}

impl KeyDir {
    /// Makes the directory where there is none; refuses files that others can read.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("keys.dir: {} cannot be made", path.display()))?;
        let dir = Self {
            path: path.to_owned(),
        };
        dir.check_modes()?;
        Ok(dir)
    }

    /// Of all key files, also of those that nobody reads now: what they wrapped is in backups.
    fn check_modes(&self) -> anyhow::Result<()> {
        let entries = fs::read_dir(&self.path);
        for entry in entries.with_context(|| format!("{} cannot be read", self.path.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "key") {
                check_mode(&path)?;
            }
        }
        Ok(())
    }

    /// Where the file of a key is, or belongs.
    pub fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.key"))
    }

    /// This coordinator's own identity. The database does not name it: each coordinator has its own.
    pub fn identity(&self, rng: &mut impl CryptoRng) -> anyhow::Result<Keypair> {
        let bytes = match self.read("coordinator")? {
            Some(bytes) => bytes,
            None => self.generate("coordinator", rng)?,
        };
        ed25519(bytes)
    }

    /// A key for a purpose of which the database names none: a file that an operator put there, or
    /// a new one.
    pub fn first_key(
        &self,
        purpose: KeyPurpose,
        rng: &mut impl CryptoRng,
    ) -> anyhow::Result<NamedKey> {
        let id = match purpose {
            KeyPurpose::Network => "network".to_owned(),
            _ => format!("{}-1", purpose.name()),
        };
        self.new_key(id, purpose, KeyState::InUse, rng)
    }

    /// A key that the database does not name yet. A file that is there already is taken: an operator
    /// put it there, or a crash came between the file and its name.
    pub fn new_key(
        &self,
        id: String,
        purpose: KeyPurpose,
        state: KeyState,
        rng: &mut impl CryptoRng,
    ) -> anyhow::Result<NamedKey> {
        let bytes = match self.read(&id)? {
            Some(bytes) => {
                let file = self.file(&id);
                tracing::warn!(file = %file.display(), "taking a key file that the database does not name");
                bytes
            }
            None => self.generate(&id, rng)?,
        };
        Ok(NamedKey {
            id,
            purpose,
            check_value: check_value(&bytes),
            state,
        })
    }

    /// The key that the database names, whole and the right one.
    pub fn read_named(&self, key: &NamedKey) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let (file, purpose) = (self.file(&key.id), key.purpose.name());
        let Some(bytes) = self.read(&key.id)? else {
            bail!(
                "the {purpose} key {} is missing: this database was written with it, and {} does \
                 not exist. Copy that file from another coordinator of this network or from your \
                 backup of its keys directory. Where keys.period is set, keys are destroyed at the end of \
                 their period, and a backup of the database from before then cannot be opened any more",
                key.id,
                file.display()
            );
        };
        ensure!(
            check_value(&bytes) == key.check_value,
            "{} is not the {purpose} key that this database was written with. Copy the right file \
             from another coordinator of this network or from your backup, or point database.url \
             to the database that this key belongs to",
            file.display()
        );
        Ok(bytes)
    }

    /// Writes the master key that follows from another one. One that is there already stays.
    pub fn follow(&self, before: &str, id: &str) -> anyhow::Result<()> {
        let bytes = self.read(before)?;
        let bytes =
            bytes.with_context(|| format!("{} does not exist", self.file(before).display()))?;
        match self.read(id)? {
            Some(_) => Ok(()),
            None => self.write(id, &next(&bytes)),
        }
    }

    /// Makes those of the named master keys that are not there and follow from one that is: other coordinators have gone on.
    pub fn follow_up(&self, named: &[NamedKey]) -> anyhow::Result<()> {
        let masters = named.iter().filter(|key| key.purpose == KeyPurpose::Master);
        for key in masters {
            let Some(wanted) = number(&key.id).filter(|_| !self.file(&key.id).exists()) else {
                continue;
            };
            let here = self.ids(KeyPurpose::Master)?;
            let before = here
                .iter()
                .filter_map(|id| number(id))
                .filter(|here| *here < wanted);
            let Some(last) = before.max().filter(|last| wanted - last <= LONGEST_CHAIN) else {
                continue;
            };
            let Some(mut bytes) = self.read(&format!("master-{last}"))? else {
                continue;
            };
            for _ in last..wanted {
                bytes = next(&bytes);
            }
            // Another value: that key was made by chance, and has to be copied here.
            if check_value(&bytes) == key.check_value {
                self.write(&key.id, &bytes)?;
                tracing::info!(
                    key = key.id,
                    "this key follows from one that is here: its file was made"
                );
            }
        }
        Ok(())
    }

    /// Overwrites a key and takes its file away. What a file system or a disk keeps of overwritten bytes is beyond a program.
    pub fn destroy(&self, id: &str) -> anyhow::Result<()> {
        let path = self.file(id);
        let destroy = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.write_all(&[b'0'; 64])?;
            file.sync_all()?;
            fs::remove_file(&path)?;
            File::open(&self.path)?.sync_all()
        };
        destroy().with_context(|| format!("{} cannot be destroyed", path.display()))
    }

    /// Ids of all keys of a purpose that have a file, whether the database names them or not.
    pub fn ids(&self, purpose: KeyPurpose) -> anyhow::Result<Vec<String>> {
        let prefix = format!("{}-", purpose.name());
        let mut ids = Vec::new();
        let entries = fs::read_dir(&self.path);
        for entry in entries.with_context(|| format!("{} cannot be read", self.path.display()))? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".key"));
            ids.extend(id.filter(|id| id.starts_with(&prefix)).map(str::to_owned));
        }
        Ok(ids)
    }

    /// `None` where there is no such file.
    pub fn read(&self, id: &str) -> anyhow::Result<Option<Zeroizing<[u8; 32]>>> {
        let path = self.file(id);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        check_mode(&path)?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut bytes[..])
            .map_err(|_| anyhow::anyhow!("{} does not hold 64 hex digits", path.display()))?;
        Ok(Some(bytes))
    }

    /// Writes a new key durably; never over an existing file.
    pub fn generate(
        &self,
        id: &str,
        rng: &mut impl CryptoRng,
    ) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        self.write(id, &bytes)?;
        Ok(bytes)
    }

    fn write(&self, id: &str, bytes: &[u8; 32]) -> anyhow::Result<()> {
        let path = self.file(id);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            let text = Zeroizing::new(format!("{}\n", hex::encode(&bytes[..])));
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }
}

/// dk("fsn next master key v1", key): the key of the next period. Nobody gets back from it.
fn next(key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key("fsn next master key v1", key))
}

/// Of `master-7`, 7.
pub fn number(id: &str) -> Option<u32> {
    id.strip_prefix("master-")?.parse().ok()
}

/// dk("fsn key check v1", key): tells keys apart and gives nothing away.
pub fn check_value(key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("fsn key check v1", key)
}

fn check_mode(path: &Path) -> anyhow::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    ensure!(
        mode & 0o077 == 0,
        "{} can be read by others (mode {:o}): run `chmod 600` on it",
        path.display(),
        mode & 0o777
    );
    Ok(())
}

/// A key pair of a seed.
pub fn ed25519(mut seed: Zeroizing<[u8; 32]>) -> anyhow::Result<Keypair> {
    Keypair::ed25519_from_bytes(&mut seed[..]).context("the key file holds no Ed25519 key")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_key_follows_from_another_and_nothing_else_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyDir::open(dir.path()).unwrap();
        keys.generate("master-1", &mut StdRng::seed_from_u64(7))
            .unwrap();
        keys.follow("master-1", "master-2").unwrap();
        keys.follow("master-2", "master-3").unwrap();
        let third = keys.read("master-3").unwrap().unwrap();
        for id in ["master-2", "master-3"] {
            keys.destroy(id).unwrap();
            assert!(keys.read(id).unwrap().is_none());
        }
        let named = |check_value| NamedKey {
            id: "master-3".to_owned(),
            purpose: KeyPurpose::Master,
            check_value,
            state: KeyState::InUse,
        };
        keys.follow_up(&[named([0; 32])]).unwrap();
        assert!(
            keys.read("master-3").unwrap().is_none(),
            "it was made by chance"
        );
        keys.follow_up(&[named(check_value(&third))]).unwrap();
        assert_eq!(keys.read("master-3").unwrap().unwrap(), third);
        assert!(keys.read("master-2").unwrap().is_none());
    }

    /// Of BLAKE3 (`derive_key`), as its own program works it out: whoever has the key of a period makes the same next one.
    #[test]
    fn the_next_key_is_always_the_same() {
        let next = next(&[7; 32]);
        assert_eq!(
            next,
            Zeroizing::new(blake3::derive_key("fsn next master key v1", &[7; 32]))
        );
        assert_eq!(
            hex::encode(&next[..]),
            "31e449827f6cef79561deb70c80d39592bd996594678769619d354440a4735b5"
        );
        assert_eq!(number("master-12"), Some(12));
        assert_eq!(number("token-12"), None);
    }
}
