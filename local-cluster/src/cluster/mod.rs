//! A whole network in one directory: Postgres, coordinators and storage nodes as real processes.
//!
//! ```text
//! DIR/cluster.json      what is remembered: settings, addresses, secrets (record.rs)
//! DIR/processes.json    what was started (registry.rs)
//! DIR/logs/*.log        what each process says
//! DIR/run/*.json        ready files: what each process listens on
//! DIR/postgres/data     the database (elsewhere if Postgres' account cannot get here)
//! DIR/coordinator/      config.toml, keys/ (of more coordinators: DIR/coordinator-N/)
//! DIR/node-N/           config.toml, data/
//! ```
//!
//! Every step looks at what is there and does what is missing, so each can be repeated after a crash.

mod control;
mod down;
mod member;
mod start;
mod status;
mod up;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use member::Member;
pub use status::Status;
pub use up::UpOptions;

use crate::client::{ApiError, Endpoint, Session};
use crate::process::ProcessId;
use crate::programs::Programs;
use crate::record::{ClusterRecord, CoordinatorRecord};
use crate::registry::Registry;

/// Receives a line about each step, for people.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    record: ClusterRecord,
    programs: Programs,
    registry: Registry,
}

impl Cluster {
    /// A cluster that was brought up before, with the programs of that time.
    pub fn open(dir: &Path) -> Result<Self> {
        let Some(record) = ClusterRecord::read(dir)? else {
            bail!(
                "there is no local cluster in {}; start one with `local-cluster up`, or name its \
                 directory with --dir",
                dir.display()
            );
        };
        Ok(Self {
            dir: dir.to_owned(),
            programs: Programs::in_dir(&record.programs),
            registry: Registry::in_dir(dir),
            record,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Of the first coordinator.
    pub fn base_url(&self) -> String {
        self.coordinator(1).base_url()
    }

    pub fn record(&self) -> &ClusterRecord {
        &self.record
    }

    /// Asks the first coordinator.
    pub fn client(&self) -> Result<Endpoint, ApiError> {
        self.client_of(1)
    }

    /// Asks the coordinator of this number.
    pub fn client_of(&self, coordinator: usize) -> Result<Endpoint, ApiError> {
        Endpoint::new(self.coordinator(coordinator).base_url())
    }

    /// The user that `up` has registered and given credits.
    pub async fn session(&self) -> Result<Session, ApiError> {
        let user = &self.record.user;
        self.client()?.login(&user.email, &user.password).await
    }

    /// Coordinators by their number, from 1 to this.
    pub fn coordinator_count(&self) -> usize {
        self.record.coordinators.len()
    }

    fn coordinator(&self, number: usize) -> &CoordinatorRecord {
        &self.record.coordinators[number - 1]
    }

    /// Nodes by their number, from 1 to this.
    pub fn node_count(&self) -> usize {
        self.record.nodes.len()
    }

    /// Postgres, every coordinator, every node.
    pub fn members(&self) -> Vec<Member> {
        let coordinators = (1..=self.coordinator_count()).map(Member::Coordinator);
        let nodes = (1..=self.node_count()).map(Member::Node);
        [Member::Postgres]
            .into_iter()
            .chain(coordinators)
            .chain(nodes)
            .collect()
    }

    /// The member of this name, or what names there are.
    pub fn member(&self, name: &str) -> Result<Member> {
        let found = self.members().into_iter().find(|m| m.to_string() == name);
        found.with_context(|| {
            let coordinators = match self.coordinator_count() {
                1 => String::new(),
                count => format!(" (to coordinator-{count})"),
            };
            format!(
                "there is no `{name}` in this cluster; the names are postgres, \
                 coordinator{coordinators} and node-1 to node-{}",
                self.node_count()
            )
        })
    }

    pub fn process(&self, member: Member) -> Result<Option<ProcessId>> {
        self.registry.find(&member.to_string())
    }

    pub fn log(&self, member: Member) -> PathBuf {
        self.dir.join("logs").join(format!("{member}.log"))
    }

    /// Where a node keeps its blobs.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.member_dir(Member::Node(node)).join("data")
    }

    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Settings of one node alone; they hold from its next start on.
    pub fn configure_node(&mut self, node: usize, settings: toml::Table) -> Result<()> {
        self.record.nodes[node - 1].overrides = settings;
        self.save()
    }

    /// The executable that starts processes and reaps them.
    pub fn launcher(&self) -> Result<&Path> {
        self.programs.check()?;
        Ok(&self.programs.local_cluster)
    }

    /// The settings that a coordinator or node was last started with.
    pub fn config_file(&self, member: Member) -> PathBuf {
        self.member_dir(member).join("config.toml")
    }

    fn member_dir(&self, member: Member) -> PathBuf {
        self.dir.join(member.to_string())
    }

    fn ready_file(&self, member: Member) -> PathBuf {
        self.dir.join("run").join(format!("{member}.json"))
    }

    fn save(&self) -> Result<()> {
        self.record.write(&self.dir)
    }
}

/// Held while a command works on a directory, so that two never do so at once.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// Waits for other commands to finish.
    pub fn acquire(dir: &Path, progress: Progress<'_>) -> Result<Self> {
        let path = dir.join("lock");
        let file = crate::files::open_log(&path)?;
        if file.try_lock().is_err() {
            progress("Another command works on this cluster; waiting for it to finish.");
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { _file: file })
    }
}
