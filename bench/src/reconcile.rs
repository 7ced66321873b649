//! `bench reconcile`: a node that holds a million blobs, a database that names as many, a few of them others:
//! bytes on the wire and time until each difference is known.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::chaos::FaultRig;
use blobstore::{LayoutKind, Store, StoreOptions};
use bytesize::ByteSize;
use clap::Args;
use futures::StreamExt;
use jiff::SignedDuration;
use kit::SimulatedClock;
use local_cluster::wait::wait_for;
use local_cluster::{Member, Overrides};
use proto::{BlobId, Locator};
use serde::Serialize;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use crate::narrate;
use crate::store_node::blob;

const UNDER_WAY: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(1800);
/// Rows in one statement.
const ROWS: usize = 20_000;
const BLOB_BYTES: usize = 64;
/// How long the link is looked at while nothing is compared.
const IDLE: Duration = Duration::from_secs(20);

/// Nothing but heartbeats beside the comparison.
const SETTINGS: &str = r#"
[coordinator.p2p]
kademlia = false
autonat = false
[coordinator.proofs]
interval = "30d"
[coordinator.log]
filter = "warn"
[node.p2p]
kademlia = "off"
autonat = false
"#;

#[derive(Debug, Clone, Args)]
pub(crate) struct ReconcileBench {
    /// How many blobs the node holds
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    blobs: u64,
    /// So many of them no row names, and as many rows name blobs that it does not hold
    #[arg(long, default_value_t = 5, value_name = "N")]
    differences: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ReconcileReport {
    held: u64,
    named: u64,
    /// Found: held and not named, and the other way round.
    unnamed: u64,
    missing: u64,
    seconds: f64,
    /// Between the node and the coordinator in both directions, with all that encloses it.
    wire_bytes: u64,
    /// What the same link carries in the same time when nothing is compared,.
    idle_bytes: u64,
}

impl ReconcileBench {
    pub(crate) async fn run(&self) -> Result<ReconcileReport> {
        let Self { blobs, differences } = *self;
        ensure!(
            blobs > differences,
            "--blobs must be more than --differences"
        );
        narrate("Starting a local cluster.");
        let settings: Overrides = SETTINGS.parse()?;
        let mut rig = FaultRig::start(3, 1, settings, false).await?;
        let node = Member::Node(1);
        let node_id = rig.node_id(1)?;
        rig.cluster.stop(node).await?;
        narrate(&format!("Storing {blobs} blobs."));
        fill(&rig.cluster.data_dir(1), blobs, BLOB_BYTES).await?;
        narrate("Naming them in the database.");
        let database = PgPoolOptions::new().max_connections(2);
        let database = database
            .connect(&rig.cluster.record().postgres.url())
            .await?;
        name(&database, &node_id, differences..blobs + differences).await?;
        rig.cluster.start(node).await?;
        rig.cluster.until_online().await?;
        calm(&database).await?;

        narrate("Measuring.");
        let link = &rig.links(1)[0];
        let (idle, before) = (IDLE, link.bytes());
        tokio::time::sleep(idle).await;
        let idle_rate = (link.bytes() - before) as f64 / idle.as_secs_f64();
        let (began, before) = (Instant::now(), link.bytes());
        let due = "UPDATE reconcile_schedule SET due_at = now(), lease_id = NULL WHERE node_id = $1::uuid";
        sqlx::query(due).bind(&node_id).execute(&database).await?;
        let ended = wait_for("the comparison to end", TIMEOUT, async || {
            let query = "SELECT outcome, detail, held, named, unknown, missing, unreadable
                 FROM reconcile_schedule WHERE node_id = $1::uuid AND outcome IS NOT NULL";
            let row = sqlx::query(query).bind(&node_id).fetch_optional(&database);
            row.await.ok().flatten()
        });
        let row = ended.await?;
        let seconds = began.elapsed().as_secs_f64();
        let wire_bytes = link.bytes() - before;
        let (outcome, detail): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(
            outcome == "done",
            "the comparison came to {outcome}: {detail}"
        );
        let count = |at: usize| anyhow::Ok(row.try_get::<i64, _>(at)?.unsigned_abs());
        let report = ReconcileReport {
            held: count(2)?,
            named: count(3)?,
            // The locators of these blobs were sealed by nobody.
            unnamed: count(4)? + count(6)?,
            missing: count(5)?,
            seconds,
            wire_bytes,
            idle_bytes: (idle_rate * seconds) as u64,
        };
        ensure!(
            (report.unnamed, report.missing) == (differences, differences),
            "{} and {} differences were found, not {differences} of each kind",
            report.unnamed,
            report.missing
        );
        Ok(report)
    }
}

/// As if they had been stored two days ago.
pub(crate) async fn fill(dir: &Path, blobs: u64, size: usize) -> Result<()> {
    let now = kit::Clock::system().now();
    let long_ago = now.saturating_sub(SignedDuration::from_hours(48));
    let clock = SimulatedClock::new(long_ago.unwrap_or(now));
    let options = StoreOptions::new(LayoutKind::Segments, u64::MAX / 4);
    let store = Store::open(dir, options, clock.into())?;
    let mut stores = futures::stream::iter(0..blobs)
        .map(|seed| {
            let (id, data) = blob(seed, size);
            store.put(id, Locator::from_bytes([0; Locator::LEN]), data)
        })
        .buffer_unordered(UNDER_WAY);
    while let Some(stored) = stores.next().await {
        stored?;
    }
    drop(stores);
    store.close().await;
    Ok(())
}

/// One file with a chunk for each blob. Foreign keys are not checked: they would take an hour.
async fn name(pool: &PgPool, node_id: &str, seeds: Range<u64>) -> Result<()> {
    let mut connection = pool.acquire().await?;
    for statement in [
        "SET session_replication_role = replica",
        "INSERT INTO files (file_id, user_id, filename, content_type, chunk_size_bytes, replication)
         SELECT gen_random_uuid(), user_id, 'f', 't', 262144, 1 FROM users LIMIT 1",
    ] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    let first = seeds.start;
    let seeds: Vec<u64> = seeds.collect();
    for seeds in seeds.chunks(ROWS) {
        let ids: Vec<BlobId> = seeds.iter().map(|seed| blob(*seed, BLOB_BYTES).0).collect();
        let ids: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
        let from = i32::try_from(seeds.first().context("no seeds")? - first)?;
        for statement in [
            "INSERT INTO chunks (file_id, chunk_index, version, size_bytes)
             SELECT file_id, $1 + n::int - 1, 1, 36 FROM files, unnest($2::bytea[]) WITH ORDINALITY AS b (id, n)
             WHERE filename = 'f' AND $3 <> ''",
            "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, earns)
             SELECT $3::uuid, id, file_id, $1 + n::int - 1, 1, sha256('') || sha256(''), false
             FROM files, unnest($2::bytea[]) WITH ORDINALITY AS b (id, n) WHERE filename = 'f'",
        ] {
            let query = sqlx::query(statement).bind(from).bind(&ids).bind(node_id);
            query.execute(&mut *connection).await?;
        }
    }
    connection.close().await?; // its settings end with it
    sqlx::query("VACUUM ANALYZE").execute(pool).await?;
    Ok(())
}

/// Waits until the node's replicas were gone through, and it has its place among those that are compared.
async fn calm(database: &PgPool) -> Result<()> {
    let calm = wait_for("the coordinator to come to rest", TIMEOUT, async || {
        let query = "SELECT (SELECT count(*) FROM repair_scans WHERE due_at <= now())
             + 3 - (SELECT count(*) FROM reconcile_schedule)";
        let left: i64 = sqlx::query_scalar(query).fetch_one(database).await.ok()?;
        (left == 0).then_some(())
    });
    Ok(calm.await?)
}

impl fmt::Display for ReconcileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            held,
            named,
            unnamed,
            missing,
            seconds,
            ..
        } = self;
        writeln!(
            f,
            "A node that holds {held} blobs, and {named} rows: {unnamed} blobs that no row names and {missing} that \
             it lacks were found in {seconds:.1} s, with {} on the wire ({} in the same time without).",
            ByteSize(self.wire_bytes),
            ByteSize(self.idle_bytes),
        )
    }
}
