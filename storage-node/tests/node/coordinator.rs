//! A coordinator's side of the contracts, as far as a node meets it: registration over HTTP, `hello`
//! and `heartbeat` over libp2p, and calls to the node.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::paths;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use kit::Clock;
use network::{
    CallError, Everyone, InboundRequest, Keypair, Network, NetworkConfig, NetworkHandle,
};
use proto::{
    BlobId, Challenge, ChallengeId, ChallengeItem, CoordinatorEntry, Delete, DeleteOrder,
    DeleteRequest, Deletion, DeletionMode, DeletionOutcome, Difficulty, Heartbeat, HeartbeatAnswer,
    HeartbeatReport, Hello, HelloAnswer, HelloReport, LedgerDay, Locator, LossNoted, LossReport,
    MicroCredits, NetworkContext, NetworkDocument, Parties, PeerId, ProofAnswer, ProofSeed, Prove,
    Registration, RegistrationForm, ReportLoss, RequestId, Retrieve, RetrieveAnswer,
    RetrieveRequest, Roles, Signature, SignedOrder, Store, StoreAnswer, StoreRequest, protocols,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

pub(crate) struct Coordinator {
    pub url: String,
    pub identity: Keypair,
    pub peers: NetworkHandle,
    pub hellos: mpsc::Receiver<(PeerId, HelloReport)>,
    pub heartbeats: mpsc::Receiver<HeartbeatReport>,
    pub losses: mpsc::Receiver<LossReport>,
    pub shared: Arc<Shared>,
}

pub(crate) struct Shared {
    network_key: Keypair,
    pub document: Mutex<NetworkDocument>,
    /// Why nodes are not welcome.
    pub rejection: Mutex<Option<String>>,
    /// Whether those who are not are copies of another one.
    pub hang_up: AtomicBool,
    /// The newest form of registration that it takes.
    pub form: Mutex<RegistrationForm>,
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

/// A coordinator that takes everybody for a node.
pub(crate) fn coordinator_config(keypair: Keypair) -> NetworkConfig {
    let (family, table) = (protocols::FAMILY, &protocols::TABLE);
    NetworkConfig {
        answers_only: true,
        admission: Arc::new(Everyone(Roles::NODE)),
        ..NetworkConfig::new(keypair, family, table, Roles::COORDINATOR)
    }
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let network_key = Keypair::generate_ed25519();
        let identity = Keypair::generate_ed25519();
        let mut config = coordinator_config(identity.clone());
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let Network {
            handle, requests, ..
        } = network::start(config).await.unwrap();
        let addrs = handle.listen_addrs().await;
        let entry = CoordinatorEntry {
            peer_id: handle.local_peer_id().to_string(),
            addrs: addrs.iter().map(ToString::to_string).collect(),
        };
        let document =
            NetworkDocument::sign(&network_key, 1, vec![entry], Clock::system().now()).unwrap();
        let shared = Arc::new(Shared {
            network_key,
            document: Mutex::new(document),
            rejection: Mutex::default(),
            hang_up: AtomicBool::new(false),
            form: Mutex::new(RegistrationForm::V2),
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
            .route(paths::NETWORK, get(network_document))
            .route(paths::NODE_NONCE, post(nonce))
            .route(paths::NODE_REGISTER, post(register))
            .route(paths::NODE, get(standing))
            .route(paths::NODE_EARNINGS, get(earnings))
            .route(paths::NODE_DRAIN_PLAN, get(drain_plan))
            .route(
                paths::NODE_DRAIN,
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

    pub(crate) fn document(&self) -> NetworkDocument {
        self.shared.document.lock().unwrap().clone()
    }

    /// Publishes a newer document that lists `entry` too.
    pub(crate) fn add_to_document(&self, entry: CoordinatorEntry) -> u64 {
        let mut document = self.shared.document.lock().unwrap();
        let mut coordinators = document.coordinators.clone();
        coordinators.push(entry);
        let serial = document.serial + 1;
        let key = &self.shared.network_key;
        *document =
            NetworkDocument::sign(key, serial, coordinators, Clock::system().now()).unwrap();
        serial
    }

    /// Waits until somebody has been told that the coordinator is away.
    pub(crate) async fn has_turned_away(&self, times: u32) {
        let mut turned_away = self.shared.turned_away.subscribe();
        let waited = turned_away.wait_for(|count| *count >= times);
        in_time(waited).await.unwrap();
    }

    /// Waits until somebody looks how far the drain is, from now on.
    pub(crate) fn looked(&self) -> impl Future<Output = ()> + use<> {
        let mut looks = self.shared.looks.subscribe();
        async move { in_time(looks.changed()).await.unwrap() }
    }

    pub(crate) async fn hello(&mut self) -> (PeerId, HelloReport) {
        in_time(self.hellos.recv()).await.unwrap()
    }

    /// Waits for a heartbeat that says so.
    pub(crate) async fn heartbeat(
        &mut self,
        says: impl Fn(&HeartbeatReport) -> bool,
    ) -> HeartbeatReport {
        loop {
            let heartbeat = in_time(self.heartbeats.recv()).await.unwrap();
            if says(&heartbeat) {
                return heartbeat;
            }
        }
    }

    pub(crate) async fn loss(&mut self) -> LossReport {
        in_time(self.losses.recv()).await.unwrap()
    }

    pub(crate) async fn store(&self, node: PeerId, data: &Bytes) -> StoreAnswer {
        self.try_store(node, data).await.unwrap()
    }

    pub(crate) async fn try_store(
        &self,
        node: PeerId,
        data: &Bytes,
    ) -> Result<StoreAnswer, CallError> {
        let request = StoreRequest {
            blob_id: BlobId::of(data),
            locator: Locator::from_bytes([7; 64]),
            request_id: RequestId::NONE,
            data: data.clone(),
        };
        in_time(self.peers.call::<Store>(node, request)).await
    }

    /// A challenge to prove these blobs, at the usual difficulty.
    pub(crate) fn challenge(&self, node: PeerId, blobs: &[&Bytes]) -> Challenge {
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

    pub(crate) async fn prove(&self, challenge: &Challenge) -> Result<ProofAnswer, CallError> {
        let request = challenge.sign(&self.identity).unwrap();
        let node = challenge.parties().node;
        in_time(self.peers.call::<Prove>(node, request)).await
    }

    /// The order to do this with each of these blobs, given now.
    pub(crate) fn order(&self, node: PeerId, mode: DeletionMode, blobs: &[BlobId]) -> SignedOrder {
        let now = Clock::system().now().as_millisecond().unsigned_abs();
        self.order_of(node, mode, blobs, now)
    }

    pub(crate) fn order_of(
        &self,
        node: PeerId,
        mode: DeletionMode,
        blobs: &[BlobId],
        issued_at_ms: u64,
    ) -> SignedOrder {
        let parties = Parties {
            network_id: self.document().network_id,
            coordinator: self.peers.local_peer_id(),
            node,
        };
        let deletions = blobs.iter().map(|blob_id| Deletion {
            blob_id: *blob_id,
            mode,
        });
        let order = DeleteOrder::new(parties, issued_at_ms, deletions.collect()).unwrap();
        order.sign(&self.identity).unwrap()
    }

    pub(crate) async fn send(
        &self,
        node: PeerId,
        request: DeleteRequest,
    ) -> Result<Vec<DeletionOutcome>, CallError> {
        let outcomes = in_time(self.peers.call::<Delete>(node, request)).await?;
        Ok(outcomes.0)
    }

    pub(crate) async fn delete(
        &self,
        node: PeerId,
        mode: DeletionMode,
        blobs: &[BlobId],
    ) -> Vec<DeletionOutcome> {
        let order = self.order(node, mode, blobs);
        self.send(node, order.into_request()).await.unwrap()
    }

    pub(crate) async fn retrieve(&self, node: PeerId, blob_id: BlobId) -> RetrieveAnswer {
        let request = RetrieveRequest {
            blob_id,
            request_id: RequestId::NONE,
        };
        in_time(self.peers.call::<Retrieve>(node, request))
            .await
            .unwrap()
    }
}

pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
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
            protocols::HELLO => {
                let report = request.decode::<Hello>().unwrap();
                let peer = request.peer;
                let rejection = shared.rejection.lock().unwrap().clone();
                let answer = HelloAnswer {
                    rejection,
                    network_serial,
                    hang_up: shared.hang_up.load(Ordering::Relaxed),
                };
                request.respond::<Hello>(answer).await;
                let _ = hellos.try_send((peer, report));
            }
            protocols::HEARTBEAT => {
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
            protocols::REPORT_LOSS => {
                let report = request.decode::<ReportLoss>().unwrap();
                let acknowledged = shared.losses_noted.load(Ordering::SeqCst);
                request
                    .respond::<ReportLoss>(LossNoted { acknowledged })
                    .await;
                let _ = losses.try_send(report);
            }
            other => panic!("a node does not send {}", other.name),
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
    let pending = json!({"since": "2026-11-22T00:00:00Z", "bytes": 1_000_000,
        "byte_seconds": "3600000000", "gross_microcredits": 5000, "uptime_ppm": 1_000_000,
        "earned_microcredits": 5000, "penalties_microcredits": 0, "given_back_microcredits": 0});
    let penalty = json!({"kind": "missed", "amount_microcredits": 5556,
        "collected_microcredits": 5556, "cause": {"reason": "no answer within 2 s"}});
    let day = json!({"day": "2026-11-21", "starts_at": "2026-11-21T00:00:00Z",
        "ends_at": "2026-11-22T00:00:00Z", "byte_seconds": "86400000000",
        "gross_microcredits": 33_333, "uptime_ppm": 912_345, "earned_microcredits": 28_000,
        "penalties": [penalty], "penalties_microcredits": 5556, "given_back_microcredits": 0,
        "uncollected_microcredits": 0, "net_microcredits": 22_444, "held_microcredits": 16_833,
        "available_microcredits": 5611, "transfer_id": null});
    Json(json!({"pending": pending, "days": [day], "next_cursor": null})).into_response()
}

async fn standing(State(shared): State<Arc<Shared>>) -> Response {
    let state = match *shared.drain.lock().unwrap() {
        drain @ ("draining" | "drained") => drain,
        _ => "probation",
    };
    let answer = json!({"node_id": uuid::Uuid::from_u128(1), "name": "node", "peer_id": "peer",
        "state": state, "state_reason": "new", "state_since": "2026-11-21T00:00:00Z",
        "on_hold": false, "online": true, "region": null, "capacity_bytes": 1_000_000_000,
        "used_bytes": 0, "blob_count": 0, "score_ppm": 1_000_000, "uptime_ppm": null,
        "last_seen_at": null, "state_history": []});
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

async fn nonce(State(shared): State<Arc<Shared>>) -> Response {
    let mut answer = json!({"nonce": hex::encode(NONCE), "expires_at": "2100-01-01T00:00:00Z"});
    // One of the release before does not know that there are forms.
    if *shared.form.lock().unwrap() == RegistrationForm::V2 {
        answer["newest_form"] = json!(2);
    }
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
        region: body["region"].as_str().map(str::to_owned),
        token_hash: body["token"].as_str().map(Registration::token_hash),
    };
    let form = *shared.form.lock().unwrap();
    let expected = match form {
        RegistrationForm::V1 => Value::Null,
        RegistrationForm::V2 => json!(2),
    };
    assert_eq!(body["form"], expected);
    let signature = hex::decode(text("signature")).unwrap();
    let signature = Signature::try_from(&signature[..]).unwrap();
    if text("nonce") != hex::encode(NONCE) || registration.verify(form, &signature).is_err() {
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
