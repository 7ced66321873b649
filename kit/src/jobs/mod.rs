//! Background work: each job is one bounded, idempotent step without input, that reconciles what is with what
//! should be. The same path runs after a crash.
//!
//! The [`Runner`] owns pace, wake, stop and status; a job owns nothing but its step. An error or a panic of a
//! step is counted, shown and tried again, after a second at least. Rejected: jobs as rows of a queue, which
//! have to be enqueued, deduplicated and cleaned up where looking again is enough; and a loop in each job,
//! twenty of which would each forget something else.

mod runner;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio::sync::watch;

pub use runner::Runner;
pub use status::{JobError, JobState, JobStatus, Statuses};

/// Work that is done in steps for as long as the program runs.
pub trait Job: Send + Sync + 'static {
    /// What people and metrics call it, like "repair-scan".
    const NAME: &'static str;

    /// Does one bounded piece of what there is to do. Finding nothing is no error.
    fn step(&self) -> impl Future<Output = Result<Step>> + Send;

    /// How much waits to be done, where that can be told cheaply. Asked now and then, after a step.
    fn backlog(&self) -> impl Future<Output = Result<Option<u64>>> + Send {
        async { Ok(None) }
    }
}

/// Whether a step left something for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is left: the next step is at the job's own pace.
    Idle,
    /// The next step follows at once.
    More,
}

impl Step {
    pub const fn more_if(more: bool) -> Self {
        if more { Self::More } else { Self::Idle }
    }
}

/// When a job does its steps. A `Duration` is a pace.
#[derive(Debug, Clone)]
pub struct Pace {
    every: Duration,
    wake: Wake,
    gates: Vec<Gate>,
    timeout: Option<Duration>,
    cut_at_stop: bool,
}

impl Pace {
    /// The first step is after this time, too, unless the job is woken.
    pub fn every(every: Duration) -> Self {
        Self {
            every,
            wake: Wake::new(),
            gates: Vec::new(),
            timeout: None,
            cut_at_stop: false,
        }
    }

    /// And whenever somebody says that there is something to do.
    #[must_use]
    pub fn or_at(self, wake: &Wake) -> Self {
        let wake = wake.clone();
        Self { wake, ..self }
    }

    /// But only while this holds, and what was named before. It is asked before each step.
    #[must_use]
    pub fn only_while(mut self, gate: &Gate) -> Self {
        self.gates.push(gate.clone());
        self
    }

    /// A step that takes longer is dropped where it stands, which is an error.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let timeout = Some(limit);
        Self { timeout, ..self }
    }

    /// A stop does not wait for the step that runs: it takes long, and what it leaves unfinished costs
    /// nothing.
    #[must_use]
    pub fn cut_at_stop(self) -> Self {
        Self {
            cut_at_stop: true,
            ..self
        }
    }
}

impl From<Duration> for Pace {
    fn from(every: Duration) -> Self {
        Self::every(every)
    }
}

/// Tells jobs that there is something to do now. Clones tell the same jobs.
///
/// Nothing is lost: who is told during a step, or before it was even started, begins another one. Told often,
/// it is told once.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<watch::Sender<u64>>);

impl Wake {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn wake(&self) {
        self.0.send_modify(|times| *times = times.wrapping_add(1));
    }
}

/// The ear of one job.
struct Woken {
    times: watch::Receiver<u64>,
    seen: u64,
}

impl Woken {
    fn by(wake: &Wake) -> Self {
        let times = wake.0.subscribe();
        Self { times, seen: 0 }
    }

    /// Returns when the job was told something since it last began a step.
    async fn told(&mut self) {
        let seen = self.seen;
        let told = self.times.wait_for(|times| *times != seen).await.is_ok();
        if !told {
            std::future::pending::<()>().await; // nobody is left who could
        }
    }

    /// The step that begins now covers all that was told until now.
    fn begin(&mut self) {
        self.seen = *self.times.borrow_and_update();
    }
}

/// What has to hold for jobs to work.
#[derive(Clone)]
pub struct Gate {
    waits_for: &'static str,
    is_open: Arc<dyn Fn() -> BoxFuture<'static, Result<bool>> + Send + Sync>,
}

impl Gate {
    /// `waits_for` is what people read while it is shut, like "the end of restore mode".
    pub fn new<F, Fut>(waits_for: &'static str, is_open: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool>> + Send + 'static,
    {
        Self {
            waits_for,
            is_open: Arc::new(move || Box::pin(is_open())),
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.waits_for).finish()
    }
}
