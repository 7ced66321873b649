//! Which connections to one peer stay.

use super::*;

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
