//! A cluster whose network can be struck: each node reaches the coordinator through a relay of its own, so that
//! the network can fail for one node and not for the others.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;
use toml::Table;

use crate::cluster::{Cluster, Member, UpOptions};
use crate::proxy::{Conditions, TcpProxy};
use crate::settings::Overrides;
use crate::temporary::TemporaryCluster;

/// A cluster whose nodes' links can be hurt, and looked at.
pub struct Scene {
    pub cluster: TemporaryCluster,
    /// In the order of the nodes.
    links: Vec<TcpProxy>,
    /// The address that the network document tells. Nobody is answered there.
    _nowhere: TcpProxy,
}

impl Scene {
    /// Returns when files can be stored. `settings` have a table `coordinator.p2p`. `fsync`: whether the
    /// database keeps its promises in a power cut, which no fault here is.
    pub async fn start(nodes: usize, mut settings: Overrides, fsync: bool) -> Result<Self> {
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
            overrides: Some(settings),
            without_fsync: !fsync,
            ..UpOptions::default()
        })?;
        cluster.start(Member::Postgres).await?;
        cluster.start(Member::Coordinator(1)).await?;
        let target = coordinator_addr(&cluster)?;
        let network: Value = cluster.client()?.get("/api/v1/network").await?;
        let peer_id = network["coordinators"][0]["peer_id"].as_str();
        let peer_id = peer_id.context("the coordinator names no peer id")?;
        let mut links = Vec::new();
        for node in 1..=nodes {
            let link = TcpProxy::start(target).await?;
            let mut settings = link_settings(peer_id, link.addr());
            if node % 3 == 0 {
                settings.insert("store".to_owned(), toml::toml! { layout = "files" }.into());
            }
            cluster.configure_node(node, settings)?;
            links.push(link);
        }
        cluster.bring_up(&|_| ()).await?;
        Ok(Self {
            cluster,
            links,
            _nowhere: nowhere,
        })
    }

    pub fn link(&self, node: usize) -> &TcpProxy {
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

fn coordinator_addr(cluster: &Cluster) -> Result<SocketAddr> {
    let addrs = &cluster.record().coordinators[0].p2p;
    let port = addrs.iter().find_map(|addr| {
        let port = addr.strip_prefix("/ip4/127.0.0.1/tcp/")?;
        port.split('/').next()?.parse::<u16>().ok()
    });
    let port = port.with_context(|| format!("no TCP address among {addrs:?}"))?;
    Ok(([127, 0, 0, 1], port).into())
}

fn link_settings(peer_id: &str, link: SocketAddr) -> Table {
    let way = format!("{peer_id}@{}", multiaddr(link));
    let mut p2p = Table::new();
    p2p.insert("bootstrap_peers".to_owned(), vec![way].into());
    let mut settings = Table::new();
    settings.insert("p2p".to_owned(), p2p.into());
    settings
}

fn multiaddr(addr: SocketAddr) -> String {
    format!("/ip4/{}/tcp/{}", addr.ip(), addr.port())
}
