//! The policy alone: hand-made events in, dial commands out, on a clock that does not wait.

mod addresses;
mod connections;
mod dialling;
mod liveness;

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
async fn the_policy_ends_with_its_network() {
    let Policy {
        mut peers, network, ..
    } = start();
    drop(network);
    assert_eq!(peers.next_event().await, None);
}
