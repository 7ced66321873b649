//! Peers that break the rules: they get nothing, and nobody else notices.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use libp2p::request_response::OutboundFailure;
use network::{Admission, CallError, Multiaddr, Network, NetworkConfig, PeerId, Refusal, start};
use proto::{Heartbeat, Message, ProtocolSpec, Roles, Store, protocols};

use crate::bare_channel::BareChannel;
use crate::raw_peer::{Bytes, RawPeer};
use crate::support::{
    Pair, Wire, address_of, answer_all, config, dial, heartbeat_is_answered, listening,
    listening_as, next_request, report, soon, store, store_is_answered, until_connected,
};

/// A coordinator with an honest node, and a hostile one that speaks `protocol`.
struct Scene {
    honest: Pair,
    hostile: RawPeer,
}

impl Scene {
    async fn with(protocol: ProtocolSpec) -> Self {
        let coordinator = listening(Wire::Tcp).await;
        let addr = address_of(&coordinator).await;
        let node = start(config(Roles::NODE)).await.unwrap();
        let mut honest = Pair::connected(coordinator, node).await;
        let hostile = RawPeer::dial(honest.coordinator_id(), addr, protocol).await;
        until_connected(&mut honest.coordinator.events, hostile.id()).await;
        Self { honest, hostile }
    }
}

/// The honest node is served, and nothing of the hostile one's stands before its request.
async fn only_the_honest_node_is_heard(honest: &mut Pair) {
    let (coordinator, node) = (honest.coordinator_id(), honest.node_id());
    let call = honest.node.handle.call::<Heartbeat>(coordinator, report(1));
    let answering = async {
        let request = next_request(&mut honest.coordinator).await;
        assert_eq!(request.peer, node);
        crate::support::answer(request).await;
    };
    let (answered, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert!(answered.is_ok(), "{answered:?}");
}

#[tokio::test]
async fn a_request_that_is_no_frame_is_dropped_and_others_are_served() {
    let cap = protocols::HEARTBEAT.max_frame_bytes;
    let mut beyond_cap = unsigned_varint::encode::usize_buffer();
    let beyond_cap = unsigned_varint::encode::usize(cap + 1, &mut beyond_cap);
    let too_long = [beyond_cap, &vec![0; cap + 1]].concat();
    let most = [&[0xff; 9][..], &[0x01, 0x00]].concat();
    let not_frames: [(&str, Vec<u8>); 8] = [
        ("nothing", Vec::new()),
        ("half a length", vec![0x80]),
        (
            "a length in a longer form than needed",
            vec![0x81, 0x00, 0x00],
        ),
        ("a length of more than 64 bits", vec![0xff; 11]),
        ("the greatest length", most),
        ("a frame beyond the cap", too_long),
        ("a length and nothing", vec![100]),
        ("a frame cut short", [vec![100], vec![0; 99]].concat()),
    ];
    let Scene {
        mut honest,
        mut hostile,
    } = Scene::with(protocols::HEARTBEAT).await;
    for (what, bytes) in not_frames {
        hostile.write(Bytes::Ended(bytes));
        if let Ok(answer) = hostile.outcome().await {
            assert!(answer.is_empty(), "{what}: {answer:?}");
        }
        only_the_honest_node_is_heard(&mut honest).await;
    }

    // Its connection still stands, and a proper frame over it is heard.
    let heartbeat = report(1).into_frame().to_bytes();
    hostile.write(Bytes::framed(&heartbeat));
    let answering = async {
        let request = next_request(&mut honest.coordinator).await;
        crate::support::answer(request).await;
    };
    let (answered, ()) = tokio::join!(hostile.outcome(), answering);
    assert!(!answered.unwrap().is_empty());
}

#[tokio::test]
async fn a_frame_that_is_no_message_is_refused_by_whoever_reads_it() {
    let Scene {
        mut honest,
        mut hostile,
    } = Scene::with(protocols::HEARTBEAT).await;
    for garbage in [&[0xff; 100][..], &[], &[0x0a], &[0x20, 0x63]] {
        hostile.write(Bytes::framed(garbage));
        let reading = async {
            let mut request = next_request(&mut honest.coordinator).await;
            assert!(request.decode::<Heartbeat>().is_err(), "{garbage:?}");
        };
        let (answered, ()) = tokio::join!(hostile.outcome(), reading);
        assert!(answered.is_err() || answered.is_ok_and(|bytes| bytes.is_empty()));
    }
    only_the_honest_node_is_heard(&mut honest).await;
}

#[tokio::test]
async fn peers_that_stall_in_mid_frame_keep_nobody_from_being_served() {
    let Scene {
        honest,
        mut hostile,
    } = Scene::with(protocols::HEARTBEAT).await;
    let coordinator = honest.coordinator_id();
    let half = [vec![100], vec![0; 50]].concat();
    for _ in 0..100 {
        hostile.write(Bytes::Stalled(half.clone()));
    }
    // A peer may have 64 requests open. The next ones are cut, which shows that these are there.
    let cut = hostile.outcome().await;
    assert!(cut.is_err(), "{cut:?}");
    hostile.stay();
    let node = honest.node_id();
    answer_all(honest.node.requests);
    store_is_answered(&honest.coordinator.handle, node).await;
    answer_all(honest.coordinator.requests);
    heartbeat_is_answered(&honest.node.handle, coordinator).await;
}

#[tokio::test]
async fn of_streams_without_end_those_beyond_the_limit_are_reset_and_others_are_served() {
    let Scene {
        mut honest,
        mut hostile,
    } = Scene::with(protocols::HEARTBEAT).await;
    let (coordinator, node) = (honest.coordinator_id(), honest.node_id());
    for _ in 0..STREAMS_OF_A_PROTOCOL {
        hostile.write(Bytes::Stalled(vec![100]));
    }
    for _ in 0..20 {
        for _ in 0..100 {
            hostile.write(Bytes::Stalled(vec![100]));
        }
        for _ in 0..100 {
            let cut = hostile.outcome().await;
            assert!(cut.is_err(), "{cut:?}");
        }
    }
    assert!(hostile.is_connected());
    hostile.stay();
    heartbeat_and_store_go_on(&mut honest, coordinator, node).await;
}

/// What one peer may have open of one protocol.
const STREAMS_OF_A_PROTOCOL: usize = 64;

/// Lets everybody in, and takes one for a coordinator.
#[derive(Debug)]
struct ServesOnly(PeerId);

impl Admission for ServesOnly {
    fn admit(&self, _: PeerId, _: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        ready(Ok(Roles::NONE)).boxed()
    }

    fn roles(&self, peer: &PeerId, _: Roles) -> Roles {
        match *peer == self.0 {
            true => Roles::COORDINATOR,
            false => Roles::NONE,
        }
    }
}

#[tokio::test]
async fn of_a_peer_that_is_not_served_nothing_is_read_and_others_are_served() {
    let friend = config(Roles::COORDINATOR);
    let served = ServesOnly(friend.keypair.public().to_peer_id());
    let node = NetworkConfig {
        admission: Arc::new(served),
        ..config(Roles::NODE)
    };
    let mut node = listening_as(node, Wire::Tcp).await;
    let (node_id, addr) = (node.handle.local_peer_id(), address_of(&node).await);
    let mut stranger = RawPeer::dial(node_id, addr, protocols::STORE_CHUNK).await;
    // More than goes out before somebody reads, and a whole frame: who read it would hand on the request.
    let blob = vec![0_u8; 4 * 1024 * 1024];
    for _ in 0..10 {
        stranger.write(Bytes::framed(&blob));
    }
    for _ in 0..10 {
        let cut = stranger.outcome().await;
        let unread = matches!(
            cut,
            Err(OutboundFailure::Io(_) | OutboundFailure::UnsupportedProtocols)
        );
        assert!(unread, "{cut:?}");
    }
    assert!(stranger.is_connected());
    assert!(node.requests.try_recv().is_err());

    let mut friend = start(friend).await.unwrap();
    dial(&friend, &node).await;
    until_connected(&mut friend.events, node_id).await;
    answer_all(node.requests);
    store_is_answered(&friend.handle, node_id).await;
}

/// What one peer may have open with blobs.
const DATA_STREAMS: usize = 32;

#[tokio::test]
async fn of_streams_with_blobs_a_peer_may_have_fewer_open() {
    let mut node = listening_as(config(Roles::NODE), Wire::Tcp).await;
    let (node_id, addr) = (node.handle.local_peer_id(), address_of(&node).await);
    let mut hostile = RawPeer::dial(node_id, addr, protocols::STORE_CHUNK).await;
    for _ in 0..DATA_STREAMS + 20 {
        hostile.write(Bytes::framed(&[0; 100]));
    }
    for _ in 0..20 {
        let cut = hostile.outcome().await;
        let answered = matches!(&cut, Ok(answer) if !answer.is_empty());
        assert!(!answered, "{cut:?}");
    }
    for _ in 0..DATA_STREAMS {
        next_request(&mut node).await;
    }
    assert!(node.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_with_more_streams_than_a_connection_may_have_is_dropped_and_others_are_served() {
    let coordinator = listening(Wire::Tcp).await;
    let addr = address_of(&coordinator).await;
    let node = start(config(Roles::NODE)).await.unwrap();
    let mut honest = Pair::connected(coordinator, node).await;
    let (coordinator, node) = (honest.coordinator_id(), honest.node_id());
    let mut bare = BareChannel::dial(addr).await;
    until_connected(&mut honest.coordinator.events, bare.id).await;
    bare.open_streams(1000).await;
    bare.until_closed().await;
    crate::support::until_disconnected(&mut honest.coordinator.events, bare.id).await;
    heartbeat_and_store_go_on(&mut honest, coordinator, node).await;
}

async fn heartbeat_and_store_go_on(honest: &mut Pair, coordinator: PeerId, node: PeerId) {
    let nobody = || tokio::sync::mpsc::channel(1).1;
    answer_all(std::mem::replace(&mut honest.node.requests, nobody()));
    answer_all(std::mem::replace(
        &mut honest.coordinator.requests,
        nobody(),
    ));
    for _ in 0..20 {
        store_is_answered(&honest.coordinator.handle, node).await;
        heartbeat_is_answered(&honest.node.handle, coordinator).await;
    }
}

async fn answer_to_a_store(coordinator: &Network, peer: PeerId) -> CallError {
    let call = coordinator.handle.call::<Store>(peer, store(1, 256 * 1024));
    soon(call).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_breaks_the_rules_is_an_error_at_the_caller_only() {
    let Scene { honest, hostile } = Scene::with(protocols::STORE_CHUNK).await;
    let (hostile_id, node) = (hostile.id(), honest.node_id());
    let beyond_cap = vec![0xff, 0xff, 0xff, 0x7f];
    hostile.answer_with(vec![
        Bytes::Ended(Vec::new()),
        Bytes::Ended(beyond_cap),
        Bytes::Ended(vec![0xff; 11]),
        Bytes::Ended(vec![10, 0, 0]),
        Bytes::framed(&[]),
        Bytes::framed(&[0xff; 100]),
        Bytes::framed(&[0x12, 0x02, 0x08, 0x63]), // a refusal with code 99
    ]);
    for _ in 0..4 {
        let error = answer_to_a_store(&honest.coordinator, hostile_id).await;
        assert!(matches!(error, CallError::Io(_)), "{error:?}");
    }
    for _ in 0..3 {
        let error = answer_to_a_store(&honest.coordinator, hostile_id).await;
        assert!(matches!(error, CallError::Malformed(_)), "{error:?}");
    }
    answer_all(honest.node.requests);
    store_is_answered(&honest.coordinator.handle, node).await;
}

#[tokio::test]
async fn a_peer_that_answers_nothing_holds_up_no_other() {
    let Scene { honest, hostile } = Scene::with(protocols::STORE_CHUNK).await;
    let (hostile_id, node) = (hostile.id(), honest.node_id());
    hostile.stay();
    for number in 0..50 {
        let handle = honest.coordinator.handle.clone();
        tokio::spawn(async move { handle.call::<Store>(hostile_id, store(number, 100)).await });
    }
    answer_all(honest.node.requests);
    for _ in 0..20 {
        store_is_answered(&honest.coordinator.handle, node).await;
    }
}
