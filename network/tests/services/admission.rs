//! Who may connect, and how often.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, pending, ready};
use network::{
    Admission, AllowList, AuthMode, CallError, Multiaddr, Network, NetworkConfig, PeerId, Refusal,
    RefusalReason, start,
};
use proto::{Heartbeat, Roles};

use crate::support::{
    Wire, address_of, answer_all, config, dial, heartbeat_is_answered, listening_as,
    over_tcp_and_quic, report, soon, until_connected, until_disconnected,
};

over_tcp_and_quic! {
    the_listed_are_served_and_a_stranger_is_hung_up_on,
    a_list_that_changes_holds_for_connections_to_come,
    who_is_learnt_is_served_and_noted,
}

fn guarded_by(admission: Arc<dyn Admission>) -> NetworkConfig {
    NetworkConfig {
        admission,
        ..config(Roles::COORDINATOR)
    }
}

fn identity(config: &NetworkConfig) -> PeerId {
    config.keypair.public().to_peer_id()
}

fn strangers(network: &Network) -> u64 {
    network.handle.refusals().of(RefusalReason::Stranger)
}

async fn the_listed_are_served_and_a_stranger_is_hung_up_on(wire: Wire) {
    let (friend, stranger) = (config(Roles::NODE), config(Roles::NODE));
    let list = Arc::new(AllowList::new(
        AuthMode::Enforce,
        Roles::NODE,
        [identity(&friend)],
    ));
    let mut coordinator = listening_as(guarded_by(list), wire).await;
    let coordinator_id = coordinator.handle.local_peer_id();

    let mut stranger = start(stranger).await.unwrap();
    dial(&stranger, &coordinator).await;
    until_disconnected(&mut stranger.events, coordinator_id).await;
    let call = stranger.handle.call::<Heartbeat>(coordinator_id, report(1));
    assert_eq!(soon(call).await, Err(CallError::NotConnected));
    assert_eq!(strangers(&coordinator), 1);

    let mut friend = start(friend).await.unwrap();
    dial(&friend, &coordinator).await;
    until_connected(&mut friend.events, coordinator_id).await;
    // The first that the coordinator hears of anybody is the friend: a stranger never got that far.
    let first = soon(coordinator.events.recv()).await.unwrap();
    let id = friend.handle.local_peer_id();
    assert!(
        matches!(first, network::NetworkEvent::ConnectionOpened { peer, .. } if peer == id),
        "{first:?}"
    );
    answer_all(coordinator.requests);
    heartbeat_is_answered(&friend.handle, coordinator_id).await;
}

async fn a_list_that_changes_holds_for_connections_to_come(wire: Wire) {
    let node = config(Roles::NODE);
    let id = identity(&node);
    let list = Arc::new(AllowList::new(AuthMode::Enforce, Roles::NODE, []));
    let guarded = guarded_by(Arc::<AllowList>::clone(&list));
    let coordinator = listening_as(guarded, wire).await;
    let coordinator_id = coordinator.handle.local_peer_id();
    let mut node = start(node).await.unwrap();
    dial(&node, &coordinator).await;
    until_disconnected(&mut node.events, coordinator_id).await;

    list.allow(id);
    dial(&node, &coordinator).await;
    until_connected(&mut node.events, coordinator_id).await;
    answer_all(coordinator.requests);
    heartbeat_is_answered(&node.handle, coordinator_id).await;

    list.revoke(&id);
    heartbeat_is_answered(&node.handle, coordinator_id).await;
    coordinator.handle.disconnect(id).await;
    until_disconnected(&mut node.events, coordinator_id).await;
    let addr = soon(coordinator.handle.listen_addrs()).await;
    node.handle.dial(coordinator_id, addr).await;
    until_disconnected(&mut node.events, coordinator_id).await;
}

async fn who_is_learnt_is_served_and_noted(wire: Wire) {
    let list = Arc::new(AllowList::new(AuthMode::Learn, Roles::NODE, []));
    let guarded = guarded_by(Arc::<AllowList>::clone(&list));
    let coordinator = listening_as(guarded, wire).await;
    let coordinator_id = coordinator.handle.local_peer_id();
    let mut node = start(config(Roles::NODE)).await.unwrap();
    dial(&node, &coordinator).await;
    until_connected(&mut node.events, coordinator_id).await;
    answer_all(coordinator.requests);
    heartbeat_is_answered(&node.handle, coordinator_id).await;
    let learnt: Vec<PeerId> = list.learnt().into_keys().collect();
    assert_eq!(learnt, [node.handle.local_peer_id()]);
}

/// Never comes to a decision about anyone but one peer.
#[derive(Debug)]
struct Undecided(PeerId);

impl Admission for Undecided {
    fn admit(&self, peer: PeerId, _: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        if peer == self.0 {
            ready(Ok(Roles::NODE)).boxed()
        } else {
            pending().boxed()
        }
    }
}

#[tokio::test]
async fn a_decision_that_takes_its_time_holds_up_nobody_and_is_a_no_in_the_end() {
    let friend = config(Roles::NODE);
    let guarded = guarded_by(Arc::new(Undecided(identity(&friend))));
    let coordinator = listening_as(guarded, Wire::Tcp).await;
    let coordinator_id = coordinator.handle.local_peer_id();
    let mut stranger = start(config(Roles::NODE)).await.unwrap();
    dial(&stranger, &coordinator).await;
    until_connected(&mut stranger.events, coordinator_id).await; // as far as it can tell

    let mut friend = start(friend).await.unwrap();
    dial(&friend, &coordinator).await;
    until_connected(&mut friend.events, coordinator_id).await;
    let refusals = Arc::clone(coordinator.handle.refusals());
    answer_all(coordinator.requests);
    heartbeat_is_answered(&friend.handle, coordinator_id).await;
    assert_eq!(refusals.of(RefusalReason::Stranger), 0);

    until_disconnected(&mut stranger.events, coordinator_id).await;
    assert_eq!(refusals.of(RefusalReason::Stranger), 1);
}

/// Connects new nodes until one of them is refused; the connected ones.
async fn fill(coordinator: &Network, expected: usize) -> Vec<Network> {
    let id = coordinator.handle.local_peer_id();
    let mut connected = Vec::new();
    for _ in 0..expected {
        let mut node = start(config(Roles::NODE)).await.unwrap();
        dial(&node, coordinator).await;
        until_connected(&mut node.events, id).await;
        heartbeat_of(&node, coordinator).await.unwrap();
        connected.push(node);
    }
    connected
}

/// A connection that is refused behind the handshake looks well to its dialler until it uses it.
async fn heartbeat_of(node: &Network, coordinator: &Network) -> Result<(), CallError> {
    let id = coordinator.handle.local_peer_id();
    let answer = soon(node.handle.call::<Heartbeat>(id, report(1))).await;
    answer.map(|_| ())
}

#[tokio::test]
async fn an_address_gets_no_more_connections_than_its_share() {
    let mut guarded = config(Roles::COORDINATOR);
    guarded.limits.connections_per_address = 2;
    let mut coordinator = listening_as(guarded, Wire::Tcp).await;
    answer_all(std::mem::replace(
        &mut coordinator.requests,
        tokio::sync::mpsc::channel(1).1,
    ));
    let mut connected = fill(&coordinator, 2).await;

    let mut third = start(config(Roles::NODE)).await.unwrap();
    let addr = address_of(&coordinator).await;
    let id = coordinator.handle.local_peer_id();
    third.handle.dial(id, vec![addr.clone()]).await;
    crate::support::until(&mut third.events, |event| match event {
        network::NetworkEvent::DialFailed { .. } => Some(()),
        _ => None,
    })
    .await;
    let refused = coordinator.handle.refusals();
    assert_eq!(refused.of(RefusalReason::TooManyFromAddress), 1);

    let gone = connected.remove(0);
    gone.handle.shutdown().await;
    soon(gone.service).await.unwrap();
    until_disconnected(&mut coordinator.events, gone.handle.local_peer_id()).await;
    third.handle.dial(id, vec![addr]).await;
    until_connected(&mut third.events, id).await;
    heartbeat_of(&third, &coordinator).await.unwrap();
}

#[tokio::test]
async fn there_are_no_more_connections_than_the_total_allows() {
    let mut guarded = config(Roles::COORDINATOR);
    guarded.limits.connections = 2;
    let mut coordinator = listening_as(guarded, Wire::Tcp).await;
    answer_all(std::mem::replace(
        &mut coordinator.requests,
        tokio::sync::mpsc::channel(1).1,
    ));
    let _connected = fill(&coordinator, 2).await;
    let mut third = start(config(Roles::NODE)).await.unwrap();
    let id = coordinator.handle.local_peer_id();
    dial(&third, &coordinator).await;
    until_disconnected(&mut third.events, id).await;
    assert_eq!(soon(coordinator.handle.status()).await.connections, 2);
}

#[tokio::test]
async fn no_connection_is_taken_while_memory_is_short() {
    let mut guarded = config(Roles::COORDINATOR);
    guarded.limits.memory_bytes = Some(1);
    let coordinator = listening_as(guarded, Wire::Tcp).await;
    let node = start(config(Roles::NODE)).await.unwrap();
    dial(&node, &coordinator).await;
    let refused = async {
        while coordinator.handle.refusals().of(RefusalReason::Memory) == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
    assert_eq!(soon(coordinator.handle.status()).await.connections, 0);
}

/// A connection that says nothing, from an address of this machine that nobody else uses.
fn silent(from: [u8; 4], to: &Multiaddr) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from = std::net::SocketAddr::from((from, 0));
    socket.bind(&from.into()).unwrap();
    let port: u16 = to.to_string().rsplit('/').next().unwrap().parse().unwrap();
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&to.into()).unwrap();
    socket.into()
}

async fn until_refused(network: &Network, reasons: &[RefusalReason], times: u64) {
    let refusals = network.handle.refusals();
    let refused = async {
        while reasons
            .iter()
            .map(|reason| refusals.of(*reason))
            .sum::<u64>()
            < times
        {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
}

#[tokio::test]
async fn silent_connections_from_one_address_keep_nobody_out() {
    let mut coordinator = listening_as(config(Roles::COORDINATOR), Wire::Tcp).await;
    let (id, addr) = (
        coordinator.handle.local_peer_id(),
        address_of(&coordinator).await,
    );
    answer_all(std::mem::replace(
        &mut coordinator.requests,
        tokio::sync::mpsc::channel(1).1,
    ));
    let crowd: Vec<_> = (0..300).map(|_| silent([127, 0, 0, 2], &addr)).collect();
    // All but sixteen have given way to newer ones, or were too many while those that did had not ended yet.
    let gone = [RefusalReason::GaveWay, RefusalReason::TooManyFromAddress];
    until_refused(&coordinator, &gone, 300 - 16).await;
    assert!(coordinator.handle.refusals().of(RefusalReason::GaveWay) > 0);
    let mut node = start(config(Roles::NODE)).await.unwrap();
    node.handle.dial(id, vec![addr]).await;
    until_connected(&mut node.events, id).await;
    heartbeat_is_answered(&node.handle, id).await;
    drop(crowd);
}

#[tokio::test]
async fn a_crowd_of_addresses_that_say_nothing_keeps_a_known_one_in() {
    let friend = config(Roles::NODE);
    let list = AllowList::new(AuthMode::Enforce, Roles::NODE, [identity(&friend)]);
    let mut guarded = guarded_by(Arc::new(list));
    guarded.limits.pending_incoming = 4;
    guarded.known_addresses = vec![[127, 0, 0, 1].into()];
    let mut coordinator = listening_as(guarded, Wire::Tcp).await;
    let (id, addr) = (
        coordinator.handle.local_peer_id(),
        address_of(&coordinator).await,
    );
    answer_all(std::mem::replace(
        &mut coordinator.requests,
        tokio::sync::mpsc::channel(1).1,
    ));
    // The place of the known address is taken by one that says nothing, and kept beside the crowd.
    let mut neighbour = silent([127, 0, 0, 1], &addr);
    let crowd: Vec<_> = (10..60)
        .map(|number| silent([127, 0, 0, number], &addr))
        .collect();
    until_refused(&coordinator, &[RefusalReason::GaveWay], 50 - 4).await;
    neighbour.set_nonblocking(true).unwrap();
    let kept = std::io::Read::read(&mut neighbour, &mut [0]).unwrap_err();
    assert_eq!(kept.kind(), std::io::ErrorKind::WouldBlock);
    let mut friend = start(friend).await.unwrap();
    friend.handle.dial(id, vec![addr]).await;
    until_connected(&mut friend.events, id).await;
    heartbeat_is_answered(&friend.handle, id).await;
    drop(crowd);
}

#[tokio::test]
async fn who_says_nothing_is_gone_long_before_a_handshake_may_take() {
    let coordinator = listening_as(config(Roles::COORDINATOR), Wire::Tcp).await;
    let addr = address_of(&coordinator).await;
    let began = std::time::Instant::now();
    let silent = silent([127, 0, 0, 1], &addr);
    until_refused(&coordinator, &[RefusalReason::Handshake], 1).await;
    let waited = began.elapsed().as_secs();
    assert!((2..8).contains(&waited), "{waited} s"); // 3 are allowed, a handshake has 10
    drop(silent);
}
