//! Peers over a network that gets bad: silence without an end, a cut, delay.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use local_cluster::proxy::{Conditions, TcpProxy};
use network::{
    Keypair, Multiaddr, Network, NetworkConfig, NetworkHandle, PeerEvent, PeerManager, PeerPolicy,
    PeerState, PeerView, Peers, ReconnectPolicy, Target, multiaddr, start,
};
use proto::{Roles, protocols};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Ends a test that would wait for ever. No outcome depends on how long it is.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(Duration::from_secs(60), Box::pin(future)).await;
    outcome.unwrap_or_else(|_| panic!("what this test waits for does not happen"))
}

fn config(roles: Roles) -> NetworkConfig {
    let keypair = Keypair::generate_ed25519();
    let mut config = NetworkConfig::new(keypair, protocols::FAMILY, &protocols::TABLE, roles);
    config.answers_only = roles == Roles::COORDINATOR;
    config.ping.interval = Duration::from_millis(100);
    config
}

/// Quick where a test waits for it. Silence has to last longer than a busy machine stands still.
fn policy() -> PeerPolicy {
    PeerPolicy {
        reconnect: ReconnectPolicy {
            initial: Duration::from_millis(20),
            max: Duration::from_millis(200),
            rest: Duration::from_millis(200),
            spread: Duration::from_millis(20),
            ..ReconnectPolicy::default()
        },
        ping_interval: Duration::from_millis(500),
        ping_failures: 3,
        ..PeerPolicy::default()
    }
}

struct FaultRig {
    proxy: TcpProxy,
    coordinator: Peers,
    node: Peers,
    handles: [NetworkHandle; 2],
}

impl FaultRig {
    /// A node that is connected to its coordinator through a proxy.
    async fn new() -> Self {
        let mut listening = config(Roles::COORDINATOR);
        listening.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let coordinator = start(listening).await.unwrap();
        let addr = coordinator.handle.listen_addrs().await.remove(0);
        let proxy = TcpProxy::start(socket_of(&addr)).await.unwrap();
        let node = start(config(Roles::NODE)).await.unwrap();
        let handles = [coordinator.handle.clone(), node.handle.clone()];
        let (coordinator, mut node) = (managed(coordinator), managed(node));
        node.set_targets(vec![Target {
            peer_id: handles[0].local_peer_id(),
            addrs: vec![
                format!("/ip4/127.0.0.1/tcp/{}", proxy.addr().port())
                    .parse()
                    .unwrap(),
            ],
            answers_only: true,
        }]);
        until(&mut node, connects).await;
        let mut rig = Self {
            proxy,
            coordinator,
            node,
            handles,
        };
        until(&mut rig.coordinator, connects).await;
        rig
    }
}

impl Drop for FaultRig {
    fn drop(&mut self) {
        let handles = self.handles.clone();
        tokio::spawn(async move {
            for handle in handles {
                handle.shutdown().await;
            }
        });
    }
}

fn managed(network: Network) -> Peers {
    let Network {
        handle,
        events,
        mut requests,
        ..
    } = network;
    tokio::spawn(async move { while requests.recv().await.is_some() {} });
    PeerManager::spawn(handle, events, policy(), StdRng::seed_from_u64(1))
}

fn socket_of(addr: &Multiaddr) -> SocketAddr {
    let port = addr.iter().find_map(|part| match part {
        multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    SocketAddr::from(([127, 0, 0, 1], port.unwrap()))
}

async fn until(peers: &mut Peers, wanted: fn(&PeerEvent) -> bool) -> PeerEvent {
    let found = async {
        loop {
            let event = peers.next_event().await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    };
    soon(found).await
}

fn connects(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Connected { .. })
}

fn is_lost(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Disconnected { .. })
}

fn falls_silent(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Unresponsive { .. })
}

fn recovers(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::Recovered { .. })
}

#[tokio::test]
async fn packets_that_vanish_without_an_end_are_noticed_at_both_ends_and_so_is_their_return() {
    let mut rig = FaultRig::new().await;
    rig.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    until(&mut rig.coordinator, falls_silent).await;
    let views = rig.coordinator.observer().view().await;
    assert_eq!(views[0].state, PeerState::Connected);
    assert!(!views[0].responsive);
    rig.proxy.heal();
    until(&mut rig.coordinator, recovers).await;
}

#[tokio::test]
async fn a_node_whose_coordinator_stays_silent_dials_anew_and_is_back_when_the_network_is() {
    let mut rig = FaultRig::new().await;
    rig.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    until(&mut rig.node, falls_silent).await;
    until(&mut rig.node, is_lost).await;
    rig.proxy.heal();
    until(&mut rig.node, connects).await;
    assert!(rig.proxy.accepted() >= 2);
}

#[tokio::test]
async fn a_cut_is_told_at_once_at_both_ends_and_the_node_comes_back_when_it_is_mended() {
    let mut rig = FaultRig::new().await;
    rig.proxy.set(Conditions {
        cut: true,
        ..Conditions::default()
    });
    until(&mut rig.coordinator, is_lost).await;
    until(&mut rig.node, is_lost).await;
    let id = rig.handles[0].local_peer_id();
    let failing = async {
        loop {
            let views = rig.node.observer().view().await;
            let view = views.iter().find(|view| view.peer == id).unwrap();
            if view.dial_failures >= 2 {
                assert!(view.last_error.is_some());
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(failing).await;
    rig.proxy.heal();
    until(&mut rig.node, connects).await;
    until(&mut rig.coordinator, connects).await;
}

#[tokio::test]
async fn a_slow_network_is_no_silent_one_and_shows_in_the_round_trip() {
    let mut rig = FaultRig::new().await;
    let delay = Duration::from_millis(100);
    rig.proxy.set(Conditions {
        delay,
        ..Conditions::default()
    });
    let measured = async {
        loop {
            match rig.node.next_event().await.unwrap() {
                PeerEvent::Ping { rtt, .. } if rtt >= 2 * delay => return,
                PeerEvent::Ping { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    soon(measured).await;
}

#[tokio::test]
async fn a_stale_connection_is_replaced_by_the_new_one_and_the_node_never_counts_as_gone() {
    let mut rig = FaultRig::new().await;
    // The old way falls silent for good; the coordinator has no reason to give its end up.
    rig.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    let [coordinator, node] = [0, 1].map(|at: usize| rig.handles[at].local_peer_id());
    let addrs = rig.handles[0].listen_addrs().await;
    rig.node.set_targets(vec![Target {
        peer_id: coordinator,
        addrs,
        answers_only: true,
    }]);
    until(&mut rig.node, is_lost).await;
    until(&mut rig.node, connects).await;
    let observer = rig.coordinator.observer();
    let view = async |wanted: fn(&PeerView) -> bool| {
        let reached = async {
            loop {
                let views = observer.view().await;
                let view = views.into_iter().find(|view| view.peer == node).unwrap();
                assert_eq!(view.state, PeerState::Connected);
                if wanted(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(reached).await
    };
    let stale = view(|view| view.connections == 2).await.connected_for;
    let replaced = view(|view| view.connections == 1).await;
    assert!(replaced.responsive && replaced.connected_for > stale);
    let events = std::iter::from_fn(|| rig.coordinator.next_event().now_or_never().flatten());
    let told: Vec<PeerEvent> = events
        .filter(|event| is_lost(event) || connects(event))
        .collect();
    assert_eq!(told, []);
}
