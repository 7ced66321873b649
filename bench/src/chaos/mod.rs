//! A fault laboratory: people store, read and delete files while a nemesis kills, pauses, cuts off,
//! fills up and spoils, and in the end everything that was acknowledged has to be there.
//!
//! The seed decides what is struck when and what is asked in which order; how the two meet is the
//! machine's affair, so a seed brings a failure back often, not always. Rounds of faults alternate with
//! heals: see `plan` for how much may be broken between two of them. Rejected: a simulation of time
//! and network in one process, which would test a model of Postgres, SQLite and the disk in place of
//! them.

mod availability;
mod content;
mod damage;
mod database;
mod fault_rig;
mod files_check;
mod journal;
mod nemesis;
mod plan;
mod report;
mod stores_check;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use rand::SeedableRng;
use rand::rngs::StdRng;

pub use self::availability::Availability;
pub use self::fault_rig::FaultRig;
pub use self::report::{Report, RunReport};

use self::content::Contents;
use self::journal::{Journal, Work};
use self::nemesis::Nemesis;
use self::plan::{Round, Targets};
use self::workload::Workload;

/// Each of the user's purchases is limited.
const CREDITS_USD: u32 = 1000;
/// Within this the nodes have heard of what the last moments changed.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Everything that takes hours or days in a real network takes seconds here.
const SETTINGS: &str = r#"
[coordinator.uploads]
chunk_size = "64KiB"
[coordinator.p2p]
kademlia = false
autonat = false
[coordinator.ping]
interval = "1s"
timeout = "1s"
failures = 4
[coordinator.proofs]
interval = "10s"
retry_after = "4s"
per_node_limit = 1000000
[coordinator.repair]
grace = "3s"
[coordinator.money]
settlement_interval = "10s"

[node.p2p]
kademlia = "off"
autonat = false
[node.ping]
interval = "1s"
timeout = "1s"
failures = 4
[node.scrub]
period = "1m"
"#;

#[derive(Debug, Clone)]
pub struct Chaos {
    pub seed: u64,
    pub nodes: usize,
    /// With one there are times when nobody is served; with more each is asked in turn.
    pub coordinators: usize,
    /// How long faults are injected, in all; heals come on top.
    pub length: Duration,
    /// How long they are injected between two heals.
    pub round: Duration,
    /// Whether blobs are spoilt on the disk, too.
    pub rot: bool,
    /// As in production; off saves time where nothing can be learned from it.
    pub fsync: bool,
    /// Where the logs are put when something was violated.
    pub logs: Option<PathBuf>,
}

impl Chaos {
    pub async fn run(&self, narrate: &(dyn Fn(&str) + Sync)) -> Result<RunReport> {
        let (nodes, coordinators) = (self.nodes, self.coordinators);
        let rig = FaultRig::start(nodes, coordinators, SETTINGS.parse()?, self.fsync).await?;
        let first = rig.cluster.session().await?;
        first.purchase(CREDITS_USD).await?;
        let clients = (1..=coordinators).map(|number| rig.cluster.client_of(number));
        let sessions = clients.map(|client| Ok(first.at(client?)));
        let sessions = sessions.collect::<Result<Vec<Session>>>()?;
        let journal = Arc::new(Journal::default());
        let work = Workload::new(sessions, Arc::clone(&journal), Contents::new(self.seed));
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut nemesis = Nemesis::new(rig, StdRng::from_rng(&mut rng))?;
        let storm = Box::pin(self.storm(&mut nemesis, &work, &mut rng, narrate));
        let mut outcome = storm.await.map_err(|error| format!("{error:#}"));
        let mut report = self.report(&nemesis, &journal);
        if outcome.is_ok() && journal.violations().is_empty() {
            narrate("The storm is over; checking.");
            let check = Box::pin(check(&nemesis, &work, &mut report));
            outcome = check.await.map_err(|error| format!("{error:#}"));
        }
        report.violations.extend(outcome.err());
        if !report.passed()
            && let Some(logs) = &self.logs
        {
            keep_logs(&nemesis, logs)?;
        }
        Ok(report)
    }

    async fn storm(
        &self,
        nemesis: &mut Nemesis,
        work: &Workload,
        rng: &mut StdRng,
        narrate: &(dyn Fn(&str) + Sync),
    ) -> Result<()> {
        let targets = Targets {
            nodes: self.nodes,
            coordinators: self.coordinators,
            rot: self.rot,
        };
        let stop = work.journal.stop.clone();
        let mut workers = work.start(self.seed);
        let mut left = self.length;
        let mut stormed = Ok(());
        while !left.is_zero() && !stop.is_cancelled() && stormed.is_ok() {
            let length = self.round.min(left);
            left -= length;
            let round = Round::new(&targets, length, rng);
            let began = Instant::now();
            stormed = match nemesis.strike(&round, &stop).await {
                Ok(held) => nemesis.heal(held, &stop).await,
                Err(error) => Err(error),
            };
            if stormed.is_ok() {
                let strikes = round.strikes.len();
                let healed = nemesis.healed.last().copied().unwrap_or_default();
                narrate(&format!(
                    "{strikes} strikes in {:.1} s, whole again after {:.1} s; {} s to go.",
                    (began.elapsed() - healed).as_secs_f64(),
                    healed.as_secs_f64(),
                    left.as_secs()
                ));
            }
        }
        stop.cancel();
        while let Some(worker) = workers.join_next().await {
            worker.context("a worker of the workload")?;
        }
        stormed
    }

    fn report(&self, nemesis: &Nemesis, journal: &Journal) -> RunReport {
        let ops = journal.ops();
        let (files, bytes, deletions) = journal.totals();
        let mut healed = nemesis.healed.clone();
        healed.sort_unstable();
        let faults = nemesis.faults.iter();
        RunReport {
            seed: self.seed,
            files_acknowledged: files,
            bytes_acknowledged: bytes,
            deletions_acknowledged: deletions,
            faults: faults.map(|(kind, count)| (kind.name(), *count)).collect(),
            copies_spoilt: nemesis.spoilt.len() as u64,
            reads: Availability::of(Work::Read, &ops, &nemesis.windows),
            writes: Availability::of(Work::Write, &ops, &nemesis.windows),
            heals: healed.len() as u64,
            median_heal_s: healed
                .get(healed.len() / 2)
                .map_or(0.0, Duration::as_secs_f64),
            longest_heal_s: healed.last().map_or(0.0, Duration::as_secs_f64),
            violations: journal.violations(),
            ..RunReport::default()
        }
    }
}

/// All that has to hold once everything is healed.
async fn check(nemesis: &Nemesis, work: &Workload, report: &mut RunReport) -> Result<()> {
    let kept = files_check::check(work).await?;
    report.files_checked = kept.files;
    report.bytes_checked = kept.bytes;
    report.lost_files = kept.lost_files;
    report.lost_bytes = kept.lost_bytes;
    report.violations.extend(kept.violations);

    let mut wanting = Vec::new();
    let whole = wait_for(
        "the API to call all files whole",
        SETTLED_WITHIN,
        async || {
            wanting = files_check::not_durable(work).await.ok()?;
            wanting.is_empty().then_some(())
        },
    );
    whole.await.with_context(|| wanting.join(", "))?;

    // What is under way in the last moments, such as a trim, may still move.
    let mut stores = stores_check::check(nemesis).await?;
    let agree = wait_for("disks and database to agree", SETTLED_WITHIN, async || {
        stores = stores_check::check(nemesis).await.ok()?;
        stores.violations.is_empty().then_some(())
    });
    let _ = agree.await; // what they disagree about says more than that they do
    report.copies_checked = stores.copies;
    report.copies_set_aside = stores.set_aside;
    report.copies_leaving = stores.leaving;
    report.orphans = stores.orphans;
    report.violations.extend(stores.violations);
    let crashed = !nemesis.windows.is_empty();
    if stores.orphans > 0 && !crashed {
        report.violations.push(format!(
            "{} blobs are in no row, and neither coordinator nor database has crashed",
            stores.orphans
        ));
    }

    let verdict = nemesis.coordinator_says(&["ledger", "verify"]).await;
    report
        .violations
        .extend(verdict.err().map(|error| format!("{error:#}")));
    Ok(())
}

fn keep_logs(nemesis: &Nemesis, into: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    let logs = nemesis.rig.cluster.dir().join("logs");
    for entry in std::fs::read_dir(logs)? {
        let entry = entry?;
        std::fs::copy(entry.path(), into.join(entry.file_name()))?;
    }
    Ok(())
}
