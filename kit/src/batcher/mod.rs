//! Group commit: one task takes what waits, writes it in one go, and answers each who waits for it.
//!
//! The first to come is never held back on purpose: a batch is what gathered while the one before was
//! written. An item that has been taken into the queue is written whether or not its submitter still waits.
//! A writer that panics ends the batcher: everybody gets an error, nobody hangs, and [`Batcher::ended`] says
//! so. Retries are the writer's affair, who alone knows which errors pass. Rejected: a timer that waits for
//! more items, which makes a lone one slow and helps none when there are many.
//!
//! ```
//! use kit::{Batcher, BatchWriter, Limits, Outcome};
//!
//! struct Log(Vec<String>);
//!
//! impl BatchWriter for Log {
//!     type Item = String;
//!     type Output = usize;
//!
//!     async fn write(&mut self, lines: Vec<String>) -> Vec<Outcome<String, usize>> {
//!         let first = self.0.len();
//!         self.0.extend(lines);
//!         (first..self.0.len()).map(Outcome::Done).collect()
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), kit::BatchError> {
//! let log = Batcher::spawn(Limits::default(), Log(Vec::new()));
//! assert_eq!(log.submit("one".to_owned()).await?, 0);
//! assert_eq!(log.submit("two".to_owned()).await?, 1);
//! # Ok(())
//! # }
//! ```

mod parts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::panics::caught;

pub use parts::Parts;

/// How much is taken at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Items that wait at most; whoever submits more waits for room.
    pub queue: usize,
    /// Items of one batch at most.
    pub items: usize,
    /// Weight of one batch at most, but for its last item. See [`BatchWriter::weight`].
    pub weight: u64,
    /// Until items that were put off are tried again.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 1024,
            items: 64,
            weight: u64::MAX,
            pause: Duration::from_millis(20),
        }
    }
}

/// What becomes of one item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<T, O> {
    /// Its submitter gets this.
    Done(O),
    /// It cannot be written yet, and comes again with a later batch, after [`Limits::pause`]. Others go on.
    PutOff(T),
}

/// Writes batches, one after the other.
pub trait BatchWriter: Send + 'static {
    type Item: Send + 'static;
    /// Often a `Result`: each item has its own.
    type Output: Send + 'static;

    /// What of [`Limits::weight`] an item takes, like its bytes.
    fn weight(_item: &Self::Item) -> u64 {
        0
    }

    /// One outcome for each item, in order. Never called with none.
    fn write(
        &mut self,
        items: Vec<Self::Item>,
    ) -> impl Future<Output = Vec<Outcome<Self::Item, Self::Output>>> + Send;
}

/// Why there is no outcome. Whether the item was written is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("what writes batches has panicked: {0}")]
    Panicked(String),
    #[error("what writes batches has been stopped")]
    Stopped,
    #[error("what writes batches gave fewer outcomes than there were items")]
    Unanswered,
}

/// The queue of one writer. Clones are handles of the same; the task ends when the last one is gone and all
/// that was queued is written.
pub struct Batcher<T, O> {
    queue: mpsc::Sender<Waiting<T, O>>,
    end: watch::Receiver<Option<BatchError>>,
}

struct Waiting<T, O> {
    item: T,
    reply: oneshot::Sender<Result<O, BatchError>>,
}

impl<T: Send + 'static, O: Send + 'static> Batcher<T, O> {
    /// Starts the task that writes.
    pub fn spawn<W>(limits: Limits, writer: W) -> Self
    where
        W: BatchWriter<Item = T, Output = O>,
    {
        let (queue, waiting) = mpsc::channel(limits.queue.max(1));
        let (ended, end) = watch::channel(None);
        let task = Task {
            limits,
            writer,
            waiting,
            put_off: Vec::new(),
            due: Instant::now(),
        };
        tokio::spawn(async move {
            let reason = match caught(task.run()).await {
                Ok(()) => BatchError::Stopped,
                Err(text) => BatchError::Panicked(text),
            };
            ended.send_replace(Some(reason));
        });
        Self { queue, end }
    }

    /// Returns when the item is written, or is not. A submitter that gives up before there was room has
    /// submitted nothing; one that gives up later has.
    pub async fn submit(&self, item: T) -> Result<O, BatchError> {
        let (reply, outcome) = oneshot::channel();
        if self.queue.send(Waiting { item, reply }).await.is_err() {
            return Err(self.ended().await);
        }
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.ended().await),
        }
    }

    /// Returns when nothing is written any more, and says why: a panic, or the end of the runtime.
    pub async fn ended(&self) -> BatchError {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(BatchError::Stopped),
            Err(_) => BatchError::Stopped,
        }
    }
}

impl<T, O> Clone for Batcher<T, O> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            end: self.end.clone(),
        }
    }
}

impl<T, O> fmt::Debug for Batcher<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        f.debug_struct("Batcher")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

struct Task<W: BatchWriter> {
    limits: Limits,
    writer: W,
    waiting: mpsc::Receiver<Waiting<W::Item, W::Output>>,
    put_off: Vec<Waiting<W::Item, W::Output>>,
    /// When those are tried again.
    due: Instant,
}

impl<W: BatchWriter> Task<W> {
    async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            self.write(batch).await;
        }
    }

    /// What waits, as soon as anything does; `None` when nothing ever will.
    async fn next_batch(&mut self) -> Option<Vec<Waiting<W::Item, W::Output>>> {
        let items = self.limits.items.max(1);
        let has_room = self.put_off.len() < items; // else a crowd put off would grow without bound
        let first = if self.put_off.is_empty() {
            Some(self.waiting.recv().await?)
        } else {
            tokio::select! {
                biased;
                () = sleep_until(self.due) => None,
                Some(first) = self.waiting.recv(), if has_room => Some(first),
            }
        };
        let (mut batch, room) = match first {
            Some(first) => (vec![first], items - self.put_off.len()),
            None => (std::mem::take(&mut self.put_off), items),
        };
        let weights = batch.iter().map(|waiting| W::weight(&waiting.item));
        let mut weight = weights.fold(0, u64::saturating_add);
        while batch.len() < room
            && weight < self.limits.weight
            && let Ok(next) = self.waiting.try_recv()
        {
            weight = weight.saturating_add(W::weight(&next.item));
            batch.push(next);
        }
        Some(batch)
    }

    async fn write(&mut self, batch: Vec<Waiting<W::Item, W::Output>>) {
        let (items, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.item, waiting.reply))
            .unzip();
        let mut outcomes = self.writer.write(items).await.into_iter();
        let had_put_off = !self.put_off.is_empty();
        for reply in replies {
            // A submitter may have gone meanwhile.
            let _ = match outcomes.next() {
                Some(Outcome::Done(output)) => reply.send(Ok(output)),
                Some(Outcome::PutOff(item)) => {
                    self.put_off.push(Waiting { item, reply });
                    continue;
                }
                None => reply.send(Err(BatchError::Unanswered)),
            };
        }
        if !had_put_off {
            self.due = Instant::now() + self.limits.pause;
        }
    }
}
