//! Key files: what a coordinator needs beside its database.
//!
//! The database names the keys it was written with and keeps a check value of each. A coordinator
//! that lacks a named key, or holds another one under its id, refuses to start and says which file
//! is missing; generating a new one would make every stored file unreadable without a word. New keys
//! are made only while the database names none of that purpose.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use libp2p_identity::Keypair;
use proto::{NetworkId, VerifyingKey};
use rand::CryptoRng;
use sqlx::PgPool;
use zeroize::Zeroizing;

use crate::db;
use crate::domain::sealing::MasterKey;

/// Every key of one coordinator.
#[derive(Debug)]
pub struct KeyRing {
    /// Shared by the coordinators of a network.
    pub network: Keypair,
    pub network_id: NetworkId,
    /// This coordinator's own peer identity.
    pub identity: Keypair,
    master_in_use: String,
    masters: HashMap<String, MasterKey>,
    token_in_use: String,
    tokens: HashMap<String, Zeroizing<[u8; 32]>>,
}

impl KeyRing {
    /// The key that new files are wrapped with.
    pub fn master(&self) -> &MasterKey {
        &self.masters[&self.master_in_use]
    }

    /// A key that something was wrapped with.
    pub fn master_by_id(&self, id: &str) -> Option<&MasterKey> {
        self.masters.get(id)
    }

    /// Id and bytes of the key that signs new tokens.
    pub fn token(&self) -> (&str, &[u8; 32]) {
        (&self.token_in_use, &self.tokens[&self.token_in_use])
    }

    pub fn token_by_id(&self, id: &str) -> Option<&[u8; 32]> {
        self.tokens.get(id).map(|key| &**key)
    }
}

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

/// What the database knows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    pub id: String,
    pub purpose: KeyPurpose,
    pub check_value: [u8; 32],
    pub in_use: bool,
}

/// Reads the keys that the database names, and makes those of a purpose that has none yet.
pub async fn open(dir: &Path, pool: &PgPool, rng: &mut impl CryptoRng) -> anyhow::Result<KeyRing> {
    let dir = KeyDir::open(dir)?;
    let identity = dir.identity(rng)?;
    let mut transaction = pool.begin().await?;
    db::keys::lock(&mut transaction).await?;
    let mut named = db::keys::list(&mut transaction).await?;
    for purpose in KeyPurpose::ALL {
        if !named.iter().any(|key| key.purpose == purpose) {
            let key = dir.first_key(purpose, rng)?;
            db::keys::insert(&mut transaction, &key).await?;
            named.push(key);
        }
    }
    transaction.commit().await?;
    assemble(&dir, identity, &named)
}

fn assemble(dir: &KeyDir, identity: Keypair, named: &[NamedKey]) -> anyhow::Result<KeyRing> {
    let mut network = None;
    let (mut masters, mut tokens) = (HashMap::new(), HashMap::new());
    let (mut master_in_use, mut token_in_use) = (None, None);
    for key in named {
        let bytes = dir.read_named(key)?;
        match key.purpose {
            KeyPurpose::Network => network = Some(ed25519(bytes)?),
            KeyPurpose::Master => {
                masters.insert(key.id.clone(), MasterKey::new(key.id.clone(), bytes)?);
                if key.in_use {
                    master_in_use = Some(key.id.clone());
                }
            }
            KeyPurpose::Token => {
                tokens.insert(key.id.clone(), bytes);
                if key.in_use {
                    token_in_use = Some(key.id.clone());
                }
            }
        }
    }
    let network = network.context("the database names no network key")?;
    let public_key = VerifyingKey::of_keypair(&network)?.to_bytes();
    Ok(KeyRing {
        network_id: NetworkId::of_public_key(&public_key),
        network,
        identity,
        master_in_use: master_in_use.context("the database names no master key in use")?,
        masters,
        token_in_use: token_in_use.context("the database names no token key in use")?,
        tokens,
    })
}

/// The directory of key files: `<id>.key`, 64 hex digits each, for its owner only.
struct KeyDir {
    path: PathBuf,
}

impl KeyDir {
    fn open(path: &Path) -> anyhow::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("keys.dir: {} cannot be made", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.key"))
    }

    /// This coordinator's own identity. The database does not name it: each coordinator has its own.
    fn identity(&self, rng: &mut impl CryptoRng) -> anyhow::Result<Keypair> {
        let bytes = match self.read("coordinator")? {
            Some(bytes) => bytes,
            None => self.generate("coordinator", rng)?,
        };
        ed25519(bytes)
    }

    /// A key for a purpose of which the database names none: a file that an operator put there, or
    /// a new one.
    fn first_key(&self, purpose: KeyPurpose, rng: &mut impl CryptoRng) -> anyhow::Result<NamedKey> {
        let id = match purpose {
            KeyPurpose::Network => "network".to_owned(),
            _ => format!("{}-1", purpose.name()),
        };
        let bytes = match self.read(&id)? {
            Some(bytes) => {
                let file = self.file(&id);
                tracing::warn!(file = %file.display(), "adopting a key file for a new database");
                bytes
            }
            None => self.generate(&id, rng)?,
        };
        Ok(NamedKey {
            id,
            purpose,
            check_value: check_value(&bytes),
            in_use: true,
        })
    }

    fn read_named(&self, key: &NamedKey) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let (file, purpose) = (self.file(&key.id), key.purpose.name());
        let Some(bytes) = self.read(&key.id)? else {
            bail!(
                "the {purpose} key {} is missing: this database was written with it, and {} does \
                 not exist. Copy that file from another coordinator of this network or from your \
                 backup of its keys directory",
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

    fn read(&self, id: &str) -> anyhow::Result<Option<Zeroizing<[u8; 32]>>> {
        let path = self.file(id);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", path.display()));
            }
        };
        let mode = fs::metadata(&path)?.permissions().mode();
        ensure!(
            mode & 0o077 == 0,
            "{} can be read by others (mode {:o}): run `chmod 600` on it",
            path.display(),
            mode & 0o777
        );
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), &mut bytes[..])
            .map_err(|_| anyhow::anyhow!("{} does not hold 64 hex digits", path.display()))?;
        Ok(Some(bytes))
    }

    /// Writes a new key durably; never over an existing file.
    fn generate(&self, id: &str, rng: &mut impl CryptoRng) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
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
        write().with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(bytes)
    }
}

/// dk("fsn key check v1", key): tells keys apart and gives nothing away.
fn check_value(key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("fsn key check v1", key)
}

fn ed25519(mut seed: Zeroizing<[u8; 32]>) -> anyhow::Result<Keypair> {
    Keypair::ed25519_from_bytes(&mut seed[..]).context("the key file holds no Ed25519 key")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn first_keys(dir: &Path) -> Vec<NamedKey> {
        let (dir, mut rng) = (KeyDir::open(dir).unwrap(), StdRng::seed_from_u64(1));
        let keys = KeyPurpose::ALL.map(|purpose| dir.first_key(purpose, &mut rng).unwrap());
        keys.into()
    }

    fn reopen(path: &Path, named: &[NamedKey]) -> anyhow::Result<KeyRing> {
        let dir = KeyDir::open(path)?;
        let identity = dir.identity(&mut StdRng::seed_from_u64(2))?;
        assemble(&dir, identity, named)
    }

    #[test]
    fn keys_that_were_made_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let named = first_keys(dir.path());
        let (a, b) = (
            reopen(dir.path(), &named).unwrap(),
            reopen(dir.path(), &named).unwrap(),
        );
        assert_eq!(a.network_id, b.network_id);
        assert_eq!(a.identity.public(), b.identity.public());
        assert_eq!(a.master().id(), "master-1");
    }

    #[test]
    fn a_missing_or_foreign_key_is_refused_with_the_file_to_copy() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let named = first_keys(dir.path());
        let master = dir.path().join("master-1.key");
        fs::remove_file(&master).unwrap();
        let error = reopen(dir.path(), &named).unwrap_err().to_string();
        assert!(error.contains("master-1.key does not exist"), "{error}");

        let mut rng = StdRng::seed_from_u64(9);
        let other = KeyDir::open(other.path()).unwrap();
        other.generate("master-1", &mut rng).unwrap();
        fs::copy(other.file("master-1"), &master).unwrap();
        let error = reopen(dir.path(), &named).unwrap_err().to_string();
        assert!(error.contains("is not the master key"), "{error}");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let named = first_keys(dir.path());
        let master = dir.path().join("master-1.key");
        fs::set_permissions(&master, fs::Permissions::from_mode(0o644)).unwrap();
        let error = reopen(dir.path(), &named).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }
}
