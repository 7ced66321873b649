//! Bringing a cluster up: each step does what is missing and leaves alone what is there.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::access_keys::NewAccessKey;
use futures::future::join_all;
use rand::CryptoRng;
use reqwest::StatusCode;

use super::{Cluster, Member, Progress};
use crate::files;
use crate::overrides::Overrides;
use crate::process::ProcessState;
use crate::programs::Programs;
use crate::record::{AccessKeyRecord, ClusterRecord, CoordinatorRecord, NodeRecord};
use crate::registry::Registry;
use crate::wait::wait_for;

const DEFAULT_NODES: usize = 5;
const DEFAULT_HTTP_PORT: u16 = 8080;
const MOST_NODES: usize = 99;
const MOST_COORDINATORS: usize = 9;
const FIRST_PURCHASE_USD: u32 = 10;
const ONLINE_WITHIN: Duration = Duration::from_secs(60);

/// What is `None` stays as it is, or takes its default in a new cluster.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    pub nodes: Option<usize>,
    pub coordinators: Option<usize>,
    pub http_port: Option<u16>,
    pub overrides: Option<Overrides>,
    /// Only for tests: whether a new cluster's database may lose its data in a power cut.
    pub without_fsync: bool,
}

impl Cluster {
    /// The cluster of a directory, a new one if there is none; nothing is started yet.
    pub fn prepare(
        dir: &Path,
        programs: Programs,
        options: UpOptions,
        random: &mut impl CryptoRng,
        progress: Progress<'_>,
    ) -> Result<Self> {
        programs.check()?;
        let record = match ClusterRecord::read(dir)? {
            Some(record) => record,
            None => {
                refuse_foreign(dir)?;
                let port = options.http_port.unwrap_or(DEFAULT_HTTP_PORT);
                let fsync = !options.without_fsync;
                ClusterRecord::new(dir, programs.dir(), port, fsync, random)?
            }
        };
        let mut cluster = Self {
            dir: dir.to_owned(),
            record,
            registry: Registry::in_dir(dir),
            programs,
        };
        cluster.apply(options, progress)?;
        for part in ["logs", "run"] {
            files::create_dir(&dir.join(part))?;
        }
        cluster.save()?;
        Ok(cluster)
    }

    fn apply(&mut self, options: UpOptions, progress: Progress<'_>) -> Result<()> {
        let runs = !self.registry.alive()?.is_empty();
        let record = &mut self.record;
        record.programs = self.programs.dir().to_owned();

        let present = record.nodes.len();
        let default = if present == 0 { DEFAULT_NODES } else { present };
        let wanted = options.nodes.unwrap_or(default);
        if !(1..=MOST_NODES).contains(&wanted) {
            bail!("--nodes may be 1 to {MOST_NODES}");
        }
        if wanted < present {
            progress(&format!(
                "There are {present} nodes already, and nodes are not taken away: their blobs \
                 would go with them. `down --wipe` begins anew."
            ));
        }
        record
            .nodes
            .extend((present + 1..=wanted).map(NodeRecord::new));

        let present = record.coordinators.len();
        let wanted = options.coordinators.unwrap_or(present);
        if !(1..=MOST_COORDINATORS).contains(&wanted) {
            bail!("--coordinators may be 1 to {MOST_COORDINATORS}");
        }
        if wanted < present {
            progress(&format!(
                "There are {present} coordinators already, and `up` takes none away; \
                 `local-cluster stop coordinator-{present}` stops one."
            ));
        }
        let more = (present..wanted).map(|_| CoordinatorRecord::new(0));
        record.coordinators.extend(more);

        if let Some(port) = options.http_port {
            let first = &mut record.coordinators[0];
            let old = first.http_port;
            let running = self.registry.find(&Member::Coordinator(1).to_string())?;
            if port != 0 && port != old && running.is_some() {
                bail!(
                    "the coordinator is running on port {old}; to move it to {port}, first run \
                     `local-cluster stop coordinator`"
                );
            }
            if running.is_none() {
                first.http_port = port;
            }
        }
        if let Some(overrides) = options.overrides {
            if runs {
                progress("What is running keeps its settings until it is started again.");
            }
            self.record.overrides = overrides;
        }
        let replicas = self.record.overrides.replicas();
        if self.record.nodes.len() < replicas {
            progress(&format!(
                "Note: each chunk goes to {replicas} nodes, so with {} nothing can be stored. Ask \
                 for more with --nodes, or for fewer copies with --config.",
                self.record.nodes.len()
            ));
        }
        Ok(())
    }

    /// Starts everything that is not running; returns when files can be stored.
    pub async fn bring_up(&mut self, progress: Progress<'_>) -> Result<()> {
        if self.process(Member::Coordinator(1))?.is_none() {
            // Before anything is started in vain.
            self.choose_ports(1)?;
        }
        if self.missing(Member::Postgres, progress)? {
            self.start_postgres().await?;
            progress("postgres is ready.");
        }
        // One after the other: the first of a new cluster makes the keys that the others share.
        for number in 1..=self.coordinator_count() {
            let member = Member::Coordinator(number);
            if self.missing(member, progress)? {
                self.start_coordinator(number).await?;
                let url = self.coordinator(number).base_url();
                progress(&format!("{member} is ready on {url}."));
            }
        }
        self.bring_up_nodes(progress).await?;
        self.until_online().await?;
        self.prepare_user().await
    }

    async fn bring_up_nodes(&mut self, progress: Progress<'_>) -> Result<()> {
        let mut missing = Vec::new();
        for number in 1..=self.node_count() {
            if self.missing(Member::Node(number), progress)? {
                missing.push(number);
            }
        }
        let starts = missing.iter().map(|number| self.start_node(*number));
        let outcomes = join_all(starts).await;
        let mut failure = None;
        for (number, outcome) in missing.iter().zip(outcomes) {
            match outcome {
                Ok(ready) => {
                    self.record.nodes[number - 1].ready = Some(ready);
                    progress(&format!("node-{number} is ready."));
                }
                Err(error) => failure = Some(error),
            }
        }
        self.save()?;
        failure.map_or(Ok(()), Err)
    }

    /// Whether a member has to be started. One that was paused goes on.
    fn missing(&self, member: Member, progress: Progress<'_>) -> Result<bool> {
        match self.state(member)? {
            ProcessState::Gone => return Ok(true),
            ProcessState::Running => progress(&format!("{member} is running already.")),
            ProcessState::Paused => {
                self.resume(member)?;
                progress(&format!("{member} was paused and goes on."));
            }
        }
        Ok(false)
    }

    /// Waits until every coordinator that runs is ready and sees every node.
    pub async fn until_online(&self) -> Result<()> {
        for number in 1..=self.coordinator_count() {
            if self.process(Member::Coordinator(number))?.is_some() {
                self.until_online_at(number).await?;
            }
        }
        Ok(())
    }

    async fn until_online_at(&self, coordinator: usize) -> Result<()> {
        let client = self.client_of(coordinator)?;
        let ids: Vec<&str> = self
            .record
            .nodes
            .iter()
            .filter_map(|node| Some(node.ready.as_ref()?.node_id.as_str()))
            .collect();
        wait_for(
            format!("{} to see all nodes", Member::Coordinator(coordinator)),
            ONLINE_WITHIN,
            async || {
                let nodes = client.nodes().await.ok()?;
                let online = |id: &str| {
                    nodes
                        .iter()
                        .any(|node| node.online && node.node_id.to_string() == id)
                };
                (client.is_ready().await && ids.iter().all(|id| online(id))).then_some(())
            },
        )
        .await
        .with_context(|| format!("the logs are in {}", self.dir.join("logs").display()))
    }

    /// A user with credits and an access key, so that the first upload needs no preparation.
    async fn prepare_user(&mut self) -> Result<()> {
        if !self.record.user.ready {
            self.register_user().await?;
        }
        if self.record.user.s3_key.is_none() {
            let session = self.session().await.context("cannot log in")?;
            let key = session.create_access_key(&for_objects()).await;
            let key = key.context("cannot make an access key")?;
            self.record.user.s3_key = Some(AccessKeyRecord {
                access_key: key.access_key_id,
                secret_key: key.secret_access_key.unwrap_or_default(),
            });
            self.save()?;
        }
        Ok(())
    }

    async fn register_user(&mut self) -> Result<()> {
        let user = &self.record.user;
        match self.client()?.register(&user.email, &user.password).await {
            Err(error) if error.status() != Some(StatusCode::CONFLICT) => {
                return Err(error).context("cannot register the first user");
            }
            _ => {}
        }
        let session = self.session().await.context("cannot log in")?;
        let purchase = session.purchase(FIRST_PURCHASE_USD).await;
        purchase.context("cannot buy credits for the first user")?;
        self.record.user.ready = true;
        self.save()
    }
}

/// A key with which programs may do everything with objects.
fn for_objects() -> NewAccessKey {
    NewAccessKey {
        name: "local-cluster".to_owned(),
        scopes: ["read", "write", "list", "delete"]
            .map(str::to_owned)
            .into(),
        bucket: None,
        prefix: None,
        expires_at: None,
        allowed_addresses: Vec::new(),
        s3: true,
        bytes_per_day: None,
        credits_per_day: None,
    }
}

/// A directory with anything else in it is not ours to fill, and later to wipe.
fn refuse_foreign(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        if name != "lock" && name != "cluster.new" {
            bail!(
                "{} is not empty and holds no local cluster (there is {}); choose an empty \
                 directory with --dir",
                dir.display(),
                name.display()
            );
        }
    }
    Ok(())
}
