//! What a job has been doing: for the people who operate the program, and for its metrics.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobStatus {
    pub name: &'static str,
    pub state: JobState,
    /// What has to come first, while it is [`JobState::Waiting`].
    pub waits_for: Option<&'static str>,
    /// The pause between two steps that find nothing to do.
    pub every_ms: u64,
    /// Steps that were begun.
    pub runs: u64,
    /// Steps that ended in an error, a panic or a timeout.
    pub failures: u64,
    /// When a step last began.
    pub started_at: Option<Timestamp>,
    /// When a step last ended, well or not.
    pub ended_at: Option<Timestamp>,
    /// How long that step took.
    pub duration_ms: Option<u64>,
    /// Kept when later steps succeed: `at` tells how old it is.
    pub last_error: Option<JobError>,
    /// How much waits to be done; `None` where the job cannot tell.
    pub backlog: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Between two steps.
    Idle,
    Running,
    /// It would work, but its gate is shut.
    Waiting,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobError {
    pub at: Timestamp,
    pub text: String,
}

/// The status of each job of a runner. Clones show the same jobs.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Arc<Mutex<Vec<Arc<Record>>>>);

impl Statuses {
    /// In the order in which the jobs were spawned.
    pub fn snapshot(&self) -> Vec<JobStatus> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().map(|record| record.get().clone()).collect()
    }

    pub(super) fn add(&self, name: &'static str, every: Duration) -> Arc<Record> {
        let record = Arc::new(Record(Mutex::new(JobStatus {
            name,
            state: JobState::Idle,
            waits_for: None,
            every_ms: millis(every),
            runs: 0,
            failures: 0,
            started_at: None,
            ended_at: None,
            duration_ms: None,
            last_error: None,
            backlog: None,
        })));
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(Arc::clone(&record));
        record
    }
}

/// Where one job's runner writes.
#[derive(Debug)]
pub(super) struct Record(Mutex<JobStatus>);

impl Record {
    fn get(&self) -> MutexGuard<'_, JobStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waits(&self, waits_for: &'static str) {
        let mut status = self.get();
        status.state = JobState::Waiting;
        status.waits_for = Some(waits_for);
    }

    pub(super) fn begins(&self, at: Timestamp) {
        let mut status = self.get();
        status.state = JobState::Running;
        status.waits_for = None;
        status.started_at = Some(at);
        status.runs += 1;
    }

    /// The step that had begun is over.
    pub(super) fn ends(&self, at: Timestamp, after: Duration) {
        let mut status = self.get();
        status.state = JobState::Idle;
        status.ended_at = Some(at);
        status.duration_ms = Some(millis(after));
    }

    pub(super) fn fails(&self, at: Timestamp, text: String) {
        let mut status = self.get();
        status.failures += 1;
        status.last_error = Some(JobError { at, text });
    }

    pub(super) fn set_backlog(&self, backlog: Option<u64>) {
        self.get().backlog = backlog;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
