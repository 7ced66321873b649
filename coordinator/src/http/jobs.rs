//! `/admin/jobs`, and `/jobs` beside the metrics: what the background jobs of this coordinator do.

use api::jobs::{Job, JobError, Jobs};
use api::paths;
use axum::extract::State;
use kit::{JobState, JobStatus, Statuses};

use super::authorization::Admin;
use super::extract::Json;

fn view(status: JobStatus) -> Job {
    let state = match status.state {
        JobState::Idle => "idle",
        JobState::Running => "running",
        JobState::Waiting => "waiting",
    };
    Job {
        name: status.name.to_owned(),
        state: state.to_owned(),
        waits_for: status.waits_for.map(str::to_owned),
        every_ms: status.every_ms,
        runs: status.runs,
        failures: status.failures,
        started_at: status.started_at,
        ended_at: status.ended_at,
        duration_ms: status.duration_ms,
        last_error: status.last_error.map(|error| JobError {
            at: error.at,
            text: error.text,
        }),
        backlog: status.backlog,
    }
}

/// The background jobs of this coordinator: last run, last error, backlog. For admins.
#[utoipa::path(get, path = paths::JOBS, tag = "service", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = Jobs), (status = 403, description = "The caller is no admin")))]
pub(super) async fn list(jobs: State<Statuses>, _: Admin) -> Json<Jobs> {
    local(jobs).await
}

/// The same for who may read the metrics; `coordinator admin jobs` asks here.
pub(super) async fn local(State(jobs): State<Statuses>) -> Json<Jobs> {
    let items = jobs.snapshot().into_iter().map(view).collect();
    Json(Jobs { items })
}
