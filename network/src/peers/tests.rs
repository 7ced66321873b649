//! The policy alone: hand-made events in, dial commands out, on a clock that does not wait.

use std::sync::Arc;

use rand::SeedableRng;
use tokio::time::timeout;

use super::*;
use crate::event::AddrSource;
use crate::exchange::Signs;
use crate::handle::Command;

const HOUR: Duration = Duration::from_secs(3600);

/// A running policy whose network is this test.
struct Policy {
    local: PeerId,
    peers: Peers,
    network: mpsc::Sender<NetworkEvent>,
    commands: mpsc::Receiver<Command>,
    signs: Arc<Signs>,
}

fn policy() -> PeerPolicy {
    PeerPolicy {
        reconnect: ReconnectPolicy {
            attempts: 4,
            ..ReconnectPolicy::default()
        },
        ..PeerPolicy::default()
    }
}

/// Waits for peers for longer than any test does.
fn patient() -> PeerPolicy {
    PeerPolicy {
        ping_interval: 1000 * HOUR,
        ..policy()
    }
}

fn start() -> Policy {
    start_with(patient())
}

fn start_with(policy: PeerPolicy) -> Policy {
    let (command_sender, commands) = mpsc::channel(16);
    let (network, events) = mpsc::channel(EVENT_QUEUE);
    let handle = NetworkHandle::new(PeerId::random(), command_sender, 8, Arc::default());
    let (local, signs) = (handle.local_peer_id(), Arc::clone(handle.signs()));
    let peers = PeerManager::spawn(handle, events, policy, StdRng::seed_from_u64(1));
    Policy {
        local,
        peers,
        network,
        commands,
        signs,
    }
}

fn target(port: u16) -> Target {
    Target {
        peer_id: PeerId::random(),
        addrs: vec![format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()],
        answers_only: false,
    }
}

impl Policy {
    /// The next dial, and how long it took to come.
    async fn dial(&mut self) -> (Target, Duration) {
        let asked_at = Instant::now();
        loop {
            match timeout(HOUR, self.commands.recv()).await {
                Ok(Some(Command::Dial { peer, addrs })) => {
                    let target = Target {
                        peer_id: peer,
                        addrs,
                        answers_only: false,
                    };
                    return (target, asked_at.elapsed());
                }
                Ok(Some(Command::FindPeer { .. })) => {}
                other => panic!("no dial but {other:?}"),
            }
        }
    }

    async fn tell(&self, event: NetworkEvent) {
        self.network.send(event).await.unwrap();
    }

    /// A request or a response, which is not told.
    fn heard(&self, target: &Target) {
        let connection = ConnectionId::new_unchecked(1);
        self.signs.note(target.peer_id, connection);
    }

    async fn next_event(&mut self) -> PeerEvent {
        timeout(HOUR, self.peers.next_event())
            .await
            .unwrap()
            .unwrap()
    }

    async fn view_of(&self, target: &Target) -> PeerView {
        let views = self.peers.observer().view().await;
        views
            .into_iter()
            .find(|view| view.peer == target.peer_id)
            .unwrap()
    }

    /// A connection to a peer, the only one or a further one.
    async fn opened(&self, target: &Target, number: usize, dialled: bool) {
        self.tell(NetworkEvent::ConnectionOpened {
            peer: target.peer_id,
            connection: ConnectionId::new_unchecked(number),
            addr: target.addrs[0].clone(),
            dialled,
        })
        .await;
    }

    /// The next connection that the policy closes, and when.
    async fn closing(&mut self) -> (ConnectionId, Duration) {
        let asked_at = Instant::now();
        match timeout(HOUR, self.commands.recv()).await {
            Ok(Some(Command::Close { connection })) => (connection, asked_at.elapsed()),
            other => panic!("nothing is closed but {other:?}"),
        }
    }

    async fn nobody_is_dialled(&mut self) {
        let command = timeout(HOUR, self.commands.recv()).await;
        assert!(command.is_err(), "{command:?}");
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
        self.tell(NetworkEvent::Connected { peer, addr }).await;
        while self.next_event().await != told {}
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
    tokio::time::sleep(HOUR).await;

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
async fn every_configured_number_of_the_pauses_is_kept() {
    let seconds = Duration::from_secs;
    let mut policy = start_with(PeerPolicy {
        reconnect: ReconnectPolicy {
            initial: seconds(3),
            factor: 3.0,
            max: seconds(50),
            attempts: 5,
            rest: seconds(200),
            spread: seconds(7),
        },
        ..patient()
    });
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    for longest in [3, 9, 27, 50, 200, 3, 9, 27, 50, 200] {
        policy.dial_fails(&target).await;
        let (_, delay) = policy.dial().await;
        let longest = seconds(longest);
        assert!(
            lies_within(delay, longest / 2, longest),
            "{longest:?}: {delay:?}"
        );
    }
    policy.connected(&target).await;
    tokio::time::sleep(HOUR).await;
    policy.disconnected(&target).await;
    let (_, delay) = policy.dial().await;
    assert!(lies_within(delay, Duration::ZERO, seconds(7)), "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_up_at_once_is_not_dialled_in_a_hurry() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    for failures in 1..4 {
        policy.connected(&target).await;
        policy.disconnected(&target).await;
        let (_, delay) = policy.dial().await;
        let shortest = Duration::from_secs(1 << (failures - 1)) / 2;
        let longest = ReconnectPolicy::default().spread;
        assert!(
            lies_within(delay, shortest, longest),
            "{failures}: {delay:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_fails_when_its_dials_are_used_up_and_is_told_once_in_a_round() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    for round in 1..=2 {
        for attempt in 1..=4 {
            policy.dial().await;
            assert_eq!(policy.view_of(&target).await.state, PeerState::Disconnected);
            policy.dial_fails(&target).await;
            let view = policy.view_of(&target).await;
            assert_eq!(view.dial_failures, (round - 1) * 4 + attempt);
            assert!(view.next_dial_in.is_some());
        }
        let failed = PeerEvent::Failed {
            peer: target.peer_id,
            error: "refused".into(),
        };
        assert_eq!(policy.next_event().await, failed);
        let view = policy.view_of(&target).await;
        assert_eq!(view.state, PeerState::Failed);
        assert_eq!(view.last_error.as_deref(), Some("refused"));
    }
    policy.dial().await;
    policy.connected(&target).await;
    let view = policy.view_of(&target).await;
    assert_eq!((view.state, view.dial_failures), (PeerState::Connected, 0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_unresponsive_after_the_configured_time_and_recovers() {
    let mut policy = start_with(PeerPolicy {
        ping_interval: Duration::from_secs(5),
        ping_failures: 3,
        ..policy()
    });
    let visitor = target(1);
    policy.connected(&visitor).await;
    // Any sign of life puts it off.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        policy.heard(&visitor);
    }
    let silent_since = Instant::now();
    let told = policy.next_event().await;
    let silent_for = silent_since.elapsed();
    assert!(lies_within(
        silent_for,
        Duration::from_secs(15),
        Duration::from_secs(15)
    ));
    assert!(matches!(told, PeerEvent::Unresponsive { peer, .. } if peer == visitor.peer_id));
    let view = policy.view_of(&visitor).await;
    assert_eq!((view.state, view.responsive), (PeerState::Connected, false));
    assert_eq!(view.missed_pings, 3);

    tokio::time::sleep(HOUR).await;
    let rtt = Duration::from_millis(3);
    policy
        .tell(NetworkEvent::Ping {
            peer: visitor.peer_id,
            rtt,
        })
        .await;
    assert!(matches!(policy.next_event().await, PeerEvent::Ping { .. }));
    let told = policy.next_event().await;
    assert!(matches!(told, PeerEvent::Recovered { silent_for, .. } if silent_for >= HOUR));
    let view = policy.view_of(&visitor).await;
    assert!(view.responsive);
    assert_eq!(view.rtt, Some(Rtt::first(rtt)));
    // And it is watched as before.
    let told = policy.next_event().await;
    assert!(matches!(told, PeerEvent::Unresponsive { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_peer_that_sends_a_request_recovers_within_a_second() {
    let mut policy = start_with(policy());
    let visitor = target(1);
    policy.connected(&visitor).await;
    let told = policy.next_event().await;
    assert!(matches!(told, PeerEvent::Unresponsive { .. }), "{told:?}");
    tokio::time::sleep(Duration::from_millis(12_345)).await;
    policy.heard(&visitor);
    let heard = Instant::now();
    let told = policy.next_event().await;
    assert!(heard.elapsed() <= Duration::from_secs(1));
    let silent_for = Duration::from_millis(27_345);
    assert_eq!(
        told,
        PeerEvent::Recovered {
            peer: visitor.peer_id,
            silent_for
        }
    );
}

#[tokio::test(start_paused = true)]
async fn a_view_and_the_end_of_a_connection_know_what_was_heard_last() {
    let mut policy = start_with(policy());
    let visitor = target(1);
    policy.connected(&visitor).await;
    for gone in [false, true] {
        tokio::time::sleep(Duration::from_secs(4)).await;
        policy.heard(&visitor);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if gone {
            policy.disconnected(&visitor).await;
        }
        let view = policy.view_of(&visitor).await;
        assert_eq!(view.silent_for, Some(Duration::from_secs(1)));
    }
    assert_eq!(policy.signs.last(&visitor.peer_id), None);
}

#[tokio::test(start_paused = true)]
async fn the_connection_to_a_target_that_stays_silent_is_given_up() {
    let mut policy = start_with(policy());
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    policy.connected(&target).await;
    let silent_since = Instant::now();
    let command = timeout(HOUR, policy.commands.recv()).await;
    assert!(matches!(command, Ok(Some(Command::Disconnect { peer })) if peer == target.peer_id));
    let waited = silent_since.elapsed();
    assert!(
        lies_within(waited, Duration::from_secs(30), Duration::from_secs(30)),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn after_standing_still_itself_a_policy_accuses_nobody() {
    let mut policy = start_with(policy());
    let visitor = target(1);
    policy.connected(&visitor).await;
    tokio::time::advance(HOUR).await; // as after SIGSTOP and SIGCONT
    assert!(policy.view_of(&visitor).await.responsive);
    let woken = Instant::now();
    let told = policy.next_event().await;
    assert!(matches!(told, PeerEvent::Unresponsive { .. }), "{told:?}");
    assert!(woken.elapsed() >= Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_another_replaces_is_closed_when_it_has_drained() {
    let mut policy = start();
    let visitor = target(1);
    policy.opened(&visitor, 1, false).await;
    policy.connected(&visitor).await;
    policy.opened(&visitor, 2, false).await;
    let (closed, delay) = policy.closing().await;
    assert_eq!(closed, ConnectionId::new_unchecked(1));
    assert!(
        lies_within(delay, Duration::from_secs(5), Duration::from_secs(5)),
        "{delay:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_connection_is_not_drained_when_the_one_that_replaced_it_has_gone() {
    let mut policy = start();
    let visitor = target(1);
    policy.opened(&visitor, 1, false).await;
    policy.connected(&visitor).await;
    policy.opened(&visitor, 2, false).await;
    policy
        .tell(NetworkEvent::ConnectionClosed {
            peer: visitor.peer_id,
            connection: ConnectionId::new_unchecked(2),
        })
        .await;
    policy.nobody_is_dialled().await;
    assert_eq!(policy.view_of(&visitor).await.connections, 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_simultaneous_dial_the_connection_of_the_smaller_id_stays() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    policy.opened(&target, 1, true).await;
    policy.connected(&target).await;
    policy.opened(&target, 2, false).await;
    let loser = if policy.local < target.peer_id { 2 } else { 1 };
    assert_eq!(policy.closing().await.0, ConnectionId::new_unchecked(loser));
}

#[tokio::test(start_paused = true)]
async fn a_probe_by_a_peer_that_only_answers_replaces_nothing() {
    let mut policy = start();
    let coordinator = Target {
        answers_only: true,
        ..target(1)
    };
    policy.peers.set_targets(vec![coordinator.clone()]);
    policy.dial().await;
    policy.opened(&coordinator, 1, true).await;
    policy.connected(&coordinator).await;
    policy.opened(&coordinator, 2, false).await;
    policy.nobody_is_dialled().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_discovery_opened_ends_after_a_while() {
    let mut policy = start();
    let stranger = target(1);
    policy.opened(&stranger, 1, true).await;
    policy.connected(&stranger).await;
    let (closed, delay) = policy.closing().await;
    assert_eq!(closed, ConnectionId::new_unchecked(1));
    let visit = PeerPolicy::default().visit;
    assert!(lies_within(delay, visit, visit), "{delay:?}");
}

#[tokio::test(start_paused = true)]
async fn others_are_asked_where_a_target_is_and_it_is_dialled_there_soon() {
    let mut policy = start();
    let moved = target(1);
    policy.peers.set_targets(vec![moved.clone()]);
    for _ in 0..3 {
        policy.dial().await;
        policy.dial_fails(&moved).await;
    }
    policy.view_of(&moved).await; // the last failure has been taken
    let elsewhere = target(2).addrs;
    policy
        .tell(NetworkEvent::Discovered {
            peer: moved.peer_id,
            addrs: elsewhere.clone(),
            source: AddrSource::Kademlia,
        })
        .await;
    let (dialled, delay) = policy.dial().await;
    assert_eq!(dialled.addrs, [moved.addrs.clone(), elsewhere].concat());
    assert!(
        lies_within(delay, Duration::ZERO, Duration::from_secs(1)),
        "{delay:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_does_not_set_the_pace_of_dials() {
    let mut policy = start();
    let target = target(1);
    policy.peers.set_targets(vec![target.clone()]);
    policy.dial().await;
    policy.dial_fails(&target).await;
    for port in 1..1000 {
        policy
            .tell(NetworkEvent::Discovered {
                peer: target.peer_id,
                addrs: vec![format!("/ip4/10.9.9.9/tcp/{port}").parse().unwrap()],
                source: AddrSource::Mdns,
            })
            .await;
    }
    let (dialled, delay) = policy.dial().await;
    assert!(delay >= Duration::from_millis(500), "{delay:?}");
    assert!(dialled.addrs.len() <= 16, "{}", dialled.addrs.len());
}

#[tokio::test(start_paused = true)]
async fn strangers_without_number_are_not_all_remembered() {
    let policy = start();
    for _ in 0..MAX_REMEMBERED + 100 {
        policy
            .tell(NetworkEvent::Discovered {
                peer: PeerId::random(),
                addrs: target(1).addrs,
                source: AddrSource::Mdns,
            })
            .await;
    }
    assert_eq!(policy.peers.observer().view().await.len(), MAX_REMEMBERED);
}

#[tokio::test(start_paused = true)]
async fn an_address_on_the_loopback_is_believed_of_neighbours_only() {
    let policy = start();
    let (near, far) = (
        Target {
            addrs: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
            ..target(1)
        },
        target(1),
    );
    for peer in [&near, &far] {
        policy.opened(peer, 1, false).await;
        policy
            .tell(NetworkEvent::Discovered {
                peer: peer.peer_id,
                addrs: vec!["/ip4/127.0.0.1/tcp/9".parse().unwrap()],
                source: AddrSource::Itself,
            })
            .await;
    }
    assert_eq!(policy.view_of(&near).await.addrs.len(), 1);
    assert_eq!(policy.view_of(&far).await.addrs.len(), 0);
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
