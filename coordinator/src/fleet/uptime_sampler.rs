//! Which nodes are there, sample by sample: what uptime is made of.
//!
//! Each node is pinged at random moments, whatever else is known of it: one whose connection is gone, or that says
//! nothing, is absent. The rule is `rules::uptime`. Samples are kept in memory for a few seconds and written together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use network::Pinged;
use proto::{NodeId, PeerId};
use rand::{Rng, RngExt};
use sqlx::{Connection, PgConnection};

use crate::bookkeeping::tables::days;
use crate::database;
use crate::fleet::{Fleet, tables};
use rules::uptime::{LONGEST_GAP, Samples, Stretch, answer_within, gap, window_of};

/// How often the list of nodes is read.
const LISTED_EVERY: Duration = Duration::from_secs(30);

/// A timer that fires so much late tells of this process, or of its machine, and of no node.
const OWN_DELAY: Duration = Duration::from_millis(100);

/// Samples that wait to be written. While the database is away the oldest are forgotten.
const KEPT: usize = 100_000;

#[derive(Debug)]
pub struct UptimeSampler {
    begins: Instant,
    watch: Mutex<Option<Watch>>,
    nodes: Mutex<Nodes>,
    taken: Mutex<Vec<Taken>>,
}

/// Looks without a break.
#[derive(Debug, Clone, Copy)]
struct Watch {
    /// By the database's clock.
    since: Timestamp,
    last: Instant,
}

/// Whom to sample.
#[derive(Debug, Default)]
struct Nodes {
    listed: Option<Instant>,
    next: HashMap<NodeId, Next>,
}

/// A node's next sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Next {
    peer: PeerId,
    at: Instant,
    /// The last one was not answered in time.
    after_silence: bool,
}

/// One sample.
#[derive(Debug, Clone, Copy)]
struct Taken {
    node: NodeId,
    at: Instant,
    answered: bool,
}

impl UptimeSampler {
    /// Says nothing of the first `settling`, in which nodes are still on their way here.
    pub fn new(settling: Duration) -> Self {
        let now = Instant::now();
        Self {
            begins: now.checked_add(settling).unwrap_or(now),
            watch: Mutex::default(),
            nodes: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    /// Whether nodes have had time to come here since this began.
    pub fn has_settled(&self) -> bool {
        Instant::now() >= self.begins
    }

    /// Looks at `now`, by the database's clock: since when this has gone on without a break.
    pub fn watching_since(&self, now: Timestamp) -> Timestamp {
        let mut watch = lock(&self.watch);
        let unbroken = watch.filter(|watch| watch.last.elapsed() <= LONGEST_GAP);
        let since = unbroken.map_or(now, |watch| watch.since);
        *watch = Some(Watch {
            since,
            last: Instant::now(),
        });
        since
    }

    /// Brings the list of nodes up to date, now and then.
    pub async fn list(
        &self,
        connection: &mut PgConnection,
        rng: &mut impl Rng,
    ) -> sqlx::Result<()> {
        let listed = lock(&self.nodes).listed;
        if listed.is_some_and(|at| at.elapsed() < LISTED_EVERY) {
            return Ok(());
        }
        let list = tables::uptime::sampled(connection).await?;
        self.set_nodes(list, Instant::now(), rng);
        Ok(())
    }

    fn set_nodes(&self, list: Vec<(NodeId, PeerId)>, now: Instant, rng: &mut impl Rng) {
        let mut nodes = lock(&self.nodes);
        let mut before = std::mem::take(&mut nodes.next);
        let next = list.into_iter().map(|(node, peer)| {
            let first = || Next {
                peer,
                at: now + gap(rng.random()),
                after_silence: false,
            };
            (node, before.remove(&node).unwrap_or_else(first))
        });
        nodes.next = next.collect();
        nodes.listed = Some(now);
    }

    /// Nodes that are to be sampled now. Moments that went by while this process stood still are not made up for.
    fn take_due(&self, now: Instant, rng: &mut impl Rng) -> Vec<(NodeId, Next)> {
        let mut nodes = lock(&self.nodes);
        let due = nodes.next.iter_mut().filter(|(_, next)| next.at <= now);
        due.map(|(node, next)| {
            let taken = *next;
            next.at = now + gap(rng.random());
            (*node, taken)
        })
        .collect()
    }

    fn note_silence(&self, node: NodeId, silent: bool) {
        if let Some(next) = lock(&self.nodes).next.get_mut(&node) {
            next.after_silence = silent;
        }
    }

    /// A sample was taken `ago`.
    pub fn note(&self, node: NodeId, ago: Duration, answered: bool) {
        let now = Instant::now();
        let at = now.checked_sub(ago).unwrap_or(now);
        let mut taken = lock(&self.taken);
        if taken.len() >= KEPT {
            taken.drain(..KEPT / 2);
        }
        taken.push(Taken { node, at, answered });
    }

    /// Writes down what was sampled since this was last done.
    ///
    /// Nothing is added to a day that has been cut off: what was settled can be worked out again.
    pub async fn write(
        &self,
        connection: &mut PgConnection,
        coordinator: &PeerId,
    ) -> sqlx::Result<()> {
        let taken = std::mem::take(&mut *lock(&self.taken));
        if taken.is_empty() {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        days::ledger_now(&mut transaction).await?; // no day is cut off until the commit
        let now = database::now(&mut transaction).await?;
        let (_, cut) = days::last_day(&mut transaction).await?;
        let open = Stretch::new(cut, Timestamp::MAX);
        let mut windows: HashMap<i64, HashMap<NodeId, Samples>> = HashMap::new();
        for Taken { node, at, answered } in taken {
            let ago = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
            let window = window_of(now.saturating_sub(ago).unwrap_or(Timestamp::MIN));
            if open.contains(window) {
                let samples = windows.entry(window).or_default().entry(node).or_default();
                *samples = samples.with(answered);
            }
        }
        for (window, samples) in windows {
            let samples: Vec<(NodeId, Samples)> = samples.into_iter().collect();
            tables::uptime::record(&mut transaction, coordinator, window, &samples).await?;
        }
        transaction.commit().await
    }
}

/// Samples the nodes whose moment has come. When no node at all is there, that is rather this coordinator's own
/// trouble: it does not look. A late answer is none, so each sample is taken by a task of its own.
pub fn sample(sampler: &Arc<UptimeSampler>, fleet: &Arc<Fleet>, rng: &mut impl Rng) {
    let due = sampler.take_due(Instant::now(), rng);
    if due.is_empty() || !sampler.has_settled() || !fleet.is_anybody_online() {
        return;
    }
    for (node, next) in due {
        let (sampler, fleet) = (Arc::clone(sampler), Arc::clone(fleet));
        tokio::spawn(async move {
            let member = fleet.member(node);
            let (lowest_ping, queued) = member.map_or((None, 0), |member| {
                (member.lowest_ping(), member.data_queued_bytes())
            });
            let within = answer_within(lowest_ping, queued, false);
            let began = Instant::now();
            let pinged = fleet.network().ping(next.peer, within).await;
            let elapsed = began.elapsed();
            if pinged == Pinged::Unasked || elapsed > within + OWN_DELAY {
                return;
            }
            let in_time = answer_within(lowest_ping, queued, next.after_silence);
            let answered = matches!(pinged, Pinged::Answered(after) if after <= in_time);
            sampler.note_silence(node, pinged == Pinged::Silent);
            sampler.note(node, elapsed, answered);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_thousand_nodes_are_sampled_two_hundred_times_a_second_and_each_by_itself() {
        let sampler = UptimeSampler::new(Duration::ZERO);
        let (mut rng, begin) = (StdRng::seed_from_u64(1), Instant::now());
        let nodes: Vec<_> = (0..1000u128)
            .map(|n| {
                (
                    NodeId::from_uuid(uuid::Uuid::from_u128(n)),
                    PeerId::random(),
                )
            })
            .collect();
        sampler.set_nodes(nodes.clone(), begin, &mut rng);
        let mut most = 0;
        let mut count = 0;
        for tick in 0..600 {
            let due = sampler.take_due(begin + Duration::from_millis(100) * tick, &mut rng);
            most = most.max(due.len());
            count += due.len();
        }
        assert!((11_000..13_000).contains(&count), "{count} in a minute");
        assert!(most < 60, "{most} at one time");
        // A list that is read again moves nobody's moment.
        let before = lock(&sampler.nodes).next.clone();
        sampler.set_nodes(nodes[..10].to_vec(), begin, &mut rng);
        let after = lock(&sampler.nodes).next.clone();
        assert_eq!(after.len(), 10);
        assert!(after.iter().all(|(node, entry)| before[node] == *entry));
    }
}
