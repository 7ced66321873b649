//! What addresses are worth, and how many are kept.

use super::*;

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
