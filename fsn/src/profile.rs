//! Who this is, and where: kept in one file that nobody else may read.
//!
//! What lies in it signs in (an access key) and opens everything (the root). Rejected: the desktop's key ring, which no
//! server has; a login, of which two processes would renew the same token.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use client::rest::Credentials;
use client::{Bucket, Uuid};
use directories::BaseDirs;
use kit::private_file;
use sealing::end_to_end::Root;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

#[derive(Serialize, Deserialize)]
pub(crate) struct Profile {
    /// Coordinators, the one that is asked first before the others.
    pub urls: Vec<String>,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// 64 hex digits.
    root: String,
    /// Of a throw-away account, as `init --local` makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Buckets that were made sealed here, so that no coordinator can call them plain later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sealed: BTreeMap<String, Uuid>,
}

impl Profile {
    pub(crate) fn new(
        urls: Vec<String>,
        (access_key_id, secret): (String, String),
        root: &Root,
        email: Option<String>,
    ) -> Self {
        Self {
            urls,
            access_key_id,
            secret_access_key: secret,
            root: hex::encode(root.as_bytes()),
            email,
            sealed: BTreeMap::new(),
        }
    }

    /// A bucket that was made, or taken, as what it is.
    pub(crate) fn note(&mut self, bucket: &Bucket) {
        match bucket.is_sealed() {
            true => self.sealed.insert(bucket.name().to_owned(), bucket.id()),
            false => self.sealed.remove(bucket.name()),
        };
    }

    /// A bucket that is deleted: its name may be another's from now on.
    pub(crate) fn forget(&mut self, bucket: &str) {
        self.sealed.remove(bucket);
    }

    pub(crate) fn sealed(&self) -> &BTreeMap<String, Uuid> {
        &self.sealed
    }

    /// `--profile`, or where programs keep their settings.
    pub(crate) fn path(given: Option<&Path>) -> Result<PathBuf> {
        match given {
            Some(path) => Ok(path.to_owned()),
            None => Ok(dirs()?.config_dir().join("fsn").join("profile.json")),
        }
    }

    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let Some(bytes) = private_file::read_own(path)? else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(bytes);
        let profile = serde_json::from_slice(&bytes);
        profile
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make {}", dir.display()))?;
        }
        private_file::write_json(path, self)
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::AccessKey {
            id: self.access_key_id.clone(),
            secret: self.secret_access_key.clone(),
        }
    }

    pub(crate) fn root(&self) -> Result<Root> {
        let mut root = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&self.root, &mut root[..])
            .context("the profile's root is damaged: run `fsn init --recover` with your words")?;
        Ok(Root::from_bytes(root))
    }
}

/// Where uploads that are under way are noted.
pub(crate) fn transfers_dir() -> Result<PathBuf> {
    let dirs = dirs()?;
    let state = dirs.state_dir().unwrap_or(dirs.data_local_dir());
    Ok(state.join("fsn").join("transfers"))
}

fn dirs() -> Result<BaseDirs> {
    BaseDirs::new().context("you have no home directory; name a file with --profile")
}
