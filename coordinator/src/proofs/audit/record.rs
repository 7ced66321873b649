//! One piece of asking is written down, with everything that follows from it, in one transaction.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use proto::{BlobId, Judgement, NodeId};
use rand::RngExt;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fleet::{guard, node_status};
use crate::proofs::audit::ask::{Asked, Seen, Sent};
use crate::proofs::audit::{Pause, Worked, later};
use crate::proofs::demotion::demote;
use crate::proofs::{Proofs, tables};

use crate::proofs::tables::audit_results::{KeptStatement, ORDERED, Outcome, Penalty, PenaltyKind};
use crate::proofs::tables::audit_schedule;
use crate::proofs::tables::audit_schedule::{Lease, Schedule};
use crate::proofs::tables::follow_ups::{Ask, FollowUp};
use model::ids::uuid_v7;
use rules::audit::{
    Answer, Consequence, Question, WEIGHT_ONE, busy_for, consequence, counts_undrawn, may_forgive,
};
use rules::reputation::Tally;

/// How far the node's round has come with this.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub next_message: u32,
    pub due_at: Timestamp,
    /// The tally goes into the score.
    pub round_ends: bool,
}

/// What is to be written.
struct Effects<'a> {
    /// Proven in time.
    passed: Vec<&'a Seen>,
    /// There, and not proven.
    held: Vec<&'a Seen>,
    /// There, and again not proven.
    unproven: Vec<&'a Seen>,
    failed: Vec<&'a Seen>,
    /// With the attempts behind them.
    missed: Vec<(&'a Seen, u32)>,
    /// Asked for again without any blame.
    again: Vec<&'a Seen>,
    /// Gone by order: they count no more, and nobody is blamed.
    ordered: Vec<&'a Seen>,
}

impl<'a> Effects<'a> {
    /// Nothing fails for a node that is excused.
    fn of(seen: &'a [Seen], excused: bool) -> Self {
        let mut effects = Self {
            passed: Vec::new(),
            held: Vec::new(),
            unproven: Vec::new(),
            failed: Vec::new(),
            missed: Vec::new(),
            again: Vec::new(),
            ordered: Vec::new(),
        };
        for seen in seen {
            let Some(answer) = seen.answer else {
                effects.again.push(seen);
                continue;
            };
            match consequence(seen.question, answer) {
                Consequence::Pass => effects.passed.push(seen),
                Consequence::Held => effects.held.push(seen),
                Consequence::Unproven => effects.unproven.push(seen),
                Consequence::Fail | Consequence::Miss { .. } if excused => effects.again.push(seen),
                Consequence::Fail => effects.failed.push(seen),
                Consequence::Miss { attempts } => effects.missed.push((seen, attempts)),
                Consequence::AskAgain => effects.again.push(seen),
                Consequence::Excused => effects.ordered.push(seen),
            }
        }
        effects
    }
}

pub(super) async fn record(
    proofs: &Proofs,
    schedule: &Schedule,
    asked: Asked,
    progress: Progress,
    lease: Lease,
    now: Timestamp,
) -> Worked {
    let node = schedule.node_id;
    let mut transaction = proofs.db.begin().await?;
    let began = Instant::now();
    let blamed = |seen: &Seen| !matches!(seen.answer, Some(Answer::Good | Answer::Ordered) | None);
    let excused =
        asked.seen.iter().any(blamed) && guard::excuses(&mut transaction, node, now).await?;
    let effects = Effects::of(&asked.seen, excused);

    // Chunk rows first, then replicas: the order in which files are deleted.
    let failed: Vec<BlobId> = effects.failed.iter().map(|seen| seen.blob_id).collect();
    let reason = "it failed its proof of storage";
    demote(&mut transaction, &proofs.facts, node, &failed, reason, now).await?;
    let ordered: Vec<BlobId> = effects.ordered.iter().map(|seen| seen.blob_id).collect();
    demote(
        &mut transaction,
        &proofs.facts,
        node,
        &ordered,
        ORDERED,
        now,
    )
    .await?;
    let there = record_outcomes(&mut transaction, node, &effects, now).await?;
    let forgiven = charge(proofs, &mut transaction, node, &effects, &there, now).await?;
    follow_up(
        proofs,
        &mut transaction,
        node,
        &effects,
        &asked.ended,
        &there,
        now,
    )
    .await?;
    for sent in &asked.messages {
        keep(&mut transaction, node, sent, now).await?;
    }

    let tally = tally(proofs, schedule, &asked, &effects, &there);
    let advance = audit_schedule::Progress {
        next_message: progress.next_message,
        due_at: progress.due_at,
        tally: if progress.round_ends {
            Tally::default()
        } else {
            tally
        },
        challenges: asked.seen.iter().filter(|s| s.answer.is_some()).count() as u64,
        forgiven,
    };
    let next = audit_schedule::advance(&mut transaction, node, &advance, now, lease).await?;
    let Some(next) = next else {
        return Ok(ControlFlow::Break(Pause::None)); // rolled back: another coordinator has it
    };
    let proven = effects
        .passed
        .iter()
        .filter(|seen| there.contains(&seen.blob_id));
    let lost = effects
        .failed
        .iter()
        .filter(|seen| there.contains(&seen.blob_id));
    let judged = node_status::Judged {
        passed: proofs
            .vetting
            .passes(proven.map(|seen| u64::from(seen.size_bytes))),
        failed: lost.count() as u64,
        held: schedule.replica_count,
        tally,
        round_ends: progress.round_ends,
    };
    let still_in = proofs
        .node_states
        .judge(
            &proofs.blobs.fleet,
            &mut transaction,
            node,
            judged,
            proofs.vetting,
            now,
        )
        .await?;
    transaction.commit().await?;
    proofs
        .metrics
        .audit_write_seconds
        .observe(began.elapsed().as_secs_f64());

    if !failed.is_empty() || !ordered.is_empty() {
        proofs.repair_wake.wake();
    }
    log(proofs, node, &effects, excused);
    Ok(if still_in {
        ControlFlow::Continue(next)
    } else {
        ControlFlow::Break(Pause::None)
    })
}

/// The round's tally with what was seen. What counts of each replica is the first answer in a round to a proof that
/// was due, and later that it is lost.
fn tally(
    proofs: &Proofs,
    schedule: &Schedule,
    asked: &Asked,
    effects: &Effects<'_>,
    there: &HashSet<BlobId>,
) -> Tally {
    let due =
        |seen: &&&Seen| seen.drawn && seen.question.is_due_proof() && there.contains(&seen.blob_id);
    let passed = effects.passed.iter().filter(due).count() as u64;
    let missed = effects.missed.iter().map(|(seen, _)| seen);
    let missed = missed.filter(due).count() as u64;
    let mut rng = proofs.entropy.rng();
    let failed = effects.failed.iter().filter(|seen| {
        there.contains(&seen.blob_id)
            && (seen.drawn || counts_undrawn(schedule.plan.stride, rng.random()))
    });
    let failed = failed.count() as u64;
    let before = schedule.tally;
    Tally {
        passed: before.passed + passed,
        failed: before.failed + failed + asked.known_lost,
        missed: before.missed + missed,
        reported: before.reported + asked.known_reported,
    }
}

async fn record_outcomes(
    connection: &mut PgConnection,
    node: NodeId,
    effects: &Effects<'_>,
    now: Timestamp,
) -> sqlx::Result<HashSet<BlobId>> {
    let with = |outcome| move |seen: &&Seen| (seen.blob_id, outcome);
    let mut outcomes: Vec<(BlobId, Outcome)> = Vec::new();
    outcomes.extend(effects.passed.iter().map(with(Outcome::Passed)));
    outcomes.extend(effects.held.iter().map(with(Outcome::Read)));
    outcomes.extend(effects.failed.iter().map(with(Outcome::Failed)));
    outcomes.extend(
        effects
            .missed
            .iter()
            .map(|(seen, _)| (seen.blob_id, Outcome::Missed)),
    );
    // In the order of the index, so that two transactions cannot wait for each other.
    outcomes.sort_unstable_by_key(|(blob, _)| *blob);
    if outcomes.is_empty() {
        return Ok(HashSet::new());
    }
    tables::audit_results::record_outcomes(connection, node, &outcomes, now).await
}

/// Charges for failures, for each proof that was due and did not come in time, and for the first request for a whole
/// blob that brought none. Forgives misses after which the blob came and was proven in time; how many.
async fn charge(
    proofs: &Proofs,
    connection: &mut PgConnection,
    node: NodeId,
    effects: &Effects<'_>,
    there: &HashSet<BlobId>,
    now: Timestamp,
) -> sqlx::Result<u64> {
    let penalty = |kind, seen: &Seen| Penalty {
        id: match kind {
            PenaltyKind::Missed => seen.miss_id,
            _ => uuid_v7(now, &mut proofs.entropy.rng()),
        },
        kind,
        blob_id: seen.blob_id,
        size_bytes: seen.size_bytes,
        weight_ppm: seen.weight_ppm.max(WEIGHT_ONE),
        reason: seen.reason.clone(),
    };
    let mut penalties = Vec::new();
    for seen in &effects.failed {
        penalties.push(penalty(PenaltyKind::Failed, seen));
    }
    for (seen, _) in &effects.missed {
        if seen.question.is_due_proof() || charged_for(seen).is_none() {
            penalties.push(penalty(PenaltyKind::Missed, seen));
        }
    }
    let mut forgiven = 0;
    let to_forgive = effects
        .passed
        .iter()
        .filter(|seen| settles(seen))
        .filter_map(|seen| Some((seen, charged_for(seen)?)));
    let to_forgive: Vec<_> = to_forgive.collect();
    if !to_forgive.is_empty() {
        let (challenges, before) =
            tables::audit_schedule::day_counts(connection, node, now).await?;
        for (seen, id) in to_forgive {
            if may_forgive(challenges, before + forgiven) {
                penalties.push(penalty(PenaltyKind::GivenBack { penalty: id }, seen));
                forgiven += 1;
            }
        }
    }
    penalties.retain(|penalty| there.contains(&penalty.blob_id));
    let interval_s = i64::try_from(proofs.config.interval.as_secs().max(1)).unwrap_or(i64::MAX);
    tables::audit_results::penalise(connection, node, &penalties, interval_s, now).await?;
    Ok(forgiven)
}

fn charged_for(seen: &Seen) -> Option<Uuid> {
    seen.follow_up.as_ref()?.penalty_id
}

/// Whether a proof in time ends what is asked for out of turn. Not where a read has failed: a node that proves and
/// does not deliver has to give the whole blob.
fn settles(seen: &Seen) -> bool {
    match seen.question {
        Question::ProofMeanwhile { attempts } => attempts == 0 && charged_for(seen).is_some(),
        _ => seen.follow_up.is_some(),
    }
}

/// Enters what has to be asked for out of turn, and takes out what is settled.
async fn follow_up(
    proofs: &Proofs,
    connection: &mut PgConnection,
    node: NodeId,
    effects: &Effects<'_>,
    ended: &[BlobId],
    there: &HashSet<BlobId>,
    now: Timestamp,
) -> sqlx::Result<()> {
    let after = |wait| {
        later(
            now,
            SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_hours(1)),
        )
    };
    let retry_at = after(proofs.config.retry_after);
    let busy_until = after(busy_for(proofs.config.retry_after, proofs.config.interval));
    let entry = |seen: &Seen, ask, attempts, due_at, penalty_id| FollowUp {
        blob_id: seen.blob_id,
        ask,
        due_at,
        attempts,
        drawn: seen.drawn,
        weight_ppm: seen.weight_ppm,
        penalty_id,
        reason: seen.reason.clone(),
    };
    let mut entries = Vec::new();
    for (seen, attempts) in &effects.missed {
        if there.contains(&seen.blob_id) {
            let (due_at, penalty) = match (seen.question, &seen.follow_up) {
                // It is asked for as was planned, and the newest miss is the one that may be forgiven. None is where a
                // read has failed.
                (Question::ProofMeanwhile { .. }, Some(before)) => {
                    (before.due_at, before.penalty_id.map(|_| seen.miss_id))
                }
                (Question::ProofAgain, _) => (retry_at, Some(seen.miss_id)),
                _ => (retry_at, Some(charged_for(seen).unwrap_or(seen.miss_id))),
            };
            entries.push(entry(seen, Ask::WholeBlob, *attempts, due_at, penalty));
        }
    }
    // A miss is forgiven for a proof that comes in time, so one is asked for at once.
    for seen in &effects.held {
        if there.contains(&seen.blob_id) && charged_for(seen).is_some() {
            entries.push(entry(seen, Ask::Challenge, 0, now, charged_for(seen)));
        }
    }
    for seen in &effects.again {
        // Unasked because its node went away: at once when it is back. Otherwise later.
        let due_at = match seen.answer {
            None => now,
            Some(Answer::Busy) if seen.question == Question::Proof => busy_until,
            Some(_) => retry_at,
        };
        let (ask, attempts) = match &seen.follow_up {
            Some(before) => (before.ask, before.attempts),
            None => (Ask::Challenge, 0),
        };
        let attempts = match (ask, seen.answer) {
            (Ask::Challenge, Some(Answer::Busy)) => 1,
            _ => attempts,
        };
        entries.push(entry(seen, ask, attempts, due_at, charged_for(seen)));
    }
    tables::follow_ups::set_follow_ups(connection, node, &entries).await?;
    let proven = effects.passed.iter().filter(|seen| settles(seen));
    let held = effects.held.iter();
    let held = held.filter(|seen| charged_for(seen).is_none());
    let over = effects.failed.iter().chain(&effects.ordered);
    let over = over.filter(|seen| seen.follow_up.is_some());
    let settled = proven.chain(held).chain(over).chain(&effects.unproven);
    let mut settled: Vec<BlobId> = settled.map(|seen| seen.blob_id).collect();
    settled.extend(ended);
    tables::follow_ups::end_follow_ups(connection, node, &settled).await
}

async fn keep(
    connection: &mut PgConnection,
    node: NodeId,
    sent: &Sent,
    now: Timestamp,
) -> sqlx::Result<()> {
    let count = |wanted| sent.judgements.iter().filter(|j| **j == wanted).count() as u32;
    let challenge_id = Uuid::from_bytes(*sent.challenge.id().as_bytes());
    let kept = KeptStatement {
        at: now,
        challenge_id,
        node_id: node,
        passed: count(Judgement::Passed),
        failed: count(Judgement::Failed),
        missed: count(Judgement::Missed),
        busy: count(Judgement::Busy),
        statement: sent.statement.clone(),
        orders: sent.orders.clone(),
    };
    tables::audit_results::insert_statement(connection, &kept).await?;
    for failure in &sent.failures {
        tables::audit_results::insert_failure(connection, node, challenge_id, failure, now).await?;
    }
    Ok(())
}

fn log(proofs: &Proofs, node: NodeId, effects: &Effects<'_>, excused: bool) {
    let metrics = &proofs.metrics;
    metrics.audits_passed.inc_by(effects.passed.len() as u64);
    metrics.audits_failed.inc_by(effects.failed.len() as u64);
    metrics.audits_missed.inc_by(effects.missed.len() as u64);
    for seen in &effects.failed {
        tracing::warn!(node_id = %node, blob_id = %seen.blob_id, reason = seen.reason,
            "a replica failed its proof and is demoted");
    }
    for (seen, attempts) in &effects.missed {
        tracing::info!(node_id = %node, blob_id = %seen.blob_id, attempts, reason = seen.reason,
            "a node missed a challenge; the whole blob will be asked for");
    }
    if let Some(seen) = effects.ordered.first() {
        metrics
            .ordered_deletions
            .inc_by(effects.ordered.len() as u64);
        tracing::error!(node_id = %node, blobs = effects.ordered.len(), blob_id = %seen.blob_id,
            "a node lacks blobs that the database names, and shows an order of a coordinator to delete them: \
             either a deletion and an upload crossed, or a coordinator's key is in other hands");
    }
    for seen in &effects.unproven {
        tracing::info!(node_id = %node, blob_id = %seen.blob_id, reason = seen.reason,
            "a node gives a blob and does not prove it in time: its miss stays");
    }
    if excused {
        tracing::warn!(node_id = %node,
            "a challenge went wrong and is not held against the node: so much of the fleet fails, or the \
             database was restored");
    }
}
