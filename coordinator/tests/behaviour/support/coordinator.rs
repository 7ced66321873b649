//! A whole coordinator but for its listening HTTP socket: requests go into the router.

use std::sync::Arc;

use ::http::StatusCode;
use axum::Router;
use coordinator::app::access_tokens::{self, Identity};
use coordinator::app::peers::PeerNetwork;
use coordinator::app::registered::RegisteredPeers;
use coordinator::app::{App, files, network_document};
use coordinator::config::Config;
use coordinator::db::users::Role;
use coordinator::domain::ids::UserId;
use coordinator::metrics::Metrics;
use coordinator::{clock, http, keys, p2p, workers};
use network::{Multiaddr, NetworkEvent, PeerManager};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CHUNK, Client, Node};

pub struct Coordinator {
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

async fn forward(mut from: mpsc::Receiver<NetworkEvent>, to: mpsc::Sender<NetworkEvent>) {
    while let Some(event) = from.recv().await {
        if to.send(event).await.is_err() {
            return;
        }
    }
}

impl Coordinator {
    pub async fn start(pool: PgPool) -> Self {
        Self::with(pool, &[]).await
    }

    /// `settings` are `table.key=value` and go before those that all tests share.
    pub async fn with(pool: PgPool, settings: &[&str]) -> Self {
        let keys_dir = tempfile::tempdir().unwrap();
        let shared = [
            format!("uploads.chunk_size={CHUNK}B"),
            "placement.distinct_domains=false".to_owned(),
            "placement.patience=0s".to_owned(),
            r#"p2p.listen=["/ip4/127.0.0.1/tcp/0"]"#.to_owned(),
        ];
        let settings = settings.iter().map(ToString::to_string);
        let settings: Vec<String> = shared.into_iter().chain(settings).collect();
        let config = Config::load(None, &settings).unwrap();
        let keys = keys::open(keys_dir.path(), &pool, &mut clock::sendable_rng()).await;
        let keys = keys.unwrap();

        let registered = RegisteredPeers::new(pool.clone(), config.p2p.auth_mode.into());
        let network = p2p::network_config(&config, &keys, Arc::clone(&registered)).unwrap();
        let network = network::start(network).await.unwrap();
        let addrs = network.handle.listen_addrs().await;
        let announced = addrs.iter().map(ToString::to_string).collect();
        let document = network_document::publish(&pool, &keys, announced);
        let document = document.await.unwrap();
        let policy = p2p::peer_policy(&config);
        let handle = network.handle.clone();
        let (news, told) = mpsc::channel(NEWS);
        tokio::spawn(forward(network.events, news.clone()));
        let peers = PeerManager::spawn(handle, told, policy, clock::sendable_rng());
        let peer_network = PeerNetwork {
            handle: network.handle,
            observer: peers.observer(),
            registered,
        };
        let metrics = Arc::new(Metrics::new());
        let app = App::new(config, pool, keys, document, peer_network, metrics);
        let app = app.await.unwrap();
        tokio::spawn(p2p::serve(Arc::clone(&app), peers, network.requests));
        Self {
            router: http::router(&app),
            app,
            addrs,
            workers: TaskTracker::new(),
            stop: CancellationToken::new(),
            keys_dir,
            news,
        }
    }

    /// With three honest nodes.
    pub async fn with_fleet(pool: PgPool, settings: &[&str]) -> (Self, [Node; 3]) {
        let coordinator = Self::with(pool, settings).await;
        let nodes = [
            Node::join(&coordinator).await,
            Node::join(&coordinator).await,
            Node::join(&coordinator).await,
        ];
        (coordinator, nodes)
    }

    /// Takes away what belongs to deleted files, as the worker does.
    pub async fn forget(&self) {
        while files::forget_some(&self.app).await.unwrap() {}
    }

    pub fn start_workers(&self) {
        workers::spawn_all(&self.app, &self.workers, &self.stop);
    }

    /// Somebody without an account.
    pub fn visitor(&self) -> Client {
        Client::new(self.router.clone(), None)
    }

    /// A fresh account, logged in, without credits.
    pub async fn user(&self) -> (UserId, Client) {
        let user_id = super::user(&self.app.db).await;
        (user_id, self.client_of(user_id))
    }

    /// A fresh account with credits for 10 USD.
    pub async fn customer(&self) -> (UserId, Client) {
        let (user_id, client) = self.user().await;
        let bought = client.post("/api/v1/auth/credits/purchase");
        let bought = bought.body(r#"{"amount_usd":10}"#).send().await;
        bought.expect(StatusCode::CREATED);
        (user_id, client)
    }

    pub fn client_of(&self, user_id: UserId) -> Client {
        Client::new(self.router.clone(), Some(self.token_of(user_id)))
    }

    /// The account's client with the rights of an admin.
    pub fn admin(&self, user_id: UserId) -> Client {
        Client::new(
            self.router.clone(),
            Some(self.token_for(user_id, Role::Admin)),
        )
    }

    pub fn token_of(&self, user_id: UserId) -> String {
        self.token_for(user_id, Role::User)
    }

    fn token_for(&self, user_id: UserId, role: Role) -> String {
        let identity = Identity { user_id, role };
        let ttl = self.app.config.auth.access_token_ttl;
        access_tokens::issue(&self.app.keys, identity, clock::now(), ttl).unwrap()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
