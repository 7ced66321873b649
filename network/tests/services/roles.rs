//! What a peer is served follows from its roles, and what can be asked from the table that a program hands in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use libp2p::request_response::OutboundFailure;
use network::{
    Admission, CallError, Everyone, Keypair, Multiaddr, Network, NetworkConfig, PeerId, Refusal,
    StartError, start,
};
use proto::{
    Frame, Heartbeat, Lane, Malformed, Message, ProtocolSpec, Roles, Rpc, Store, protocols,
};

use crate::raw_peer::{self, RawPeer};
use crate::support::{
    Pair, Wire, address_of, answer_all, config, dial, heartbeat_is_answered, listening_as,
    next_request, over_tcp_and_quic, report, soon, store, store_is_answered, until_connected,
};

over_tcp_and_quic! {
    a_peer_of_a_third_role_is_refused_what_coordinators_may_ask,
    a_peer_is_served_what_its_roles_allow_at_the_moment,
    who_was_let_in_keeps_its_roles_while_an_older_connection_ends,
    a_protocol_of_another_network_works_like_those_here,
    a_call_has_the_time_that_its_protocol_gives_it,
}

/// Roles that no storage protocol names.
const SEEDER: Roles = Roles::number(2);
const VIEWER: Roles = Roles::number(3);

fn node_that_meets(roles: Roles) -> NetworkConfig {
    NetworkConfig {
        admission: Arc::new(Everyone(roles)),
        ..config(Roles::NODE)
    }
}

async fn a_peer_of_a_third_role_is_refused_what_coordinators_may_ask(wire: Wire) {
    let node = listening_as(node_that_meets(SEEDER), wire).await;
    let mut pair = Pair::connected(node, start(config(Roles::COORDINATOR)).await.unwrap()).await;
    let (seeder, node) = (pair.node.handle.clone(), pair.coordinator_id());
    let refused = soon(seeder.call::<Store>(node, store(1, 100))).await;
    assert_eq!(refused, Err(CallError::Unsupported));
    let refused = soon(seeder.call::<Heartbeat>(node, report(1))).await;
    assert_eq!(refused, Err(CallError::Unsupported));
    assert!(pair.coordinator.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_third_role_does_not_get_past_the_negotiation() {
    let mut node = listening_as(node_that_meets(SEEDER), Wire::Tcp).await;
    let (id, addr) = (node.handle.local_peer_id(), address_of(&node).await);
    let mut seeder = RawPeer::dial(id, addr, protocols::STORE_CHUNK).await;
    seeder.write(raw_peer::Bytes::framed(
        &store(1, 100).into_frame().to_bytes(),
    ));
    let refused = seeder.outcome().await;
    assert!(
        matches!(refused, Err(OutboundFailure::UnsupportedProtocols)),
        "{refused:?}"
    );
    assert!(node.requests.try_recv().is_err());
}

/// Takes everybody for what it is told at the moment.
#[derive(Debug)]
struct Changing(Mutex<Roles>);

impl Admission for Changing {
    fn admit(&self, _: PeerId, _: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        ready(Ok(Roles::NONE)).boxed()
    }

    fn roles(&self, _: &PeerId, _: Roles) -> Roles {
        *self.0.lock().unwrap()
    }
}

async fn a_peer_is_served_what_its_roles_allow_at_the_moment(wire: Wire) {
    let admission = Arc::new(Changing(Mutex::new(Roles::NONE)));
    let node = NetworkConfig {
        admission: Arc::<Changing>::clone(&admission),
        ..config(Roles::NODE)
    };
    let node = start(node).await.unwrap();
    let coordinator = listening_as(config(Roles::COORDINATOR), wire).await;
    let pair = Pair::connected(coordinator, node).await;
    let (coordinator, node) = (pair.coordinator.handle.clone(), pair.node_id());
    answer_all(pair.node.requests);
    for roles in [
        Roles::NONE,
        Roles::COORDINATOR,
        SEEDER,
        SEEDER | Roles::COORDINATOR,
    ] {
        *admission.0.lock().unwrap() = roles;
        if roles.intersects(Roles::COORDINATOR) {
            store_is_answered(&coordinator, node).await;
        } else {
            let refused = soon(coordinator.call::<Store>(node, store(1, 100))).await;
            assert_eq!(refused, Err(CallError::Unsupported));
        }
    }
}

/// Says in which roles it lets somebody in, and leaves it at that.
#[derive(Debug)]
struct Once;

impl Admission for Once {
    fn admit(&self, _: PeerId, _: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        ready(Ok(Roles::NODE)).boxed()
    }
}

async fn who_was_let_in_keeps_its_roles_while_an_older_connection_ends(wire: Wire) {
    let coordinator = NetworkConfig {
        admission: Arc::new(Once),
        ..config(Roles::COORDINATOR)
    };
    let mut coordinator = listening_as(coordinator, wire).await;
    let id = coordinator.handle.local_peer_id();
    let keypair = Keypair::generate_ed25519();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let node = NetworkConfig {
            keypair: keypair.clone(),
            ..config(Roles::NODE)
        };
        let mut node = start(node).await.unwrap();
        dial(&node, &coordinator).await;
        until_connected(&mut node.events, id).await;
        nodes.push(node);
    }
    answer_all(std::mem::replace(
        &mut coordinator.requests,
        tokio::sync::mpsc::channel(1).1,
    ));
    let (old, new) = (nodes.remove(0), nodes.remove(0));
    heartbeat_is_answered(&old.handle, id).await;
    heartbeat_is_answered(&new.handle, id).await;
    old.handle.shutdown().await;
    soon(old.service).await.unwrap();
    while soon(coordinator.handle.status()).await.connections > 1 {
        tokio::task::yield_now().await;
    }
    heartbeat_is_answered(&new.handle, id).await;
}

/// A protocol that nobody here has heard of, with messages of its own.
#[derive(Debug)]
struct Reverse;

const REVERSE: ProtocolSpec = ProtocolSpec {
    name: "/elsewhere/2/reverse",
    initiator: VIEWER,
    server: SEEDER,
    lane: Lane::Control,
    max_frame_bytes: 100,
    timeout: Duration::from_millis(200),
};

impl Rpc for Reverse {
    const PROTOCOL: ProtocolSpec = REVERSE;
    type Request = Text;
    type Response = Text;
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Text(String);

impl Message for Text {
    fn into_frame(self) -> Frame {
        Frame {
            head: Bytes::from(self.0),
            body: Bytes::new(),
        }
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|_| Malformed("no text"))
    }
}

/// A network that is no storage network, and one of whose programs is also a storage node.
async fn elsewhere(wire: Wire) -> Pair {
    let served = ProtocolSpec {
        timeout: Duration::from_secs(3600),
        ..REVERSE
    };
    let both = [&protocols::TABLE[..], &[served]].concat();
    let peer = |table: &[ProtocolSpec], roles, others| NetworkConfig {
        admission: Arc::new(Everyone(others)),
        ..NetworkConfig::new(Keypair::generate_ed25519(), "/elsewhere/2", table, roles)
    };
    let seeder = peer(&both, SEEDER | Roles::NODE, VIEWER);
    let viewer = peer(&[REVERSE], VIEWER, SEEDER);
    Pair::connected(
        listening_as(seeder, wire).await,
        start(viewer).await.unwrap(),
    )
    .await
}

async fn a_protocol_of_another_network_works_like_those_here(wire: Wire) {
    let Pair {
        coordinator: mut seeder,
        node: viewer,
    } = elsewhere(wire).await;
    let id = seeder.handle.local_peer_id();
    let asked = Text("abc".to_owned());
    let call = viewer.handle.call::<Reverse>(id, asked.clone());
    let answering = async {
        let mut request = next_request(&mut seeder).await;
        assert_eq!(request.protocol.name, REVERSE.name);
        assert_eq!(request.decode::<Reverse>(), Ok(asked));
        request.respond::<Reverse>(Text("cba".to_owned())).await;
    };
    let (answered, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert_eq!(answered, Ok(Text("cba".to_owned())));

    // Its cap is its own, it has one direction, and who may ask this may ask nothing else.
    let much = viewer.handle.call::<Reverse>(id, Text("x".repeat(101)));
    assert!(matches!(soon(much).await, Err(CallError::Io(_))));
    let backwards = seeder
        .handle
        .call::<Reverse>(viewer.handle.local_peer_id(), Text(String::new()));
    assert_eq!(soon(backwards).await, Err(CallError::Unsupported));
    let other = viewer.handle.call::<Store>(id, store(1, 100));
    assert_eq!(soon(other).await, Err(CallError::Unsupported));
}

async fn a_call_has_the_time_that_its_protocol_gives_it(wire: Wire) {
    let pair = elsewhere(wire).await;
    let (viewer, id) = (pair.node.handle.clone(), pair.coordinator_id());
    let call = viewer.call::<Reverse>(id, Text("abc".to_owned()));
    assert_eq!(soon(call).await, Err(CallError::Timeout));
}

async fn refusal_of(table: &[ProtocolSpec]) -> String {
    let keypair = Keypair::generate_ed25519();
    let config = NetworkConfig::new(keypair, "/elsewhere/2", table, SEEDER);
    match start(config).await {
        Err(error @ StartError::Protocol(_)) => error.to_string(),
        Err(other) => panic!("{other}"),
        Ok(Network { .. }) => panic!("it starts"),
    }
}

#[tokio::test]
async fn a_table_whose_names_cannot_be_negotiated_is_refused() {
    let twice = refusal_of(&[REVERSE, REVERSE]).await;
    assert!(twice.contains("`/elsewhere/2/reverse` twice"), "{twice}");
    let nameless = ProtocolSpec {
        name: "reverse",
        ..REVERSE
    };
    let refusal = refusal_of(&[nameless]).await;
    assert!(refusal.contains("`reverse`"), "{refusal}");
}
