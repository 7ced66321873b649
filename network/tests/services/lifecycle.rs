//! Starting, listening, and stopping.

use std::net::{TcpListener, UdpSocket};

use network::{CallError, Multiaddr, NetworkConfig, StartError, multiaddr, start};
use proto::{Heartbeat, Roles, Store};

use crate::support::{
    Pair, Wire, address_of, answer_all, config, heartbeat_is_answered, listening, listening_as,
    once_free, over_tcp_and_quic, report, soon, store,
};

over_tcp_and_quic! {
    a_stopped_service_has_freed_its_port_and_says_so_to_callers,
    a_call_that_is_under_way_when_its_service_stops_is_not_blamed_on_the_peer,
    a_port_that_another_service_has_is_refused_by_name,
}

fn port_of(addr: &Multiaddr) -> u16 {
    let port = addr.iter().find_map(|part| match part {
        multiaddr::Protocol::Tcp(port) | multiaddr::Protocol::Udp(port) => Some(port),
        _ => None,
    });
    port.unwrap()
}

async fn refusal_to_listen_on(addr: Multiaddr) -> String {
    let config = NetworkConfig {
        listen: vec![addr.clone()],
        ..config(Roles::COORDINATOR)
    };
    let Err(error) = start(config).await else {
        panic!("it listens on {addr}");
    };
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    match error {
        StartError::Listen {
            addr: named,
            reason,
        } => {
            assert_eq!(named, addr);
            reason
        }
        other => panic!("{other}"),
    }
}

async fn a_stopped_service_has_freed_its_port_and_says_so_to_callers(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let addr = address_of(&pair.coordinator).await;
    let node = pair.node_id();
    pair.coordinator.handle.shutdown().await;
    soon(pair.coordinator.service).await.unwrap();

    let place = ("127.0.0.1", port_of(&addr));
    match wire {
        Wire::Tcp => drop(TcpListener::bind(place).unwrap()),
        Wire::Quic => drop(once_free(|| async { UdpSocket::bind(place) }).await),
    }
    let call = pair.coordinator.handle.call::<Heartbeat>(node, report(1));
    assert_eq!(soon(call).await, Err(CallError::Stopped));
    assert!(soon(pair.coordinator.requests.recv()).await.is_none());
    while soon(pair.coordinator.events.recv()).await.is_some() {}
}

async fn a_call_that_is_under_way_when_its_service_stops_is_not_blamed_on_the_peer(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let (node, handle) = (pair.node_id(), pair.coordinator.handle.clone());
    let call = tokio::spawn(async move { handle.call::<Store>(node, store(1, 100)).await });
    let _unanswered = soon(pair.node.requests.recv()).await.unwrap();
    pair.coordinator.handle.shutdown().await;
    assert_eq!(soon(call).await.unwrap(), Err(CallError::Stopped));
}

async fn a_port_that_another_service_has_is_refused_by_name(wire: Wire) {
    let running = listening(wire).await;
    let reason = refusal_to_listen_on(address_of(&running).await).await;
    assert!(reason.contains("in use"), "{reason}");
}

#[tokio::test]
async fn a_port_that_another_program_has_is_refused_by_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let addr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    let reason = refusal_to_listen_on(addr).await;
    assert!(reason.contains("in use"), "{reason}");
}

#[tokio::test]
async fn an_address_that_is_not_this_machines_or_not_understood_is_refused_by_name() {
    refusal_to_listen_on("/ip4/192.0.2.1/tcp/0".parse().unwrap()).await;
    refusal_to_listen_on("/ip4/192.0.2.1/udp/0/quic-v1".parse().unwrap()).await;
    refusal_to_listen_on("/memory/1".parse().unwrap()).await;
}

#[tokio::test]
async fn a_service_listens_on_every_address_and_tells_the_real_ports() {
    let config = NetworkConfig {
        listen: vec![Wire::Tcp.any_port(), Wire::Quic.any_port()],
        ..config(Roles::COORDINATOR)
    };
    let coordinator = start(config).await.unwrap();
    let addrs = soon(coordinator.handle.listen_addrs()).await;
    assert_eq!(addrs.len(), 2);
    assert!(addrs.iter().all(|addr| port_of(addr) != 0), "{addrs:?}");
}

/// Pings as fast as they go, and nobody reads what they measure.
#[tokio::test]
async fn events_that_nobody_reads_do_not_hold_up_calls() {
    let eager = |roles| {
        let mut config = config(roles);
        config.ping.interval = std::time::Duration::from_nanos(1);
        config
    };
    let coordinator = listening_as(eager(Roles::COORDINATOR), Wire::Tcp).await;
    let node = start(eager(Roles::NODE)).await.unwrap();
    let pair = Pair::connected(coordinator, node).await;
    let coordinator = pair.coordinator_id();
    answer_all(pair.coordinator.requests);
    // The node's pings fill its channel; as many exchanges take at least as long.
    while pair.node.events.len() < pair.node.events.max_capacity() {
        heartbeat_is_answered(&pair.node.handle, coordinator).await;
    }
    for _ in 0..20 {
        heartbeat_is_answered(&pair.node.handle, coordinator).await;
    }
}
