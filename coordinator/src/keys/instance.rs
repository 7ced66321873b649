//! One process at a time serves with one identity. A second would put its own address into the network document in place
//! of the first one's, and nodes would leave a coordinator that lives.
//!
//! Two things keep it out: a lock on the directory of the keys, which ends with the process that has it, and a lease in
//! the database, for a directory that was copied to another machine. The lock tells who is dead: of a lease whose
//! holder had the lock that this process has now, the end need not be waited for.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::database::Pool;
use anyhow::{Context, bail};
use kit::private_file;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use keyfiles::KeyDir;

use crate::keys::tables::keys::{Lease, RunningCoordinator};
use crate::keys::{KeyRing, tables};

/// Who has not said for so long that he serves does so no more.
const LEASE: Duration = Duration::from_secs(20);

/// How often a lease is looked at that has to end first.
const LOOK: Duration = Duration::from_millis(500);

/// The directory, for this process alone.
#[derive(Debug)]
pub struct DirLock {
    /// `None` on a file system that has no locks.
    _dir: Option<File>,
    file: PathBuf,
}

impl DirLock {
    /// Taken before anything else is done in the name of these keys.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        KeyDir::open(path)?;
        let dir = File::open(path).with_context(|| format!("keys.dir: {shown} cannot be read"))?;
        let dir = match dir.try_lock() {
            Ok(()) => Some(dir),
            Err(TryLockError::WouldBlock) => bail!(
                "keys.dir: another `coordinator serve` runs with {shown}. Stop that one first; a second coordinator of \
                 the network needs a directory of its own, with copies of all keys but coordinator.key, and ports of \
                 its own"
            ),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "keys.dir: {shown} cannot be locked");
                None
            }
        };
        Ok(Self {
            _dir: dir,
            file: path.join("instance"),
        })
    }

    /// The process that had the lock before.
    fn before(&self) -> Option<Uuid> {
        let text = private_file::read(&self.file).ok().flatten()?;
        Uuid::try_parse_ascii(text.trim_ascii()).ok()
    }

    /// Keys may lie where nothing can be written: then the next start after a crash waits for the lease.
    fn remember(&self, instance: Uuid) {
        let text = format!("{instance}\n");
        if let Err(error) = private_file::write(&self.file, text.as_bytes()) {
            tracing::debug!(
                error = format!("{error:#}"),
                "nothing can be written beside the keys"
            );
        }
    }
}

/// Enters this process as the one that serves with the identity of these keys. Waits for the lease of one that may be
/// dead, and refuses to go on beside one that lives.
pub async fn claim(lock: &DirLock, ring: &KeyRing, pool: &Pool) -> anyhow::Result<()> {
    let before = lock.before();
    let myself = RunningCoordinator {
        peer_id: ring.identity.public().to_peer_id().to_string(),
        key_ids: ring.held(),
    };
    let lease = Lease {
        instance: ring.instance,
        before,
        ends_after: LEASE,
    };
    let until = Instant::now() + LEASE + LOOK;
    let mut told = false;
    loop {
        let mut connection = pool.acquire().await?;
        if tables::keys::claim(&mut connection, &myself, &lease).await? {
            lock.remember(ring.instance);
            return Ok(());
        }
        drop(connection);
        if Instant::now() >= until {
            bail!(
                "another process serves as coordinator {}: it has said so within the last {LEASE:?}. Was keys.dir \
                 copied? Stop that process, or remove coordinator.key here, so that this coordinator gets an identity \
                 of its own",
                myself.peer_id
            );
        }
        if !told {
            told = true;
            tracing::info!(
                "a process that served as this coordinator has not said that it stopped: waiting up to {LEASE:?} \
                 for whether it lives"
            );
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_for_one_and_free_when_he_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("another `coordinator serve`"), "{refused}");
        assert_eq!(lock.before(), None);
        lock.remember(Uuid::from_u128(7));
        drop(lock);
        let lock = DirLock::take(dir.path()).unwrap();
        assert_eq!(lock.before(), Some(Uuid::from_u128(7)));
    }
}
