//! `bench transfer`: files up and down through a whole network.

use std::path::Path;

use anyhow::{Context, Result};
use local_cluster::client::Session;
use local_cluster::{Cluster, Member, Overrides, TemporaryCluster, UpOptions};
use proto::FileId;
use reqwest::Body;

use crate::content::Content;
use crate::limit::Pipeline;
use crate::measure::{Meter, Sample};
use crate::report::{Measurement, Report};
use crate::{Options, narrate};

const MIB: u64 = 1024 * 1024;
/// Enough for the connections and caches to be as they are in the middle of work.
const WARM_UP: u64 = 32 * MIB;
pub(crate) const CREDITS_USD: u32 = 1000;

pub(crate) async fn run(options: &Options, pair: bool, config: Option<&Path>) -> Result<Report> {
    narrate("Starting a local cluster.");
    let cluster = TemporaryCluster::start(UpOptions {
        nodes: Some(options.nodes),
        overrides: config.map(Overrides::read).transpose()?,
        ..UpOptions::default()
    })
    .await?;
    let session = cluster.session().await?;
    session.purchase(CREDITS_USD).await?;
    let meter = meter(&cluster)?;
    let content = Content::random();
    let pipeline = match pair {
        true => Some(Pipeline::start(options.nodes).await?),
        false => None,
    };

    let mut report = Report {
        nodes: options.nodes,
        runs: options.runs,
        ..Report::default()
    };
    let warm = up(&session, &content, WARM_UP).await?;
    down(&session, &content, warm, WARM_UP).await?;
    for size in &options.sizes {
        let bytes = size.as_u64();
        let mut samples: [Vec<Sample>; 3] = Default::default();
        for run in 1..=options.runs {
            narrate(&format!("{size}, run {run} of {}", options.runs));
            if let Some(pipeline) = &pipeline {
                samples[0].push(pipeline.measure(&content, bytes).await?);
            }
            let mut stored = None;
            samples[1].push(
                meter
                    .measure(async {
                        stored = Some(up(&session, &content, bytes).await?);
                        Ok(())
                    })
                    .await?,
            );
            let file_id = stored.context("nothing was stored")?;
            let back = down(&session, &content, file_id, bytes);
            samples[2].push(meter.measure(back).await?);
        }
        for (work, samples) in ["limit", "up", "down"].into_iter().zip(&samples) {
            if !samples.is_empty() {
                report
                    .measurements
                    .push(Measurement::new(work, bytes, samples));
            }
        }
    }
    report.add_peaks("transfer", &meter);
    if let Some(pipeline) = &pipeline {
        report.add_peaks("limit", pipeline.meter());
    }
    report.compare();
    Ok(report)
}

async fn up(session: &Session, content: &Content, size: u64) -> Result<FileId> {
    let body = Body::wrap_stream(content.stream(size));
    let file = session.upload("benchmark", Some(size), body).await;
    Ok(file.context("the upload has failed")?.file_id)
}

async fn down(session: &Session, content: &Content, file_id: FileId, size: u64) -> Result<()> {
    let response = session.open(file_id).await;
    content
        .expect(size, response.context("the download has failed")?)
        .await
}

pub(crate) fn meter(cluster: &Cluster) -> Result<Meter> {
    let mut groups = [
        ("coordinator", vec![]),
        ("nodes", vec![]),
        ("postgres", vec![]),
    ];
    for member in cluster.members() {
        let group = match member {
            Member::Coordinator(_) => 0,
            Member::Node(_) => 1,
            Member::Postgres => 2,
        };
        groups[group].1.extend(cluster.process(member)?);
    }
    Meter::new(groups)
}
