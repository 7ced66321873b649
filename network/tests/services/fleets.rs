//! Several peers with their policies: meshes, churn, a coordinator that moves.

use std::collections::HashMap;
use std::time::Duration;

use network::{
    Discovery, Kademlia, KademliaMode, Keypair, Multiaddr, NetworkConfig, NetworkHandle, PeerId,
    PeerManager, PeerPolicy, PeerState, PeerView, Peers, ReconnectPolicy, Target, start,
};
use proto::Roles;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::support::{Wire, config, once_free, soon};

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
        drain: Duration::from_millis(100),
        walk_every: Duration::from_millis(200),
        ..PeerPolicy::default()
    }
}

/// A peer with its policy, that can be stopped and started again.
struct Member {
    config: NetworkConfig,
    running: Option<Running>,
}

struct Running {
    handle: NetworkHandle,
    peers: Peers,
    service: tokio::task::JoinHandle<()>,
    _requests: mpsc::Receiver<network::InboundRequest>,
}

impl Member {
    /// Listens on a port that it keeps when it is started again.
    async fn new(config: NetworkConfig) -> Self {
        let mut member = Self {
            config,
            running: None,
        };
        if member.config.listen.is_empty() {
            member.config.listen = vec![Wire::Tcp.any_port()];
        }
        member.start().await;
        member.config.listen = member.handle().listen_addrs().await;
        member
    }

    async fn node() -> Self {
        Self::new(config(Roles::NODE)).await
    }

    async fn start(&mut self) {
        let network = once_free(|| start(self.config.clone())).await;
        let handle = network.handle.clone();
        let random = StdRng::seed_from_u64(1);
        self.running = Some(Running {
            peers: PeerManager::spawn(handle, network.events, quick(), random),
            handle: network.handle,
            service: network.service,
            _requests: network.requests,
        });
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.handle.shutdown().await;
            soon(running.service).await.unwrap();
        }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn handle(&self) -> &NetworkHandle {
        &self.running().handle
    }

    fn id(&self) -> PeerId {
        self.config.keypair.public().to_peer_id()
    }

    fn target(&self) -> Target {
        Target {
            peer_id: self.id(),
            addrs: self.config.listen.clone(),
            answers_only: false,
        }
    }

    fn wants(&self, others: &[Target]) {
        let mut targets = others.to_vec();
        targets.retain(|target| target.peer_id != self.id());
        self.running().peers.set_targets(targets);
    }

    async fn view(&self) -> HashMap<PeerId, PeerView> {
        let views = soon(self.running().peers.observer().view()).await;
        views.into_iter().map(|view| (view.peer, view)).collect()
    }

    /// Reads events, as a program does, until the views are as wanted.
    async fn until(&mut self, wanted: impl Fn(&HashMap<PeerId, PeerView>) -> bool) {
        let observer = self.running().peers.observer();
        let peers = &mut self.running.as_mut().unwrap().peers;
        let reached = async {
            loop {
                let views = observer.view().await;
                if wanted(&views.into_iter().map(|view| (view.peer, view)).collect()) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(20), peers.next_event()).await;
            }
        };
        soon(reached).await;
    }

    async fn until_connected_to(&mut self, others: &[PeerId]) {
        let id = self.id();
        self.until(|views| {
            let mut others = others.iter().filter(|other| **other != id);
            others.all(|other| {
                let view = views.get(other);
                view.is_some_and(|view| view.state == PeerState::Connected)
            })
        })
        .await;
    }
}

async fn mesh(size: usize) -> (Vec<Member>, Vec<Target>) {
    let mut members = Vec::new();
    for _ in 0..size {
        members.push(Member::node().await);
    }
    let targets: Vec<Target> = members.iter().map(Member::target).collect();
    for member in &members {
        member.wants(&targets);
    }
    (members, targets)
}

fn ids(members: &[Member]) -> Vec<PeerId> {
    members.iter().map(Member::id).collect()
}

#[tokio::test]
async fn peers_that_know_one_bootstrap_peer_all_connect_to_it_and_one_bad_address_hurts_nobody() {
    let mut first = Member::node().await;
    let nowhere = Target {
        peer_id: Keypair::generate_ed25519().public().to_peer_id(),
        addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        answers_only: false,
    };
    let mut others = [Member::node().await, Member::node().await];
    for other in &mut others {
        other.wants(&[nowhere.clone(), first.target()]);
        other.until_connected_to(&[first.id()]).await;
        let views = other.view().await;
        let lost = &views[&nowhere.peer_id];
        assert_ne!(lost.state, PeerState::Connected);
        assert!(lost.target && views[&first.id()].target);
    }
    first.until_connected_to(&ids(&others)).await;

    // It goes and comes back, and everybody is there again.
    first.stop().await;
    for other in &mut others {
        let id = first.id();
        other
            .until(|views| views[&id].state != PeerState::Connected)
            .await;
    }
    first.start().await;
    for other in &mut others {
        other.until_connected_to(&[first.id()]).await;
    }
}

/// Everybody dials everybody, so that each pair dials at the same time.
#[tokio::test]
async fn five_peers_form_a_mesh_with_one_connection_for_each_pair() {
    let (mut members, _) = mesh(5).await;
    let all = ids(&members);
    for member in &mut members {
        member.until_connected_to(&all).await;
    }
    for member in &mut members {
        let settled = |views: &HashMap<PeerId, PeerView>| {
            views
                .values()
                .all(|view| view.state == PeerState::Connected && view.connections == 1)
        };
        member.until(settled).await;
    }
}

#[tokio::test]
async fn two_peers_that_dial_each_other_at_once_keep_the_same_one_connection() {
    for _ in 0..10 {
        let (mut one, mut other) = (Member::node().await, Member::node().await);
        one.wants(&[other.target()]);
        other.wants(&[one.target()]);
        // Longer than either side takes to close what it believes to be replaced.
        let (mut agreed_since, lasting) = (None, 3 * quick().drain);
        let agreement = async {
            loop {
                let (views, others) = (one.view().await, other.view().await);
                let agree = match (views.get(&other.id()), others.get(&one.id())) {
                    (Some(view), Some(their)) => {
                        let single = [view, their].map(|v| v.connections == 1) == [true, true];
                        single && view.dialled != their.dialled
                    }
                    _ => false,
                };
                agreed_since = agreed_since.or(Some(Instant::now())).filter(|_| agree);
                if agreed_since.is_some_and(|since| since.elapsed() > lasting) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(agreement).await;
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn ten_peers_find_together_again_whoever_goes_and_comes() {
    let (mut members, targets) = mesh(10).await;
    let all = ids(&members);
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..10 {
        let at = random.random_range(0..members.len());
        let id = members[at].id();
        members[at].stop().await;
        let witness = (at + 1) % members.len();
        members[witness]
            .until(|views| {
                views
                    .get(&id)
                    .is_none_or(|view| view.state != PeerState::Connected)
            })
            .await;
        members[at].start().await;
        members[at].wants(&targets);
    }
    for member in &mut members {
        member.until_connected_to(&all).await;
    }
}

fn walking(roles: Roles, network: &str) -> NetworkConfig {
    NetworkConfig {
        discovery: Discovery {
            kademlia: Some(Kademlia {
                network: network.to_owned(),
                mode: KademliaMode::Server,
            }),
            private_addresses: true,
            ..Discovery::default()
        },
        ..config(roles)
    }
}

fn at(peer: &Member, addrs: Vec<Multiaddr>) -> Target {
    Target {
        peer_id: peer.id(),
        addrs,
        answers_only: true,
    }
}

#[tokio::test]
async fn a_coordinator_that_has_moved_is_found_through_a_peer_that_knows_where() {
    let mut coordinator = Member::new(walking(Roles::COORDINATOR, "one")).await;
    let (mut informed, mut lost) = (
        Member::new(walking(Roles::NODE, "one")).await,
        Member::new(walking(Roles::NODE, "one")).await,
    );
    let old = coordinator.config.listen.clone();
    for node in [&mut informed, &mut lost] {
        node.wants(&[at(&coordinator, old.clone())]);
        node.until_connected_to(&[coordinator.id()]).await;
    }
    // They know of each other, as from an earlier run.
    let known = vec![(informed.id(), informed.config.listen.clone())];
    lost.running().peers.observer().remember(known).await;

    coordinator.stop().await;
    coordinator.config.listen = vec![Wire::Tcp.any_port()];
    coordinator.start().await;
    coordinator.config.listen = coordinator.handle().listen_addrs().await;
    assert_ne!(coordinator.config.listen, old);
    informed.wants(&[at(&coordinator, coordinator.config.listen.clone())]);
    informed.until_connected_to(&[coordinator.id()]).await;
    lost.until_connected_to(&[coordinator.id()]).await;
}

#[tokio::test]
async fn peers_of_different_networks_do_not_walk_through_each_others_tables() {
    let mut coordinator = Member::new(walking(Roles::COORDINATOR, "one")).await;
    let mut node = Member::new(walking(Roles::NODE, "another")).await;
    let mut kin = Member::new(walking(Roles::NODE, "one")).await;
    for node in [&mut node, &mut kin] {
        node.wants(&[at(&coordinator, coordinator.config.listen.clone())]);
        node.until_connected_to(&[coordinator.id()]).await;
    }
    coordinator.until_connected_to(&[node.id(), kin.id()]).await;
    let table = async {
        loop {
            let status = coordinator.handle().status().await;
            if status.kademlia.is_some_and(|kademlia| kademlia.peers > 0) {
                return status.kademlia.unwrap().peers;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon(table).await, 1);
    // Identified both have been.
    let agents =
        |views: &HashMap<PeerId, PeerView>| views.values().all(|view| view.agent.is_some());
    coordinator.until(agents).await;
    let kademlia = node.handle().status().await.kademlia.unwrap();
    assert_eq!(kademlia.peers, 0);
}

#[tokio::test]
async fn round_trips_are_measured_and_shown() {
    let mut coordinator = Member::new(config(Roles::COORDINATOR)).await;
    let mut eager = config(Roles::NODE);
    eager.ping.interval = Duration::from_millis(10);
    let mut node = Member::new(eager).await;
    node.wants(&[at(&coordinator, coordinator.config.listen.clone())]);
    let id = coordinator.id();
    node.until(|views| views.get(&id).is_some_and(|view| view.rtt.is_some()))
        .await;
    let rtt = node.view().await[&id].rtt.unwrap();
    assert!(rtt.lowest <= rtt.last && rtt.lowest <= rtt.smoothed);
    coordinator.stop().await;
}
