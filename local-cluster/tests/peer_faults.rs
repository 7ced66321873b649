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
use proto::Side;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Ends a test that would wait for ever. No outcome depends on how long it is.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(Duration::from_secs(60), Box::pin(future)).await;
    outcome.unwrap_or_else(|_| panic!("what this test waits for does not happen"))
}

fn config(side: Side) -> NetworkConfig {
    let mut config = NetworkConfig::new(Keypair::generate_ed25519(), side);
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

struct Scene {
    proxy: TcpProxy,
    coordinator: Peers,
    node: Peers,
    handles: [NetworkHandle; 2],
}

impl Scene {
    /// A node that is connected to its coordinator through a proxy.
    async fn new() -> Self {
        let mut listening = config(Side::Coordinator);
        listening.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let coordinator = start(listening).await.unwrap();
        let addr = coordinator.handle.listen_addrs().await.remove(0);
        let proxy = TcpProxy::start(socket_of(&addr)).await.unwrap();
        let node = start(config(Side::Node)).await.unwrap();
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
        let mut scene = Self {
            proxy,
            coordinator,
            node,
            handles,
        };
        until(&mut scene.coordinator, connects).await;
        scene
    }
}

impl Drop for Scene {
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
    let mut scene = Scene::new().await;
    scene.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    until(&mut scene.coordinator, falls_silent).await;
    let views = scene.coordinator.observer().view().await;
    assert_eq!(views[0].state, PeerState::Connected);
    assert!(!views[0].responsive);
    scene.proxy.heal();
    until(&mut scene.coordinator, recovers).await;
}

#[tokio::test]
async fn a_node_whose_coordinator_stays_silent_dials_anew_and_is_back_when_the_network_is() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    until(&mut scene.node, falls_silent).await;
    until(&mut scene.node, is_lost).await;
    scene.proxy.heal();
    until(&mut scene.node, connects).await;
    assert!(scene.proxy.accepted() >= 2);
}

#[tokio::test]
async fn a_cut_is_told_at_once_at_both_ends_and_the_node_comes_back_when_it_is_mended() {
    let mut scene = Scene::new().await;
    scene.proxy.set(Conditions {
        cut: true,
        ..Conditions::default()
    });
    until(&mut scene.coordinator, is_lost).await;
    until(&mut scene.node, is_lost).await;
    let id = scene.handles[0].local_peer_id();
    let failing = async {
        loop {
            let views = scene.node.observer().view().await;
            let view = views.iter().find(|view| view.peer == id).unwrap();
            if view.dial_failures >= 2 {
                assert!(view.last_error.is_some());
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(failing).await;
    scene.proxy.heal();
    until(&mut scene.node, connects).await;
    until(&mut scene.coordinator, connects).await;
}

#[tokio::test]
async fn a_slow_network_is_no_silent_one_and_shows_in_the_round_trip() {
    let mut scene = Scene::new().await;
    let delay = Duration::from_millis(100);
    scene.proxy.set(Conditions {
        delay,
        ..Conditions::default()
    });
    let measured = async {
        loop {
            match scene.node.next_event().await.unwrap() {
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
    let mut scene = Scene::new().await;
    // The old way falls silent for good; the coordinator has no reason to give its end up.
    scene.proxy.set(Conditions {
        silent: true,
        ..Conditions::default()
    });
    let [coordinator, node] = [0, 1].map(|at: usize| scene.handles[at].local_peer_id());
    let addrs = scene.handles[0].listen_addrs().await;
    scene.node.set_targets(vec![Target {
        peer_id: coordinator,
        addrs,
        answers_only: true,
    }]);
    until(&mut scene.node, is_lost).await;
    until(&mut scene.node, connects).await;
    let observer = scene.coordinator.observer();
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
    let events = std::iter::from_fn(|| scene.coordinator.next_event().now_or_never().flatten());
    let told: Vec<PeerEvent> = events
        .filter(|event| is_lost(event) || connects(event))
        .collect();
    assert_eq!(told, []);
}
