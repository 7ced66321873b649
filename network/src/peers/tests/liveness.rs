//! Silence, and signs of life.

use super::*;

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
