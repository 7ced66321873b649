//! A storage node that keeps its blobs in memory and does what it is told, be it wrong.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use network::{CallError, Keypair};
use proto::{
    BlobId, Heartbeat, Locator, LossReport, NetworkContext, NodeId, PeerId, Registration,
    RegistrationForm, ReportLoss, SignedOrder,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::conduct::{OnInventory, OnProve, OnRead, OnStore};
use super::shelf::{CAPACITY, Shelf, node_config};
use super::{Client, Coordinator, eventually, soon};

pub(crate) struct Node {
    pub node_id: NodeId,
    pub api_key: String,
    shelf: Arc<Shelf>,
}

/// The body of `nodes/register` for this identity.
pub(crate) async fn registration(client: &Client, keypair: &Keypair, name: &str) -> Value {
    registration_with(client, keypair, name, &json!({}), RegistrationForm::V2).await
}

/// The same with region and token as they are `said`.
pub(crate) async fn registration_with(
    client: &Client,
    keypair: &Keypair,
    name: &str,
    said: &Value,
    form: RegistrationForm,
) -> Value {
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
        region: said["region"].as_str().map(str::to_owned),
        token_hash: said["token"].as_str().map(Registration::token_hash),
    };
    let mut body = json!({
        "peer_id": peer_id.to_string(),
        "name": name,
        "capacity_bytes": CAPACITY,
        "nonce": nonce,
        "form": form.number(),
        "signature": statement.sign(form, keypair).unwrap().to_string(),
    });
    for (name, value) in said.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

impl Node {
    /// Registers, connects, and is let in.
    pub(crate) async fn join(coordinator: &Coordinator) -> Self {
        let (keypair, client) = (Keypair::generate_ed25519(), coordinator.visitor());
        let body = registration(&client, &keypair, "a node").await;
        let registered = client.post("/api/v1/nodes/register").body(body.to_string());
        let registered = registered.send().await.expect(StatusCode::CREATED);
        let node_id: NodeId = registered["node_id"].as_str().unwrap().parse().unwrap();

        let network = network::start(node_config(keypair.clone())).await;
        let network = network.unwrap();
        let shelf = Arc::new(Shelf {
            keypair,
            network_id: coordinator.app.keys.ring.network_id,
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
            deferred: Mutex::default(),
            brake: Mutex::default(),
            orders: Mutex::default(),
            asked_for: Mutex::default(),
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
    pub(crate) async fn leave(&self, coordinator: &Coordinator) {
        self.shelf.handle().shutdown().await;
        self.until_gone(coordinator).await;
    }

    /// Connects again, with everything that it held.
    pub(crate) async fn come_back(&self, coordinator: &Coordinator) {
        self.until_gone(coordinator).await;
        let network = self.shelf.start_network().await;
        let shelf = &self.shelf;
        shelf.go_online(coordinator, self.node_id, network).await;
    }

    /// Connects again as [`Self::come_back`] does, and is refused with these words.
    pub(crate) async fn come_in_vain(&self, coordinator: &Coordinator) -> String {
        self.until_gone(coordinator).await;
        let network = self.shelf.start_network().await;
        self.shelf.connect(coordinator, network).await;
        let rejection = self.shelf.say_hello(coordinator, self.node_id).await;
        rejection.unwrap()
    }

    /// Is let in over the connection that it has.
    pub(crate) async fn come_in(&self, coordinator: &Coordinator) {
        self.shelf.come_in(coordinator, self.node_id).await;
    }

    /// Over the connection that it has; `false` when it gets no answer, as one that is not let in.
    pub(crate) async fn beat(&self, coordinator: &Coordinator) -> bool {
        let peer = coordinator.app.fleet.network().local_peer_id();
        let report = self.shelf.report();
        self.shelf
            .handle()
            .call::<Heartbeat>(peer, report)
            .await
            .is_ok()
    }

    async fn until_gone(&self, coordinator: &Coordinator) {
        let fleet = &coordinator.app.fleet;
        eventually(|| async { fleet.member(self.node_id).is_none().then_some(()) }).await;
    }

    pub(crate) fn on_store(&self, conduct: OnStore) {
        self.shelf.conduct.lock().unwrap().0 = conduct;
    }

    pub(crate) fn on_read(&self, conduct: OnRead) {
        self.shelf.conduct.lock().unwrap().1 = conduct;
    }

    pub(crate) fn on_prove(&self, conduct: OnProve) {
        *self.shelf.on_prove.lock().unwrap() = conduct;
    }

    pub(crate) fn on_inventory(&self, conduct: OnInventory) {
        *self.shelf.on_inventory.lock().unwrap() = conduct;
    }

    /// From now on it says that every blob is so old.
    pub(crate) fn ages(&self, age: Duration) {
        *self.shelf.age.lock().unwrap() = age;
    }

    /// Puts a blob there as if it had been stored.
    pub(crate) fn hold(&self, locator: Locator, data: Bytes) -> BlobId {
        let id = BlobId::of(&data);
        self.shelf.blobs.lock().unwrap().insert(id, data);
        self.shelf.locators.lock().unwrap().insert(id, locator);
        id
    }

    /// From now on only so many purges pass, and the others are put off.
    pub(crate) fn brake(&self, passes: usize) {
        *self.shelf.brake.lock().unwrap() = Some(passes);
    }

    /// What it shows for what it lacks: the orders that it was given.
    /// For which requests of clients it was asked to store or give something.
    pub(crate) fn asked_for(&self) -> Vec<String> {
        let asked = self.shelf.asked_for.lock().unwrap();
        asked.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn orders(&self) -> Vec<SignedOrder> {
        self.shelf.orders.lock().unwrap().clone()
    }

    pub(crate) fn shows(&self, orders: Vec<SignedOrder>) {
        *self.shelf.orders.lock().unwrap() = orders;
    }

    pub(crate) fn throw_away(&self, id: BlobId) {
        let held = self.shelf.blobs.lock().unwrap().remove(&id);
        self.shelf
            .trash
            .lock()
            .unwrap()
            .extend(held.map(|blob| (id, blob)));
    }

    /// What is in its trash, in order.
    pub(crate) fn trash(&self) -> Vec<BlobId> {
        let mut trash: Vec<_> = self.shelf.trash.lock().unwrap().keys().copied().collect();
        trash.sort_unstable();
        trash
    }

    pub(crate) fn locator_of(&self, id: BlobId) -> Locator {
        self.shelf.locators.lock().unwrap()[&id]
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.shelf.keypair.public().to_peer_id()
    }

    pub(crate) fn lose(&self, id: BlobId) {
        self.shelf.blobs.lock().unwrap().remove(&id);
    }

    /// Reports these blobs lost; how many the coordinator has noted.
    pub(crate) async fn report_loss(
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
    pub(crate) fn contents(&self) -> Vec<(BlobId, Bytes)> {
        let blobs = self.shelf.blobs.lock().unwrap();
        let mut contents: Vec<_> = blobs.iter().map(|(id, b)| (*id, b.clone())).collect();
        contents.sort_unstable_by_key(|(id, _)| *id);
        contents
    }

    /// From now on it holds this, and nothing else.
    pub(crate) fn hold_only<'a>(&self, contents: impl Iterator<Item = &'a (BlobId, Bytes)>) {
        *self.shelf.blobs.lock().unwrap() = contents.cloned().collect();
    }

    /// Bytes to guess with when it is asked for this blob.
    pub(crate) fn borrow_for(&self, id: BlobId, bytes: Bytes) {
        self.shelf.borrowed.lock().unwrap().insert(id, bytes);
    }

    /// In order.
    pub(crate) fn blobs(&self) -> Vec<BlobId> {
        let mut blobs: Vec<_> = self.shelf.blobs.lock().unwrap().keys().copied().collect();
        blobs.sort_unstable();
        blobs
    }

    /// Returns once a request waits for an answer that will not come.
    pub(crate) async fn until_hanging(&self) {
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
    pub(crate) fn drop_hanging(&self) {
        self.shelf.hanging.lock().unwrap().clear();
    }

    /// Returns once what the node holds is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&[BlobId]) -> bool) {
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
