//! Reconcile: each node's blobs and the rows that name them are brought together, about once a day.
//!
//! What a node has held for longer than any upload lasts and no row names goes to its trash, through
//! the outbox. What a row names and the node does not list is challenged directly, through the audit's
//! follow-ups; only that challenge demotes. A run that would do much does nothing: the database is then
//! more likely wrong than the node. Nothing is remembered of a run that does not come to its end.
//!
//! Why a blob in flight is safe: it is younger than [`nobodys_after`]; a row that appears all the same
//! takes it out of the outbox; and a blob that was thrown away too early comes back from the trash with
//! the first read or proof, at the latest with the challenge that the next run makes of it.

use std::time::Duration;

use futures::future::join_all;
use proto::NodeId;
use rand::RngExt;
use uuid::Uuid;

use crate::durability::inventory::compare::{Differences, Sides, compare};
use crate::durability::{Durability, tables};
use crate::{blobs, fleet, proofs};
use jiff::Timestamp;

use crate::durability::tables::reconcile::{Due, Ended, Outcome};
use crate::proofs::tables::follow_ups::Ask;
use model::ids::uuid_v7;
use rules::inventory::{Findings, nobodys_after};

/// Nodes that are compared at one time.
const AT_ONE_TIME: usize = 4;

/// An honest node of ten million blobs needs a few minutes.
const RUN_WITHIN: Duration = Duration::from_secs(15 * 60);
const LEASE: Duration = Duration::from_secs(17 * 60);

/// A run that has failed is tried again after this time, or after the interval if that is shorter.
const AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Compares nodes that are due. `true` when more may be due already.
pub async fn step(durability: &Durability) -> anyhow::Result<bool> {
    let online: Vec<NodeId> = durability
        .blobs
        .fleet
        .online()
        .iter()
        .map(|m| m.node_id)
        .collect();
    if online.is_empty() {
        return Ok(false);
    }
    let lease = uuid_v7(durability.clock.now(), &mut durability.entropy.rng());
    let due = {
        let mut connection = durability.db.acquire().await?;
        tables::reconcile::enter(&mut connection, &online, durability.reconcile.interval).await?;
        tables::reconcile::take_due(&mut connection, &online, lease, LEASE, AT_ONE_TIME).await?
    };
    let runs = due.iter().map(|due| run(durability, *due, lease));
    for written in join_all(runs).await {
        written?;
    }
    Ok(due.len() == AT_ONE_TIME)
}

async fn run(durability: &Durability, due: Due, lease: Uuid) -> anyhow::Result<()> {
    let node = due.node_id;
    let outcome = tokio::time::timeout(RUN_WITHIN, reconcile(durability, due, lease)).await;
    let error = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "the node takes too long to say what it holds".to_owned(),
    };
    tracing::warn!(node_id = %node, error, "a node could not be compared with the database");
    let ended = Ended {
        outcome: Outcome::Failed,
        detail: error,
        findings: Findings::default(),
    };
    let again = AGAIN_AFTER.min(durability.reconcile.interval);
    let mut connection = durability.db.acquire().await?;
    tables::reconcile::finish(&mut connection, node, lease, &ended, again).await?;
    Ok(())
}

/// Compare, decide, write down, in one transaction behind the last question to the node.
async fn reconcile(durability: &Durability, due: Due, lease: Uuid) -> anyhow::Result<()> {
    let node = due.node_id;
    let Some(member) = durability.blobs.fleet.member(node) else {
        anyhow::bail!("the node has gone");
    };
    let sides = Sides {
        db: &durability.db,
        keys: &durability.blobs.keys,
        network: durability.blobs.fleet.network(),
        node,
        peer: member.peer_id,
        blob_count: member.live().blob_count,
        nobodys_after: nobodys_after(durability.session_ttl),
    };
    let mut differences = compare(sides).await?;

    let mut transaction = durability.db.begin().await?;
    let in_doubt = fleet::tables::awaiting_restore::is_in_doubt(&mut transaction, node).await?;
    anyhow::ensure!(
        !in_doubt,
        "restore mode has begun meanwhile, or ended without the node"
    );
    let unknown =
        blobs::tables::purges::not_on_their_way_out(&mut transaction, node, &differences.unknown);
    differences.unknown = unknown.await?;
    let findings = differences.findings();
    let doubt = findings.doubt().filter(|_| !due.forced);
    let ended = match doubt {
        Some(doubt) => Ended {
            outcome: Outcome::HeldBack,
            detail: doubt.to_string(),
            findings,
        },
        None => {
            put_right(&mut transaction, node, &differences, durability.clock.now()).await?;
            Ended {
                outcome: Outcome::Done,
                detail: String::new(),
                findings,
            }
        }
    };
    let next_in = durability
        .reconcile
        .interval
        .mul_f64(durability.entropy.rng().random_range(0.9..1.1));
    if !tables::reconcile::finish(&mut transaction, node, lease, &ended, next_in).await? {
        return Ok(()); // rolled back: another coordinator has it, or an administrator wants it anew
    }
    transaction.commit().await?;
    durability.blobs.purge_wake.wake();
    report(durability, node, &ended, differences.questions);
    Ok(())
}

async fn put_right(
    connection: &mut sqlx::PgConnection,
    node: NodeId,
    differences: &Differences,
    now: Timestamp,
) -> sqlx::Result<()> {
    blobs::tables::purges::throw_away(connection, node, &differences.unknown).await?;
    let reason = "the node does not list it";
    let missing = differences.missing.iter();
    let missing: Vec<_> = missing.map(|blob| (node, *blob, reason)).collect();
    proofs::tables::follow_ups::look_at(connection, Ask::Challenge, &missing, now).await
}

fn report(durability: &Durability, node: NodeId, ended: &Ended, questions: u64) {
    let Findings {
        held,
        named,
        unknown,
        missing,
        foreign,
        ..
    } = ended.findings;
    let metrics = &durability.metrics;
    metrics.reconciled_nodes.inc();
    metrics.unreadable_locators.inc_by(foreign);
    if foreign > 0 {
        tracing::error!(node_id = %node, blobs = foreign,
            "a node holds blobs that nothing names and that were sealed under no key of this network; \
             they are left alone");
    }
    if ended.outcome == Outcome::HeldBack {
        metrics.reconciles_held_back.inc();
        tracing::error!(
            node_id = %node, held, named, unknown, missing, reason = ended.detail,
            "nothing is done about what a node holds and the database names: look at \
             `coordinator admin reconcile status`; `coordinator admin reconcile run {node} --force` \
             does it all the same"
        );
        return;
    }
    metrics.unknown_blobs.inc_by(unknown);
    metrics.missing_blobs.inc_by(missing);
    if unknown > 0 || missing > 0 {
        tracing::warn!(node_id = %node, held, named, unknown, missing,
            "a node and the database differed: unknown blobs go to its trash, missing ones are challenged");
    } else {
        tracing::debug!(node_id = %node, held, named, questions, "a node holds what the database names");
    }
}
