//! A storage node that keeps its blobs in memory and does what it is told, be it wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use network::{InboundRequest, Keypair, NetworkConfig, NetworkHandle};
use proto::{
    BlobId, Delete, DeletionOutcome, DeletionOutcomes, Deletions, Heartbeat, HeartbeatReport,
    Hello, HelloReport, ItemAnswer, ItemOutcome, NetworkContext, NetworkId, NodeActivity, NodeId,
    Parties, PeerId, ProofAnswer, Protocol, Prove, Question, Receipt, Refusal, RefusalCode,
    Registration, Retrieve, RetrieveAnswer, Side, Store, StoreAnswer,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::{Client, Coordinator, soon};

const CAPACITY: u64 = 1 << 30;

/// How a node takes a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStore {
    Keep,
    /// Says that its disk is full.
    Refuse,
    /// Keeps nothing and signs for another blob.
    Forge,
    /// Keeps it and never says so.
    Hang,
    /// Disconnects for good.
    Vanish,
}

/// How a node gives a blob back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRead {
    Give,
    /// One bit is wrong.
    Flip,
    /// The last byte is missing.
    Shorten,
    Deny,
    /// Says that its disk fails at this moment.
    Refuse,
    Hang,
    Vanish,
}

/// How a node answers a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnProve {
    Prove,
    /// Proofs of zeros in place of the blobs.
    Guess,
    /// Says that it lacks every blob.
    Deny,
    Busy,
    /// Sends its last answer again.
    Replay,
    /// One item too many.
    Surplus,
    Hang,
    Vanish,
}

pub struct Node {
    pub node_id: NodeId,
    pub api_key: String,
    shelf: Arc<Shelf>,
}

struct Shelf {
    keypair: Keypair,
    network_id: NetworkId,
    handle: NetworkHandle,
    conduct: Mutex<(OnStore, OnRead)>,
    on_prove: Mutex<OnProve>,
    last_answer: Mutex<Option<ProofAnswer>>,
    blobs: Mutex<HashMap<BlobId, Bytes>>,
    /// Requests that are never answered; dropping them would close their streams.
    hanging: Mutex<Vec<InboundRequest>>,
    changed: Notify,
}

/// The body of `nodes/register` for this identity.
pub async fn registration(client: &Client, keypair: &Keypair, name: &str) -> Value {
    let network = client.get("/api/v1/network").await.expect(StatusCode::OK);
    let nonce = client.post("/api/v1/nodes/register/nonce").send().await;
    let nonce = nonce.expect(StatusCode::CREATED);
    let nonce = nonce["nonce"].as_str().unwrap();
    let mut bytes = [0; 32];
    hex::decode_to_slice(nonce, &mut bytes).unwrap();
    let peer_id = keypair.public().to_peer_id();
    let statement = Registration {
        context: NetworkContext {
            network_id: network["network_id"].as_str().unwrap().parse().unwrap(),
            peer_id,
        },
        nonce: bytes,
        name: name.to_owned(),
        capacity_bytes: CAPACITY,
    };
    json!({
        "peer_id": peer_id.to_string(),
        "name": name,
        "capacity_bytes": CAPACITY,
        "nonce": nonce,
        "signature": statement.sign(keypair).unwrap().to_string(),
    })
}

impl Node {
    /// Registers, connects, and is let in.
    pub async fn join(coordinator: &Coordinator) -> Self {
        let (keypair, client) = (Keypair::generate_ed25519(), coordinator.visitor());
        let body = registration(&client, &keypair, "a node").await;
        let registered = client.post("/api/v1/nodes/register").body(body.to_string());
        let registered = registered.send().await.expect(StatusCode::CREATED);
        let node_id: NodeId = registered["node_id"].as_str().unwrap().parse().unwrap();

        let network = network::start(NetworkConfig::new(keypair.clone(), Side::Node)).await;
        let network = network.unwrap();
        let shelf = Arc::new(Shelf {
            keypair,
            network_id: coordinator.app.keys.network_id,
            handle: network.handle,
            conduct: Mutex::new((OnStore::Keep, OnRead::Give)),
            on_prove: Mutex::new(OnProve::Prove),
            last_answer: Mutex::default(),
            blobs: Mutex::default(),
            hanging: Mutex::default(),
            changed: Notify::new(),
        });
        shelf.connect(coordinator, network.events).await;
        tokio::spawn(Arc::clone(&shelf).serve(network.requests));
        shelf.say_hello(coordinator, node_id).await;
        Self {
            node_id,
            api_key: registered["api_key"].as_str().unwrap().to_owned(),
            shelf,
        }
    }

    pub fn on_store(&self, conduct: OnStore) {
        self.shelf.conduct.lock().unwrap().0 = conduct;
    }

    pub fn on_read(&self, conduct: OnRead) {
        self.shelf.conduct.lock().unwrap().1 = conduct;
    }

    pub fn on_prove(&self, conduct: OnProve) {
        *self.shelf.on_prove.lock().unwrap() = conduct;
    }

    pub fn peer_id(&self) -> PeerId {
        self.shelf.keypair.public().to_peer_id()
    }

    pub fn lose(&self, id: BlobId) {
        self.shelf.blobs.lock().unwrap().remove(&id);
    }

    /// In order.
    pub fn blobs(&self) -> Vec<BlobId> {
        let mut blobs: Vec<_> = self.shelf.blobs.lock().unwrap().keys().copied().collect();
        blobs.sort_unstable();
        blobs
    }

    /// Returns once a request waits for an answer that will not come.
    pub async fn until_hanging(&self) {
        let hanging = async {
            loop {
                let changed = self.shelf.changed.notified();
                if !self.shelf.hanging.lock().unwrap().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        soon(hanging).await;
    }

    /// Closes the streams of requests that were left without an answer.
    pub fn drop_hanging(&self) {
        self.shelf.hanging.lock().unwrap().clear();
    }

    /// Returns once what the node holds is as wanted.
    pub async fn until(&self, wanted: impl Fn(&[BlobId]) -> bool) {
        let reached = async {
            loop {
                let changed = self.shelf.changed.notified();
                if wanted(&self.blobs()) {
                    return;
                }
                changed.await;
            }
        };
        soon(reached).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let handle = self.shelf.handle.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.shutdown().await });
        }
    }
}

impl Shelf {
    async fn connect(
        &self,
        coordinator: &Coordinator,
        mut events: mpsc::Receiver<network::NetworkEvent>,
    ) {
        let peer = coordinator.app.fleet.network().local_peer_id();
        self.handle.dial(peer, coordinator.addrs.clone()).await;
        let connected = async {
            while let Some(event) = events.recv().await {
                if matches!(event, network::NetworkEvent::Connected { .. }) {
                    return;
                }
            }
        };
        soon(connected).await;
        tokio::spawn(async move { while events.recv().await.is_some() {} });
    }

    /// Stays online from then on by heartbeats.
    async fn say_hello(self: &Arc<Self>, coordinator: &Coordinator, node_id: NodeId) {
        let peer = coordinator.app.fleet.network().local_peer_id();
        let hello = HelloReport {
            node_id,
            software: "test/1".to_owned(),
            capacity_bytes: CAPACITY,
            used_bytes: 0,
            free_bytes: CAPACITY,
            blob_count: 0,
            draining: false,
        };
        let answer = soon(self.handle.call::<Hello>(peer, hello)).await.unwrap();
        assert_eq!(answer.rejection, None);
        let shelf = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let Some(shelf) = shelf.upgrade() else { return };
                let beat = shelf.handle.call::<Heartbeat>(peer, shelf.report());
                if beat.await.is_err() {
                    return;
                }
            }
        });
    }

    fn report(&self) -> HeartbeatReport {
        let blobs = self.blobs.lock().unwrap();
        let used_bytes = blobs.values().map(|blob| blob.len() as u64).sum();
        HeartbeatReport {
            capacity_bytes: CAPACITY,
            used_bytes,
            free_bytes: CAPACITY - used_bytes,
            blob_count: blobs.len() as u64,
            activity: NodeActivity::Running,
        }
    }

    async fn serve(self: Arc<Self>, mut requests: mpsc::Receiver<InboundRequest>) {
        while let Some(request) = requests.recv().await {
            match request.protocol {
                Protocol::StoreChunk => self.store(request).await,
                Protocol::RetrieveChunk => self.retrieve(request).await,
                Protocol::DeleteChunk => self.delete(request).await,
                Protocol::ProofChallenge => self.prove(request).await,
                other => panic!("a coordinator does not send {other:?}"),
            }
            self.changed.notify_waiters();
        }
    }

    async fn store(&self, mut request: InboundRequest) {
        let store = request.decode::<Store>().unwrap();
        assert_eq!(BlobId::of(&store.data), store.blob_id);
        let (blob_id, length) = (store.blob_id, store.data.len() as u64);
        let keep = || {
            self.blobs
                .lock()
                .unwrap()
                .insert(blob_id, store.data.clone())
        };
        let conduct = self.conduct.lock().unwrap().0;
        let signed_for = match conduct {
            OnStore::Keep => {
                keep();
                blob_id
            }
            OnStore::Forge => BlobId::of(b"another blob"),
            OnStore::Refuse => {
                let refusal = Refusal {
                    code: RefusalCode::Full,
                    detail: "the disk is full".to_owned(),
                };
                return request
                    .respond::<Store>(StoreAnswer::Refused(refusal))
                    .await;
            }
            OnStore::Hang => {
                keep();
                return self.hanging.lock().unwrap().push(request);
            }
            OnStore::Vanish => return self.handle.shutdown().await,
        };
        let receipt = Receipt {
            context: NetworkContext {
                network_id: self.network_id,
                peer_id: self.keypair.public().to_peer_id(),
            },
            blob_id: signed_for,
            length,
            stored_at_ms: 1_700_000_000_000,
        };
        let receipt = receipt.sign(&self.keypair).unwrap();
        request.respond::<Store>(StoreAnswer::Stored(receipt)).await;
    }

    async fn retrieve(&self, mut request: InboundRequest) {
        let blob_id = request.decode::<Retrieve>().unwrap().blob_id;
        let blob = self.blobs.lock().unwrap().get(&blob_id).cloned();
        let conduct = self.conduct.lock().unwrap().1;
        let answer = match (conduct, blob) {
            (OnRead::Give, Some(blob)) => RetrieveAnswer::Found(blob),
            (OnRead::Flip, Some(blob)) => {
                let mut wrong = blob.to_vec();
                wrong[20] ^= 1;
                RetrieveAnswer::Found(wrong.into())
            }
            (OnRead::Shorten, Some(blob)) => RetrieveAnswer::Found(blob.slice(..blob.len() - 1)),
            (OnRead::Hang, _) => return self.hanging.lock().unwrap().push(request),
            (OnRead::Vanish, _) => return self.handle.shutdown().await,
            (OnRead::Refuse, _) => RetrieveAnswer::IoError("not now".to_owned()),
            (OnRead::Deny, _) | (_, None) => RetrieveAnswer::Missing,
        };
        request.respond::<Retrieve>(answer).await;
    }

    async fn delete(&self, mut request: InboundRequest) {
        let Deletions(deletions) = request.decode::<Delete>().unwrap();
        let outcomes = {
            let mut blobs = self.blobs.lock().unwrap();
            let forget = |deletion: &proto::Deletion| {
                blobs.remove(&deletion.blob_id);
                DeletionOutcome::Done
            };
            deletions.iter().map(forget).collect()
        };
        request.respond::<Delete>(DeletionOutcomes(outcomes)).await;
    }

    async fn prove(&self, mut request: InboundRequest) {
        let conduct = *self.on_prove.lock().unwrap();
        match conduct {
            OnProve::Hang => {
                self.hanging.lock().unwrap().push(request);
                return self.changed.notify_waiters();
            }
            OnProve::Vanish => return self.handle.shutdown().await,
            _ => {}
        }
        let parties = Parties {
            network_id: self.network_id,
            coordinator: request.peer,
            node: self.keypair.public().to_peer_id(),
        };
        let challenge = request.decode::<Prove>().unwrap().open(parties).unwrap();
        let items: Vec<ItemAnswer> = challenge
            .questions()
            .map(|question| ItemAnswer {
                outcome: self.outcome(conduct, &question),
                duration_ms: 0,
            })
            .collect();
        let honest = ProofAnswer::sign(&challenge, items, &self.keypair).unwrap();
        let last = self.last_answer.lock().unwrap().replace(honest.clone());
        let answer = match conduct {
            OnProve::Replay => last.unwrap(),
            OnProve::Surplus => {
                let mut answer = honest;
                answer.items.push(answer.items[0].clone());
                answer
            }
            _ => honest,
        };
        request.respond::<Prove>(answer).await;
    }

    fn outcome(&self, conduct: OnProve, question: &Question) -> ItemOutcome {
        let blob = self.blobs.lock().unwrap().get(&question.blob_id).cloned();
        match (conduct, blob) {
            (OnProve::Guess, _) => {
                let zeros = vec![0; question.length as usize];
                let of_zeros = Question {
                    blob_id: BlobId::of(&zeros),
                    ..*question
                };
                ItemOutcome::Proven(proto::prove(&of_zeros, &mut &zeros[..]).unwrap())
            }
            (OnProve::Busy, _) => ItemOutcome::Busy,
            (OnProve::Deny, _) | (_, None) => ItemOutcome::Missing,
            (_, Some(blob)) => match proto::prove(question, &mut &blob[..]) {
                Ok(proof) => ItemOutcome::Proven(proof),
                Err(_) => ItemOutcome::Corrupt,
            },
        }
    }
}
