//! How an answer to a challenge is judged. Pure: the times are arguments.

use std::collections::HashSet;
use std::time::Duration;

use proto::{
    AnswerStatement, BlobId, Challenge, Difficulty, ItemOutcome, Judgement, MAX_CHALLENGE_ITEMS,
    MAX_MESSAGE_BODY_BYTES, ProofAnswer, UnusableAnswer,
};

/// A far node is forgiven its way, up to this: a node that answers pings late on purpose gains no more.
const MAX_PING_ALLOWANCE: Duration = Duration::from_millis(250);

/// How long an answer took and may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From sending to receiving, on the coordinator's monotonic clock.
    pub elapsed: Duration,
    /// The lowest that was seen on the node's connection.
    pub lowest_ping: Option<Duration>,
    pub deadline: Duration,
}

impl Timing {
    /// How long to wait for an answer: a later one is late whatever it says.
    pub fn timeout(deadline: Duration, lowest_ping: Option<Duration>) -> Duration {
        deadline.saturating_add(allowance(lowest_ping))
    }

    /// The time that counts.
    pub fn counted(&self) -> Duration {
        self.elapsed.saturating_sub(allowance(self.lowest_ping))
    }

    /// The time that counts, as it is signed: rounded up, so that what was late shows as late.
    pub fn counted_ms(&self) -> u64 {
        millis(self.counted())
    }

    /// How long the answer may take, as it is signed.
    pub fn deadline_ms(&self) -> u64 {
        millis(self.deadline)
    }

    /// By the figures that are signed, or the judgement would contradict them.
    pub fn is_late(&self) -> bool {
        self.counted_ms() > self.deadline_ms()
    }
}

/// Cuts a list of blobs, given by their lengths, into challenges that can be asked: how many go into each.
pub fn messages(lengths: impl IntoIterator<Item = u64>, difficulty: Difficulty) -> Vec<usize> {
    let mut counts = Vec::new();
    let (mut count, mut bodies) = (0, 0);
    for length in lengths {
        let body = difficulty.max_body_bytes(length);
        if count == MAX_CHALLENGE_ITEMS || (count > 0 && bodies + body > MAX_MESSAGE_BODY_BYTES) {
            counts.push(count);
            (count, bodies) = (0, 0);
        }
        count += 1;
        bodies += body;
    }
    counts.extend((count > 0).then_some(count));
    counts
}

fn allowance(lowest_ping: Option<Duration>) -> Duration {
    lowest_ping.unwrap_or_default().min(MAX_PING_ALLOWANCE)
}

/// Whether an order to delete a blob excuses a node that lacks it: it came after the node signed for the blob, by the
/// node's own receipt, and the node has not proven the blob since. All in Unix ms.
pub fn excuses(issued_at_ms: u64, stored_at_ms: u64, proven_at_ms: Option<u64>) -> bool {
    issued_at_ms >= stored_at_ms && proven_at_ms.is_none_or(|proven| proven < issued_at_ms)
}

/// The judgement over one challenge: one for each blob, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub judgements: Vec<Judgement>,
    /// What the node has signed; `None` when no usable answer came.
    pub answer: Option<AnswerStatement>,
    /// Why an answer that came was not usable.
    pub unusable: Option<UnusableAnswer>,
}

impl Judged {
    /// Nothing is held against the node for blobs that it says are missing and that `excused` names.
    pub fn excuse(
        &mut self,
        challenge: &Challenge,
        answer: Option<&ProofAnswer>,
        excused: &HashSet<BlobId>,
    ) {
        let answers = answer.map_or(&[][..], |answer| &answer.items[..]);
        let judged = self.judgements.iter_mut().zip(challenge.items());
        for ((judgement, item), answered) in judged.zip(answers) {
            let lacks_it =
                *judgement == Judgement::Failed && answered.outcome == ItemOutcome::Missing;
            if lacks_it && excused.contains(&item.blob_id) {
                *judgement = Judgement::Ordered;
            }
        }
    }
}

/// Judges what came, or that nothing came.
///
/// What the node has not signed for this challenge is no answer and says nothing about any blob. In
/// an answer that came too late only an admission counts: that a blob is gone stays true.
pub fn judge(challenge: &Challenge, answer: Option<&ProofAnswer>, timing: Timing) -> Judged {
    let missed = |unusable| Judged {
        judgements: vec![Judgement::Missed; challenge.items().len()],
        answer: None,
        unusable,
    };
    let Some(answer) = answer else {
        return missed(None);
    };
    let statement = match answer.open(challenge) {
        Ok(statement) => statement,
        Err(error) => return missed(Some(error)),
    };
    let judged = challenge
        .questions()
        .zip(&answer.items)
        .map(|(question, item)| Judgement::due(&question, &item.outcome, timing.is_late()));
    Judged {
        judgements: judged.collect(),
        answer: Some(statement),
        unusable: None,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
