//! What is running where: for people, and as the JSON that other tools rely on.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{Cluster, Member};
use crate::process::{ProcessId, ProcessState};
use crate::settings;

/// A pid is null while the process does not run; the other fields then tell how it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Of the first coordinator.
    pub base_url: String,
    pub metrics_url: Option<String>,
    pub coordinator: ProcessStatus,
    /// All of them, the first one first.
    pub coordinators: Vec<CoordinatorStatus>,
    pub postgres: PostgresStatus,
    pub user: UserStatus,
    /// Of the first coordinator; null before it was brought up.
    pub s3: Option<S3Status>,
    pub nodes: Vec<NodeStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    pub name: String,
    pub pid: Option<u32>,
    pub base_url: String,
    pub metrics_url: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresStatus {
    pub url: String,
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UserStatus {
    pub email: String,
    pub password: String,
}

/// What a client of S3 is set up with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct S3Status {
    /// By address: buckets are asked for by path.
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    pub pid: Option<u32>,
    pub node_id: Option<String>,
    pub peer_id: Option<String>,
    pub data_dir: PathBuf,
    pub admin_url: Option<String>,
    pub listen_addrs: Vec<String>,
}

impl Cluster {
    pub fn status(&self) -> Result<Status> {
        let record = &self.record;
        let nodes = record.nodes.iter().enumerate().map(|(index, node)| {
            let number = index + 1;
            let ready = node.ready.as_ref();
            Ok(NodeStatus {
                name: node.name.clone(),
                pid: self.pid(Member::Node(number))?,
                node_id: ready.map(|ready| ready.node_id.clone()),
                peer_id: ready.map(|ready| ready.peer_id.clone()),
                data_dir: self.data_dir(number),
                admin_url: ready.map(|ready| format!("http://{}", ready.admin)),
                listen_addrs: ready.map(|ready| ready.p2p.clone()).unwrap_or_default(),
            })
        });
        let coordinators = record.coordinators.iter().enumerate();
        let coordinators = coordinators.map(|(index, coordinator)| {
            let member = Member::Coordinator(index + 1);
            let metrics = coordinator.metrics;
            Ok(CoordinatorStatus {
                name: member.to_string(),
                pid: self.pid(member)?,
                base_url: coordinator.base_url(),
                metrics_url: metrics.map(|address| format!("http://{address}/metrics")),
            })
        });
        let coordinators: Vec<_> = coordinators.collect::<Result<_>>()?;
        let first = &coordinators[0];
        Ok(Status {
            base_url: first.base_url.clone(),
            metrics_url: first.metrics_url.clone(),
            coordinator: ProcessStatus { pid: first.pid },
            postgres: PostgresStatus {
                url: record.postgres.url(),
                pid: self.pid(Member::Postgres)?,
            },
            user: UserStatus {
                email: record.user.email.clone(),
                password: record.user.password.clone(),
            },
            s3: self.s3(),
            nodes: nodes.collect::<Result<_>>()?,
            coordinators,
        })
    }

    fn s3(&self) -> Option<S3Status> {
        let key = self.record.user.s3_key.as_ref()?;
        Some(S3Status {
            endpoint: format!("http://{}", self.record.coordinators.first()?.s3?),
            region: settings::region(&self.record.overrides),
            access_key: key.access_key.clone(),
            secret_key: key.secret_key.clone(),
        })
    }

    pub fn state(&self, member: Member) -> Result<ProcessState> {
        let process = self.process(member)?;
        Ok(process.map_or(ProcessState::Gone, ProcessId::state))
    }

    fn pid(&self, member: Member) -> Result<Option<u32>> {
        Ok(self.process(member)?.map(|process| process.pid))
    }
}
