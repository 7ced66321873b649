//! What a cluster remembers between commands: `cluster.json` in its directory.
//!
//! Settings, addresses and secrets, all of which outlive the processes; those are in
//! [`crate::registry`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use kit::private_file;
use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use crate::overrides::Overrides;
use crate::postgres::PostgresRecord;
use crate::secret::new_secret;

const VERSION: u32 = 1;
const EMAIL: &str = "demo@example.com";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterRecord {
    version: u32,
    /// Where the programs are that the cluster was last brought up with.
    pub programs: PathBuf,
    pub overrides: Overrides,
    pub postgres: PostgresRecord,
    /// At least one. The first is the one that people and nodes are told of.
    #[serde(alias = "coordinator", deserialize_with = "one_or_more")]
    pub coordinators: Vec<CoordinatorRecord>,
    pub nodes: Vec<NodeRecord>,
    pub user: UserRecord,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoordinatorRecord {
    /// 0 before the first start, for any.
    pub http_port: u16,
    pub metrics: Option<SocketAddr>,
    /// `None` before the first start with S3.
    #[serde(default)]
    pub s3: Option<SocketAddr>,
    /// Multiaddresses; empty before the first start.
    pub p2p: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeRecord {
    pub name: String,
    /// What the node told when it was ready for the last time; `None` before it is registered.
    pub ready: Option<NodeReady>,
    /// Settings of this node alone; they win over the cluster's.
    #[serde(default)]
    pub overrides: Table,
}

/// The ready file of `storage-node`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeReady {
    pub admin: SocketAddr,
    pub p2p: Vec<String>,
    pub peer_id: String,
    pub node_id: String,
}

/// The ready file of `coordinator`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CoordinatorReady {
    pub http: SocketAddr,
    pub metrics: SocketAddr,
    /// Coordinators of older releases serve none.
    #[serde(default)]
    pub s3: Option<SocketAddr>,
    pub p2p: Vec<String>,
}

/// What programs for S3 sign with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    pub access_key: String,
    pub secret_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserRecord {
    pub email: String,
    pub password: String,
    /// Registered, and with credits.
    pub ready: bool,
    /// `None` before it is made.
    #[serde(default)]
    pub s3_key: Option<AccessKeyRecord>,
}

impl NodeRecord {
    pub fn new(number: usize) -> Self {
        Self {
            name: format!("node-{number}"),
            ready: None,
            overrides: Table::new(),
        }
    }
}

impl CoordinatorRecord {
    pub fn new(http_port: u16) -> Self {
        Self {
            http_port,
            metrics: None,
            s3: None,
            p2p: Vec::new(),
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }
}

impl ClusterRecord {
    pub fn new(
        dir: &Path,
        programs: &Path,
        http_port: u16,
        fsync: bool,
        random: &mut impl CryptoRng,
    ) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            programs: programs.to_owned(),
            overrides: Overrides::default(),
            postgres: PostgresRecord::new(dir, new_secret(random), fsync)?,
            coordinators: vec![CoordinatorRecord::new(http_port)],
            nodes: Vec::new(),
            user: UserRecord {
                email: EMAIL.to_owned(),
                password: new_secret(random),
                ready: false,
                s3_key: None,
            },
        })
    }

    /// `None` when there is no cluster in this directory.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(dir);
        let Some(value) = private_file::read_json::<serde_json::Value>(&path)? else {
            return Ok(None);
        };
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(VERSION.into()) {
            bail!(
                "{} was written by another version of local-cluster; use that version, or remove \
                 {} to begin anew",
                path.display(),
                dir.display()
            );
        }
        private_file::read_json(&path)
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        private_file::write_json(&Self::path(dir), self)
    }

    fn path(dir: &Path) -> PathBuf {
        dir.join("cluster.json")
    }
}

/// Clusters of a time with one coordinator wrote it without brackets.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<CoordinatorRecord>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(CoordinatorRecord),
        More(Vec<CoordinatorRecord>),
    }
    Ok(match Written::deserialize(from)? {
        Written::One(one) => vec![one],
        Written::More(more) => more,
    })
}
