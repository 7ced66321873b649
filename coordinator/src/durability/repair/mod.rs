//! Repair: brings every chunk back to as many replicas as were promised, and takes away what is too much.
//!
//! 1. The liveness worker notes which nodes are there ([`presence`](crate::fleet::tables::presence)). What changes
//!    the worth of a node's replicas enters a *scan* of them.
//! 2. Scans go through a node's replicas a page at a time and enter chunks that need something into the queue
//!    (`chunks_to_repair`); demotions enter theirs by themselves. A chunk that has all its replicas, two of them
//!    in one failure domain, is entered when there is a better place: it gets one copy more, and the worst placed
//!    is then too much.
//! 3. Chunks are taken from the queue, those with the fewest healthy replicas first. Copies are made outside
//!    of any transaction (`rebuild`); then a group of chunks is settled in one (`settle`): under their
//!    locks everything is looked at anew, rows are added and taken away, and who earns is changed.
//!
//! Everything is in the database, so coordinators share the work and a crash loses none: a scan goes on where
//! the last page ended, a chunk that was taken comes back when its lease is over, and a copy without a row is
//! found by reconciling.

mod rebuild;
mod settle;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use kit::Wake;
use kit::metrics::show;
use rand::Rng;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use self::rebuild::rebuild;
use self::settle::{Settled, settle};
use crate::config::RepairConfig;
use crate::durability::{Durability, tables};
use crate::fleet;
use limits::memory::MemoryBudget;

use crate::durability::metrics::QueueLabels;
use crate::durability::tables::repair::{KeptChunk, ScannedPage};
use rules::placement;
use rules::placement::{Candidate, FailureDomains, Rules};
use rules::repair::{Replica, misplaced};
use sealing::ChunkRef;

/// Replicas in one page of a scan.
const PAGE: i64 = 500;

/// A node in trouble is gone through again after this time, for what came to it behind the scan; any other
/// once a day, for whatever was missed.
const AGAIN_IN_TROUBLE: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Chunks that are worked on at one time, and that are settled together.
const AT_ONE_TIME: usize = 32;
const GROUP: usize = 64;

/// Memory for the chunks that are worked on.
const MEMORY: u64 = 48 * 1024 * 1024;

/// A chunk that a dead coordinator was at waits for so long. Work on one may take longer, for a store may take a
/// minute and so may a read: leases are renewed meanwhile.
const LEASE: Duration = Duration::from_secs(60);

/// A step takes no more chunks after this time.
const STEP: Duration = Duration::from_secs(10);

/// The budget is kept in units of this many bytes.
const BUDGET_UNIT: u64 = 1024;

/// What repair keeps in memory.
pub struct Repair {
    /// Scans are due.
    pub scan_wake: Wake,
    /// Chunks wait.
    pub wake: Wake,
    memory: MemoryBudget,
    budget: Option<DefaultDirectRateLimiter>,
}

impl Repair {
    pub fn new(config: &RepairConfig) -> Self {
        Self {
            scan_wake: Wake::new(),
            wake: Wake::new(),
            memory: MemoryBudget::new(MEMORY),
            budget: config.bytes_per_second.and_then(|rate| {
                let units = |bytes: u64| {
                    NonZeroU32::new(u32::try_from(bytes / BUDGET_UNIT).unwrap_or(u32::MAX))
                };
                // One blob of the longest kind has to fit.
                let burst = units(rate.as_u64().max(8 * 1024 * 1024))?;
                let quota = Quota::per_second(units(rate.as_u64())?).allow_burst(burst);
                Some(RateLimiter::direct(quota))
            }),
        }
    }

    /// Waits until `bytes` may be written.
    pub(super) async fn spend(&self, bytes: u64) {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT)).ok();
        if let (Some(budget), Some(units)) = (&self.budget, units.and_then(NonZeroU32::new)) {
            let _ = budget.until_n_ready(units).await; // more than a burst does not exist
        }
    }
}

/// Goes through one page of a node's replicas. `true` when more may be due.
pub async fn scan(durability: &Durability) -> anyhow::Result<bool> {
    let mut transaction = durability.db.begin().await?;
    let Some(scan) = tables::repair::lock_scan(&mut transaction).await? else {
        return Ok(false);
    };
    let pause = if scan.in_trouble {
        AGAIN_IN_TROUBLE
    } else {
        AGAIN
    };
    let page = tables::repair::scan_page(&mut transaction, &scan, PAGE, pause).await?;
    let ScannedPage {
        chunks,
        found,
        is_last,
    } = page;
    let misplaced = enter_misplaced(durability, &mut transaction, &chunks).await?;
    transaction.commit().await?;
    let (replicas, found) = (chunks.len(), found + misplaced);
    if found > 0 {
        durability.repair.wake.wake();
        tracing::info!(node_id = %scan.node_id, replicas, found, misplaced,
            "chunks need repair, have too many replicas or badly placed ones");
    }
    if is_last {
        tracing::debug!(node_id = %scan.node_id, "went through a node's replicas");
    }
    Ok(true)
}

/// Works on chunks that wait, until none does or the step has taken long enough. `true` when there may be
/// more.
pub async fn step(durability: &Arc<Durability>) -> anyhow::Result<bool> {
    let began = Instant::now();
    let (mut running, mut ready) = (JoinSet::new(), Vec::new());
    let (mut sum, mut dry, mut failed) = (Settled::default(), false, None);
    let mut in_work = HashSet::new();
    let mut renewal = tokio::time::interval_at((began + LEASE / 3).into(), LEASE / 3);
    loop {
        let room = AT_ONE_TIME.saturating_sub(running.len());
        // Not one by one: a query brings many.
        if !dry && began.elapsed() < STEP && room >= AT_ONE_TIME / 2 {
            match take(durability, room).await {
                Ok(taken) => {
                    dry = taken.len() < room;
                    for work in taken {
                        in_work.insert(work.queued.chunk);
                        running.spawn(rebuild(Arc::clone(durability), work));
                    }
                }
                Err(error) => (dry, failed) = (true, Some(error)),
            }
        }
        let mut next = tokio::select! {
            rebuilt = running.join_next() => rebuilt,
            _ = renewal.tick() => {
                // Without it others take the chunks too, and what is too much goes again.
                if let Err(error) = renew(durability, &in_work).await {
                    tracing::warn!(error = format!("{error:#}"), "leases of chunks were not renewed");
                }
                continue;
            }
        };
        if next.is_none() {
            break;
        }
        // What is under way is waited for, whatever fails, so that nothing is left on nodes unknown.
        while let Some(rebuilt) = next {
            match rebuilt {
                Ok(rebuilt) => {
                    in_work.remove(&rebuilt.queued.chunk);
                    ready.push(rebuilt);
                }
                Err(error) => (dry, failed) = (true, Some(error.into())),
            }
            next = match ready.len() < GROUP {
                true => running.try_join_next(),
                false => None,
            };
        }
        match settle(durability, std::mem::take(&mut ready)).await {
            Ok(settled) => sum.add(&settled),
            Err(error) => (dry, failed) = (true, Some(error)),
        }
    }
    sum.log(began.elapsed());
    match failed {
        Some(error) => Err(error),
        // A chunk that got some of its copies waits for the others.
        None => Ok(!dry || sum.added > 0),
    }
}

async fn renew(durability: &Durability, chunks: &HashSet<ChunkRef>) -> anyhow::Result<()> {
    let chunks: Vec<ChunkRef> = chunks.iter().copied().collect();
    let mut connection = durability.db.acquire().await?;
    tables::repair::renew(&mut connection, &chunks, LEASE).await?;
    Ok(())
}

/// Shows what waits in the metrics.
pub async fn show_queue(durability: &Durability) -> anyhow::Result<()> {
    let waiting = {
        let mut connection = durability.db.acquire().await?;
        tables::repair::waiting(&mut connection).await?
    };
    durability.metrics.repair_queue.clear();
    // Those that are empty, too: what is not there cannot be told from what is not measured.
    let replicas = durability.blobs.copies().pieces();
    let most = waiting.iter().map(|level| level.healthy).max();
    for healthy in 0..=most.unwrap_or(0).max(replicas) {
        let level = waiting.iter().find(|level| level.healthy == healthy);
        let gauge = durability
            .metrics
            .repair_queue
            .get_or_create(&QueueLabels { healthy });
        show(&gauge, level.map_or(0, |level| level.chunks));
    }
    let oldest = waiting.iter().map(|level| level.oldest).min();
    let age = oldest.map_or(0, |oldest| {
        durability.clock.now().duration_since(oldest).as_secs()
    });
    durability.metrics.repair_oldest_seconds.set(age.max(0));
    Ok(())
}

/// Takes chunks, those first that can lose the fewest pieces more. While much of the fleet fails at once, only those that
/// can lose none, or are lost already.
async fn take(durability: &Durability, limit: usize) -> anyhow::Result<Vec<rebuild::Work>> {
    let mut connection = durability.db.acquire().await?;
    let alarm = fleet::tables::node_status::last_alarm(&mut connection).await?;
    let alarm = alarm.is_some_and(|alarm| alarm.is_on(durability.clock.now()));
    let most_margin = if alarm { 1 } else { u32::MAX };
    let taken = tables::repair::take(&mut connection, limit as i64, most_margin, LEASE).await?;
    rebuild::look_up(&mut connection, taken).await
}

/// Enters those of these chunks into the queue, under whose locks this is, that lack nothing but a better place
/// for one of their replicas, where there is one; how many.
async fn enter_misplaced(
    durability: &Durability,
    connection: &mut PgConnection,
    chunks: &[ChunkRef],
) -> sqlx::Result<u64> {
    if !durability.blobs.placement.distinct_domains || chunks.is_empty() {
        return Ok(0);
    }
    let mut replicas: HashMap<ChunkRef, Vec<Replica>> = HashMap::new();
    for (chunk, replica) in tables::repair::replicas(connection, chunks).await? {
        replicas.entry(chunk).or_default().push(replica);
    }
    let kept = tables::repair::ready_chunks(connection, chunks).await?;
    let candidates = durability.blobs.fleet.candidates();
    let mut rng = durability.entropy.rng();
    let misplaced = kept.into_iter().filter(|kept| {
        let replicas = replicas.get(&kept.chunk).map_or(&[][..], |held| held);
        better_placed(
            &candidates,
            &with_domains(durability, replicas),
            kept,
            &mut rng,
        )
        .is_some()
    });
    let misplaced: Vec<_> = misplaced.collect();
    tables::repair::enqueue_whole(connection, &misplaced).await
}

/// The replica of a chunk that would stand better elsewhere, when there is a node now on which it would.
fn better_placed(
    candidates: &[Candidate],
    replicas: &[Replica],
    kept: &KeptChunk,
    rng: &mut impl Rng,
) -> Option<usize> {
    let scheme = kept.scheme;
    let worst = misplaced(replicas, scheme)?;
    let others = replicas.iter().enumerate().filter(|(at, _)| *at != worst);
    let others = others.filter(|(_, other)| other.stays());
    let is_vetted = |replica: &Replica| {
        let mut vetted = candidates.iter().filter(|candidate| candidate.vetted);
        vetted.any(|candidate| candidate.node_id == replica.node_id)
    };
    let vetted_beside = others.clone().filter(|(_, other)| is_vetted(other)).count();
    let occupied: Vec<FailureDomains> = others.map(|(_, other)| other.domains.clone()).collect();
    let request = placement::Request {
        count: 1,
        scheme,
        blob_bytes: kept.blob_bytes(),
        distinct_domains: true,
        rules: Rules::Hard,
        vetted_beside,
        newcomers_beside: occupied.len() - vetted_beside,
        excluded: &replicas.iter().map(|replica| replica.node_id).collect(),
        occupied: &occupied,
    };
    let found = placement::place(candidates, &request, rng);
    found.is_ok().then_some(worst)
}

fn with_domains(durability: &Durability, replicas: &[Replica]) -> Vec<Replica> {
    let with_domains = replicas.iter().map(|replica| Replica {
        domains: domains(durability, replica),
        ..replica.clone()
    });
    with_domains.collect()
}

/// Where a replica stands. Only whoever is connected to its node knows the network prefix.
fn domains(durability: &Durability, replica: &Replica) -> FailureDomains {
    let member = durability.blobs.fleet.member(replica.node_id);
    member.map_or_else(|| replica.domains.clone(), |member| member.domains())
}
