//! A storage node that keeps its blobs in memory and does what it is told, be it wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use network::{CallError, InboundRequest, Keypair, NetworkConfig, NetworkHandle};
use proto::{
    BlobId, BlobRange, Delete, DeletionMode, DeletionOutcome, DeletionOutcomes, Deletions,
    GroupDigest, Heartbeat, HeartbeatReport, Hello, HelloReport, IdsDigest, Inventory,
    InventoryAnswer, InventoryAsk, InventoryItem, ItemAnswer, ItemOutcome, Locator, LossReport,
    NetworkContext, NetworkId, NodeActivity, NodeId, Parties, PeerId, ProofAnswer, Protocol, Prove,
    Question, Receipt, Refusal, RefusalCode, Registration, ReportLoss, Retrieve, RetrieveAnswer,
    Side, Store, StoreAnswer,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::{Client, Coordinator, eventually, soon};

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
    /// Proofs of other bytes in place of the blobs: of what it has borrowed, or of zeros.
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

/// How a node tells what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInventory {
    Tell,
    /// So many blobs in an answer.
    TellSlowly(usize),
    /// All but one.
    Omit(BlobId),
    /// Every digest is wrong.
    Lie,
    /// The last blob first.
    Disorder,
    /// One blob after another that nobody has ever stored.
    NeverEnd,
}

pub struct Node {
    pub node_id: NodeId,
    pub api_key: String,
    shelf: Arc<Shelf>,
}

struct Shelf {
    keypair: Keypair,
    network_id: NetworkId,
    /// Of the connection that is in use; [`Node::come_back`] makes a new one.
    handle: Mutex<NetworkHandle>,
    conduct: Mutex<(OnStore, OnRead)>,
    on_prove: Mutex<OnProve>,
    last_answer: Mutex<Option<ProofAnswer>>,
    blobs: Mutex<HashMap<BlobId, Bytes>>,
    /// What it proves from instead, when it guesses.
    borrowed: Mutex<HashMap<BlobId, Bytes>>,
    /// With what the blobs were stored, those in the trash too.
    locators: Mutex<HashMap<BlobId, Locator>>,
    trash: Mutex<HashMap<BlobId, Bytes>>,
    on_inventory: Mutex<OnInventory>,
    /// How old it says that its blobs are.
    age: Mutex<Duration>,
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
            handle: Mutex::new(network.handle.clone()),
            conduct: Mutex::new((OnStore::Keep, OnRead::Give)),
            on_prove: Mutex::new(OnProve::Prove),
            last_answer: Mutex::default(),
            blobs: Mutex::default(),
            borrowed: Mutex::default(),
            locators: Mutex::default(),
            trash: Mutex::default(),
            on_inventory: Mutex::new(OnInventory::Tell),
            age: Mutex::default(),
            hanging: Mutex::default(),
            changed: Notify::new(),
        });
        shelf.go_online(coordinator, node_id, network).await;
        Self {
            node_id,
            api_key: registered["api_key"].as_str().unwrap().to_owned(),
            shelf,
        }
    }

    /// Disconnects, and returns when the coordinator knows.
    pub async fn leave(&self, coordinator: &Coordinator) {
        self.shelf.handle().shutdown().await;
        self.until_gone(coordinator).await;
    }

    /// Connects again, with everything that it held.
    pub async fn come_back(&self, coordinator: &Coordinator) {
        self.until_gone(coordinator).await;
        let config = NetworkConfig::new(self.shelf.keypair.clone(), Side::Node);
        let network = network::start(config).await.unwrap();
        *self.shelf.handle.lock().unwrap() = network.handle.clone();
        let shelf = &self.shelf;
        shelf.go_online(coordinator, self.node_id, network).await;
    }

    async fn until_gone(&self, coordinator: &Coordinator) {
        let fleet = &coordinator.app.fleet;
        eventually(|| async { fleet.member(self.node_id).is_none().then_some(()) }).await;
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

    pub fn on_inventory(&self, conduct: OnInventory) {
        *self.shelf.on_inventory.lock().unwrap() = conduct;
    }

    /// From now on it says that every blob is so old.
    pub fn ages(&self, age: Duration) {
        *self.shelf.age.lock().unwrap() = age;
    }

    /// Puts a blob there as if it had been stored.
    pub fn hold(&self, locator: Locator, data: Bytes) -> BlobId {
        let id = BlobId::of(&data);
        self.shelf.blobs.lock().unwrap().insert(id, data);
        self.shelf.locators.lock().unwrap().insert(id, locator);
        id
    }

    pub fn throw_away(&self, id: BlobId) {
        let held = self.shelf.blobs.lock().unwrap().remove(&id);
        self.shelf
            .trash
            .lock()
            .unwrap()
            .extend(held.map(|blob| (id, blob)));
    }

    /// What is in its trash, in order.
    pub fn trash(&self) -> Vec<BlobId> {
        let mut trash: Vec<_> = self.shelf.trash.lock().unwrap().keys().copied().collect();
        trash.sort_unstable();
        trash
    }

    pub fn locator_of(&self, id: BlobId) -> Locator {
        self.shelf.locators.lock().unwrap()[&id]
    }

    pub fn peer_id(&self) -> PeerId {
        self.shelf.keypair.public().to_peer_id()
    }

    pub fn lose(&self, id: BlobId) {
        self.shelf.blobs.lock().unwrap().remove(&id);
    }

    /// Reports these blobs lost; how many the coordinator has noted.
    pub async fn report_loss(
        &self,
        coordinator: &Coordinator,
        blobs: &[BlobId],
    ) -> Result<u32, CallError> {
        let report = LossReport {
            blob_ids: blobs.to_vec(),
            reason: "the bytes are gone".to_owned(),
        };
        let peer = coordinator.app.fleet.network().local_peer_id();
        let noted = soon(self.shelf.handle().call::<ReportLoss>(peer, report)).await?;
        Ok(noted.acknowledged)
    }

    /// Everything it holds, in order.
    pub fn contents(&self) -> Vec<(BlobId, Bytes)> {
        let blobs = self.shelf.blobs.lock().unwrap();
        let mut contents: Vec<_> = blobs.iter().map(|(id, b)| (*id, b.clone())).collect();
        contents.sort_unstable_by_key(|(id, _)| *id);
        contents
    }

    /// From now on it holds this, and nothing else.
    pub fn hold_only<'a>(&self, contents: impl Iterator<Item = &'a (BlobId, Bytes)>) {
        *self.shelf.blobs.lock().unwrap() = contents.cloned().collect();
    }

    /// Bytes to guess with when it is asked for this blob.
    pub fn borrow_for(&self, id: BlobId, bytes: Bytes) {
        self.shelf.borrowed.lock().unwrap().insert(id, bytes);
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
        let handle = self.shelf.handle();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle.shutdown().await });
        }
    }
}

impl Shelf {
    fn handle(&self) -> NetworkHandle {
        self.handle.lock().unwrap().clone()
    }

    /// Connects, serves, and is let in.
    async fn go_online(
        self: &Arc<Self>,
        coordinator: &Coordinator,
        node_id: NodeId,
        network: network::Network,
    ) {
        self.connect(coordinator, network.events).await;
        tokio::spawn(Arc::clone(self).serve(network.requests));
        self.say_hello(coordinator, node_id).await;
    }

    async fn connect(
        &self,
        coordinator: &Coordinator,
        mut events: mpsc::Receiver<network::NetworkEvent>,
    ) {
        let peer = coordinator.app.fleet.network().local_peer_id();
        self.handle().dial(peer, coordinator.addrs.clone()).await;
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
        let answer = soon(self.handle().call::<Hello>(peer, hello))
            .await
            .unwrap();
        assert_eq!(answer.rejection, None);
        let (shelf, handle) = (Arc::downgrade(self), self.handle());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(4)).await;
                let Some(shelf) = shelf.upgrade() else { return };
                let beat = handle.call::<Heartbeat>(peer, shelf.report());
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
                Protocol::Inventory => self.inventory(request).await,
                other => panic!("a coordinator does not send {other:?}"),
            }
            self.changed.notify_waiters();
        }
    }

    async fn store(&self, mut request: InboundRequest) {
        let store = request.decode::<Store>().unwrap();
        assert_eq!(BlobId::of(&store.data), store.blob_id);
        let (blob_id, length) = (store.blob_id, store.data.len() as u64);
        self.locators.lock().unwrap().insert(blob_id, store.locator);
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
            OnStore::Vanish => return self.handle().shutdown().await,
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
        let blob = self.fetch(blob_id);
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
            (OnRead::Vanish, _) => return self.handle().shutdown().await,
            (OnRead::Refuse, _) => RetrieveAnswer::IoError("not now".to_owned()),
            (OnRead::Deny, _) | (_, None) => RetrieveAnswer::Missing,
        };
        request.respond::<Retrieve>(answer).await;
    }

    async fn delete(&self, mut request: InboundRequest) {
        let Deletions(deletions) = request.decode::<Delete>().unwrap();
        let outcomes = {
            let mut blobs = self.blobs.lock().unwrap();
            let mut trash = self.trash.lock().unwrap();
            let forget = |deletion: &proto::Deletion| {
                if deletion.mode == DeletionMode::Restore {
                    let back = trash.remove(&deletion.blob_id);
                    blobs.extend(back.map(|blob| (deletion.blob_id, blob)));
                    return match blobs.contains_key(&deletion.blob_id) {
                        true => DeletionOutcome::Done,
                        false => DeletionOutcome::NotHeld,
                    };
                }
                let held = blobs.remove(&deletion.blob_id);
                match (deletion.mode, held) {
                    (DeletionMode::Trash, Some(blob)) => drop(trash.insert(deletion.blob_id, blob)),
                    (DeletionMode::Purge, _) => drop(trash.remove(&deletion.blob_id)),
                    _ => {}
                }
                DeletionOutcome::Done
            };
            deletions.iter().map(forget).collect()
        };
        request.respond::<Delete>(DeletionOutcomes(outcomes)).await;
    }

    /// A blob, brought back from the trash if it is there.
    fn fetch(&self, id: BlobId) -> Option<Bytes> {
        let thrown_away = self.trash.lock().unwrap().remove(&id);
        let mut blobs = self.blobs.lock().unwrap();
        blobs.extend(thrown_away.map(|blob| (id, blob)));
        blobs.get(&id).cloned()
    }

    async fn inventory(&self, mut request: InboundRequest) {
        let wanted = request.decode::<Inventory>().unwrap();
        let conduct = *self.on_inventory.lock().unwrap();
        let at_most = match conduct {
            OnInventory::TellSlowly(blobs) => blobs,
            OnInventory::NeverEnd => 1,
            _ => usize::MAX,
        };
        let mut answer = InventoryAnswer::default();
        let mut told = 0;
        'ranges: for range in wanted.ranges() {
            let mut group = IdsDigest::default();
            let mut close = |group: &mut IdsDigest, last: Option<BlobId>| {
                let group = std::mem::take(group);
                answer
                    .groups
                    .extend(last.filter(|_| group.count() > 0).map(|last| GroupDigest {
                        count: group.count(),
                        digest: if conduct == OnInventory::Lie {
                            [7; 32]
                        } else {
                            group.finish()
                        },
                        last,
                    }));
            };
            let mut last = None;
            for item in self.items(conduct, range) {
                if told == at_most {
                    close(&mut group, last);
                    answer.resume_from = Some(item.blob_id);
                    break 'ranges;
                }
                told += 1;
                match wanted.ask() {
                    InventoryAsk::Items => answer.items.push(item),
                    InventoryAsk::Digests { .. } if item.trashed => {}
                    InventoryAsk::Digests { group: size } => {
                        let size = if conduct == OnInventory::Disorder {
                            1
                        } else {
                            size
                        };
                        group.add(&item.blob_id);
                        last = Some(item.blob_id);
                        if group.count() == size {
                            close(&mut group, last);
                        }
                    }
                }
            }
            close(&mut group, last);
        }
        if conduct == OnInventory::Disorder {
            answer.groups.reverse();
            answer.items.reverse();
        }
        request.respond::<Inventory>(answer).await;
    }

    /// What it says that it holds in a range, in order.
    fn items(&self, conduct: OnInventory, range: &BlobRange) -> Vec<InventoryItem> {
        let age_s = self.age.lock().unwrap().as_secs();
        let locators = self.locators.lock().unwrap();
        let item = |blob_id: BlobId, length: usize, trashed| InventoryItem {
            blob_id,
            length: length as u64,
            age_s,
            locator: locators
                .get(&blob_id)
                .copied()
                .unwrap_or(Locator::from_bytes([0; 64])),
            trashed,
        };
        if conduct == OnInventory::NeverEnd {
            let next = range.first.next();
            let made_up = [Some(range.first), next].into_iter().flatten();
            return made_up
                .filter(|id| range.contains(id))
                .map(|id| item(id, 1, false))
                .collect();
        }
        let blobs = self.blobs.lock().unwrap();
        let trash = self.trash.lock().unwrap();
        let held = blobs.iter().map(|(id, blob)| item(*id, blob.len(), false));
        let thrown_away = trash.iter().map(|(id, blob)| item(*id, blob.len(), true));
        let wanted = |item: &InventoryItem| {
            range.contains(&item.blob_id) && conduct != OnInventory::Omit(item.blob_id)
        };
        let mut items: Vec<_> = held.chain(thrown_away).filter(wanted).collect();
        items.sort_unstable_by_key(|item| item.blob_id);
        items
    }

    async fn prove(&self, mut request: InboundRequest) {
        let conduct = *self.on_prove.lock().unwrap();
        match conduct {
            OnProve::Hang => {
                self.hanging.lock().unwrap().push(request);
                return self.changed.notify_waiters();
            }
            OnProve::Vanish => return self.handle().shutdown().await,
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
        let blob = self.fetch(question.blob_id);
        match (conduct, blob) {
            (OnProve::Guess, _) => {
                let borrowed = self
                    .borrowed
                    .lock()
                    .unwrap()
                    .get(&question.blob_id)
                    .cloned();
                let bytes = borrowed.unwrap_or_else(|| vec![0; question.length as usize].into());
                let of_other = Question {
                    blob_id: BlobId::of(&bytes),
                    ..*question
                };
                ItemOutcome::Proven(proto::prove(&of_other, &mut &bytes[..]).unwrap())
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
