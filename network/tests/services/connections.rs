//! Connections that come, break and come back, and the policy that wants them.

use std::time::Duration;

use network::{
    CallError, Multiaddr, NetworkConfig, NetworkEvent, NetworkHandle, PeerEvent, PeerId,
    PeerManager, PeerPolicy, Peers, ReconnectPolicy, Target, start,
};
use proto::{Roles, Store};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::support::{
    Pair, Wire, address_of, answer_all, config, dial, listening, listening_as, next_request,
    once_free, over_tcp_and_quic, soon, store, store_is_answered, until, until_connected,
    until_disconnected,
};

over_tcp_and_quic! {
    a_call_to_a_peer_that_stops_fails_and_the_loss_is_told,
    a_call_over_a_connection_that_we_close_fails_and_the_loss_is_told,
    a_lost_peer_can_be_called_again_once_it_is_back,
    a_target_is_dialled_and_dialled_again_when_it_comes_back_on_its_port,
}

async fn a_call_to_a_peer_that_stops_fails_and_the_loss_is_told(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let node = pair.node_id();
    let call = pair.coordinator.handle.call::<Store>(node, store(1, 100));
    let stopping = async {
        let unanswered = next_request(&mut pair.node).await;
        pair.node.handle.shutdown().await;
        (&mut pair.node.service).await.unwrap();
        drop(unanswered);
    };
    let (answered, ()) = soon(async { tokio::join!(call, stopping) }).await;
    let error = answered.unwrap_err();
    is_a_loss(&error);
    until_disconnected(&mut pair.coordinator.events, node).await;
    let call = pair.coordinator.handle.call::<Store>(node, store(2, 100));
    assert_eq!(soon(call).await, Err(CallError::NotConnected));
}

/// Over QUIC the stream may notice before the connection does.
fn is_a_loss(error: &CallError) {
    assert!(
        matches!(error, CallError::ConnectionLost | CallError::Io(_)),
        "{error:?}"
    );
    assert!(error.outcome_unknown());
}

async fn a_call_over_a_connection_that_we_close_fails_and_the_loss_is_told(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let (coordinator, node) = (pair.coordinator_id(), pair.node_id());
    let call = pair.coordinator.handle.call::<Store>(node, store(1, 100));
    let closing = async {
        let unanswered = next_request(&mut pair.node).await;
        pair.coordinator.handle.disconnect(node).await;
        unanswered
    };
    let (answered, _unanswered) = soon(async { tokio::join!(call, closing) }).await;
    is_a_loss(&answered.unwrap_err());
    until_disconnected(&mut pair.coordinator.events, node).await;
    until_disconnected(&mut pair.node.events, coordinator).await;
}

async fn a_lost_peer_can_be_called_again_once_it_is_back(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let node = pair.node_id();
    pair.coordinator.handle.disconnect(node).await;
    let coordinator = pair.coordinator_id();
    until_disconnected(&mut pair.node.events, coordinator).await;
    until_disconnected(&mut pair.coordinator.events, node).await;
    let pair = Pair::connected(pair.coordinator, pair.node).await;
    answer_all(pair.node.requests);
    store_is_answered(&pair.coordinator.handle, node).await;
}

#[tokio::test]
async fn a_peer_that_is_reached_elsewhere_does_not_tell_where_it_listens() {
    let elsewhere: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().unwrap();
    let coordinator = NetworkConfig {
        external_addrs: vec![elsewhere.clone()],
        ..config(Roles::COORDINATOR)
    };
    let coordinator = listening_as(coordinator, Wire::Tcp).await;
    let mut node = start(config(Roles::NODE)).await.unwrap();
    dial(&node, &coordinator).await;
    let told = until(&mut node.events, |event| match event {
        NetworkEvent::Discovered { addrs, .. } => Some(addrs.clone()),
        _ => None,
    });
    assert_eq!(told.await, [elsewhere]);
}

/// Does not keep a test waiting; how long delays are is tested where the policy is.
fn quick() -> PeerPolicy {
    PeerPolicy {
        reconnect: ReconnectPolicy {
            initial: Duration::from_millis(5),
            max: Duration::from_millis(50),
            rest: Duration::from_millis(50),
            spread: Duration::from_millis(5),
            ..ReconnectPolicy::default()
        },
        ..PeerPolicy::default()
    }
}

/// A node whose policy keeps it connected to its targets.
async fn managed_node() -> Peers {
    let node = start(config(Roles::NODE)).await.unwrap();
    PeerManager::spawn(node.handle, node.events, quick(), StdRng::seed_from_u64(1))
}

async fn next_change(peers: &mut Peers) -> PeerEvent {
    let change = async {
        loop {
            match peers.next_event().await.unwrap() {
                PeerEvent::Ping { .. } => {}
                change => return change,
            }
        }
    };
    soon(change).await
}

async fn a_target_is_dialled_and_dialled_again_when_it_comes_back_on_its_port(wire: Wire) {
    let identity = config(Roles::COORDINATOR);
    let coordinator = listening_as(identity.clone(), wire).await;
    let addr = address_of(&coordinator).await;
    let peer_id = coordinator.handle.local_peer_id();
    let target = Target {
        peer_id,
        addrs: vec![addr.clone()],
        answers_only: true,
    };

    let mut peers = managed_node().await;
    peers.set_targets(vec![target]);
    let connected = PeerEvent::Connected {
        peer: peer_id,
        addr: addr.clone(),
    };
    let without_peer_id = |event: PeerEvent| match event {
        PeerEvent::Connected { peer, addr } => PeerEvent::Connected {
            peer,
            addr: addr.into_iter().filter(is_no_peer_id).collect(),
        },
        other => other,
    };
    assert_eq!(without_peer_id(next_change(&mut peers).await), connected);

    coordinator.handle.shutdown().await;
    soon(coordinator.service).await.unwrap();
    let lost = next_change(&mut peers).await;
    assert!(
        matches!(lost, PeerEvent::Disconnected { peer, .. } if peer == peer_id),
        "{lost:?}"
    );

    let second_run = NetworkConfig {
        listen: vec![addr.clone()],
        ..identity
    };
    let _coordinator = once_free(|| start(second_run.clone())).await;
    assert_eq!(without_peer_id(next_change(&mut peers).await), connected);
}

fn is_no_peer_id(part: &network::multiaddr::Protocol<'_>) -> bool {
    !matches!(part, network::multiaddr::Protocol::P2p(_))
}

#[tokio::test]
async fn a_new_set_of_targets_is_dialled_and_a_dropped_target_stays_as_it_is() {
    let mut first = listening(Wire::Tcp).await;
    let second = listening(Wire::Quic).await;
    let mut peers = managed_node().await;
    for coordinator in [&first, &second] {
        let peer_id = coordinator.handle.local_peer_id();
        peers.set_targets(vec![Target {
            peer_id,
            addrs: vec![address_of(coordinator).await],
            answers_only: true,
        }]);
        let change = next_change(&mut peers).await;
        assert!(
            matches!(change, PeerEvent::Connected { peer, .. } if peer == peer_id),
            "{change:?}"
        );
    }
    // The first connection still stands: only now is it closed.
    let node = until(&mut first.events, peer_that_connected).await;
    first.handle.disconnect(node).await;
    let change = next_change(&mut peers).await;
    let first = first.handle.local_peer_id();
    assert!(
        matches!(change, PeerEvent::Disconnected { peer, .. } if peer == first),
        "{change:?}"
    );
}

#[tokio::test]
async fn a_peer_is_reached_though_others_answer_at_some_of_its_addresses() {
    let coordinator = listening(Wire::Tcp).await;
    let mut others = Vec::new();
    let mut addrs = Vec::new();
    for _ in 0..4 {
        let other = listening(Wire::Tcp).await;
        addrs.push(address_of(&other).await);
        others.push(other);
    }
    addrs.push(address_of(&coordinator).await);
    let mut node = start(config(Roles::NODE)).await.unwrap();
    let peer = coordinator.handle.local_peer_id();
    node.handle.dial(peer, addrs).await;
    let outcome = until(&mut node.events, |event| match event {
        NetworkEvent::Connected { peer, .. } => Some(Ok(*peer)),
        NetworkEvent::DialFailed { error, .. } => Some(Err(error.clone())),
        _ => None,
    });
    assert_eq!(outcome.await, Ok(peer));
}

fn peer_that_connected(event: &NetworkEvent) -> Option<PeerId> {
    match event {
        NetworkEvent::Connected { peer, .. } => Some(*peer),
        _ => None,
    }
}

async fn dial_failure(config: NetworkConfig, target: Target) -> String {
    let mut node = start(config).await.unwrap();
    node.handle.dial(target.peer_id, target.addrs).await;
    until(&mut node.events, |event| match event {
        NetworkEvent::DialFailed { peer, error } if *peer == target.peer_id => Some(error.clone()),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_dial_that_comes_to_nothing_is_told_with_its_reason() {
    let coordinator = listening(Wire::Tcp).await;
    let addr = address_of(&coordinator).await;
    let stranger = Target {
        peer_id: config(Roles::COORDINATOR).keypair.public().to_peer_id(),
        addrs: vec![addr.clone()],
        answers_only: true,
    };
    let wrong_peer = dial_failure(config(Roles::NODE), stranger.clone()).await;
    assert!(!wrong_peer.is_empty());

    coordinator.handle.shutdown().await;
    soon(coordinator.service).await.unwrap();
    let closed_port = dial_failure(config(Roles::NODE), stranger.clone()).await;
    assert!(closed_port.contains("refused"), "{closed_port}");

    let nowhere = Target {
        addrs: Vec::new(),
        ..stranger
    };
    let no_address = dial_failure(config(Roles::NODE), nowhere).await;
    assert!(no_address.contains("address"), "{no_address}");
}

#[tokio::test]
async fn what_happens_to_connections_is_kept_for_a_reader_that_is_behind() {
    const TIMES: usize = 150; // twice as many events, which is more than their channel holds
    let pair = Pair::over(Wire::Tcp).await;
    let (coordinator_id, node_id) = (pair.coordinator_id(), pair.node_id());
    let addr = address_of(&pair.coordinator).await;
    let (coordinator, node) = (pair.coordinator.handle, pair.node.handle);
    let (mut unread, mut events) = (pair.coordinator.events, pair.node.events);
    answer_all(pair.node.requests);
    for _ in 0..TIMES {
        node.disconnect(coordinator_id).await;
        until_disconnected(&mut events, coordinator_id).await;
        until_not_connected(&coordinator, node_id).await;
        node.dial(coordinator_id, vec![addr.clone()]).await;
        until_connected(&mut events, coordinator_id).await;
    }
    for _ in 0..TIMES {
        until_disconnected(&mut unread, node_id).await;
        until_connected(&mut unread, node_id).await;
    }
}

/// Learns without a look at its events that a service has noticed the loss of a peer.
async fn until_not_connected(handle: &NetworkHandle, peer: PeerId) {
    let refused = async {
        while handle.call::<Store>(peer, store(1, 100)).await != Err(CallError::NotConnected) {}
    };
    soon(refused).await;
}
