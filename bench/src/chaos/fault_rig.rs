//! A cluster whose network can be struck: each node reaches each coordinator through a relay of its own, so
//! that the network can fail for one node and not for the others, and towards one coordinator alone.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use api::network::NetworkDocument;
use api::paths;
use local_cluster::proxy::{Conditions, TcpProxy};
use local_cluster::{Cluster, Member, Overrides, TemporaryCluster, UpOptions};
use toml::Table;

/// A cluster whose nodes' links can be hurt, and looked at.
pub struct FaultRig {
    pub cluster: TemporaryCluster,
    /// For each node, in the order of the coordinators.
    links: Vec<Vec<TcpProxy>>,
    /// The address that the network document tells. Nobody is answered there.
    _nowhere: TcpProxy,
}

impl FaultRig {
    /// Returns when files can be stored. `settings` have a table `coordinator.p2p`. `fsync`: whether the
    /// database keeps its promises in a power cut, which no fault here is.
    pub async fn start(
        nodes: usize,
        coordinators: usize,
        mut settings: Overrides,
        fsync: bool,
    ) -> Result<Self> {
        let nowhere = TcpProxy::start(([127, 0, 0, 1], 1).into()).await?;
        nowhere.set(Conditions {
            cut: true,
            ..Conditions::default()
        });
        let p2p = settings.coordinator.get_mut("p2p");
        let p2p = p2p.and_then(toml::Value::as_table_mut);
        p2p.context("no table for p2p")?.insert(
            "external_addrs".to_owned(),
            vec![multiaddr(nowhere.addr())].into(),
        );
        let mut cluster = TemporaryCluster::prepare(UpOptions {
            nodes: Some(nodes),
            coordinators: Some(coordinators),
            overrides: Some(settings),
            without_fsync: !fsync,
            ..UpOptions::default()
        })?;
        cluster.start(Member::Postgres).await?;
        let mut known = Vec::new();
        for number in 1..=coordinators {
            cluster.start(Member::Coordinator(number)).await?;
            known.push((
                new_peer_id(&cluster, number, &known).await?,
                p2p_addr(&cluster, number)?,
            ));
        }
        let mut links = Vec::new();
        for node in 1..=nodes {
            let (mut of_node, mut ways) = (Vec::new(), Vec::new());
            for (peer_id, addr) in &known {
                let link = TcpProxy::start(*addr).await?;
                ways.push(format!("{peer_id}@{}", multiaddr(link.addr())).into());
                of_node.push(link);
            }
            let mut settings = bootstrap_settings(ways);
            if node % 3 == 0 {
                settings.insert("store".to_owned(), toml::toml! { layout = "files" }.into());
            }
            cluster.configure_node(node, settings)?;
            links.push(of_node);
        }
        cluster.bring_up(&|_| ()).await?;
        Ok(Self {
            cluster,
            links,
            _nowhere: nowhere,
        })
    }

    /// A node's links, in the order of the coordinators.
    pub fn links(&self, node: usize) -> &[TcpProxy] {
        &self.links[node - 1]
    }

    /// The name that the coordinator knows a node by.
    pub fn node_id(&self, node: usize) -> Result<String> {
        let ready = self.cluster.record().nodes[node - 1].ready.as_ref();
        let ready = ready.with_context(|| format!("node-{node} was never ready"))?;
        Ok(ready.node_id.clone())
    }

    /// Gives a node another capacity, `None` for the one it began with; it is stopped in an orderly
    /// way and started again.
    pub async fn resize(&mut self, node: usize, capacity_bytes: Option<u64>) -> Result<()> {
        let cluster = &mut self.cluster;
        let mut settings = cluster.record().nodes[node - 1].overrides.clone();
        match capacity_bytes {
            Some(bytes) => {
                let mut table = Table::new();
                table.insert("capacity".to_owned(), format!("{bytes}B").into());
                settings.insert("node".to_owned(), table.into());
            }
            None => drop(settings.remove("node")),
        }
        cluster.configure_node(node, settings)?;
        if cluster.process(Member::Node(node))?.is_some() {
            cluster.stop(Member::Node(node)).await?;
        }
        cluster.start(Member::Node(node)).await
    }
}

/// Of the coordinator that was started last: the network document does not say which is which.
async fn new_peer_id(
    cluster: &Cluster,
    coordinator: usize,
    known: &[(String, SocketAddr)],
) -> Result<String> {
    let client = cluster.client_of(coordinator)?;
    let network: NetworkDocument = client.get(paths::NETWORK).await?;
    let mut listed = network.coordinators.into_iter().map(|entry| entry.peer_id);
    let new = listed.find(|peer_id| known.iter().all(|(old, _)| old != peer_id));
    new.context("the coordinator names no peer id")
}

fn p2p_addr(cluster: &Cluster, coordinator: usize) -> Result<SocketAddr> {
    let addrs = &cluster.record().coordinators[coordinator - 1].p2p;
    let port = addrs.iter().find_map(|addr| {
        let port = addr.strip_prefix("/ip4/127.0.0.1/tcp/")?;
        port.split('/').next()?.parse::<u16>().ok()
    });
    let port = port.with_context(|| format!("no TCP address among {addrs:?}"))?;
    Ok(([127, 0, 0, 1], port).into())
}

fn bootstrap_settings(ways: Vec<toml::Value>) -> Table {
    let mut p2p = Table::new();
    p2p.insert("bootstrap_peers".to_owned(), ways.into());
    let mut settings = Table::new();
    settings.insert("p2p".to_owned(), p2p.into());
    settings
}

fn multiaddr(addr: SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", addr.ip(), addr.port())
}
