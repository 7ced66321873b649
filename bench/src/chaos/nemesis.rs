//! Carries out what was planned, and makes it good again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local_cluster::Member;
use local_cluster::proxy::{Conditions, TcpProxy};
use local_cluster::wait::wait_for;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::availability::{AFTERMATH, Window};
use super::damage;
use super::database::{Database, Placed};
use super::fault_rig::FaultRig;
use super::plan::{Kind, Round, Strike};

/// Whole again within this after a heal, on a machine that has other things to do as well.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
const HEALTHY: Conditions = Conditions {
    delay: Duration::ZERO,
    bytes_per_second: None,
    silent: false,
    cut: false,
};
const CUT: Conditions = Conditions {
    cut: true,
    ..HEALTHY
};
const SILENT: Conditions = Conditions {
    silent: true,
    ..HEALTHY
};
const SLOW: Conditions = Conditions {
    delay: Duration::from_millis(80),
    ..HEALTHY
};
/// Room that a full node has left.
const LITTLE_ROOM: u64 = 400 * 1024;
const LEAST_CAPACITY: u64 = 1_000_000;

pub(super) struct Nemesis {
    pub rig: FaultRig,
    pub database: Database,
    rng: StdRng,
    pub faults: BTreeMap<Kind, u64>,
    /// Every copy that was ever spoilt.
    pub spoilt: BTreeSet<Placed>,
    /// When Postgres or a coordinator was down, and a moment longer.
    pub windows: Vec<Window>,
    /// Since when the one that is down now is.
    down_since: Instant,
    /// How long each heal took until everything was whole.
    pub healed: Vec<Duration>,
}

enum Event {
    Begin,
    End,
}

impl Nemesis {
    pub(super) fn new(rig: FaultRig, rng: StdRng) -> Result<Self> {
        let database = Database::at(&rig.cluster.record().postgres.url())?;
        Ok(Self {
            rig,
            database,
            rng,
            faults: BTreeMap::new(),
            spoilt: BTreeSet::new(),
            windows: Vec::new(),
            down_since: Instant::now(),
            healed: Vec::new(),
        })
    }

    /// Strikes as planned. What still holds when the round is over, or is stopped, is left to `heal`.
    pub(super) async fn strike(
        &mut self,
        round: &Round,
        stop: &CancellationToken,
    ) -> Result<Vec<Strike>> {
        let mut agenda = Vec::new();
        for strike in &round.strikes {
            agenda.push((strike.at, Event::Begin, strike));
            if !strike.lasts.is_zero() {
                agenda.push((strike.at + strike.lasts, Event::End, strike));
            }
        }
        agenda.sort_by_key(|(at, ..)| *at);
        let began = Instant::now();
        let mut held: Vec<Strike> = Vec::new();
        for (at, event, strike) in agenda {
            let due = sleep(at.saturating_sub(began.elapsed()));
            if stop.run_until_cancelled(due).await.is_none() {
                break;
            }
            match event {
                Event::Begin => {
                    self.begin(strike).await.with_context(|| told(strike))?;
                    held.push(strike.clone());
                }
                Event::End => {
                    held.retain(|held| held != strike);
                    let ended = self.end(strike).await;
                    ended.with_context(|| format!("the end of: {}", told(strike)))?;
                }
            }
        }
        Ok(held)
    }

    /// Ends what still holds and waits until every chunk has all its replicas again.
    pub(super) async fn heal(&mut self, held: Vec<Strike>, stop: &CancellationToken) -> Result<()> {
        let began = Instant::now();
        for strike in held {
            let ended = self.end(&strike).await;
            ended.with_context(|| format!("the end of: {}", told(&strike)))?;
        }
        self.rig.cluster.until_online().await?;
        let spoilt: Vec<Placed> = self.spoilt.iter().cloned().collect();
        let mut last = String::new();
        let whole = wait_for("every chunk to be whole", WHOLE_WITHIN, async || {
            match self.missing(&spoilt).await {
                _ if stop.is_cancelled() => return Some(()),
                Ok(None) => return Some(()),
                Ok(Some(missing)) => last = missing,
                Err(error) => last = format!("{error:#}"),
            }
            None
        });
        whole.await.with_context(|| last)?;
        self.healed.push(began.elapsed());
        Ok(())
    }

    async fn missing(&self, spoilt: &[Placed]) -> Result<Option<String>> {
        self.pardon().await?;
        let counted = self.database.counted(spoilt).await?.len();
        let lacking = self.database.lacking().await?;
        Ok((counted + lacking as usize > 0).then(|| {
            format!("{lacking} chunks lack replicas, {counted} spoilt blobs are not found out")
        }))
    }

    /// What an operator does for nodes that were struck and failed their proofs: else a fleet of five
    /// would have none left that may take blobs.
    async fn pardon(&self) -> Result<()> {
        let cluster = &self.rig.cluster;
        for node in cluster.client()?.nodes().await? {
            if node.on_hold || ["suspended", "disqualified"].contains(&node.state.as_str()) {
                let id = node.node_id.to_string();
                let args = ["admin", "node", "restore", &id, "--reason", "chaos"];
                self.coordinator_says(&args).await?;
            }
        }
        Ok(())
    }

    /// Runs a command of the coordinator's program.
    pub(super) async fn coordinator_says(&self, args: &[&str]) -> Result<String> {
        let cluster = &self.rig.cluster;
        let output = Command::new(&cluster.programs().coordinator)
            .args(args)
            .arg("--config")
            .arg(cluster.config_file(Member::Coordinator(1)))
            .output()
            .await
            .context("the coordinator's program cannot be run")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "coordinator {}: {said}{complained}",
            args.join(" ")
        );
        Ok(said)
    }

    async fn begin(&mut self, strike: &Strike) -> Result<()> {
        *self.faults.entry(strike.kind).or_default() += 1;
        match strike.member {
            Member::Node(node) => self.strike_node(node, strike.kind).await,
            member => {
                self.down_since = Instant::now();
                match strike.kind {
                    Kind::CoordinatorPaused => self.rig.cluster.pause(member),
                    _ => self.rig.cluster.kill(member).await,
                }
            }
        }
    }

    async fn strike_node(&mut self, node: usize, kind: Kind) -> Result<()> {
        let (rig, member) = (&mut self.rig, Member::Node(node));
        match kind {
            Kind::Kill => rig.cluster.kill(member).await?,
            Kind::Pause => rig.cluster.pause(member)?,
            Kind::Cut => rig.links(node).iter().for_each(|link| link.set(CUT)),
            Kind::CutFromOne => {
                let links = rig.links(node);
                links[self.rng.random_range(0..links.len())].set(CUT);
            }
            Kind::Silence => rig.links(node).iter().for_each(|link| link.set(SILENT)),
            Kind::Delay => rig.links(node).iter().for_each(|link| link.set(SLOW)),
            Kind::Full => {
                let rows = damage::rows(&rig.cluster.data_dir(node))?;
                let used: u64 = rows.iter().map(|row| row.disk_bytes).sum();
                let capacity = (used + LITTLE_ROOM).max(LEAST_CAPACITY);
                rig.resize(node, Some(capacity)).await?;
            }
            Kind::FlippedBits | Kind::WipedBlobs => {
                let node_id = rig.node_id(node)?;
                let data_dir = rig.cluster.data_dir(node);
                let blobs = damage::damage(&data_dir, kind, &mut self.rng)?;
                let copies = blobs.into_iter().map(|blob| (node_id.clone(), blob));
                self.spoilt.extend(copies);
            }
            Kind::Postgres | Kind::Coordinator | Kind::CoordinatorPaused => {
                bail!("these are no nodes")
            }
        }
        Ok(())
    }

    async fn end(&mut self, strike: &Strike) -> Result<()> {
        let (rig, member) = (&mut self.rig, strike.member);
        match (strike.kind, member) {
            (Kind::Kill | Kind::Postgres | Kind::Coordinator, _) => {
                rig.cluster.start(member).await?;
            }
            (Kind::Pause | Kind::CoordinatorPaused, _) => rig.cluster.resume(member)?,
            (Kind::Full, Member::Node(node)) => rig.resize(node, None).await?,
            (_, Member::Node(node)) => rig.links(node).iter().for_each(TcpProxy::heal),
            _ => {}
        }
        let coordinator = match member {
            Member::Node(_) => return Ok(()),
            Member::Coordinator(number) => Some(number),
            Member::Postgres => None,
        };
        self.windows.push(Window {
            from: self.down_since,
            to: Instant::now() + AFTERMATH,
            coordinator,
        });
        Ok(())
    }
}

fn told(strike: &Strike) -> String {
    format!("{} ({})", strike.kind.name(), strike.member)
}
