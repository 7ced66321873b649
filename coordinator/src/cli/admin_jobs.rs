//! `coordinator admin jobs`: what the background jobs of the coordinator on this machine do.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use api::jobs::{Job, Jobs};
use api::paths;

use crate::local_request;
use kit::output::{print_table, ruled_table};

pub(super) async fn show(metrics: SocketAddr, json: bool) -> Result<()> {
    let answer = local_request::get(metrics, paths::LOCAL_JOBS, "metrics.listen").await?;
    let text = answer.good()?;
    let jobs: Jobs =
        serde_json::from_str(&text).context("the coordinator's answer is no list of jobs")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&jobs)?);
        return Ok(());
    }
    let mut table = ruled_table(["job", "state", "last run", "runs", "failed", "backlog"]);
    for job in &jobs.items {
        table.add_row(row(job));
    }
    print_table(table);
    for (job, error) in jobs
        .items
        .iter()
        .filter_map(|job| Some((job, job.last_error.as_ref()?)))
    {
        println!("{} failed at {:.0}: {}", job.name, error.at, error.text);
    }
    Ok(())
}

fn row(job: &Job) -> [String; 6] {
    let ended = job.ended_at.map(|at| format!("{at:.0}"));
    [
        job.name.clone(),
        match &job.waits_for {
            Some(what) => format!("waits for {what}"),
            None => job.state.clone(),
        },
        ended.unwrap_or_else(|| "never".to_owned()),
        job.runs.to_string(),
        job.failures.to_string(),
        job.backlog
            .map_or_else(|| "-".to_owned(), |n| n.to_string()),
    ]
}
