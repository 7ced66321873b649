//! Runs jobs, each in a task of its own, until the program stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::status::Record;
use super::{Job, Pace, Statuses, Step, Woken};
use crate::clock::Clock;
use crate::panics::caught;

/// What failed is tried again after this time at the earliest.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// A backlog is asked for no more often, and for no longer.
const BACKLOG_EVERY: Duration = Duration::from_secs(10);
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts jobs. When `stop` is cancelled each ends after the step it is in; `tasks` tells when all have.
#[derive(Debug, Clone)]
pub struct Runner {
    clock: Clock,
    tasks: TaskTracker,
    stop: CancellationToken,
    statuses: Statuses,
}

impl Runner {
    /// `clock` dates what the statuses say.
    pub fn new(clock: Clock, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self {
            clock,
            tasks,
            stop,
            statuses: Statuses::default(),
        }
    }

    pub fn spawn<J: Job>(&self, job: J, pace: impl Into<Pace>) {
        let pace = pace.into();
        let task = Task {
            record: self.statuses.add(J::NAME, pace.every),
            job,
            pace,
            clock: self.clock.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(task.run());
    }

    /// Of all jobs that were spawned here.
    pub fn statuses(&self) -> &Statuses {
        &self.statuses
    }
}

struct Task<J> {
    job: J,
    pace: Pace,
    record: Arc<Record>,
    clock: Clock,
    stop: CancellationToken,
}

impl<J: Job> Task<J> {
    async fn run(self) {
        let mut woken = Woken::by(&self.pace.wake);
        let mut pause = self.pace.every;
        let mut backlog_asked: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = woken.told() => {}
                () = sleep(pause) => {}
            }
            woken.begin();
            let Some(outcome) = self.turn().await else {
                return;
            };
            pause = match outcome {
                Ok(Step::More) => Duration::ZERO,
                Ok(Step::Idle) => self.pace.every,
                Err(error) => {
                    self.failed(&error);
                    self.pace.every.max(PAUSE_AFTER_ERROR)
                }
            };
            if backlog_asked.is_none_or(|asked| asked.elapsed() >= BACKLOG_EVERY) {
                backlog_asked = Some(Instant::now());
                self.stop.run_until_cancelled(self.ask_backlog()).await;
            }
        }
    }

    /// `None` when a stop has cut it.
    async fn turn(&self) -> Option<Result<Step>> {
        for gate in &self.pace.gates {
            let asked = caught_error((gate.is_open)());
            match self.stop.run_until_cancelled(asked).await? {
                Ok(true) => {}
                Ok(false) => {
                    self.record.waits(gate.waits_for);
                    return Some(Ok(Step::Idle));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        self.record.begins(self.clock.now());
        let begun = Instant::now();
        let step = self.bounded_step();
        let outcome = if self.pace.cut_at_stop {
            self.stop.run_until_cancelled(step).await
        } else {
            Some(step.await)
        };
        self.record.ends(self.clock.now(), begun.elapsed());
        outcome
    }

    async fn bounded_step(&self) -> Result<Step> {
        let step = caught_error(self.job.step());
        match self.pace.timeout {
            None => step.await,
            Some(limit) => match timeout(limit, step).await {
                Ok(outcome) => outcome,
                Err(_) => Err(anyhow!("took longer than {limit:?} and was cut")),
            },
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        tracing::warn!(
            job = J::NAME,
            error = text,
            "a step failed; it is tried again"
        );
        self.record.fails(self.clock.now(), text);
    }

    async fn ask_backlog(&self) {
        let asked = timeout(BACKLOG_TIMEOUT, caught_error(self.job.backlog())).await;
        let backlog = match asked {
            Ok(Ok(backlog)) => backlog,
            Ok(Err(error)) => {
                let error = format!("{error:#}");
                tracing::debug!(job = J::NAME, error, "how much waits cannot be told");
                None
            }
            Err(_) => None,
        };
        self.record.set_backlog(backlog);
    }
}

async fn caught_error<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match caught(work).await {
        Ok(outcome) => outcome,
        Err(text) => Err(anyhow!("panicked: {text}")),
    }
}
