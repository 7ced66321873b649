//! How peers find each other and themselves: multicast, AutoNAT, UPnP.

use libp2p::request_response::OutboundFailure;
use network::{
    AddrSource, Discovery, Multiaddr, Network, NetworkConfig, NetworkEvent, NetworkHandle,
    NetworkStatus, PeerId, Upnp, start,
};
use proto::{ProtocolSpec, Roles, protocols};

use crate::own_network::{self, entered};
use crate::raw_peer::{Bytes, RawPeer};
use crate::router;
use crate::support::{Wire, address_of, config, dial, listening_as, soon, until, until_connected};

fn with(discovery: Discovery, roles: Roles) -> NetworkConfig {
    NetworkConfig {
        discovery,
        ..config(roles)
    }
}

async fn node_in_own_network(discovery: Discovery) -> Network {
    let mut config = with(discovery, Roles::NODE);
    config.listen = vec![format!("/ip4/{}/tcp/0", own_network::ADDR).parse().unwrap()];
    start(config).await.unwrap()
}

async fn until_status(
    handle: &NetworkHandle,
    wanted: impl Fn(&NetworkStatus) -> bool,
) -> NetworkStatus {
    let reached = async {
        loop {
            let status = handle.status().await;
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    soon(reached).await
}

fn discovered_by_multicast(event: &NetworkEvent) -> Option<(PeerId, Vec<Multiaddr>)> {
    match event {
        NetworkEvent::Discovered {
            peer,
            addrs,
            source: AddrSource::Mdns,
        } => Some((*peer, addrs.clone())),
        _ => None,
    }
}

#[tokio::test]
async fn two_nodes_with_mdns_find_each_other_and_one_without_is_not_found() {
    if !entered("discovery::two_nodes_with_mdns_find_each_other_and_one_without_is_not_found") {
        return;
    }
    let mdns = || Discovery {
        mdns: true,
        ..Discovery::default()
    };
    let quiet = node_in_own_network(Discovery::default()).await;
    let mut nodes = [
        node_in_own_network(mdns()).await,
        node_in_own_network(mdns()).await,
    ];
    let quiet_id = quiet.handle.local_peer_id();
    let ids = [0, 1].map(|at: usize| nodes[at].handle.local_peer_id());
    for (at, other) in [(0, 1), (1, 0)] {
        let expected = address_of(&nodes[other]).await;
        let found = until(&mut nodes[at].events, |event| {
            let (peer, addrs) = discovered_by_multicast(event)?;
            assert_ne!(peer, quiet_id);
            (peer == ids[other]).then_some(addrs)
        });
        assert!(found.await.contains(&expected));
    }
    // What was found can be dialled.
    let addrs = soon(nodes[1].handle.listen_addrs()).await;
    nodes[0].handle.dial(ids[1], addrs).await;
    until_connected(&mut nodes[0].events, ids[1]).await;
}

/// On one machine every address is a private one.
fn asking() -> Discovery {
    Discovery {
        autonat: true,
        private_addresses: true,
        ..Discovery::default()
    }
}

#[tokio::test]
async fn a_node_that_can_be_reached_learns_it_from_its_coordinator() {
    let coordinator = listening_as(with(asking(), Roles::COORDINATOR), Wire::Tcp).await;
    let node = listening_as(with(asking(), Roles::NODE), Wire::Tcp).await;
    let addr = address_of(&node).await;
    assert!(soon(node.handle.status()).await.external_addrs.is_empty());
    dial(&node, &coordinator).await;
    let status = until_status(&node.handle, |status| !status.probes.is_empty()).await;
    assert_eq!(status.probes[0].addr, addr);
    assert_eq!(status.probes[0].outcome, Ok(()));
    assert_eq!(status.external_addrs, [addr]);
}

async fn probed(coordinator: Discovery) -> (NetworkStatus, Multiaddr) {
    let coordinator = listening_as(with(coordinator, Roles::COORDINATOR), Wire::Tcp).await;
    let node = listening_as(with(asking(), Roles::NODE), Wire::Tcp).await;
    let addr = address_of(&node).await;
    dial(&node, &coordinator).await;
    let status = until_status(&node.handle, |status| !status.probes.is_empty()).await;
    (status, addr)
}

#[tokio::test]
async fn a_coordinator_knocks_at_no_door_of_its_own_network_unless_that_is_wanted() {
    let careful = Discovery {
        private_addresses: false,
        ..asking()
    };
    let (status, addr) = probed(careful).await;
    assert_eq!(status.probes[0].addr, addr);
    assert!(status.probes[0].outcome.is_err(), "{:?}", status.probes);
    assert_eq!(status.external_addrs, []);
}

const ASK_TO_BE_DIALLED: ProtocolSpec = ProtocolSpec {
    name: "/libp2p/autonat/2/dial-request",
    ..protocols::HEARTBEAT
};

/// Asks a peer to dial `addr`, as nobody does who keeps to the rules, and pays for it in advance.
async fn ask_to_dial(
    discovery: Discovery,
    roles: Roles,
    addr: &str,
) -> Result<Vec<u8>, OutboundFailure> {
    let asked = listening_as(with(discovery, roles), Wire::Tcp).await;
    let (id, at) = (asked.handle.local_peer_id(), address_of(&asked).await);
    let mut stranger = RawPeer::dial(id, at, ASK_TO_BE_DIALLED).await;
    let addr = addr.parse::<Multiaddr>().unwrap().to_vec();
    let framed = |message: Vec<u8>| {
        let mut prefix = unsigned_varint::encode::usize_buffer();
        let prefix = unsigned_varint::encode::usize(message.len(), &mut prefix);
        [prefix, &message].concat()
    };
    // Field 1 of the message: the request, with the address and a nonce in its fields 1 and 2.
    let nonce = [&[0x11][..], &7_u64.to_le_bytes()].concat();
    let request = [&[0x0a, addr.len() as u8][..], &addr, &nonce].concat();
    let request = [&[0x0a, request.len() as u8][..], &request].concat();
    // Field 4: data, of which up to 100,000 bytes are asked for.
    let data = [&[0x22, 0xa3, 0x1f, 0x0a, 0xa0, 0x1f][..], &[0; 4000]].concat();
    let paid: Vec<u8> = (0..26).flat_map(|_| framed(data.clone())).collect();
    stranger.write(Bytes::Ended([framed(request), paid].concat()));
    stranger.outcome().await
}

#[tokio::test]
async fn nobody_has_a_coordinator_dial_anybody_but_himself() {
    let victim = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    victim.set_nonblocking(true).unwrap();
    let port = victim.local_addr().unwrap().port();
    for addr in [
        format!("/ip4/127.0.0.2/tcp/{port}"),
        format!("/dns4/localhost/tcp/{port}"),
    ] {
        let answer = ask_to_dial(asking(), Roles::COORDINATOR, &addr).await;
        // Answered (status 200), and not dialled (100).
        let not_dialled = [0x08, 0xc8, 0x01, 0x18, 0x64];
        let answer = answer.unwrap();
        assert!(answer.ends_with(&not_dialled), "{addr}: {answer:02x?}");
    }
    let knocked = victim.accept().unwrap_err();
    assert_eq!(knocked.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_node_dials_nobody_on_request() {
    let answer = ask_to_dial(asking(), Roles::NODE, "/ip4/127.0.0.1/tcp/1").await;
    assert!(
        matches!(answer, Err(OutboundFailure::UnsupportedProtocols)),
        "{answer:?}"
    );
}

fn forwarding() -> Discovery {
    Discovery {
        upnp: true,
        ..Discovery::default()
    }
}

#[tokio::test]
async fn a_router_forwards_the_port_of_whoever_asks_for_it_and_of_nobody_else() {
    if !entered("discovery::a_router_forwards_the_port_of_whoever_asks_for_it_and_of_nobody_else") {
        return;
    }
    // Any address that is public; nobody sends anything there.
    let public = "8.8.4.4".parse().unwrap();
    let mut forwarded = router::start(own_network::ADDR.parse().unwrap(), public).await;
    let quiet = node_in_own_network(Discovery::default()).await;
    let node = node_in_own_network(forwarding()).await;
    let status = until_status(&node.handle, |status| status.upnp == Upnp::Forwarded).await;
    let addr = address_of(&node).await;
    let port = addr.to_string().rsplit('/').next().unwrap().to_owned();
    let inside = format!("{}:{port}", own_network::ADDR);
    assert_eq!(
        soon(forwarded.recv()).await,
        Some((port.parse().unwrap(), inside))
    );
    let outside: Multiaddr = format!("/ip4/{public}/tcp/{port}").parse().unwrap();
    assert_eq!(status.external_addrs, [outside]);
    assert!(forwarded.try_recv().is_err());
    assert_eq!(soon(quiet.handle.status()).await.upnp, Upnp::Unknown);
}

#[tokio::test]
async fn a_router_without_a_public_address_of_its_own_is_no_help_and_is_said_so() {
    if !entered("discovery::a_router_without_a_public_address_of_its_own_is_no_help_and_is_said_so")
    {
        return;
    }
    let inner = "10.0.0.7".parse().unwrap();
    let mut forwarded = router::start(own_network::ADDR.parse().unwrap(), inner).await;
    let node = node_in_own_network(forwarding()).await;
    let status = until_status(&node.handle, |status| status.upnp == Upnp::GatewayNotPublic).await;
    assert_eq!(status.external_addrs, []);
    assert!(forwarded.try_recv().is_err());
}

#[tokio::test]
async fn without_a_router_the_search_ends_and_everything_else_goes_on() {
    if !entered("discovery::without_a_router_the_search_ends_and_everything_else_goes_on") {
        return;
    }
    let mut node = node_in_own_network(forwarding()).await;
    let other = node_in_own_network(Discovery::default()).await;
    dial(&node, &other).await;
    until_connected(&mut node.events, other.handle.local_peer_id()).await;
    let status = until_status(&node.handle, |status| status.upnp == Upnp::NoGateway).await;
    assert_eq!((status.connections, status.external_addrs), (1, vec![]));
}
