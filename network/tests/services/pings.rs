//! Pings on the wire: with libp2p's own, and left out where other exchanges tell as much.

use std::time::Duration;

use futures::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, Transport, identity::Keypair, noise, ping, tcp, yamux};
use network::{NetworkConfig, NetworkEvent, PeerId, Pinged, start};
use proto::Roles;
use tokio::time::Instant;

use crate::support::{
    Pair, Wire, address_of, answer_all, config, heartbeat_is_answered, listening_as, soon, until,
};

fn eager(roles: Roles) -> NetworkConfig {
    let mut config = config(roles);
    config.ping.interval = Duration::from_millis(20);
    config
}

fn ping_of(wanted: PeerId) -> impl Fn(&NetworkEvent) -> Option<Duration> {
    move |event| match event {
        NetworkEvent::Ping { peer, rtt } if *peer == wanted => Some(*rtt),
        _ => None,
    }
}

#[tokio::test]
async fn a_foreign_peer_is_pinged_again_and_again_and_answered() {
    let mut coordinator = listening_as(eager(Roles::COORDINATOR), Wire::Tcp).await;
    let keypair = Keypair::generate_ed25519();
    let foreign = keypair.public().to_peer_id();
    let transport = tcp::tokio::Transport::new(tcp::Config::new())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let often = ping::Config::new().with_interval(Duration::from_millis(20));
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(Duration::from_secs(3600));
    let mut swarm = Swarm::new(transport, ping::Behaviour::new(often), foreign, config);
    swarm.dial(address_of(&coordinator).await).unwrap();
    let answered = async {
        let mut answers = 0;
        while answers < 3 {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(event) => {
                    event.result.unwrap();
                    answers += 1;
                }
                SwarmEvent::ConnectionClosed { cause, .. } => panic!("{cause:?}"),
                _ => {}
            }
        }
    };
    soon(answered).await;
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    for _ in 0..3 {
        until(&mut coordinator.events, ping_of(foreign)).await;
    }
}

#[tokio::test]
async fn a_peer_that_is_heard_is_rarely_pinged_and_one_that_falls_silent_is_again() {
    let mut coordinator = config(Roles::COORDINATOR);
    coordinator.ping.interval = Duration::from_millis(100);
    let coordinator = listening_as(coordinator, Wire::Tcp).await;
    let node = start(config(Roles::NODE)).await.unwrap();
    let pair = Pair::connected(coordinator, node).await;
    let (coordinator, node) = (pair.coordinator_id(), pair.node.handle.clone());
    let mut events = pair.coordinator.events;
    answer_all(pair.coordinator.requests);
    let pinged = ping_of(node.local_peer_id());
    for _ in 0..2 {
        until(&mut events, &pinged).await;
    }
    // 30 intervals, with a ping in one of six.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        heartbeat_is_answered(&node, coordinator).await;
    }
    let heard = std::iter::from_fn(|| events.try_recv().ok());
    let pings = heard.filter_map(|event| pinged(&event)).count();
    assert!((1..=6).contains(&pings), "{pings}");
    for _ in 0..3 {
        until(&mut events, &pinged).await;
    }
}

/// Lets a foreign peer live while something is waited for; between two of these it is frozen.
async fn while_alive<T>(peer: &mut Swarm<ping::Behaviour>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => return done,
            _ = peer.select_next_some() => {}
        }
    }
}

#[tokio::test]
async fn a_ping_out_of_turn_tells_whether_a_peer_is_there_at_this_moment() {
    let mut coordinator = listening_as(config(Roles::COORDINATOR), Wire::Tcp).await;
    let keypair = Keypair::generate_ed25519();
    let foreign = keypair.public().to_peer_id();
    let transport = tcp::tokio::Transport::new(tcp::Config::new())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    // Without an executor of its own its connections stand still with it.
    let config = libp2p::swarm::Config::without_executor()
        .with_idle_connection_timeout(Duration::from_secs(3600));
    let rarely = ping::Config::new().with_interval(Duration::from_secs(3600));
    let mut peer = Swarm::new(transport, ping::Behaviour::new(rarely), foreign, config);
    peer.dial(address_of(&coordinator).await).unwrap();
    let connected = until(&mut coordinator.events, |event| match event {
        NetworkEvent::Connected { peer, .. } => (*peer == foreign).then_some(()),
        _ => None,
    });
    while_alive(&mut peer, connected).await;

    let (handle, long) = (coordinator.handle.clone(), Duration::from_secs(30));
    let answered = |pinged| matches!(pinged, Pinged::Answered(_));
    for _ in 0..3 {
        let alive = while_alive(&mut peer, handle.ping(foreign, long)).await;
        assert!(answered(alive), "{alive:?}");
        let frozen = handle.ping(foreign, Duration::from_millis(50)).await;
        assert_eq!(frozen, Pinged::Silent);
        // Asked while the last ping is still under way: its pong is the answer.
    }
    let alive = while_alive(&mut peer, handle.ping(foreign, long)).await;
    assert!(answered(alive), "{alive:?}");
    let stranger = handle.ping(PeerId::random(), long).await;
    assert_eq!(
        stranger,
        Pinged::Silent,
        "at once, and not after half a minute"
    );
}
