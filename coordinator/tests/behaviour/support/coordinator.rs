//! A whole coordinator but for its listening HTTP socket: requests go into the router.

use std::sync::Arc;

use ::http::StatusCode;
use axum::Router;
use coordinator::accounts;
use coordinator::accounts::access_tokens;
use coordinator::accounts::access_tokens::Claimed;
use coordinator::compose::{Coordinator as App, Parts};
use coordinator::config::Config;
use coordinator::database::Pool;
use coordinator::files::delete;
use coordinator::fleet::admission::RegisteredPeers;
use coordinator::fleet::peers::PeerNetwork;
use coordinator::keys::network_document;
use coordinator::{fleet, http, keys, p2p};
use jiff::SignedDuration;
use kit::{Clock, Entropy, Statuses};
use model::ids::{SessionId, UserId};
use model::user::Role;
use network::{Multiaddr, NetworkEvent, PeerManager};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CHUNK, Client, Node};

pub(crate) struct Coordinator {
    pub app: Arc<App>,
    pub router: Router,
    pub addrs: Vec<Multiaddr>,
    pub workers: TaskTracker,
    stop: CancellationToken,
    /// Where its keys are.
    pub keys_dir: TempDir,
    /// What it is told of its peers.
    pub news: mpsc::Sender<NetworkEvent>,
}

const NEWS: usize = 256;

/// A setting that leaves out the mock of all tests.
pub(crate) const NO_PROVIDER: &str = "no money.provider";

async fn forward(mut from: mpsc::Receiver<NetworkEvent>, to: mpsc::Sender<NetworkEvent>) {
    while let Some(event) = from.recv().await {
        if to.send(event).await.is_err() {
            return;
        }
    }
}

impl Coordinator {
    pub(crate) async fn start(pool: PgPool) -> Self {
        Self::with(pool, &[]).await
    }

    /// `settings` are `table.key=value` and go before those that all tests share.
    pub(crate) async fn with(pool: PgPool, settings: &[&str]) -> Self {
        Self::at(pool, settings, Clock::system()).await
    }

    /// By this clock.
    pub(crate) async fn at(pool: PgPool, settings: &[&str], clock: Clock) -> Self {
        Self::of(pool, settings, clock, tempfile::tempdir().unwrap()).await
    }

    /// Another one of the same network, with the same database.
    pub(crate) async fn another(&self, settings: &[&str], clock: Clock) -> Self {
        let keys_dir = tempfile::tempdir().unwrap();
        for name in ["network.key", "master-1.key", "token-1.key"] {
            let from = self.keys_dir.path().join(name);
            std::fs::copy(from, keys_dir.path().join(name)).unwrap();
        }
        Self::of(self.app.db.connections().clone(), settings, clock, keys_dir).await
    }

    /// Another one of the same network, as its operator sets it up: with all keys but the identity.
    pub(crate) async fn beside(&self, settings: &[&str]) -> Self {
        let keys_dir = tempfile::tempdir().unwrap();
        for key in std::fs::read_dir(self.keys_dir.path()).unwrap() {
            let key = key.unwrap();
            if key.file_name() != "coordinator.key" {
                std::fs::copy(key.path(), keys_dir.path().join(key.file_name())).unwrap();
            }
        }
        let pool = self.app.db.connections().clone();
        Self::of(pool, settings, Clock::system(), keys_dir).await
    }

    async fn of(pool: PgPool, settings: &[&str], clock: Clock, keys_dir: TempDir) -> Self {
        let shared = [
            format!("uploads.chunk_size={CHUNK}B"),
            "placement.distinct_domains=false".to_owned(),
            "placement.patience=0s".to_owned(),
            "nodes.vetting_time=0s".to_owned(),
            "auth.password_min_length=7".to_owned(),
            "auth.refuse_common_passwords=false".to_owned(),
            "money.provider=mock".to_owned(),
            "money.purchase_max_usd=1000000".to_owned(),
            r#"p2p.listen=["/ip4/127.0.0.1/tcp/0"]"#.to_owned(),
        ];
        let has_provider = !settings.contains(&NO_PROVIDER);
        let shared = shared.into_iter();
        let shared = shared.filter(|shared| has_provider || !shared.starts_with("money.provider"));
        let settings = settings.iter().filter(|setting| **setting != NO_PROVIDER);
        let settings: Vec<String> = shared.chain(settings.map(ToString::to_string)).collect();
        let config = Config::load(None, &settings).unwrap();
        let pool = Pool::new(pool);
        let keys = keys::open(keys_dir.path(), &pool, &mut Entropy::system().rng()).await;
        let keys = keys.unwrap();

        let registered = RegisteredPeers::new(pool.clone(), config.p2p.auth_mode.into());
        let known = fleet::peers::known_addresses(&pool).await.unwrap();
        let network = p2p::network_config(&config, &keys, Arc::clone(&registered), known).unwrap();
        let network = network::start(network).await.unwrap();
        let addrs = network.handle.listen_addrs().await;
        let announced = addrs.iter().map(ToString::to_string).collect();
        let document = network_document::publish(&pool, &keys, announced, Clock::system().now());
        let document = document.await.unwrap();
        let policy = p2p::peer_policy(&config);
        let handle = network.handle.clone();
        let (news, told) = mpsc::channel(NEWS);
        tokio::spawn(forward(network.events, news.clone()));
        let peers = PeerManager::spawn(handle, told, policy, Entropy::system().rng());
        let peer_network = PeerNetwork {
            handle: network.handle,
            observer: peers.observer(),
            registered,
        };
        let app = App::compose(Parts {
            config,
            db: pool,
            ring: Arc::new(keys),
            document,
            peers: peer_network,
            clock,
            entropy: Entropy::system(),
        });
        let app = Arc::new(app.await.unwrap());
        let (nodes, proofs) = (Arc::clone(&app.nodes), Arc::clone(&app.proofs));
        tokio::spawn(p2p::serve(nodes, proofs, peers, network.requests));
        Self {
            router: http::router(&app, Statuses::default()),
            app,
            addrs,
            workers: TaskTracker::new(),
            stop: CancellationToken::new(),
            keys_dir,
            news,
        }
    }

    /// With three honest nodes.
    pub(crate) async fn with_fleet(pool: PgPool, settings: &[&str]) -> (Self, [Node; 3]) {
        let coordinator = Self::with(pool, settings).await;
        let nodes = [
            Node::join(&coordinator).await,
            Node::join(&coordinator).await,
            Node::join(&coordinator).await,
        ];
        (coordinator, nodes)
    }

    /// Takes away what belongs to deleted files, as the worker does.
    pub(crate) async fn forget(&self) {
        while delete::forget_some(&self.app.files).await.unwrap() {}
    }

    pub(crate) fn start_workers(&self) -> Statuses {
        self.app.start_jobs(&self.workers, &self.stop)
    }

    /// Somebody without an account.
    pub(crate) fn visitor(&self) -> Client {
        Client::new(self.router.clone(), None)
    }

    /// A fresh account, logged in, without credits.
    pub(crate) async fn user(&self) -> (UserId, Client) {
        let user_id = super::user(self.app.db.connections()).await;
        (user_id, self.client_of(user_id))
    }

    /// A fresh account with credits for 10 USD.
    pub(crate) async fn customer(&self) -> (UserId, Client) {
        let (user_id, client) = self.user().await;
        let bought = client.post("/api/v1/auth/credits/purchase");
        let bought = bought.body(r#"{"amount_usd":10}"#).send().await;
        bought.expect(StatusCode::CREATED);
        (user_id, client)
    }

    pub(crate) fn client_of(&self, user_id: UserId) -> Client {
        Client::new(self.router.clone(), Some(self.token_of(user_id)))
    }

    /// The account's client, when an admin was made of it.
    pub(crate) async fn admin(&self, user_id: UserId) -> Client {
        let mut connection = self.app.db.acquire().await.unwrap();
        let made = accounts::tables::users::set_role(&mut connection, user_id, Role::Admin).await;
        assert!(made.unwrap());
        self.client_of(user_id)
    }

    /// Of the session that `support::user` has begun.
    pub(crate) fn token_of(&self, user_id: UserId) -> String {
        let (now, ring) = (self.app.clock.now(), &self.app.keys.ring);
        let expires_at = now + SignedDuration::from_mins(15);
        let claimed = Claimed {
            user_id,
            session_id: SessionId::from_uuid(user_id.as_uuid()),
        };
        access_tokens::issue(ring, claimed, Role::User, now, expires_at).unwrap()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
