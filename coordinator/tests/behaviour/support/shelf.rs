//! What a scripted node holds, and how it serves its coordinator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use network::{Everyone, InboundRequest, Keypair, Network, NetworkConfig, NetworkHandle};
use proto::{
    BlobId, BlobRange, DeferredPurges, Delete, DeletionMode, DeletionOutcome, DeletionOutcomes,
    GroupDigest, Heartbeat, HeartbeatReport, Hello, HelloReport, IdsDigest, Inventory,
    InventoryAnswer, InventoryAsk, InventoryItem, ItemAnswer, ItemOutcome, Locator, NetworkContext,
    NetworkId, NodeActivity, NodeId, Parties, ProofAnswer, Prove, Question, Receipt, Refusal,
    RefusalCode, RequestId, Retrieve, RetrieveAnswer, RetrieveRequest, Roles, SignedOrder, Store,
    StoreAnswer, protocols,
};
use tokio::sync::{Notify, mpsc};

use super::conduct::{OnInventory, OnProve, OnRead, OnStore};
use super::{Coordinator, soon};

pub(super) const CAPACITY: u64 = 1 << 30;

/// A node that takes everybody for a coordinator.
pub(crate) fn node_config(keypair: Keypair) -> NetworkConfig {
    let (family, table) = (protocols::FAMILY, &protocols::TABLE);
    NetworkConfig {
        admission: Arc::new(Everyone(Roles::COORDINATOR)),
        ..NetworkConfig::new(keypair, family, table, Roles::NODE)
    }
}

/// A node's blobs, and what it does with requests for them.
pub(super) struct Shelf {
    pub(super) keypair: Keypair,
    pub(super) network_id: NetworkId,
    /// Of the connection that is in use; [`Node::come_back`] makes a new one.
    pub(super) handle: Mutex<NetworkHandle>,
    pub(super) conduct: Mutex<(OnStore, OnRead)>,
    pub(super) on_prove: Mutex<OnProve>,
    pub(super) last_answer: Mutex<Option<ProofAnswer>>,
    pub(super) blobs: Mutex<HashMap<BlobId, Bytes>>,
    /// What it proves from instead, when it guesses.
    pub(super) borrowed: Mutex<HashMap<BlobId, Bytes>>,
    /// With what the blobs were stored, those in the trash too.
    pub(super) locators: Mutex<HashMap<BlobId, Locator>>,
    pub(super) trash: Mutex<HashMap<BlobId, Bytes>>,
    pub(super) on_inventory: Mutex<OnInventory>,
    /// How old it says that its blobs are.
    pub(super) age: Mutex<Duration>,
    /// Requests that are never answered; dropping them would close their streams.
    pub(super) hanging: Mutex<Vec<InboundRequest>>,
    /// What it says that it has put off; and with it, how many purges it lets pass.
    pub(super) deferred: Mutex<DeferredPurges>,
    pub(super) brake: Mutex<Option<usize>>,
    /// Orders that took something away, shown for what is missing.
    pub(super) orders: Mutex<Vec<SignedOrder>>,
    /// For which requests of clients it was asked for something.
    pub(super) asked_for: Mutex<Vec<RequestId>>,
    pub(super) changed: Notify,
}

impl Shelf {
    pub(super) fn handle(&self) -> NetworkHandle {
        self.handle.lock().unwrap().clone()
    }

    /// For another connection than the one that was in use.
    pub(super) async fn start_network(&self) -> Network {
        let config = node_config(self.keypair.clone());
        let network = network::start(config).await.unwrap();
        *self.handle.lock().unwrap() = network.handle.clone();
        network
    }

    /// Connects, serves, and is let in.
    pub(super) async fn go_online(
        self: &Arc<Self>,
        coordinator: &Coordinator,
        node_id: NodeId,
        network: Network,
    ) {
        self.connect(coordinator, network).await;
        self.come_in(coordinator, node_id).await;
    }

    /// Over the connection that it has.
    pub(super) async fn come_in(self: &Arc<Self>, coordinator: &Coordinator, node_id: NodeId) {
        let rejection = self.say_hello(coordinator, node_id).await;
        assert_eq!(rejection, None);
        self.stay_online(coordinator);
    }

    /// Connects and serves.
    pub(super) async fn connect(self: &Arc<Self>, coordinator: &Coordinator, network: Network) {
        let mut events = network.events;
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
        tokio::spawn(Arc::clone(self).serve(network.requests));
    }

    /// Over the connection that it has; why it is not let in.
    pub(super) async fn say_hello(
        &self,
        coordinator: &Coordinator,
        node_id: NodeId,
    ) -> Option<String> {
        let peer = coordinator.app.fleet.network().local_peer_id();
        let hello = HelloReport {
            node_id,
            software: "test/1".to_owned(),
            capacity_bytes: CAPACITY,
            used_bytes: 0,
            free_bytes: CAPACITY,
            blob_count: 0,
            draining: false,
            deferred: proto::DeferredPurges::NONE,
            instance: None,
        };
        let answer = soon(self.handle().call::<Hello>(peer, hello)).await;
        answer.unwrap().rejection
    }

    /// By heartbeats, from then on.
    fn stay_online(self: &Arc<Self>, coordinator: &Coordinator) {
        let peer = coordinator.app.fleet.network().local_peer_id();
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

    pub(super) fn report(&self) -> HeartbeatReport {
        let blobs = self.blobs.lock().unwrap();
        let used_bytes = blobs.values().map(|blob| blob.len() as u64).sum();
        HeartbeatReport {
            capacity_bytes: CAPACITY,
            used_bytes,
            free_bytes: CAPACITY - used_bytes,
            blob_count: blobs.len() as u64,
            activity: NodeActivity::Running,
            deferred: *self.deferred.lock().unwrap(),
        }
    }

    async fn serve(self: Arc<Self>, mut requests: mpsc::Receiver<InboundRequest>) {
        while let Some(request) = requests.recv().await {
            match request.protocol {
                protocols::STORE_CHUNK => self.store(request).await,
                protocols::RETRIEVE_CHUNK => self.retrieve(request).await,
                protocols::DELETE_CHUNK => self.delete(request).await,
                protocols::PROOF_CHALLENGE => self.prove(request).await,
                protocols::INVENTORY => self.inventory(request).await,
                other => panic!("a coordinator does not send {other:?}"),
            }
            self.changed.notify_waiters();
        }
    }

    async fn store(&self, mut request: InboundRequest) {
        let store = request.decode::<Store>().unwrap();
        self.asked_for.lock().unwrap().push(store.request_id);
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
            OnStore::Lengthen => {
                keep();
                blob_id
            }
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
            length: length + u64::from(conduct == OnStore::Lengthen),
            stored_at_ms: 1_700_000_000_000,
        };
        let receipt = receipt.sign(&self.keypair).unwrap();
        request.respond::<Store>(StoreAnswer::Stored(receipt)).await;
    }

    async fn retrieve(&self, mut request: InboundRequest) {
        let RetrieveRequest {
            blob_id,
            request_id,
        } = request.decode::<Retrieve>().unwrap();
        self.asked_for.lock().unwrap().push(request_id);
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
            (OnRead::Deny, _) | (_, None) => match self.order_for(blob_id) {
                Some(order) => RetrieveAnswer::Ordered(Box::new(order)),
                None => RetrieveAnswer::Missing,
            },
        };
        request.respond::<Retrieve>(answer).await;
    }

    async fn delete(&self, mut request: InboundRequest) {
        let order = request.decode::<Delete>().unwrap();
        let parties = Parties {
            network_id: self.network_id,
            coordinator: request.peer,
            node: self.keypair.public().to_peer_id(),
        };
        let signed = order.open(parties).unwrap().unwrap();
        let deletions = order.deletions;
        if deletions.iter().any(|deletion| deletion.mode.takes_away()) {
            self.orders.lock().unwrap().push(signed);
        }
        let outcomes = {
            let mut brake = self.brake.lock().unwrap();
            let mut deferred = self.deferred.lock().unwrap();
            let mut blobs = self.blobs.lock().unwrap();
            let mut trash = self.trash.lock().unwrap();
            let mut forget = |deletion: &proto::Deletion| {
                if deletion.mode == DeletionMode::Restore {
                    let back = trash.remove(&deletion.blob_id);
                    blobs.extend(back.map(|blob| (deletion.blob_id, blob)));
                    return match blobs.contains_key(&deletion.blob_id) {
                        true => DeletionOutcome::Done,
                        false => DeletionOutcome::NotHeld,
                    };
                }
                let held = blobs.remove(&deletion.blob_id);
                if let (DeletionMode::Purge, Some(left)) = (deletion.mode, brake.as_mut()) {
                    if *left == 0 {
                        let Some(blob) = held else {
                            return DeletionOutcome::Deferred;
                        };
                        trash.insert(deletion.blob_id, blob);
                        deferred.blobs += 1;
                        return DeletionOutcome::Deferred;
                    }
                    *left -= 1;
                }
                match (deletion.mode, held) {
                    (DeletionMode::Trash, Some(blob)) => drop(trash.insert(deletion.blob_id, blob)),
                    (DeletionMode::Purge, _) => drop(trash.remove(&deletion.blob_id)),
                    _ => {}
                }
                DeletionOutcome::Done
            };
            deletions.iter().map(&mut forget).collect()
        };
        request.respond::<Delete>(DeletionOutcomes(outcomes)).await;
    }

    /// The last order that took it away, as an honest node shows it.
    fn order_for(&self, id: BlobId) -> Option<SignedOrder> {
        let orders = self.orders.lock().unwrap();
        let mut taken = orders
            .iter()
            .rev()
            .filter(|signed| signed.order.takes_away(&id));
        taken.next().cloned()
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
                    InventoryAsk::Trash if item.trashed => answer.items.push(item),
                    InventoryAsk::Trash => {}
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
            trashed_age_s: trashed.then_some(0),
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
        let mut honest = ProofAnswer::sign(&challenge, items, &self.keypair).unwrap();
        let missing = challenge.items().iter().zip(&honest.items);
        let missing = missing.filter(|(_, answer)| answer.outcome == ItemOutcome::Missing);
        let orders = missing.filter_map(|(item, _)| self.order_for(item.blob_id));
        honest.orders = orders.collect();
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
