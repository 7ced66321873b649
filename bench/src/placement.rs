//! `bench placement`: what it costs to place a chunk, by the size of the fleet.

use std::collections::HashSet;
use std::fmt;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets};
use model::node_state::NetworkPrefix;
use model::scheme::Scheme;
use proto::NodeId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rules::placement::{Candidate, FailureDomains, Request, Rules, place, place_among};
use serde::Serialize;
use uuid::Uuid;

const FLEETS: [usize; 4] = [10, 100, 1_000, 10_000];
const BLOB_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, Serialize)]
pub(crate) struct PlacementReport {
    pub fleets: Vec<PlacementCost>,
}

/// In microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct PlacementCost {
    pub nodes: usize,
    pub median_us: f64,
    pub p99_us: f64,
    /// Median of looking at all nodes for each chunk.
    pub all_median_us: f64,
}

/// Places `count` chunks of three copies in distinct failure domains, in fleets of different sizes.
pub(crate) fn run(count: usize) -> Result<PlacementReport> {
    let fleets = FLEETS.map(|nodes| cost(nodes, count));
    Ok(PlacementReport {
        fleets: fleets.into_iter().collect::<Result<_>>()?,
    })
}

/// Every node has an operator and a network of its own, and there are ten regions.
fn node(number: usize) -> Candidate {
    let n = number as u32;
    Candidate {
        node_id: NodeId::from_uuid(Uuid::from_u128(number as u128)),
        vetted: !number.is_multiple_of(10),
        free_bytes: (50 + number as u64 % 50) << 30,
        capacity_bytes: 100 << 30,
        in_flight_bytes: number as u64 % 7 * BLOB_BYTES,
        lagging: false,
        domains: FailureDomains {
            operator: Some(Uuid::from_u128(number as u128)),
            prefix: NetworkPrefix::of(Ipv4Addr::from(0x0800_0000 + (n << 8)).into()),
            region: Some(format!("region-{}", number % 10)),
        },
    }
}

fn cost(nodes: usize, count: usize) -> Result<PlacementCost> {
    let fleet: Vec<Candidate> = (0..nodes).map(node).collect();
    let request = Request {
        count: 3,
        scheme: Scheme::copies(3),
        blob_bytes: BLOB_BYTES,
        distinct_domains: true,
        rules: Rules::Hard,
        vetted_beside: 0,
        newcomers_beside: 0,
        excluded: &HashSet::new(),
        occupied: &[],
    };
    let mut rng = StdRng::seed_from_u64(1);
    let (mut drawn, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        // A copy for each that is looked at, as the coordinator makes it of what it knows of a node.
        let began = Instant::now();
        let look = |at: usize| fleet.get(at).cloned();
        let placed = place_among(fleet.len(), look, black_box(&request), &mut rng);
        drawn.push(began.elapsed());
        black_box(placed).context("a chunk could not be placed")?;
        let began = Instant::now();
        let candidates = fleet.clone();
        let placed = place(&candidates, black_box(&request), &mut rng);
        all.push(began.elapsed());
        black_box(placed).context("a chunk could not be placed")?;
    }
    drawn.sort_unstable();
    all.sort_unstable();
    Ok(PlacementCost {
        nodes,
        median_us: micros(&drawn, 0.5),
        p99_us: micros(&drawn, 0.99),
        all_median_us: micros(&all, 0.5),
    })
}

fn micros(sorted: &[Duration], quantile: f64) -> f64 {
    let at = (sorted.len() as f64 * quantile) as usize;
    sorted
        .get(at)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

impl fmt::Display for PlacementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["nodes", "median µs", "p99 µs", "median µs, all looked at"]);
        for column in table.column_iter_mut() {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for cost in &self.fleets {
            table.add_row([
                cost.nodes.to_string(),
                format!("{:.1}", cost.median_us),
                format!("{:.1}", cost.p99_us),
                format!("{:.1}", cost.all_median_us),
            ]);
        }
        writeln!(f, "Three copies of a chunk, one thread\n\n{table}")
    }
}
