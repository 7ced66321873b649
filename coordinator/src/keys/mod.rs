//! Key files: what a coordinator needs beside its database.
//!
//! The database names the keys it was written with and keeps a check value of each. A coordinator
//! that lacks a named key, or holds another one under its id, refuses to start and says which file
//! is missing; generating a new one would make every stored file unreadable without a word. New keys
//! are made only while the database names none of that purpose, or when an operator rotates them
//! (`keys/key_rotation.rs`).
//!
//! A ring takes rotated keys over while it serves: [`KeyRing::refresh`] reads what the database names
//! by now. A key is announced before it is put to use, so that it lies in every ring by then; whoever
//! meets an id that is not in the ring all the same looks once more before it fails.

pub mod data_keys;
mod delete_order;
pub mod instance;
pub mod jobs;
pub mod network_document;
pub mod periods;
pub mod rotation;
pub mod secrets;
pub mod tables;
pub mod wrapped_secret;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::database::Pool;
use anyhow::Context;
use arc_swap::ArcSwap;
use kit::Entropy;
use libp2p_identity::Keypair;
use proto::{Locator, NetworkId, VerifyingKey};
use rand::{CryptoRng, RngExt};
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};
use zeroize::Zeroizing;

use self::network_document::CurrentDocument;
use self::tables::keys::{READS_PIECES, RunningCoordinator};

use keyfiles::{KeyDir, ed25519};
pub use keyfiles::{KeyPurpose, KeyState, NamedKey};
use sealing::{Located, MasterKey, Sealing};

/// A coordinator that has not said so for this long does not run.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// What the upkeep of keys works with.
pub struct Keys {
    pub db: Pool,
    pub ring: Arc<KeyRing>,
    pub document: CurrentDocument,
    pub entropy: Entropy,
    /// After how long a master key is replaced and destroyed; zero: never by itself.
    pub period: Duration,
    /// Another process serves with this identity by now.
    pub replaced: CancellationToken,
}

impl Keys {
    /// That this coordinator runs, and which keys it holds. A rotation waits for those that run.
    pub async fn say_running(&self) -> sqlx::Result<()> {
        let myself = RunningCoordinator {
            peer_id: self.ring.identity.public().to_peer_id().to_string(),
            key_ids: self.ring.held(),
        };
        let mut connection = self.db.acquire().await?;
        let instance = self.ring.instance;
        if !tables::keys::note_running(&mut connection, &myself, instance).await? {
            self.replaced.cancel();
        }
        Ok(())
    }

    /// An orderly end: nobody has to wait for this coordinator to hold a new key.
    pub async fn say_stopped(&self) {
        let peer_id = self.ring.identity.public().to_peer_id().to_string();
        let told = async {
            let mut connection = self.db.acquire().await?;
            tables::keys::note_stopped(&mut connection, &peer_id, self.ring.instance).await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "the others will notice by themselves that this coordinator stopped");
        }
    }
}

/// Every key of one coordinator.
#[derive(Debug)]
pub struct KeyRing {
    /// Shared by the coordinators of a network.
    pub network: Keypair,
    pub network_id: NetworkId,
    /// This coordinator's own peer identity.
    pub identity: Keypair,
    /// This process, among those that ever served with the identity.
    pub instance: Uuid,
    dir: KeyDir,
    rotating: ArcSwap<Rotating>,
    sealing: NewFiles,
}

/// The keys that may change while the coordinator runs.
#[derive(Debug)]
struct Rotating {
    named: Vec<NamedKey>,
    masters: HashMap<String, Arc<MasterKey>>,
    master_in_use: Arc<MasterKey>,
    tokens: HashMap<String, Zeroizing<[u8; 32]>>,
    token_in_use: (String, Zeroizing<[u8; 32]>),
}

impl KeyRing {
    /// The key that new files are wrapped with.
    pub fn master(&self) -> Arc<MasterKey> {
        Arc::clone(&self.rotating.load().master_in_use)
    }

    /// How new files are sealed: in the newest way that all coordinators which run can read.
    pub fn sealing(&self) -> Sealing {
        self.sealing.get()
    }

    /// Whether all coordinators that run can read coded files.
    pub fn all_read_pieces(&self) -> bool {
        self.sealing.all_read_pieces()
    }

    /// Where a blob belongs, whichever of the master keys its locator was sealed under.
    pub fn open_locator(&self, locator: &Locator) -> Option<Located> {
        let rotating = self.rotating.load();
        let mut masters = rotating.masters.values();
        masters.find_map(|master| master.open_locator(locator).ok())
    }

    /// Master keys whose files lie in the directory and that the database does not name: those that were
    /// forgotten, and after a restore those that were put to use since the backup. They open locators.
    pub fn unnamed_masters(&self) -> anyhow::Result<Vec<MasterKey>> {
        let held = self.rotating.load();
        let mut unnamed = Vec::new();
        for id in self.dir.ids(KeyPurpose::Master)? {
            if !held.masters.contains_key(&id)
                && let Some(bytes) = self.dir.read(&id)?
            {
                unnamed.push(MasterKey::new(id, bytes)?);
            }
        }
        Ok(unnamed)
    }

    /// A key that something was wrapped with. One that is not in the ring was rotated in a moment ago:
    /// it is looked for once more.
    pub async fn master_by_id(&self, id: &str, pool: &Pool) -> anyhow::Result<Arc<MasterKey>> {
        match self.held_master(id) {
            Ok(master) => Ok(master),
            Err(_) => {
                self.refresh(pool).await?;
                self.held_master(id)
            }
        }
    }

    /// Like [`Self::master_by_id`], without asking the database.
    pub fn held_master(&self, id: &str) -> anyhow::Result<Arc<MasterKey>> {
        let held = self.rotating.load().masters.get(id).cloned();
        held.with_context(|| format!("master key {id} is not loaded yet"))
    }

    /// Id and bytes of the key that signs new tokens.
    pub fn token(&self) -> (String, Zeroizing<[u8; 32]>) {
        self.rotating.load().token_in_use.clone()
    }

    /// All token keys in this ring, the one in use first.
    pub fn token_keys(&self) -> Vec<Zeroizing<[u8; 32]>> {
        let rotating = self.rotating.load();
        let (in_use, key) = &rotating.token_in_use;
        let others = rotating.tokens.iter().filter(|(id, _)| *id != in_use);
        let others = others.map(|(_, key)| key.clone());
        std::iter::once(key.clone()).chain(others).collect()
    }

    pub fn token_by_id(&self, id: &str) -> Option<Zeroizing<[u8; 32]>> {
        self.rotating.load().tokens.get(id).cloned()
    }

    /// Takes over what was announced, put to use or forgotten since. When a file is missing, the ring
    /// stays as it was.
    pub async fn refresh(&self, pool: &Pool) -> anyhow::Result<()> {
        let named = {
            let mut connection = pool.acquire().await?;
            let common = tables::keys::common_sealing(&mut connection, SEEN_WITHIN).await?;
            self.sealing.set(common);
            tables::keys::list(&mut connection).await?
        };
        let current = self.rotating.load();
        if named != current.named || current.lacks_an_announced_key() {
            let rotating = Rotating::load(&self.dir, named)?;
            self.rotating.store(Arc::new(rotating));
        }
        Ok(())
    }

    /// Ids of the rotating keys that lie in this ring.
    pub fn held(&self) -> Vec<String> {
        let rotating = self.rotating.load();
        let ids = rotating.masters.keys().chain(rotating.tokens.keys());
        ids.cloned().collect()
    }

    /// Makes the file of the master key that follows from another one, or finds it.
    fn make_following(&self, before: &str, id: String) -> anyhow::Result<NamedKey> {
        self.dir.follow(before, &id)?;
        let bytes = self
            .dir
            .read(&id)?
            .context("the key was written a moment ago")?;
        Ok(NamedKey {
            check_value: keyfiles::check_value(&bytes),
            id,
            purpose: KeyPurpose::Master,
            state: KeyState::Announced,
        })
    }

    /// Makes the file of a key that the database does not name yet, or finds it.
    pub fn make(
        &self,
        id: String,
        purpose: KeyPurpose,
        rng: &mut impl CryptoRng,
    ) -> anyhow::Result<NamedKey> {
        self.dir.new_key(id, purpose, KeyState::Announced, rng)
    }

    /// Where the file of a key is, or belongs.
    pub fn file(&self, id: &str) -> PathBuf {
        self.dir.file(id)
    }
}

/// Reads the keys that the database names, and makes those of a purpose that has none yet.
pub async fn open(dir: &Path, pool: &Pool, rng: &mut impl CryptoRng) -> anyhow::Result<KeyRing> {
    let dir = KeyDir::open(dir)?;
    let identity = dir.identity(rng)?;
    let mut transaction = pool.begin().await?;
    tables::keys::lock(&mut transaction).await?;
    let mut named = tables::keys::list(&mut transaction).await?;
    for purpose in KeyPurpose::ALL {
        if !named.iter().any(|key| key.purpose == purpose) {
            let key = dir.first_key(purpose, rng)?;
            tables::keys::insert(&mut transaction, &key).await?;
            named.push(key);
        }
    }
    let common = tables::keys::common_sealing(&mut transaction, SEEN_WITHIN).await?;
    transaction.commit().await?;
    let ring = assemble(dir, identity, named, rng)?;
    ring.sealing.set(common);
    Ok(ring)
}

fn assemble(
    dir: KeyDir,
    identity: Keypair,
    named: Vec<NamedKey>,
    rng: &mut impl CryptoRng,
) -> anyhow::Result<KeyRing> {
    let network = named.iter().find(|key| key.purpose == KeyPurpose::Network);
    let network = ed25519(dir.read_named(network.context("the database names no network key")?)?)?;
    let public_key = VerifyingKey::of_keypair(&network)?.to_bytes();
    let rotating = Rotating::load(&dir, named)?;
    Ok(KeyRing {
        network_id: NetworkId::of_public_key(&public_key),
        network,
        identity,
        instance: Builder::from_random_bytes(rng.random()).into_uuid(),
        dir,
        rotating: ArcSwap::from_pointee(rotating),
        sealing: NewFiles::default(),
    })
}

/// How new files are sealed. A coordinator of the release before could read none of a newer kind, so whoever makes files
/// looks every few seconds for one that runs.
#[derive(Debug)]
struct NewFiles(AtomicU8);

impl Default for NewFiles {
    fn default() -> Self {
        Self(AtomicU8::new(READS_PIECES))
    }
}

impl NewFiles {
    fn get(&self) -> Sealing {
        Sealing::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(Sealing::NEWEST)
    }

    fn all_read_pieces(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= READS_PIECES
    }

    /// `common` is the newest that all others can read; `None` when nobody else runs.
    fn set(&self, common: Option<u8>) {
        self.0
            .store(common.unwrap_or(READS_PIECES), Ordering::Relaxed);
    }
}

impl Rotating {
    /// A key that is only announced may still be missing.
    fn load(dir: &KeyDir, named: Vec<NamedKey>) -> anyhow::Result<Self> {
        dir.follow_up(&named)?;
        let (mut masters, mut tokens) = (HashMap::new(), HashMap::new());
        let (mut master_in_use, mut token_in_use) = (None, None);
        for key in &named {
            if key.purpose == KeyPurpose::Network {
                continue;
            }
            let bytes = match dir.read_named(key) {
                Ok(bytes) => bytes,
                Err(error) if key.state == KeyState::Announced => {
                    tracing::warn!(key = key.id, "an announced key is not there yet: {error:#}");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if key.purpose == KeyPurpose::Master {
                let master = Arc::new(MasterKey::new(key.id.clone(), bytes)?);
                if key.state == KeyState::InUse {
                    master_in_use = Some(Arc::clone(&master));
                }
                masters.insert(key.id.clone(), master);
            } else {
                if key.state == KeyState::InUse {
                    token_in_use = Some((key.id.clone(), bytes.clone()));
                }
                tokens.insert(key.id.clone(), bytes);
            }
        }
        Ok(Self {
            master_in_use: master_in_use.context("the database names no master key in use")?,
            masters,
            token_in_use: token_in_use.context("the database names no token key in use")?,
            tokens,
            named,
        })
    }

    fn lacks_an_announced_key(&self) -> bool {
        let announced = self
            .named
            .iter()
            .filter(|key| key.state == KeyState::Announced);
        let mut ids = announced.map(|key| &key.id);
        ids.any(|id| !self.masters.contains_key(id) && !self.tokens.contains_key(id))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
        let mut rng = StdRng::seed_from_u64(2);
        let identity = dir.identity(&mut rng)?;
        assemble(dir, identity, named.to_vec(), &mut rng)
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
