//! The audit: asks nodes to prove what they hold, and draws the consequences.
//!
//! Each node has a row in `audit_schedule`. A coordinator leases the rows that are due, of nodes that
//! are connected to it, and does one piece of work after another for each: plan a round, ask a message
//! of it, follow up a miss. Outcome, consequences and progress of a piece are one transaction; a crash
//! before its commit leaves the piece to be done again, under another seed. Offline nodes are not
//! asked: what is overdue is taken up when they are back.

mod ask;
mod loss;
mod record;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use jiff::{SignedDuration, Timestamp};
use proto::NodeId;
use rand::{Rng, RngExt};

pub use self::loss::{reported as loss_reported, take_report as take_loss_report};
use crate::proofs::{Proofs, tables};

use crate::proofs::tables::audit_schedule::{Lease, NewRound, Schedule};
use crate::proofs::tables::follow_ups::Ask;
use model::ids::uuid_v7;
use rules::audit::{LOSS_REMEMBERED_FOR, RoundPlan, Sample, Sampling};

/// The time of day: the system's in a program, a made one in tests.
pub type Now<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// Nodes that are asked at one time.
const AT_ONE_TIME: usize = 64;

/// Turns of nodes in one step; what is left is for the next.
const TURNS: usize = 1024;

/// Pieces of work in one turn, so that a node with much to catch up does not keep others waiting.
const PIECES: usize = 16;

/// Longer than a message takes, and no longer: a node that a dead coordinator has leased waits for it.
/// Whoever loses a lease writes nothing.
const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// A whole blob may take a minute.
const LONG_LEASE: SignedDuration = SignedDuration::from_secs(150);

/// A node that cannot be asked at this moment is tried again after this time.
const POSTPONED: SignedDuration = SignedDuration::from_secs(5);

/// What the audit keeps in memory.
#[derive(Debug, Default)]
pub struct Partitions {
    /// The day, since 1970, for which there are partitions; 0 before the first look.
    upto: AtomicI64,
}

/// Does what is due, until nothing is. `true` when more may be due already.
pub async fn step(proofs: &Proofs, now: Now<'_>) -> anyhow::Result<bool> {
    keep_partitions(proofs, now()).await?;
    let mut turns = 0;
    let mut running = FuturesUnordered::new();
    loop {
        let free = AT_ONE_TIME - running.len();
        let mut taken = 0;
        if free > 0 && turns < TURNS {
            let due = while_driven(proofs, &mut running, take_due(proofs, now(), free)).await?;
            taken = due.len();
            turns += taken;
            running.extend(due.into_iter().map(|schedule| turn(proofs, schedule, now)));
        }
        if running.is_empty() {
            return Ok(taken > 0 || turns >= TURNS);
        }
        // Nodes whose moment comes while others are slow are not kept waiting.
        let soon = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            Some(ended) = running.next() => note(proofs, ended),
            () = soon => {}
        }
    }
}

/// What an audit came to.
type Ended = (NodeId, anyhow::Result<()>);

/// Waits for `work` and drives those that are running meanwhile: one that stood still would keep its connection to the
/// database, or its place in the line for one, from `work` too.
async fn while_driven<T>(
    proofs: &Proofs,
    running: &mut FuturesUnordered<impl Future<Output = Ended>>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(ended) = running.next() => note(proofs, ended),
        }
    }
}

fn note(proofs: &Proofs, (node, outcome): Ended) {
    if let Err(error) = outcome {
        proofs.metrics.audit_errors.inc();
        tracing::warn!(node_id = %node, error = format!("{error:#}"),
            "an audit of a node was given up; it is taken up again");
    }
}

async fn take_due(proofs: &Proofs, now: Timestamp, limit: usize) -> sqlx::Result<Vec<Schedule>> {
    let online: Vec<NodeId> = proofs
        .blobs
        .fleet
        .online()
        .iter()
        .map(|m| m.node_id)
        .collect();
    if online.is_empty() {
        return Ok(Vec::new());
    }
    let mut connection = proofs.db.acquire().await?;
    let lease = Lease {
        id: uuid_v7(now, &mut proofs.entropy.rng()),
        until: later(now, LEASE),
    };
    tables::audit_schedule::take_due(&mut connection, &online, now, lease, limit as i64).await
}

async fn keep_partitions(proofs: &Proofs, now: Timestamp) -> sqlx::Result<()> {
    let day = now.as_second().div_euclid(24 * 3600);
    if proofs.partitions.upto.load(Ordering::Relaxed) == day {
        return Ok(());
    }
    let mut connection = proofs.db.acquire().await?;
    tables::audit_results::keep_partitions(&mut connection, now).await?;
    proofs.partitions.upto.store(day, Ordering::Relaxed);
    Ok(())
}

/// One node's turn: pieces of work, as long as something is due.
async fn turn(proofs: &Proofs, mut schedule: Schedule, now: Now<'_>) -> Ended {
    let node = schedule.node_id;
    for piece in 1.. {
        let Some(lease_id) = schedule.lease_id else {
            return (node, Ok(())); // given back with the last piece
        };
        let lease = Lease {
            id: lease_id,
            until: later(now(), LEASE),
        };
        let outcome = if piece > PIECES {
            Ok(ControlFlow::Break(Pause::None))
        } else {
            work(proofs, &schedule, lease, now).await
        };
        match outcome {
            Ok(ControlFlow::Continue(next)) => schedule = next,
            Ok(ControlFlow::Break(pause)) => {
                return (node, give_back(proofs, node, lease, pause, now()).await);
            }
            Err(error) => {
                let _ = give_back(proofs, node, lease, Pause::Short, now()).await;
                return (node, Err(error));
            }
        }
    }
    (node, Ok(()))
}

/// How soon a row that is given back may be taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    None,
    Short,
}

type Worked = anyhow::Result<ControlFlow<Pause, Schedule>>;

async fn give_back(
    proofs: &Proofs,
    node: NodeId,
    lease: Lease,
    pause: Pause,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut connection = proofs.db.acquire().await?;
    let until = (pause == Pause::Short).then(|| later(now, POSTPONED));
    tables::audit_schedule::release(&mut connection, node, lease.id, until).await?;
    Ok(())
}

/// The most urgent piece of work for a node.
async fn work(proofs: &Proofs, schedule: &Schedule, lease: Lease, now: Now<'_>) -> Worked {
    let at = now();
    if schedule.follow_up_at.is_some_and(|due| due <= at) {
        return follow_up(proofs, schedule, lease, now).await;
    }
    if schedule.due_at > at {
        return Ok(ControlFlow::Break(Pause::None));
    }
    if schedule.next_message < schedule.plan.messages() {
        return message(proofs, schedule, lease, now).await;
    }
    plan_round(proofs, schedule, lease, at).await
}

/// Begins the node's next round, right behind the last one. A node that has not been asked for a
/// whole interval is asked for everything at once: no absence is a way around its proofs.
async fn plan_round(proofs: &Proofs, schedule: &Schedule, lease: Lease, at: Timestamp) -> Worked {
    let interval = SignedDuration::try_from(proofs.config.interval)?;
    let node = schedule.node_id;
    let begin = if at.duration_since(schedule.window_ends_at) < interval {
        schedule.window_ends_at
    } else {
        at.saturating_sub(interval)?
    };
    let end = begin.saturating_add(interval)?;
    let sampling = Sampling {
        limit: proofs.config.per_node_limit.into(),
        interval: proofs.config.interval,
    };
    let mut seed = [0; 32];
    proofs.entropy.rng().fill_bytes(&mut seed);
    let began = Instant::now();
    let mut transaction = proofs.db.begin().await?;
    let replica_count = count_replicas(
        &mut transaction,
        node,
        schedule.replica_count,
        &mut proofs.entropy.rng(),
    )
    .await?;
    let plan = RoundPlan::new(replica_count, sampling, schedule.plan.next_turn(), seed);
    if plan.messages() == 0 {
        proofs
            .node_states
            .holds_nothing(&mut transaction, node, at)
            .await?;
    }
    let round = NewRound {
        plan: &plan,
        replica_count,
        due_at: if plan.messages() == 0 {
            end
        } else {
            plan.due_at(0, begin, end)
        },
        window_ends_at: end,
    };
    let next =
        tables::audit_schedule::begin_round(&mut transaction, node, &round, at, lease).await?;
    let Some(next) = next else {
        return Ok(ControlFlow::Break(Pause::None)); // rolled back: another coordinator has it
    };
    transaction.commit().await?;
    proofs
        .metrics
        .audit_plan_seconds
        .observe(began.elapsed().as_secs_f64());
    tracing::debug!(node_id = %node, round = next.round, replicas = replica_count,
        messages = plan.messages(), "an audit round begins");
    Ok(ControlFlow::Continue(next))
}

/// How many replicas a node has, which had about `before` of them; of a large one a part is counted.
async fn count_replicas(
    connection: &mut sqlx::PgConnection,
    node: NodeId,
    before: u64,
    rng: &mut impl Rng,
) -> sqlx::Result<u64> {
    let sample = Sample::of(before, rng.random());
    let count = tables::audit_schedule::count_replicas(connection, node, &sample.ids);
    Ok(count.await? << sample.shift)
}

/// Asks the next message of the round.
async fn message(proofs: &Proofs, schedule: &Schedule, lease: Lease, now: Now<'_>) -> Worked {
    let number = schedule.next_message;
    let cell = schedule.plan.message(number);
    let replicas = {
        let mut connection = proofs.db.acquire().await?;
        let began = Instant::now();
        let lost_since = now().saturating_sub(LOSS_REMEMBERED_FOR)?;
        let replicas =
            tables::audit_schedule::cell(&mut connection, schedule.node_id, &cell, lost_since)
                .await?;
        proofs
            .metrics
            .audit_read_seconds
            .observe(began.elapsed().as_secs_f64());
        replicas
    };
    let planned = schedule.planned_at;
    let asked = ask::cell(proofs, schedule.node_id, &cell, replicas, planned, now()).await?;
    let Some(asked) = asked else {
        return Ok(ControlFlow::Break(Pause::Short));
    };
    let (at, next) = (now(), number + 1);
    let last = next >= schedule.plan.messages();
    let progress = record::Progress {
        next_message: next,
        due_at: if last {
            schedule.window_ends_at
        } else {
            schedule
                .plan
                .due_at(next, schedule.due_at, schedule.window_ends_at)
        },
        round_ends: last,
    };
    record::record(proofs, schedule, asked, progress, lease, at).await
}

/// Asks for what has to be asked for out of turn.
async fn follow_up(proofs: &Proofs, schedule: &Schedule, lease: Lease, now: Now<'_>) -> Worked {
    let node = schedule.node_id;
    let due = {
        let mut connection = proofs.db.acquire().await?;
        tables::follow_ups::due_follow_ups(&mut connection, node, now(), 16).await?
    };
    let gone = due.iter().filter(|(_, size)| size.is_none());
    let gone: Vec<_> = gone.map(|(follow_up, _)| follow_up.blob_id).collect();
    let mut due: Vec<_> = due
        .into_iter()
        .filter_map(|(follow_up, size)| Some((follow_up, size?)))
        .collect();
    let asked = if due
        .first()
        .is_some_and(|(first, _)| first.ask == Ask::WholeBlob)
    {
        due.truncate(1);
        let mut connection = proofs.db.acquire().await?;
        let until = later(now(), LONG_LEASE);
        if !tables::audit_schedule::extend(&mut connection, node, lease.id, until).await? {
            return Ok(ControlFlow::Break(Pause::None)); // another coordinator has it
        }
        drop(connection);
        ask::whole_blob(proofs, node, due, now()).await?
    } else {
        due.retain(|(follow_up, _)| follow_up.ask == Ask::Challenge);
        ask::again(proofs, node, due, now()).await?
    };
    let Some(mut asked) = asked else {
        return Ok(ControlFlow::Break(Pause::Short));
    };
    asked.ended = gone;
    let progress = record::Progress {
        next_message: schedule.next_message,
        due_at: schedule.due_at,
        round_ends: false,
    };
    record::record(proofs, schedule, asked, progress, lease, now()).await
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
