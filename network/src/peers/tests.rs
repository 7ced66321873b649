//! The policy alone: hand-made events in, dial commands out, on a clock that does not wait.

use std::sync::Arc;

use rand::SeedableRng;
use tokio::time::timeout;

use super::*;
use crate::handle::Command;

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_target_is_read_in_both_forms() {
    let at: Target = format!("{PEER}@/ip4/10.0.0.1/tcp/4001").parse().unwrap();
    let p2p: Target = format!("/ip4/10.0.0.1/tcp/4001/p2p/{PEER}")
        .parse()
        .unwrap();
    assert_eq!(at, p2p);
    assert_eq!(at.addrs[0].to_string(), "/ip4/10.0.0.1/tcp/4001");
}

#[test]
fn a_target_without_a_peer_is_refused_with_the_text_and_the_reason() {
    let error = "/ip4/10.0.0.1/tcp/4001".parse::<Target>().unwrap_err();
    assert!(error.to_string().contains("/ip4/10.0.0.1/tcp/4001"));
    assert!(error.to_string().contains("names no peer"));
    assert!("nobody@/ip4/10.0.0.1/tcp/4001".parse::<Target>().is_err());
}

/// A running policy whose network is this test.
struct Policy {
    peers: Peers,
    network: mpsc::Sender<NetworkEvent>,
    commands: mpsc::Receiver<Command>,
}

fn policy() -> ReconnectPolicy {
    ReconnectPolicy {
        attempts: 4,
        ..ReconnectPolicy::default()
    }
}

fn start() -> Policy {
    let (command_sender, commands) = mpsc::channel(16);
    let (network, events) = mpsc::channel(16);
    let handle = NetworkHandle::new(PeerId::random(), command_sender, 8, Arc::default());
    let peers = PeerManager::spawn(handle, events, policy(), StdRng::seed_from_u64(1));
    Policy {
        peers,
        network,
        commands,
    }
}

fn target(port: u16) -> Target {
    Target {
        peer_id: PeerId::random(),
        addrs: vec![format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()],
    }
}

impl Policy {
    /// The next dial, and how long it took to come.
    async fn dial(&mut self) -> (Target, Duration) {
        let asked_at = Instant::now();
        match timeout(HOUR, self.commands.recv()).await {
            Ok(Some(Command::Dial { peer, addrs })) => {
                let target = Target {
                    peer_id: peer,
                    addrs,
                };
                (target, asked_at.elapsed())
            }
            other => panic!("no dial but {other:?}"),
        }
    }

    async fn nobody_is_dialled(&mut self) {
        assert!(timeout(HOUR, self.commands.recv()).await.is_err());
    }

    async fn dial_fails(&self, target: &Target) {
        let event = NetworkEvent::DialFailed {
            peer: target.peer_id,
            error: "refused".into(),
        };
        self.network.send(event).await.unwrap();
    }

    /// Returns when the policy has taken the news.
    async fn connected(&mut self, target: &Target) {
        let (peer, addr) = (target.peer_id, target.addrs[0].clone());
        let told = PeerEvent::Connected {
            peer,
            addr: addr.clone(),
        };
        let event = NetworkEvent::Connected { peer, addr };
        self.network.send(event).await.unwrap();
        assert_eq!(self.peers.next_event().await, Some(told));
    }

    async fn disconnected(&mut self, target: &Target) {
        let (peer, reason) = (target.peer_id, DisconnectReason::Closed);
        let told = PeerEvent::Disconnected {
            peer,
            reason: reason.clone(),
        };
        let event = NetworkEvent::Disconnected { peer, reason };
        self.network.send(event).await.unwrap();
        assert_eq!(self.peers.next_event().await, Some(told));
    }
}

/// Timers have a resolution of a millisecond.
fn lies_within(delay: Duration, shortest: Duration, longest: Duration) -> bool {
    delay >= shortest && delay <= longest + Duration::from_millis(1)
}

#[tokio::test(start_paused = true)]
async fn a_target_is_dialled_at_once_then_after_growing_delays_then_after_a_rest() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    let (dialled, delay) = policy.dial().await;
    assert_eq!(dialled, target);
    assert!(lies_within(delay, Duration::ZERO, Duration::ZERO));
    for seconds in [1, 2, 4, 30, 1, 2] {
        let longest = Duration::from_secs(seconds);
        policy.dial_fails(&target).await;
        let (dialled, delay) = policy.dial().await;
        assert_eq!(dialled, target);
        assert!(
            lies_within(delay, longest / 2, longest),
            "{seconds}: {delay:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_peer_is_dialled_within_the_spread_and_its_failures_count_anew() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    for _ in 0..3 {
        policy.dial_fails(&target).await;
        policy.dial().await;
    }
    policy.connected(&target).await;
    policy.nobody_is_dialled().await;

    policy.disconnected(&target).await;
    let (_, delay) = policy.dial().await;
    let spread = ReconnectPolicy::default().spread;
    assert!(lies_within(delay, Duration::ZERO, spread), "{delay:?}");
    policy.dial_fails(&target).await;
    let (_, delay) = policy.dial().await;
    assert!(
        lies_within(delay, Duration::ZERO, Duration::from_secs(1)),
        "{delay:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_no_target_any_more_is_not_dialled_again() {
    let mut policy = start();
    let (kept, dropped) = (target(1), target(2));
    policy
        .peers
        .set_targets(vec![kept.clone(), dropped.clone()]);
    policy.dial().await;
    policy.dial().await;
    policy.connected(&kept).await;
    policy.connected(&dropped).await;

    policy.peers.set_targets(vec![kept.clone()]);
    policy.disconnected(&dropped).await;
    policy.nobody_is_dialled().await;
    policy.disconnected(&kept).await;
    assert_eq!(policy.dial().await.0, kept);
}

#[tokio::test(start_paused = true)]
async fn new_addresses_of_a_target_are_used_at_the_next_dial() {
    let mut policy = start();
    let old = target(1);
    policy.peers.set_targets(vec![old.clone()]);
    policy.dial().await;
    let new = Target {
        addrs: target(2).addrs,
        ..old.clone()
    };
    policy.peers.set_targets(vec![new.clone()]);
    policy.dial_fails(&old).await;
    assert_eq!(policy.dial().await.0, new);
}

#[tokio::test(start_paused = true)]
async fn a_failed_dial_to_a_stranger_changes_nothing() {
    let mut policy = start();
    policy.dial_fails(&target(1)).await;
    policy.nobody_is_dialled().await;
}

#[tokio::test(start_paused = true)]
async fn round_trips_that_nobody_reads_do_not_keep_a_peer_from_being_dialled() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    for _ in 0..2 * EVENT_QUEUE {
        let event = NetworkEvent::Ping {
            peer: target.peer_id,
            rtt: Duration::from_millis(1),
        };
        let sent = timeout(HOUR, policy.network.send(event)).await;
        sent.expect("the policy has stalled").unwrap();
    }
    policy.dial_fails(&target).await;
    assert_eq!(policy.dial().await.0, target);
}

#[tokio::test(start_paused = true)]
async fn the_policy_ends_with_its_network() {
    let Policy {
        mut peers, network, ..
    } = start();
    drop(network);
    assert_eq!(peers.next_event().await, None);
}
