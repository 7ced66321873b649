//! Two services with a connection between them, and messages for them to exchange.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use network::{
    Everyone, InboundRequest, Keypair, Multiaddr, Network, NetworkConfig, NetworkEvent,
    NetworkHandle, PeerId, start,
};
use proto::{
    BlobId, Delete, DeleteRequest, DeletionOutcomes, Heartbeat, HeartbeatAnswer, HeartbeatReport,
    Locator, MicroCredits, NodeActivity, Refusal, RefusalCode, RequestId, Roles, Store,
    StoreAnswer, StoreRequest, protocols,
};
use tokio::sync::mpsc;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire {
    Tcp,
    Quic,
}

impl Wire {
    pub(crate) fn any_port(self) -> Multiaddr {
        match self {
            Self::Tcp => "/ip4/127.0.0.1/tcp/0".parse().unwrap(),
            Self::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap(),
        }
    }
}

/// Runs each of these functions as a test over TCP and as another over QUIC.
macro_rules! over_tcp_and_quic {
    ($($name:ident),* $(,)?) => {
        mod tcp {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Wire::Tcp).await;
            })*
        }
        mod quic {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Wire::Quic).await;
            })*
        }
    };
}
pub(crate) use over_tcp_and_quic;

/// Ends a test that would wait for ever. No outcome depends on how long it is.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    let outcome = tokio::time::timeout(limit, Box::pin(future)).await;
    outcome.unwrap_or_else(|_| panic!("what this test waits for does not happen"))
}

/// Takes what is free soon: QUIC holds its socket a moment longer than its service, for goodbyes.
pub(crate) async fn once_free<T, E, F: Future<Output = Result<T, E>>>(take: impl Fn() -> F) -> T {
    let taken = async {
        loop {
            match take().await {
                Ok(taken) => return taken,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    soon(taken).await
}

/// A coordinator that takes everybody for a node, or a node that takes everybody for a coordinator.
pub(crate) fn config(roles: Roles) -> NetworkConfig {
    let is_coordinator = roles == Roles::COORDINATOR;
    let others = match is_coordinator {
        true => Roles::NODE,
        false => Roles::COORDINATOR,
    };
    let keypair = Keypair::generate_ed25519();
    NetworkConfig {
        answers_only: is_coordinator,
        admission: Arc::new(Everyone(others)),
        ..NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, roles)
    }
}

pub(crate) async fn listening(wire: Wire) -> Network {
    listening_as(config(Roles::COORDINATOR), wire).await
}

pub(crate) async fn listening_as(mut config: NetworkConfig, wire: Wire) -> Network {
    config.listen = vec![wire.any_port()];
    start(config).await.unwrap()
}

/// The one address that a service listens on.
pub(crate) async fn address_of(network: &Network) -> Multiaddr {
    soon(network.handle.listen_addrs()).await.remove(0)
}

pub(crate) async fn dial(from: &Network, to: &Network) {
    let addrs = soon(to.handle.listen_addrs()).await;
    from.handle.dial(to.handle.local_peer_id(), addrs).await;
}

/// Waits for the event that `wanted` takes something from; the others are passed over.
pub(crate) async fn until<T>(
    events: &mut mpsc::Receiver<NetworkEvent>,
    wanted: impl Fn(&NetworkEvent) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.recv().await.unwrap();
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    soon(found).await
}

pub(crate) async fn until_connected(events: &mut mpsc::Receiver<NetworkEvent>, to: PeerId) {
    let is_it = |event: &NetworkEvent| match event {
        NetworkEvent::Connected { peer, .. } if *peer == to => Some(()),
        _ => None,
    };
    until(events, is_it).await;
}

pub(crate) async fn until_disconnected(events: &mut mpsc::Receiver<NetworkEvent>, from: PeerId) {
    let is_it = |event: &NetworkEvent| match event {
        NetworkEvent::Disconnected { peer, .. } if *peer == from => Some(()),
        _ => None,
    };
    until(events, is_it).await;
}

/// A coordinator and a node that has dialled it.
pub(crate) struct Pair {
    pub coordinator: Network,
    pub node: Network,
}

impl Pair {
    pub(crate) async fn over(wire: Wire) -> Self {
        let coordinator = listening(wire).await;
        let node = start(config(Roles::NODE)).await.unwrap();
        Self::connected(coordinator, node).await
    }

    pub(crate) async fn connected(mut coordinator: Network, mut node: Network) -> Self {
        let addr = address_of(&coordinator).await;
        let peer = coordinator.handle.local_peer_id();
        node.handle.dial(peer, vec![addr]).await;
        until_connected(&mut node.events, peer).await;
        until_connected(&mut coordinator.events, node.handle.local_peer_id()).await;
        Self { coordinator, node }
    }

    pub(crate) fn coordinator_id(&self) -> PeerId {
        self.coordinator.handle.local_peer_id()
    }

    pub(crate) fn node_id(&self) -> PeerId {
        self.node.handle.local_peer_id()
    }
}

pub(crate) async fn next_request(network: &mut Network) -> InboundRequest {
    soon(network.requests.recv()).await.unwrap()
}

/// A blob of this many bytes that differs from every other `number`'s.
pub(crate) fn store(number: usize, bytes: usize) -> StoreRequest {
    let mut data = vec![number as u8; bytes];
    data[..8].copy_from_slice(&(number as u64).to_le_bytes());
    StoreRequest {
        blob_id: BlobId::of(&data),
        locator: Locator::from_bytes([7; Locator::LEN]),
        request_id: RequestId::NONE,
        data: Bytes::from(data),
    }
}

/// An answer that shows which blob it answers for.
pub(crate) fn answer_for(blob_id: BlobId) -> StoreAnswer {
    StoreAnswer::Refused(Refusal {
        code: RefusalCode::Full,
        detail: blob_id.to_string(),
    })
}

pub(crate) fn report(blob_count: u64) -> HeartbeatReport {
    HeartbeatReport {
        capacity_bytes: 0,
        used_bytes: 0,
        free_bytes: 0,
        blob_count,
        activity: NodeActivity::Running,
        deferred: proto::DeferredPurges::NONE,
    }
}

/// An answer that shows which report it answers.
pub(crate) fn answer_to(report: &HeartbeatReport) -> HeartbeatAnswer {
    HeartbeatAnswer {
        earned: MicroCredits::ZERO,
        server_time_ms: 0,
        state: "active".into(),
        state_reason: String::new(),
        network_serial: report.blob_count,
        last_ledger_day: None,
    }
}

/// Answers one request, whichever it is; a blob must arrive as it was sent.
pub(crate) async fn answer(mut request: InboundRequest) {
    match request.protocol {
        protocols::STORE_CHUNK => {
            let store = request.decode::<Store>().unwrap();
            assert_eq!(BlobId::of(&store.data), store.blob_id);
            request.respond::<Store>(answer_for(store.blob_id)).await;
        }
        protocols::HEARTBEAT => {
            let report = request.decode::<Heartbeat>().unwrap();
            request.respond::<Heartbeat>(answer_to(&report)).await;
        }
        protocols::DELETE_CHUNK => {
            let DeleteRequest { deletions, .. } = request.decode::<Delete>().unwrap();
            assert!(deletions.is_empty());
            request.respond::<Delete>(DeletionOutcomes(vec![])).await;
        }
        other => panic!("nobody here sends {other:?}"),
    }
}

/// Answers everything until the service ends.
pub(crate) fn answer_all(mut requests: mpsc::Receiver<InboundRequest>) {
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            answer(request).await;
        }
    });
}

/// Sends a heartbeat and checks that the answer is its own.
pub(crate) async fn heartbeat_is_answered(node: &NetworkHandle, coordinator: PeerId) {
    let report = report(42);
    let answered = soon(node.call::<Heartbeat>(coordinator, report)).await;
    assert_eq!(answered, Ok(answer_to(&report)));
}

/// Stores a small blob and checks that the answer is for it.
pub(crate) async fn store_is_answered(coordinator: &NetworkHandle, node: PeerId) {
    let request = store(1, 100);
    let blob_id = request.blob_id;
    let answered = soon(coordinator.call::<Store>(node, request)).await;
    assert_eq!(answered, Ok(answer_for(blob_id)));
}
