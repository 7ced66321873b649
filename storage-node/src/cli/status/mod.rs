//! `storage-node status`: asks the running node; without one, says so and asks the catalogue.

mod screen;

use std::process::ExitCode;

use anyhow::{Context, Result};
use api::drain::DrainView;
use api::nodes::NodeDetail;
use blobstore::{
    Counts, Deferred, Readers, Tally, attach_layout, catalogue_path, disk_space, measure,
};
use kit::Clock;
use kit::output::{fitted, terminal_width};
use serde::Serialize;

use super::{Output, SettingsArgs, block_on, print_json, running};
use crate::admin::NodeStatus;
use crate::config::Config;
use crate::membership::{CoordinatorApi, DRAINED, DRAINING, LedgerEvidence};
use crate::volume::Volume;

/// A node that stores at this moment changes what is measured.
const MEASUREMENTS: usize = 5;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Exit with 1 unless the node runs, its disk works, a coordinator has accepted it, and catalogue
    /// and disk agree
    #[arg(long)]
    check: bool,
    /// Leave out the count of the files on disk, which takes long on a large store
    #[arg(long)]
    no_count: bool,
}

#[derive(Serialize)]
struct Report {
    running: bool,
    data_dir: String,
    /// What the node may take; `None` when it does not run and the settings do not say.
    capacity_bytes: Option<u64>,
    used_bytes: u64,
    disk_free_bytes: u64,
    catalogue: Counts,
    /// Deletions that were ordered and put off: in the trash, and to be brought back until their time has come.
    deferred: Deferred,
    /// What files and records on disk say; `None` when they were not counted.
    on_disk: Option<Tally>,
    /// Whether catalogue and disk agree.
    agree: Option<bool>,
    /// What was kept of the ledger's past; contradictions prove that it was rewritten.
    ledger: LedgerEvidence,
    /// What the node itself says.
    node: Option<NodeStatus>,
    /// What the network says of it; `None` when its coordinator does not answer, and with `--check`.
    standing: Option<NodeDetail>,
    /// How far the node is on its way out; `None` when it is not.
    drain: Option<DrainView>,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    let keypair = volume.open(config.store.layout)?;
    let peer_id = keypair.public().to_peer_id().to_string();
    let (node, network) = block_on(async {
        let node = ask(&volume, &peer_id).await;
        let network = match args.check {
            true => None, // a health check asks nobody but the node
            false => ask_network(&volume, &config).await,
        };
        Ok((node, network))
    })?;
    let (standing, drain) = network.unzip();
    let (catalogue, on_disk) = match args.no_count {
        true => (catalogue_counts(&volume)?, None),
        false => count(&volume).map(|(catalogue, on_disk)| (catalogue, Some(on_disk)))?,
    };
    let report = Report {
        running: node.is_some(),
        data_dir: volume.root().display().to_string(),
        capacity_bytes: match &node {
            Some(node) => Some(node.quota.capacity_bytes),
            None => config.node.capacity.map(|capacity| capacity.0),
        },
        used_bytes: catalogue.on_disk().disk_bytes,
        disk_free_bytes: disk_space(volume.root())?.0,
        catalogue,
        deferred: deferred(&volume)?,
        on_disk,
        ledger: LedgerEvidence::read(volume.root())?,
        agree: on_disk.map(|on_disk| catalogue.on_disk() == on_disk),
        node,
        standing,
        drain: drain.flatten(),
    };
    match args.output {
        Output::Json => print_json(&report)?,
        Output::Table => {
            let screen = screen::Screen::of(&report, Clock::system().now());
            println!("{}", fitted(screen.table, terminal_width()));
            println!("\n{}", screen.next);
        }
    }
    let healthy = report.agree != Some(false) && report.node.as_ref().is_some_and(is_healthy);
    Ok(ExitCode::from(u8::from(args.check && !healthy)))
}

fn is_healthy(node: &NodeStatus) -> bool {
    node.fault.is_none() && node.coordinators.values().any(|status| status.accepted)
}

/// Asks the coordinator; `None` when it does not answer in time.
async fn ask_network(volume: &Volume, config: &Config) -> Option<(NodeDetail, Option<DrainView>)> {
    let own = volume.credentials().ok()?;
    let api = CoordinatorApi::of(config, &own).ok()?;
    let answers = async {
        let standing = api.standing(own.node_id).await.ok()?;
        let drain = match standing.node.state.as_str() {
            DRAINING | DRAINED => api.drain_progress(&own).await.ok()?,
            _ => None,
        };
        Some((standing, drain))
    };
    tokio::time::timeout(running::ASK_WITHIN, answers)
        .await
        .ok()?
}

/// `None` when no node of this data directory answers.
async fn ask(volume: &Volume, peer_id: &str) -> Option<NodeStatus> {
    let status: NodeStatus = running::ask(volume, "/status").await?;
    // After a crash another program may have the address.
    (status.peer_id == peer_id).then_some(status)
}

fn catalogue_counts(volume: &Volume) -> Result<Counts> {
    let path = catalogue_path(volume.root());
    match path.exists() {
        true => Ok(Readers::open(&path)?.counts()?),
        false => Ok(Counts::default()),
    }
}

fn deferred(volume: &Volume) -> Result<Deferred> {
    let path = catalogue_path(volume.root());
    match path.exists() {
        true => Ok(Readers::open(&path)?.deferred()?),
        false => Ok(Deferred::default()),
    }
}

fn count(volume: &Volume) -> Result<(Counts, Tally)> {
    let path = catalogue_path(volume.root());
    let layout = attach_layout(volume.layout()?, volume.root());
    if !path.exists() {
        return Ok((Counts::default(), measure(&*layout)?));
    }
    let readers = Readers::open(&path)?;
    let mut counts = readers.counts()?;
    let mut on_disk = measure(&*layout).context("the blobs cannot be counted")?;
    for _ in 1..MEASUREMENTS {
        let now = readers.counts()?;
        if counts.on_disk() == on_disk && counts == now {
            break;
        }
        counts = now;
        on_disk = measure(&*layout)?;
    }
    Ok((counts, on_disk))
}
