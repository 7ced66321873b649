//! The data directory: what is where in it, whose it is, and who has it open.
//!
//! `volume.json` binds the directory to the identity in it. An empty directory is what an unmounted
//! disk looks like, so a node never starts in one: it would tell the network that all is lost.

mod capacity;
pub(crate) mod identity;
mod instance;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use blobstore::LayoutKind;
use jiff::Timestamp;
use kit::private_file;
use libp2p_identity::{Keypair, PeerId};
use proto::{NetworkDocument, NodeId};
use rand::{CryptoRng, RngExt};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

pub(crate) use capacity::capacity;
pub(crate) use instance::Instance;

const VERSION: u32 = 1;

#[derive(Debug, Clone)]
pub(crate) struct Volume {
    root: PathBuf,
}

/// `volume.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub version: u32,
    pub layout: LayoutKind,
    /// The layout that a conversion is moving the blobs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converting_to: Option<LayoutKind>,
    pub peer_id: String,
    pub created_at: Timestamp,
}

/// `credentials.json`: what registration gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub node_id: NodeId,
    pub api_key: String,
    pub coordinator_url: String,
}

/// `running.json`, while a node runs: where to ask it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub pid: u32,
    pub admin: std::net::SocketAddr,
}

/// Held by the one process that writes in the directory; the system lets go of it when it ends.
#[derive(Debug)]
pub(crate) struct VolumeLock(#[expect(dead_code, reason = "held, not read")] File);

impl Volume {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the directory (0700), or takes one that is empty or a node's already.
    pub(crate) fn prepare(&self) -> Result<()> {
        let dir = self.root.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .with_context(|| format!("cannot create the data directory {dir}"))?;
        if self.identity_path().exists() || self.marker()?.is_some() {
            return Ok(());
        }
        let entries = fs::read_dir(&self.root).with_context(|| format!("cannot read {dir}"))?;
        for entry in entries {
            let name = entry?.file_name();
            ensure!(
                ["lost+found", "lock"].iter().any(|known| name == *known),
                "{dir} holds other things ({}) and is not a storage node's data directory; choose \
                 an empty one with --data-dir",
                name.display()
            );
        }
        Ok(())
    }

    /// Makes sure that this is a node's data directory in the layout that the settings ask for, if they
    /// do, and returns its identity.
    pub(crate) fn open(&self, wanted: Option<LayoutKind>) -> Result<Keypair> {
        let (keypair, marker) = self.identify()?;
        let dir = self.root.display();
        if let Some(to) = marker.converting_to {
            bail!(
                "{dir} is between two layouts, its conversion was interrupted: finish it with \
                 `storage-node chunks convert --to {to}`"
            );
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != marker.layout) {
            bail!(
                "{dir} keeps its blobs in the layout \"{}\" and store.layout asks for \"{wanted}\": \
                 convert them with `storage-node chunks convert --to {wanted}`, or remove the setting",
                marker.layout
            );
        }
        Ok(keypair)
    }

    /// How the blobs are kept.
    pub(crate) fn layout(&self) -> Result<LayoutKind> {
        Ok(self
            .marker()?
            .map_or_else(LayoutKind::default, |marker| marker.layout))
    }

    /// Whose data directory this is, whatever its layout.
    pub(crate) fn identify(&self) -> Result<(Keypair, Marker)> {
        let dir = self.root.display();
        match fs::read_dir(&self.root) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                "the data directory {dir} does not exist: if its disk is not mounted, mount it; if \
                 this is a new node, run `storage-node init`"
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open the data directory {dir}"));
            }
        }
        let identity = identity::load(&self.identity_path())?;
        let (keypair, marker) = match (identity, self.marker()?) {
            (Some(keypair), Some(marker)) => (keypair, marker),
            (None, Some(marker)) => bail!(
                "{dir} belongs to node {} and its identity.key is gone: restore it with \
                 `storage-node identity import`",
                marker.peer_id
            ),
            (Some(_), None) => bail!(
                "{dir} has an identity but was never set up as a data directory: run \
                 `storage-node init`"
            ),
            (None, None) => bail!(
                "{dir} is not a storage node's data directory: if its disk is not mounted, mount \
                 it; if this is a new node, run `storage-node init`"
            ),
        };
        self.check_owner(&marker, keypair.public().to_peer_id())?;
        ensure!(
            marker.version == VERSION,
            "{dir} was set up by another version of this program: its volume.json has version {}, \
             this program knows {VERSION}",
            marker.version
        );
        Ok((keypair, marker))
    }

    /// Binds the directory to the identity; it is an error when another's marker is there.
    pub(crate) fn bind(&self, peer_id: PeerId, layout: LayoutKind, at: Timestamp) -> Result<()> {
        if let Some(marker) = self.marker()? {
            return self.check_owner(&marker, peer_id);
        }
        let marker = Marker {
            version: VERSION,
            layout,
            converting_to: None,
            peer_id: peer_id.to_string(),
            created_at: at,
        };
        self.save_marker(&marker)
    }

    pub(crate) fn save_marker(&self, marker: &Marker) -> Result<()> {
        private_file::write_json(&self.marker_path(), marker)
    }

    /// Refuses the directory when the settings name another identity than the one in it.
    pub(crate) fn expect_identity(&self, expected: Option<&PeerId>) -> Result<()> {
        let Some(expected) = expected else {
            return Ok(());
        };
        let Some(keypair) = identity::load(&self.identity_path())? else {
            bail!(
                "{} holds no identity, and the settings are those of node {expected} (node.peer_id): \
                 if its disk is not mounted, mount it; if the disk is lost, restore the identity with \
                 `storage-node identity import`, or remove node.peer_id to begin as a new node",
                self.root.display()
            );
        };
        let found = keypair.public().to_peer_id();
        ensure!(
            found == *expected,
            "{} is the data directory of node {found}, and the settings are those of node {expected} \
             (node.peer_id): mount the right disk, or set node.data_dir to this node's directory",
            self.root.display()
        );
        Ok(())
    }

    pub(crate) fn marker(&self) -> Result<Option<Marker>> {
        private_file::read_json(&self.marker_path())
    }

    fn check_owner(&self, marker: &Marker, peer_id: PeerId) -> Result<()> {
        ensure!(
            marker.peer_id == peer_id.to_string(),
            "{} is the data directory of another node: its volume.json names {}, the identity is \
             {peer_id}. Set node.data_dir to this node's directory, or import the identity that \
             belongs to these blobs",
            self.root.display(),
            marker.peer_id
        );
        Ok(())
    }

    /// Keeps other processes out until the lock is dropped.
    pub(crate) fn lock(&self) -> Result<VolumeLock> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(VolumeLock(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => bail!(
                "{} is in use by a running storage-node; stop that one first",
                self.root.display()
            ),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    pub(crate) fn credentials(&self) -> Result<Credentials> {
        let path = self.credentials_path();
        private_file::read_own(&path)?; // its mode is looked at
        private_file::read_json(&path)?.with_context(|| {
            format!(
                "the node in {} is not registered: run `storage-node init`",
                self.root.display()
            )
        })
    }

    pub(crate) fn is_registered(&self) -> Result<bool> {
        let path = self.credentials_path();
        path.try_exists()
            .with_context(|| format!("cannot look for {}", path.display()))
    }

    pub(crate) fn save_credentials(&self, credentials: &Credentials) -> Result<()> {
        private_file::write_json(&self.credentials_path(), credentials)
    }

    /// The pinned network document; `None` before the first `init`.
    pub(crate) fn network_document(&self) -> Result<Option<NetworkDocument>> {
        let path = self.root.join("network.json");
        let document: Option<NetworkDocument> = private_file::read_json(&path)?;
        if let Some(document) = &document {
            document
                .verify()
                .with_context(|| format!("{} is not to be believed", path.display()))?;
        }
        Ok(document)
    }

    pub(crate) fn save_network_document(&self, document: &NetworkDocument) -> Result<()> {
        private_file::write_json(&self.root.join("network.json"), document)
    }

    pub(crate) fn running(&self) -> Result<Option<Running>> {
        private_file::read_json(&self.running_path())
    }

    pub(crate) fn save_running(&self, running: &Running) -> Result<()> {
        private_file::write_json(&self.running_path(), running)
    }

    pub(crate) fn remove_running(&self) -> Result<()> {
        private_file::remove(&self.running_path())
    }

    /// The token that the admin API asks for before it changes anything; made when there is none.
    pub(crate) fn admin_token(&self, random: &mut impl CryptoRng) -> Result<String> {
        let path = self.root.join("admin.token");
        if let Some(bytes) = private_file::read_own(&path)? {
            let token = String::from_utf8(bytes)
                .unwrap_or_default()
                .trim()
                .to_owned();
            ensure!(
                token.len() >= 32,
                "{} holds no token: remove it, and the next start makes a new one",
                path.display()
            );
            return Ok(token);
        }
        let token = hex::encode(random.random::<[u8; 32]>());
        private_file::write(&path, format!("{token}\n").as_bytes())?;
        Ok(token)
    }

    /// For the node that starts, under the directory's lock.
    pub(crate) fn begin_instance(&self, random: &mut impl CryptoRng) -> Result<Instance> {
        Instance::begin(&self.root, random)
    }

    pub(crate) fn identity_path(&self) -> PathBuf {
        self.root.join("identity.key")
    }

    fn marker_path(&self) -> PathBuf {
        self.root.join("volume.json")
    }

    fn credentials_path(&self) -> PathBuf {
        self.root.join("credentials.json")
    }

    /// Where addresses of an earlier run are: see [`crate::peers::PeerCache`].
    pub(crate) fn peer_cache_path(&self) -> PathBuf {
        self.root.join("peers.json")
    }

    /// Where the orders to delete are that the node has obeyed: see [`crate::agent::Orders`].
    pub(crate) fn orders_path(&self) -> PathBuf {
        self.root.join("orders.db")
    }

    fn running_path(&self) -> PathBuf {
        self.root.join("running.json")
    }
}
