//! How peers find each other and themselves: multicast, AutoNAT, UPnP.

use network::{
    AddrSource, Discovery, Multiaddr, Network, NetworkConfig, NetworkEvent, NetworkHandle,
    NetworkStatus, PeerId, Upnp, start,
};
use proto::Roles;

use crate::own_network::{self, entered};
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

fn asking() -> Discovery {
    Discovery {
        autonat: true,
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
