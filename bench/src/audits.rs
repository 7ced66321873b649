//! `bench audits`: how fast replicas are challenged by one coordinator, and what the schedule costs in
//! a database of a given size.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use comfy_table::{CellAlignment, Table, presets};
use coordinator::config::Config;
use coordinator::database;
use coordinator::proofs::tables::audit_schedule;
use kit::{Clock, Entropy};
use local_cluster::{Overrides, TemporaryCluster, TemporaryPostgres, UpOptions};
use model::ids::uuid_v7;
use proto::NodeId;
use reqwest::Body;
use rules::audit::{RoundPlan, Sampling};
use serde::Serialize;
use sqlx::PgPool;

use crate::content::Content;
use crate::measure::Sample;
use crate::{narrate, transfer};

const CREDITS_USD: u32 = 1000;

/// As many batches are taken from a schedule that is measured.
const BATCHES: usize = 200;

#[derive(Debug, clap::Args)]
pub(crate) struct AuditBench {
    /// Bytes of file that the nodes hold, three times
    #[arg(long, default_value = "256MiB")]
    size: ByteSize,
    /// How long audits are counted; 0 leaves this part out
    #[arg(long, default_value_t = 20, value_name = "S")]
    seconds: u64,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
    /// Sizes of the schedules that are measured, in replicas; they are generated first
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000], value_name = "N,…")]
    schedule: Vec<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct AuditReport {
    pub throughput: Option<Throughput>,
    pub schedules: Vec<Schedule>,
}

/// Of one coordinator, all processes on this machine.
#[derive(Debug, Serialize)]
pub(crate) struct Throughput {
    pub seconds: f64,
    pub passed: u64,
    pub audits_per_second: f64,
    /// CPU time for one audit.
    pub coordinator_us: f64,
    pub nodes_us: f64,
    pub postgres_us: f64,
    /// Time in the database for one message: looking up its replicas, and writing down what came.
    pub read_ms: f64,
    pub write_ms: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Schedule {
    pub replicas: u64,
    pub nodes: usize,
    /// To begin a round for all of them.
    pub plan_ms: f64,
    /// To take a batch: lease, look-up, progress. Median and worst.
    pub batch_ms: f64,
    pub worst_batch_ms: f64,
}

impl AuditBench {
    pub(crate) async fn run(&self) -> Result<AuditReport> {
        ensure!(self.nodes >= 3, "three replicas need --nodes 3 or more");
        let throughput = match self.seconds {
            0 => None,
            _ => Some(self.throughput().await?),
        };
        let mut schedules = Vec::new();
        for replicas in &self.schedule {
            schedules.push(schedule(*replicas, self.nodes).await?);
        }
        Ok(AuditReport {
            throughput,
            schedules,
        })
    }

    /// Every replica is due again each second, which is more than can be done.
    async fn throughput(&self) -> Result<Throughput> {
        narrate("Starting a local cluster.");
        let overrides: Overrides =
            "[coordinator.proofs]\ninterval = \"1s\"\nper_node_limit = 1000000\n\
                                    [coordinator.log]\nfilter = \"warn\""
                .parse()?;
        let cluster = TemporaryCluster::start(UpOptions {
            nodes: Some(self.nodes),
            overrides: Some(overrides),
            ..UpOptions::default()
        })
        .await?;
        let session = cluster.session().await?;
        session.purchase(CREDITS_USD).await?;
        let bytes = self.size.as_u64();
        let body = Body::wrap_stream(Content::random().stream(bytes));
        let stored = session.upload("benchmark", Some(bytes), body).await;
        stored.context("the upload has failed")?;
        let metrics = cluster.status()?.metrics_url;
        let metrics = metrics.context("the coordinator serves no metrics")?;
        let meter = transfer::meter(&cluster)?;
        narrate("Counting audits.");
        tokio::time::sleep(Duration::from_secs(2)).await; // until all nodes are in full swing
        let before = Counters::read(&metrics).await?;
        let pause = Duration::from_secs(self.seconds);
        let Sample { seconds, cpu } = meter
            .measure(async {
                tokio::time::sleep(pause).await;
                Ok(())
            })
            .await?;
        let after = Counters::read(&metrics).await?;
        let passed = after.passed - before.passed;
        ensure!(
            after.failed == before.failed,
            "honest nodes have failed proofs"
        );
        let each = |group: &str| {
            let seconds = cpu.get(group).copied().unwrap_or_default();
            seconds * 1e6 / passed
        };
        let mean_ms = |sum: f64, count: f64| sum * 1e3 / count.max(1.0);
        Ok(Throughput {
            seconds,
            passed: passed as u64,
            audits_per_second: passed / seconds,
            coordinator_us: each("coordinator"),
            nodes_us: each("nodes"),
            postgres_us: each("postgres"),
            read_ms: mean_ms(
                after.read_seconds - before.read_seconds,
                after.reads - before.reads,
            ),
            write_ms: mean_ms(
                after.write_seconds - before.write_seconds,
                after.writes - before.writes,
            ),
        })
    }
}

/// What the coordinator's metrics say.
struct Counters {
    passed: f64,
    failed: f64,
    read_seconds: f64,
    reads: f64,
    write_seconds: f64,
    writes: f64,
}

impl Counters {
    async fn read(url: &str) -> Result<Self> {
        let text = reqwest::get(url).await?.text().await?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| {
                let value = line.strip_prefix("fsn_coordinator_")?.strip_prefix(name)?;
                value.strip_prefix(' ')?.parse::<f64>().ok()
            });
            line.with_context(|| format!("the coordinator has no metric {name}"))
        };
        Ok(Self {
            passed: value("audits_passed_total")?,
            failed: value("audits_failed_total")?,
            read_seconds: value("audit_read_seconds_sum")?,
            reads: value("audit_read_seconds_count")?,
            write_seconds: value("audit_write_seconds_sum")?,
            writes: value("audit_write_seconds_count")?,
        })
    }
}

/// Generates rows, begins a round for every node and takes batches of it, by the coordinator's own
/// queries.
async fn schedule(replicas: u64, nodes: usize) -> Result<Schedule> {
    narrate(&format!("Generating {replicas} replicas on {nodes} nodes."));
    let postgres = TemporaryPostgres::start().await?;
    let config = Config::load(None, &[])?;
    let pool = database::connect(&postgres.url(), &config.database).await?;
    database::migrate(&pool).await?;
    let nodes = generate(pool.connections(), replicas, nodes).await?;
    narrate("Measuring.");

    let mut connection = pool.acquire().await?;
    let now = Clock::system().now();
    let lease = audit_schedule::Lease {
        id: uuid_v7(now, &mut Entropy::system().rng()),
        until: now.saturating_add(Duration::from_secs(600))?,
    };
    let interval = config.proofs.interval;
    let window_ends_at = now.saturating_add(interval)?;
    let sampling = Sampling {
        limit: config.proofs.per_node_limit.into(),
        interval,
    };
    let began = Instant::now();
    let limit = nodes.len() as i64;
    let taken = audit_schedule::take_due(&mut connection, &nodes, now, lease, limit).await?;
    ensure!(taken.len() == nodes.len(), "not every node was due");
    let mut leased = Vec::new();
    for node in taken {
        let ids = 0..=u64::MAX;
        let count = audit_schedule::count_replicas(&mut connection, node.node_id, &ids).await?;
        let plan = RoundPlan::new(count, sampling, 0, [7; 32]);
        let round = audit_schedule::NewRound {
            plan: &plan,
            replica_count: count,
            due_at: now,
            window_ends_at,
        };
        let next =
            audit_schedule::begin_round(&mut connection, node.node_id, &round, now, lease).await?;
        leased.push(next.context("the lease was lost")?);
    }
    let plan_ms = began.elapsed().as_secs_f64() * 1e3;

    let mut times = Vec::new();
    for batch in 0..BATCHES {
        let index = batch % leased.len();
        let node = leased[index].clone();
        let began = Instant::now();
        // The row is leased anew for each batch, as it is when messages lie hours apart.
        audit_schedule::release(&mut connection, node.node_id, lease.id, None).await?;
        let due = [node.node_id];
        let taken = audit_schedule::take_due(&mut connection, &due, now, lease, 1).await?;
        ensure!(taken.len() == 1, "a batch was not due");
        let cell = node.plan.message(node.next_message);
        let found = audit_schedule::cell(&mut connection, node.node_id, &cell, now).await?;
        ensure!(!found.is_empty() || replicas < 1000, "a batch is empty");
        let progress = audit_schedule::Progress {
            next_message: (node.next_message + 1) % node.plan.messages().max(1),
            due_at: now,
            tally: node.tally,
            challenges: found.len() as u64,
            forgiven: 0,
        };
        let next =
            audit_schedule::advance(&mut connection, node.node_id, &progress, now, lease).await?;
        leased[index] = next.context("the lease was lost")?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_unstable_by(f64::total_cmp);
    Ok(Schedule {
        replicas,
        nodes: nodes.len(),
        plan_ms,
        batch_ms: times[times.len() / 2],
        worst_batch_ms: times.last().copied().unwrap_or_default(),
    })
}

/// One file of as many chunks as it takes; its replicas lie on the nodes in turn. Foreign keys are not
/// checked and indexes are built at the end, or tens of millions of rows would take hours.
async fn generate(pool: &PgPool, replicas: u64, nodes: usize) -> Result<Vec<NodeId>> {
    let statements = [
        "INSERT INTO users (user_id, email, password_hash) SELECT gen_random_uuid(), 'a@b.example', ''",
        "INSERT INTO files (file_id, user_id, filename, content_type, chunk_size_bytes, replication)
         SELECT gen_random_uuid(), user_id, 'f', 't', 262144, 3 FROM users",
        "INSERT INTO nodes (node_id, peer_id, name, capacity_bytes, api_key_hash)
         SELECT gen_random_uuid(), n::text, 'n', 0, sha256(n::text::bytea)
         FROM generate_series(1, $1) AS n",
        "SET session_replication_role = replica",
        "ALTER TABLE replicas DROP CONSTRAINT replicas_pkey",
        "DROP INDEX replicas_by_chunk",
        "INSERT INTO chunks (file_id, chunk_index, version, size_bytes)
         SELECT file_id, c, 1, 262144 FROM files, generate_series(0, $1 - 1) AS c",
        "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature)
         SELECT node_id, sha256(c::text::bytea || n.number::text::bytea), file_id, c, 1,
                sha256('') || sha256('')
         FROM files, generate_series(0, $1 - 1) AS c,
              (SELECT node_id, row_number() OVER () - 1 AS number, count(*) OVER () AS nodes
               FROM nodes) AS n
         WHERE (c + n.number) % n.nodes < 3",
        "ALTER TABLE replicas ADD PRIMARY KEY (node_id, blob_id)",
        "CREATE INDEX replicas_by_chunk ON replicas (file_id, chunk_index)",
        "INSERT INTO audit_schedule (node_id, planned_at, window_ends_at, due_at)
         SELECT node_id, now(), now(), now() - interval '1 s' FROM nodes",
    ];
    let chunks = i64::try_from(replicas.div_ceil(3))?;
    let mut connection = pool.acquire().await?;
    for statement in statements {
        let query = sqlx::query(statement);
        let query = match statement.contains("$1") {
            true if statement.starts_with("INSERT INTO nodes") => query.bind(nodes as i64),
            true => query.bind(chunks),
            false => query,
        };
        query.execute(&mut *connection).await?;
    }
    connection.close().await?; // its settings end with it
    sqlx::query("VACUUM ANALYZE").execute(pool).await?;
    let ids: Vec<Vec<u8>> = sqlx::query_scalar("SELECT uuid_send(node_id) FROM nodes")
        .fetch_all(pool)
        .await?;
    ids.iter()
        .map(|id| Ok(NodeId::try_from(&id[..])?))
        .collect()
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(found) = &self.throughput {
            writeln!(
                f,
                "{:.0} audits/s over {:.0} s\nCPU for one audit: coordinator {:.0} µs, nodes {:.0} µs, \
                 Postgres {:.0} µs\nDatabase time for one message: {:.2} ms look-up, {:.2} ms writing\n",
                found.audits_per_second,
                found.seconds,
                found.coordinator_us,
                found.nodes_us,
                found.postgres_us,
                found.read_ms,
                found.write_ms,
            )?;
        }
        if self.schedules.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "replicas",
            "nodes",
            "plan a round ms",
            "take a batch ms",
            "worst ms",
        ]);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for schedule in &self.schedules {
            table.add_row([
                schedule.replicas.to_string(),
                schedule.nodes.to_string(),
                format!("{:.0}", schedule.plan_ms),
                format!("{:.2}", schedule.batch_ms),
                format!("{:.2}", schedule.worst_batch_ms),
            ]);
        }
        writeln!(f, "{table}")
    }
}
