//! Somebody at another address than the honest user, who knows what anybody can know of a network. Each attack comes from
//! an address of its own, so that none is in another's way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use local_cluster::Cluster;
use local_cluster::client::{ApiError, Endpoint, Session};
use network::Multiaddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::tally::Tally;

/// Settings of a coordinator that a local cluster sets otherwise, as they are by themselves.
pub(super) const DEFAULTS: &str = "[coordinator.http]\nmax_connections_per_address = 256\n\
     [coordinator.auth]\nrequests_per_address = 120\nrequests_per_account = 30\n";

const PASSWORD: &str = "an attacker's password";

/// A refused connection is tried again after this.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(super) struct Outsider {
    pub client: Endpoint,
    address: IpAddr,
    pub http: SocketAddr,
    /// The port for nodes.
    pub peers: SocketAddr,
    /// What coordinators and nodes listen on as peers.
    pub peer_addrs: Vec<Multiaddr>,
    /// An account that is not his.
    pub honest_email: Arc<str>,
}

impl Outsider {
    /// All of 127/8 is this machine; the honest user is at 127.0.0.1.
    pub(super) fn of(cluster: &Cluster, attack: u8) -> Result<Self> {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, attack + 1, 1));
        let record = cluster.record();
        let coordinator = &record.coordinators[0];
        let nodes = record.nodes.iter().filter_map(|node| node.ready.as_ref());
        let peer_addrs = coordinator
            .p2p
            .iter()
            .chain(nodes.flat_map(|node| &node.p2p))
            .map(|addr| addr.parse().with_context(|| format!("`{addr}`")))
            .collect::<Result<Vec<Multiaddr>>>()?;
        let tcp = |addr: &String| {
            let port = addr.strip_prefix("/ip4/127.0.0.1/tcp/")?.split('/').next();
            port?.parse().ok()
        };
        let Some(port) = coordinator.p2p.iter().find_map(tcp) else {
            bail!("the coordinator has no TCP port for nodes on 127.0.0.1");
        };
        let http = SocketAddr::from(([127, 0, 0, 1], coordinator.http_port));
        Ok(Self {
            client: Endpoint::connecting_from(cluster.base_url(), address)?,
            address,
            http,
            peers: SocketAddr::from(([127, 0, 0, 1], port)),
            peer_addrs,
            honest_email: record.user.email.as_str().into(),
        })
    }

    /// An accomplice at another address.
    pub(super) fn accomplice(&self, number: u8) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d.wrapping_add(number)))
            }
            v6 => v6,
        };
        Self {
            address,
            ..self.clone()
        }
    }

    /// A fresh account.
    pub(super) async fn account(&self, name: &str) -> Result<Session> {
        self.client.register(&email(name), PASSWORD).await?;
        Ok(self.log_in(name).await?)
    }

    pub(super) async fn log_in(&self, name: &str) -> Result<Session, ApiError> {
        self.client.login(&email(name), PASSWORD).await
    }

    pub(super) async fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.address, 0))?;
        socket.connect(to).await
    }

    /// Keeps so many connections open that have said this and no more; one that is closed is opened again.
    pub(super) async fn occupy(&self, to: SocketAddr, count: usize, said: &[u8], tally: &Tally) {
        let places = (0..count).map(|_| async {
            loop {
                tally.note(self.hold_one(to, said).await);
                tokio::time::sleep(PAUSE).await;
            }
        });
        join_all(places).await;
    }

    /// How it ended.
    async fn hold_one(&self, to: SocketAddr, said: &[u8]) -> String {
        let Ok(mut socket) = self.connect(to).await else {
            return "refused".to_owned();
        };
        if socket.write_all(said).await.is_err() {
            return "cut".to_owned();
        }
        let mut answer = [0; 12];
        match socket.read_exact(&mut answer).await {
            Ok(_) => String::from_utf8_lossy(&answer[9..]).into_owned(),
            Err(_) => "closed".to_owned(),
        }
    }
}

fn email(name: &str) -> String {
    format!("{name}@attackers.example")
}
