//! `bench repair`: one of the nodes dies for good; how long until every chunk has all its replicas on the
//! others, in peace and while files go up.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use local_cluster::{Member, Overrides, TemporaryCluster, UpOptions};
use reqwest::Body;
use serde::Serialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use tokio_util::sync::CancellationToken;

use crate::content::Content;
use crate::narrate;
use crate::transfer::CREDITS_USD;

const MIB: f64 = 1024.0 * 1024.0;
/// Files that are stored before; the last one may be smaller.
const FILE: u64 = 256 * 1024 * 1024;
/// Files that go up meanwhile.
const UPLOAD: u64 = 32 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Args)]
pub(crate) struct RepairBench {
    /// Bytes of file that the nodes hold, three times
    #[arg(long, default_value = "2GiB")]
    size: ByteSize,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct RepairReport {
    nodes: usize,
    runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
struct Run {
    /// `idle`, or `uploads`: while files went up as fast as they were taken.
    beside: &'static str,
    /// Replicas on the node that died, and their bytes.
    replicas: u64,
    replica_bytes: u64,
    /// From the death to the coordinator's calling the node offline.
    detected_s: f64,
    /// From there to the first new replica in the database.
    first_repair_s: f64,
    /// From there to the last one.
    whole_s: f64,
    mib_per_second: f64,
    uploaded_mib_per_second: Option<f64>,
}

impl RepairBench {
    pub(crate) async fn run(&self) -> Result<RepairReport> {
        ensure!(
            self.nodes >= 4,
            "without the dead node three have to be left: --nodes 4 or more"
        );
        ensure!(self.size.as_u64() > 0, "--size must be above 0");
        let runs = vec![
            self.lose_a_node(false).await?,
            self.lose_a_node(true).await?,
        ];
        Ok(RepairReport {
            nodes: self.nodes,
            runs,
        })
    }

    async fn lose_a_node(&self, busy: bool) -> Result<Run> {
        narrate("Starting a local cluster.");
        let overrides: Overrides =
            "[coordinator.repair]\ngrace = \"0s\"\n[coordinator.log]\nfilter = \"warn\"".parse()?;
        let cluster = TemporaryCluster::start(UpOptions {
            nodes: Some(self.nodes),
            overrides: Some(overrides),
            ..UpOptions::default()
        })
        .await?;
        let session = cluster.session().await?;
        session.purchase(CREDITS_USD).await?;
        let content = Content::random();
        let size = self.size.as_u64();
        for start in (0..size).step_by(FILE as usize) {
            upload(&session, &content, FILE.min(size - start)).await?;
        }
        let database = PgPoolOptions::new().max_connections(2);
        let database = Database(database.connect(&cluster.record().postgres.url()).await?);
        let dead = cluster.record().nodes[0].ready.as_ref();
        let dead = dead.context("node-1 was never ready")?.node_id.clone();
        let (replicas, replica_bytes) = database.held_by(&dead).await?;
        let before = database.elsewhere(&dead).await?;

        let stop = CancellationToken::new();
        let uploads = busy.then(|| {
            let (session, content, stop) = (session.clone(), content.clone(), stop.clone());
            tokio::spawn(async move {
                let (began, mut bytes) = (Instant::now(), 0);
                while !stop.is_cancelled() {
                    upload(&session, &content, UPLOAD).await?;
                    bytes += UPLOAD;
                }
                anyhow::Ok(bytes as f64 / MIB / began.elapsed().as_secs_f64())
            })
        });
        narrate(&format!(
            "node-1 dies with {replicas} replicas, {}.",
            ByteSize(replica_bytes)
        ));
        let died = Instant::now();
        cluster.kill(Member::Node(1)).await?;
        let client = cluster.client()?;
        let gone = wait_for("the death to be noticed", TIMEOUT, async || {
            let nodes = client.nodes().await.ok()?;
            let node = nodes.iter().find(|node| node.node_id.to_string() == dead)?;
            (!node.online).then(Instant::now)
        });
        let detected = gone.await?;
        let first = wait_for("a first repair", TIMEOUT, async || {
            let now = database.repaired(&dead, before).await.ok()?;
            now.then(Instant::now)
        });
        let first = first.await?;
        let whole = wait_for("the last repair", TIMEOUT, async || {
            let lacking = database.lacking(&dead).await.ok()?;
            (lacking == 0).then(Instant::now)
        });
        let whole = whole.await?;
        stop.cancel();
        let uploaded = match uploads {
            Some(task) => Some(task.await??),
            None => None,
        };
        let whole_s = (whole - detected).as_secs_f64();
        Ok(Run {
            beside: if busy { "uploads" } else { "idle" },
            replicas,
            replica_bytes,
            detected_s: (detected - died).as_secs_f64(),
            first_repair_s: (first - detected).as_secs_f64(),
            whole_s,
            mib_per_second: replica_bytes as f64 / MIB / whole_s,
            uploaded_mib_per_second: uploaded,
        })
    }
}

async fn upload(session: &Session, content: &Content, size: u64) -> Result<()> {
    let body = Body::wrap_stream(content.stream(size));
    let stored = session.upload("benchmark", Some(size), body).await;
    stored.context("an upload has failed")?;
    Ok(())
}

/// Asked past the coordinator, which says nothing of single replicas without their files.
struct Database(PgPool);

impl Database {
    async fn held_by(&self, node: &str) -> Result<(u64, u64)> {
        let row = sqlx::query(
            "SELECT count(*), coalesce(sum(size_bytes + 28), 0)::bigint
             FROM replicas JOIN chunks USING (file_id, chunk_index) WHERE node_id = $1::uuid",
        )
        .bind(node)
        .fetch_one(&self.0)
        .await?;
        let [replicas, bytes]: [i64; 2] = [row.try_get(0)?, row.try_get(1)?];
        Ok((replicas.unsigned_abs(), bytes.unsigned_abs()))
    }

    /// The number of the last version of any replica on another node.
    async fn elsewhere(&self, node: &str) -> Result<i64> {
        let newest = sqlx::query_scalar(
            "SELECT coalesce(max(stored_at_ms), 0) FROM replicas WHERE node_id <> $1::uuid",
        );
        Ok(newest.bind(node).fetch_one(&self.0).await?)
    }

    /// Whether a chunk that the node held a replica of has one since then.
    async fn repaired(&self, node: &str, since_ms: i64) -> Result<bool> {
        let found = sqlx::query_scalar(
            "SELECT EXISTS (
                 SELECT 1 FROM replicas r JOIN chunks c USING (file_id, chunk_index)
                 WHERE r.node_id <> $1::uuid AND r.stored_at_ms > $2 AND c.version <= $2)",
        );
        Ok(found.bind(node).bind(since_ms).fetch_one(&self.0).await?)
    }

    /// Chunks that lack replicas when those of the node do not count.
    async fn lacking(&self, node: &str) -> Result<i64> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM (
                 SELECT 1 FROM chunks JOIN files f USING (file_id)
                 LEFT JOIN replicas r USING (file_id, chunk_index)
                 WHERE f.state <> 'deleted'
                 GROUP BY file_id, chunk_index, f.replication
                 HAVING count(*) FILTER (WHERE r.node_id <> $1::uuid AND r.demoted_at IS NULL)
                        < f.replication) AS chunk",
        );
        Ok(count.bind(node).fetch_one(&self.0).await?)
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} nodes, one dies for good; repair.grace = 0s\n",
            self.nodes
        )?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "beside",
            "replica bytes",
            "noticed after s",
            "first repair s later",
            "whole s later",
            "MiB/s repaired",
            "MiB/s uploaded",
        ]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for run in &self.runs {
            let uploaded = run.uploaded_mib_per_second;
            table.add_row([
                run.beside.to_owned(),
                ByteSize(run.replica_bytes).to_string(),
                format!("{:.2}", run.detected_s),
                format!("{:.2}", run.first_repair_s),
                format!("{:.1}", run.whole_s),
                format!("{:.1}", run.mib_per_second),
                uploaded.map_or_else(|| "-".to_owned(), |speed| format!("{speed:.1}")),
            ]);
        }
        writeln!(f, "{table}")
    }
}
