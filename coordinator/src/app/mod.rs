//! Use-cases: each walks from a request to its answer through the rules of `domain`, the tables of
//! `db` and the nodes of the fleet.

pub mod access_tokens;
pub mod adopt;
pub mod audit;
pub mod auth;
pub mod challenge;
pub mod credits;
pub mod crypto_pool;
pub mod download;
pub mod drain;
pub mod evidence;
pub mod files;
pub mod fleet;
pub mod inventory;
pub mod key_rotation;
pub mod latency;
pub mod ledger;
pub mod ledger_export;
pub mod ledger_verify;
pub mod lookout;
pub mod memory;
pub mod network_document;
pub mod nodes;
pub mod passwords;
pub mod payouts;
pub mod peers;
pub mod persist;
pub mod read_chunk;
pub mod reconcile;
pub mod registered;
pub mod repair;
pub mod secrets;
pub mod settlement;
pub mod storage_charges;
pub mod suspects;
pub mod upload;
pub mod versions;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use proto::LedgerDay;
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

use self::audit::Audit;
use self::credits::{MockPaymentProvider, PaymentProvider};
use self::crypto_pool::CryptoPool;
use self::fleet::Fleet;
use self::lookout::Lookout;
use self::memory::MemoryBudget;
use self::network_document::CurrentDocument;
use self::passwords::Passwords;
use self::peers::PeerNetwork;
use self::repair::Repair;
use self::suspects::Suspects;
use self::upload::commit::Committer;
use self::upload::whole_commit::{Rules, WholeFiles};
use self::versions::Versions;
use crate::clock;
use crate::config::{Config, read_secret};
use crate::db;
use crate::db::keys::RunningCoordinator;
use crate::domain::uptime::SETTLING;
use crate::keys::KeyRing;
use crate::metrics::Metrics;

/// What the use-cases work with. Nothing here changes after the start; what moves, moves inside its
/// own part.
pub struct App {
    pub config: Config,
    pub db: PgPool,
    pub keys: KeyRing,
    pub document: CurrentDocument,
    pub fleet: Fleet,
    pub peers: PeerNetwork,
    pub crypto: CryptoPool,
    pub committer: Committer,
    pub whole_files: WholeFiles,
    pub suspects: Suspects,
    pub passwords: Passwords,
    pub payments: Box<dyn PaymentProvider>,
    pub upload_memory: MemoryBudget,
    pub download_memory: MemoryBudget,
    pub versions: Versions,
    /// Requests of owners for proofs that are worked on at one time.
    pub evidence_slots: Semaphore,
    pub lookout: Lookout,
    /// The ledger's head of the last day, for nodes to keep.
    pub ledger_day: ArcSwapOption<LedgerDay>,
    pub metrics: Arc<Metrics>,
    pub audit: Audit,
    pub repair: Repair,
    pub started_at: Timestamp,
    /// Hash of the configured token that admits any number of nodes.
    pub bootstrap_token: Option<[u8; 32]>,
    /// Wakes the worker that tells nodes what to forget.
    pub purge_nudge: Notify,
    /// A file was deleted or an upload given up: its chunks can be taken away.
    pub forget_nudge: Notify,
    /// The connection to a node was lost.
    pub connections_nudge: Notify,
}

impl App {
    pub async fn new(
        config: Config,
        db: PgPool,
        keys: KeyRing,
        document: CurrentDocument,
        peers: PeerNetwork,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            bootstrap_token: bootstrap_token(&config)?,
            fleet: Fleet::new(peers.handle.clone(), keys.network_id),
            peers,
            crypto: CryptoPool::new()?,
            committer: Committer::spawn(db.clone()),
            whole_files: WholeFiles::spawn(db.clone(), Rules::new(&config)),
            suspects: Suspects::spawn(db.clone()),
            passwords: Passwords::new().await?,
            payments: Box::new(MockPaymentProvider),
            upload_memory: MemoryBudget::new(config.uploads.memory.as_u64()),
            download_memory: MemoryBudget::new(config.downloads.memory.as_u64()),
            versions: Versions::default(),
            evidence_slots: Semaphore::new(evidence::AT_ONE_TIME),
            lookout: Lookout::new(SETTLING),
            ledger_day: ArcSwapOption::empty(),
            audit: Audit::default(),
            repair: Repair::new(&config),
            started_at: clock::now(),
            purge_nudge: Notify::new(),
            forget_nudge: Notify::new(),
            connections_nudge: Notify::new(),
            config,
            db,
            keys,
            document,
            metrics,
        }))
    }
}

impl App {
    /// That this coordinator runs, and which keys it holds. A rotation waits for those that run.
    pub async fn say_running(&self) -> sqlx::Result<()> {
        let myself = RunningCoordinator {
            peer_id: self.keys.identity.public().to_peer_id().to_string(),
            key_ids: self.keys.held(),
        };
        let mut connection = self.db.acquire().await?;
        db::keys::note_running(&mut connection, &myself).await
    }

    /// An orderly end: nobody has to wait for this coordinator to hold a new key.
    pub async fn say_stopped(&self) {
        let peer_id = self.keys.identity.public().to_peer_id().to_string();
        let told = async {
            let mut connection = self.db.acquire().await?;
            db::keys::note_stopped(&mut connection, &peer_id).await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "the others will notice by themselves that this coordinator stopped");
        }
    }
}

fn bootstrap_token(config: &Config) -> anyhow::Result<Option<[u8; 32]>> {
    let nodes = &config.nodes;
    let token = match (&nodes.bootstrap_token, &nodes.bootstrap_token_file) {
        (Some(token), _) => Zeroizing::new(token.trim().to_owned()),
        (None, Some(path)) => read_secret("nodes.bootstrap_token_file", path)?,
        (None, None) => return Ok(None),
    };
    anyhow::ensure!(
        token.len() >= 16,
        "the bootstrap token has fewer than 16 characters: anybody could guess it"
    );
    Ok(Some(secrets::hash(&token)))
}
