//! Strangers that connect to a coordinator's peer port and say nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use local_cluster::{Cluster, Member};
use support::cluster;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// As many as a coordinator takes handshakes in all.
const CROWD: usize = 256;

fn peer_port(cluster: &Cluster) -> SocketAddr {
    let p2p = &cluster.record().coordinators[0].p2p[0];
    let mut parts = p2p.split('/').skip(2);
    let (ip, port) = (parts.next().unwrap(), parts.nth(1).unwrap());
    SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
}

async fn connect(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// Connects anew whenever it is hung up on.
async fn stand_at(from: &'static str, door: SocketAddr) {
    loop {
        if let Ok(socket) = connect(from, door).await {
            let mut byte = [0];
            while socket.readable().await.is_ok() {
                match socket.try_read(&mut byte) {
                    Ok(0) => break,
                    Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn nodes_that_restart_come_in_past_a_crowd_that_says_nothing() {
    let mut cluster = cluster(3, "").await;
    let door = peer_port(&cluster);
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(stand_at("127.0.0.2", door));
    }
    for node in 1..=3 {
        cluster.kill(Member::Node(node)).await.unwrap();
        cluster.start(Member::Node(node)).await.unwrap();
    }
    cluster.until_online().await.unwrap();
    assert_eq!(crowd.len(), CROWD);
}
