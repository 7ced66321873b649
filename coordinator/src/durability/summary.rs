//! How the network does, for everybody who asks, as often as they like.
//!
//! It is looked up once in a few seconds, whoever asks: those who ask meanwhile wait for the one who looks, and get what he
//! found. Rejected: counting replicas, which are the largest table; nodes say how many they hold, and the comparison sees
//! to it that they say the truth.

use std::sync::Arc;

use api::summary::{NodeGroup, ProofTally, RepairTally, Summary};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::Durability;
use super::tables::repair;
use crate::fleet::tables::groups::{self, Group};
use crate::proofs::tables::audit_results;

/// How old it may be.
const KEPT: SignedDuration = SignedDuration::from_secs(5);

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What was found last.
#[derive(Default)]
pub struct Summaries(Mutex<Option<Arc<Summary>>>);

pub async fn summary(durability: &Durability) -> sqlx::Result<Arc<Summary>> {
    let mut last = durability.summaries.0.lock().await;
    let now = durability.clock.now();
    if let Some(known) = last.as_ref() {
        let age = now.duration_since(known.at);
        // A clock that was set back must not keep it for ever.
        if age < KEPT && !age.is_negative() {
            return Ok(Arc::clone(known));
        }
    }
    let found = Arc::new(look(durability, now).await?);
    *last = Some(Arc::clone(&found));
    Ok(found)
}

async fn look(durability: &Durability, now: Timestamp) -> sqlx::Result<Summary> {
    let mut connection = durability.db.acquire().await?;
    let nodes = groups::groups(&mut connection).await?;
    let (passed, failed, missed) = audit_results::tally_since(&mut connection, now - HOUR).await?;
    let waiting = repair::waiting(&mut connection).await?;
    Ok(Summary {
        at: now,
        nodes: nodes.into_iter().map(view).collect(),
        proofs_last_hour: ProofTally {
            passed,
            failed,
            missed,
        },
        repair: RepairTally {
            chunks: waiting.iter().map(|level| level.chunks).sum(),
            fewest_healthy: waiting.iter().map(|level| level.healthy).min(),
            oldest_since: waiting.iter().map(|level| level.oldest).min(),
        },
    })
}

fn view(group: Group) -> NodeGroup {
    NodeGroup {
        region: group.region,
        state: group.state,
        online: group.online,
        nodes: group.nodes.unsigned_abs(),
        capacity_bytes: group.capacity_bytes.unsigned_abs(),
        used_bytes: group.used_bytes.unsigned_abs(),
        copies: group.copies.unsigned_abs(),
    }
}
