//! A coordinator's side of the contracts, as far as a node meets it: registration over HTTP, `hello`
//! and `heartbeat` over libp2p, and calls to the node.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use network::{CallError, InboundRequest, Keypair, Network, NetworkConfig, NetworkHandle};
use proto::{
    BlobId, Challenge, ChallengeId, ChallengeItem, CoordinatorEntry, Difficulty, Heartbeat,
    HeartbeatAnswer, HeartbeatReport, Hello, HelloAnswer, HelloReport, LedgerDay, Locator,
    LossNoted, LossReport, MicroCredits, NetworkContext, NetworkDocument, Parties, PeerId,
    ProofAnswer, ProofSeed, Protocol, Prove, Registration, ReportLoss, Retrieve, RetrieveAnswer,
    RetrieveRequest, Side, Signature, Store, StoreAnswer, StoreRequest,
};
use serde_json::{Value, json};
use storage_node::clock;
use storage_node::identity;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub struct Coordinator {
    pub url: String,
    pub identity: Keypair,
    pub peers: NetworkHandle,
    pub hellos: mpsc::Receiver<(PeerId, HelloReport)>,
    pub heartbeats: mpsc::Receiver<HeartbeatReport>,
    pub losses: mpsc::Receiver<LossReport>,
    pub shared: Arc<Shared>,
}

pub struct Shared {
    network_key: Keypair,
    pub document: Mutex<NetworkDocument>,
    /// Why nodes are not welcome.
    pub rejection: Mutex<Option<String>>,
    pub registrations: Mutex<Vec<Value>>,
    /// Whether it answers 503, as one does whose database is away.
    pub away: AtomicBool,
    /// How many blobs of each report of losses it notes.
    pub losses_noted: AtomicU32,
    /// How the drain of the node stands: draining, drained or cancelled; empty when nobody has asked.
    pub drain: Mutex<&'static str>,
    /// How often somebody has looked how far it is.
    looks: watch::Sender<u32>,
    turned_away: watch::Sender<u32>,
}

const NONCE: [u8; 32] = [0x5a; 32];

impl Coordinator {
    pub async fn start() -> Self {
        let network_key = identity::generate(&mut clock::rng()).unwrap();
        let identity = identity::generate(&mut clock::rng()).unwrap();
        let mut config = NetworkConfig::new(identity.clone(), Side::Coordinator);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let Network {
            handle, requests, ..
        } = network::start(config).await.unwrap();
        let addrs = handle.listen_addrs().await;
        let entry = CoordinatorEntry {
            peer_id: handle.local_peer_id().to_string(),
            addrs: addrs.iter().map(ToString::to_string).collect(),
        };
        let document = NetworkDocument::sign(&network_key, 1, vec![entry], clock::now()).unwrap();
        let shared = Arc::new(Shared {
            network_key,
            document: Mutex::new(document),
            rejection: Mutex::default(),
            registrations: Mutex::default(),
            away: AtomicBool::new(false),
            losses_noted: AtomicU32::new(u32::MAX),
            drain: Mutex::default(),
            looks: watch::channel(0).0,
            turned_away: watch::channel(0).0,
        });
        let (hello_sender, hellos) = mpsc::channel(1000);
        let (heartbeat_sender, heartbeats) = mpsc::channel(1000);
        let (loss_sender, losses) = mpsc::channel(1000);
        tokio::spawn(answer(
            requests,
            Arc::clone(&shared),
            hello_sender,
            heartbeat_sender,
            loss_sender,
        ));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/v1/network", get(network_document))
            .route("/api/v1/nodes/register/nonce", post(nonce))
            .route("/api/v1/nodes/register", post(register))
            .route("/api/v1/nodes/{id}", get(standing))
            .route("/api/v1/nodes/{id}/earnings", get(earnings))
            .route("/api/v1/nodes/{id}/drain/plan", get(drain_plan))
            .route(
                "/api/v1/nodes/{id}/drain",
                get(drain_progress).post(drain).delete(cancel_drain),
            )
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            identity,
            peers: handle,
            hellos,
            heartbeats,
            losses,
            shared,
        }
    }

    pub fn document(&self) -> NetworkDocument {
        self.shared.document.lock().unwrap().clone()
    }

    /// Publishes a newer document that lists `entry` too.
    pub fn add_to_document(&self, entry: CoordinatorEntry) -> u64 {
        let mut document = self.shared.document.lock().unwrap();
        let mut coordinators = document.coordinators.clone();
        coordinators.push(entry);
        let serial = document.serial + 1;
        let key = &self.shared.network_key;
        *document = NetworkDocument::sign(key, serial, coordinators, clock::now()).unwrap();
        serial
    }

    /// Waits until somebody has been told that the coordinator is away.
    pub async fn has_turned_away(&self, times: u32) {
        let mut turned_away = self.shared.turned_away.subscribe();
        let waited = turned_away.wait_for(|count| *count >= times);
        in_time(waited).await.unwrap();
    }

    /// Waits until somebody looks how far the drain is, from now on.
    pub fn looked(&self) -> impl Future<Output = ()> + use<> {
        let mut looks = self.shared.looks.subscribe();
        async move { in_time(looks.changed()).await.unwrap() }
    }

    pub async fn hello(&mut self) -> (PeerId, HelloReport) {
        in_time(self.hellos.recv()).await.unwrap()
    }

    /// Waits for a heartbeat that says so.
    pub async fn heartbeat(&mut self, says: impl Fn(&HeartbeatReport) -> bool) -> HeartbeatReport {
        loop {
            let heartbeat = in_time(self.heartbeats.recv()).await.unwrap();
            if says(&heartbeat) {
                return heartbeat;
            }
        }
    }

    pub async fn loss(&mut self) -> LossReport {
        in_time(self.losses.recv()).await.unwrap()
    }

    pub async fn store(&self, node: PeerId, data: &Bytes) -> StoreAnswer {
        let request = StoreRequest {
            blob_id: BlobId::of(data),
            locator: Locator::from_bytes([7; 64]),
            data: data.clone(),
        };
        in_time(self.peers.call::<Store>(node, request))
            .await
            .unwrap()
    }

    /// A challenge to prove these blobs, at the usual difficulty.
    pub fn challenge(&self, node: PeerId, blobs: &[&Bytes]) -> Challenge {
        let parties = Parties {
            network_id: self.document().network_id,
            coordinator: self.peers.local_peer_id(),
            node,
        };
        let item = |blob: &&Bytes| ChallengeItem {
            blob_id: BlobId::of(blob),
            length: blob.len() as u64,
            seed: ProofSeed::from_bytes([0x5a; 32]),
        };
        let (id, items) = (ChallengeId::from_bytes([1; 16]), blobs.iter().map(item));
        Challenge::new(parties, id, 0, Difficulty::STANDARD, items.collect()).unwrap()
    }

    pub async fn prove(&self, challenge: &Challenge) -> Result<ProofAnswer, CallError> {
        let request = challenge.sign(&self.identity).unwrap();
        let node = challenge.parties().node;
        in_time(self.peers.call::<Prove>(node, request)).await
    }

    pub async fn retrieve(&self, node: PeerId, blob_id: BlobId) -> RetrieveAnswer {
        let request = RetrieveRequest { blob_id };
        in_time(self.peers.call::<Retrieve>(node, request))
            .await
            .unwrap()
    }
}

pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(Duration::from_secs(60), work).await;
    outcome.unwrap_or_else(|_| panic!("it did not happen in time"))
}

async fn answer(
    mut requests: mpsc::Receiver<InboundRequest>,
    shared: Arc<Shared>,
    hellos: mpsc::Sender<(PeerId, HelloReport)>,
    heartbeats: mpsc::Sender<HeartbeatReport>,
    losses: mpsc::Sender<LossReport>,
) {
    while let Some(mut request) = requests.recv().await {
        let network_serial = shared.document.lock().unwrap().serial;
        match request.protocol {
            Protocol::Hello => {
                let report = request.decode::<Hello>().unwrap();
                let peer = request.peer;
                let rejection = shared.rejection.lock().unwrap().clone();
                let answer = HelloAnswer {
                    rejection,
                    network_serial,
                };
                request.respond::<Hello>(answer).await;
                let _ = hellos.try_send((peer, report));
            }
            Protocol::Heartbeat => {
                let report = request.decode::<Heartbeat>().unwrap();
                let network_id = shared.document.lock().unwrap().network_id;
                let head =
                    LedgerDay::sign(&shared.network_key, network_id, "2026-11-21", 7, [7; 32]);
                let state = match *shared.drain.lock().unwrap() {
                    drain @ ("draining" | "drained") => drain,
                    _ => "probation",
                };
                let answer = HeartbeatAnswer {
                    earned: MicroCredits::new(1_250_000),
                    server_time_ms: 0,
                    state: state.into(),
                    state_reason: "new".into(),
                    network_serial,
                    last_ledger_day: Some(head.unwrap()),
                };
                request.respond::<Heartbeat>(answer).await;
                let _ = heartbeats.try_send(report);
            }
            Protocol::ReportLoss => {
                let report = request.decode::<ReportLoss>().unwrap();
                let acknowledged = shared.losses_noted.load(Ordering::SeqCst);
                request
                    .respond::<ReportLoss>(LossNoted { acknowledged })
                    .await;
                let _ = losses.try_send(report);
            }
            other => panic!("a node does not send {}", other.name()),
        }
    }
}

async fn network_document(State(shared): State<Arc<Shared>>) -> Response {
    if shared.away.load(Ordering::SeqCst) {
        shared.turned_away.send_modify(|count| *count += 1);
        let problem = json!({"title": "Service Unavailable"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(problem)).into_response();
    }
    Json(shared.document.lock().unwrap().clone()).into_response()
}

/// One day, for whoever has the first key that was given out.
async fn earnings(headers: HeaderMap) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != "key-1") {
        let problem = json!({"title": "Unauthorized", "detail": "the key is not good"});
        return (StatusCode::UNAUTHORIZED, Json(problem)).into_response();
    }
    let pending = json!({"gross_microcredits": 5000, "uptime_ppm": 1_000_000,
        "earned_microcredits": 5000, "penalties_microcredits": 0, "given_back_microcredits": 0});
    let penalty = json!({"kind": "missed", "amount_microcredits": 5556,
        "cause": {"reason": "no answer within 2 s"}});
    let day = json!({"day": "2026-11-21", "gross_microcredits": 33_333, "uptime_ppm": 912_345,
        "earned_microcredits": 28_000, "penalties": [penalty], "penalties_microcredits": 5556,
        "given_back_microcredits": 0, "net_microcredits": 22_444, "held_microcredits": 16_833,
        "available_microcredits": 5611});
    Json(json!({"pending": pending, "days": [day], "next_cursor": null})).into_response()
}

async fn standing(State(shared): State<Arc<Shared>>) -> Response {
    let state = match *shared.drain.lock().unwrap() {
        drain @ ("draining" | "drained") => drain,
        _ => "probation",
    };
    let answer = json!({"state": state, "state_reason": "new", "on_hold": false,
        "state_since": "2026-11-21T00:00:00Z", "score_ppm": 1_000_000, "state_history": []});
    Json(answer).into_response()
}

/// There is room for 3000 of 5000 bytes until the drain has been asked for.
async fn drain_plan(headers: HeaderMap) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != "key-1") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(
        json!({"blobs": 4, "bytes": 5000, "eligible_nodes": 3, "free_bytes": 3000,
        "possible": false, "obstacle": "5000 bytes have to be moved", "missing_bytes": 2000,
        "estimated_seconds": 90, "returned_microcredits": 750_000, "forfeited_microcredits": 0}),
    )
    .into_response()
}

fn told(state: &str) -> Response {
    let (code, left) = match state {
        "" => return (StatusCode::NOT_FOUND, Json(json!({"detail": "never"}))).into_response(),
        "draining" => (StatusCode::OK, 1),
        _ => (StatusCode::OK, 0),
    };
    let answer = json!({"state": state, "started_at": "2026-11-21T00:00:00Z", "ended_at": null,
        "blobs": 4, "bytes": 4000, "blobs_left": left, "bytes_left": left * 1000,
        "estimated_seconds": 90, "earned_microcredits": 1_250_000, "paid_out_microcredits": 0,
        "held_microcredits": 750_000, "available_microcredits": 500_000});
    (code, Json(answer)).into_response()
}

async fn drain_progress(State(shared): State<Arc<Shared>>) -> Response {
    shared.looks.send_modify(|count| *count += 1);
    if shared.away.load(Ordering::SeqCst) {
        shared.turned_away.send_modify(|count| *count += 1);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    told(*shared.drain.lock().unwrap())
}

async fn drain(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != "key-1") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if shared.away.load(Ordering::SeqCst) {
        let problem = json!({"detail": "2000 bytes of room are missing"});
        return (StatusCode::INSUFFICIENT_STORAGE, Json(problem)).into_response();
    }
    let mut drain = shared.drain.lock().unwrap();
    *drain = "draining";
    told(*drain)
}

async fn cancel_drain(State(shared): State<Arc<Shared>>) -> Response {
    let mut drain = shared.drain.lock().unwrap();
    *drain = "cancelled";
    told(*drain)
}

async fn nonce() -> Response {
    let answer = json!({"nonce": hex::encode(NONCE), "expires_at": "2100-01-01T00:00:00Z"});
    (StatusCode::CREATED, Json(answer)).into_response()
}

/// Checks what a coordinator checks: the nonce, and that the node owns its key.
async fn register(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let network_id = shared.document.lock().unwrap().network_id;
    let peer_id: PeerId = text("peer_id").parse().unwrap();
    let registration = Registration {
        context: NetworkContext {
            network_id,
            peer_id,
        },
        nonce: NONCE,
        name: text("name"),
        capacity_bytes: body["capacity_bytes"].as_u64().unwrap(),
    };
    let signature = hex::decode(text("signature")).unwrap();
    let signature = Signature::try_from(&signature[..]).unwrap();
    if text("nonce") != hex::encode(NONCE) || registration.verify(&signature).is_err() {
        let problem = json!({"title": "Forbidden", "detail": "the signature is wrong"});
        return (StatusCode::FORBIDDEN, Json(problem)).into_response();
    }
    if body["token"] == "used up" {
        let problem = json!({"title": "Forbidden", "detail": "the admission token is used up"});
        return (StatusCode::FORBIDDEN, Json(problem)).into_response();
    }
    let mut registrations = shared.registrations.lock().unwrap();
    registrations.push(body.clone());
    // The same peer is the same node, with another key each time.
    let node_id = uuid::Uuid::from_slice(&peer_id.to_bytes()[10..26]).unwrap();
    let answer = json!({
        "node_id": node_id,
        "api_key": format!("key-{}", registrations.len()),
        "network_id": network_id,
        "state": "probation",
    });
    (StatusCode::CREATED, Json(answer)).into_response()
}
