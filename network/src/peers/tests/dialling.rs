//! When targets are dialled, and when they are given up.

use super::*;

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
