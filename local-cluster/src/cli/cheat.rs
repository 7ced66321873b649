//! The second half of the demo: a node that has not what it should, and how it is found out.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use api::durability::{Durability, ReplicaView};
use api::nodes::{Node, NodeDetail};
use api::page::{MAX_LIMIT, PageParams};
use api::paths;
use local_cluster::client::Session;
use local_cluster::{Cluster, Member, Programs};
use proto::{FileId, NodeId};
use rand::Rng;
use reqwest::Body;

use super::holdings::{held, plural};

const BYTES: usize = 1024 * 1024;
const CAUGHT_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Overwrites a node's copies of a file behind its back, waits until its proofs have given it away,
/// and puts everything in order again.
pub(super) async fn show(cluster: &Cluster, session: &Session) -> Result<()> {
    let before = held(cluster).await?;
    let mut content = vec![0; BYTES];
    kit::Entropy::system().rng().fill_bytes(&mut content);
    let file = session
        .upload("bait", Some(BYTES as u64), Body::from(content))
        .await
        .context("the file could not be stored")?;
    let replicas = replicas(session, file.file_id).await?;
    let nodes = cluster.status()?.nodes;
    let held_by = |id: NodeId| move |replica: &&ReplicaView| replica.node_id == id;
    let holding = |id: &str| {
        let id = id.parse().ok();
        id.map_or(0, |id| replicas.iter().filter(held_by(id)).count())
    };
    let cheat = nodes
        .iter()
        .enumerate()
        .max_by_key(|(_, node)| node.node_id.as_deref().map_or(0, holding))
        .context("the cluster has no nodes")?;
    let (number, cheat) = cheat;
    let name = Member::Node(number + 1);
    let id = cheat.node_id.as_deref().context("the node has no id")?;
    let id: NodeId = id.parse()?;
    let blobs: HashSet<String> = replicas
        .iter()
        .filter(held_by(id))
        .map(|replica| replica.blob_id.to_string())
        .collect();
    let score = node(session, id).await?.score_ppm;
    let spoilt = spoil(&cheat.data_dir, &blobs)?;
    ensure!(
        spoilt == blobs.len(),
        "only {spoilt} of {} blobs were found in {}",
        blobs.len(),
        cheat.data_dir.display()
    );
    let copies = plural(spoilt as u64, "blob");
    println!("Cheated     {name}: {copies} overwritten with zeros behind its back");

    let began = Instant::now();
    let (caught, now) = loop {
        let replicas = self::replicas(session, file.file_id).await?;
        let mine = replicas.iter().filter(held_by(id));
        let caught = mine.filter(|replica| replica.state == "demoted").count();
        let now = node(session, id).await?.score_ppm;
        if caught == spoilt && now < score {
            break (caught, now);
        }
        if began.elapsed() > CAUGHT_WITHIN {
            bail!(
                "{name} was not found out within {} s: is proofs.interval longer than that? \
                 `local-cluster up` sets 5s for a new cluster without settings of its own",
                CAUGHT_WITHIN.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    println!(
        "Caught      {name} after {:.1} s: {} failed, score {score} -> {now} of 1000000",
        began.elapsed().as_secs_f64(),
        plural(caught as u64, "proof")
    );

    session.delete(file.file_id).await?;
    let began = Instant::now();
    while held(cluster).await?[number] > before[number] && began.elapsed() < CAUGHT_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // In a small cluster this was half of the node's round, which would keep it from new data for a day.
    let node = self::node(session, id).await?;
    if node.on_hold || ["suspended", "disqualified"].contains(&node.state.as_str()) {
        restore(cluster, id)?;
        println!("Pardoned    {name}: coordinator admin node restore");
    }
    Ok(())
}

async fn replicas(session: &Session, file_id: FileId) -> Result<Vec<ReplicaView>> {
    let all = PageParams {
        limit: Some(MAX_LIMIT),
        cursor: None,
    };
    let path = paths::file_durability(file_id);
    let durability: Durability = session.get_with(&path, &all).await?;
    let chunks = durability.chunks.into_iter();
    Ok(chunks.flat_map(|chunk| chunk.replicas).collect())
}

async fn node(session: &Session, id: NodeId) -> Result<Node> {
    let NodeDetail { node, .. } = session.get(&paths::node(id)).await?;
    Ok(node)
}

/// Overwrites these blobs in a data directory, in whichever layout they lie: a file of the blob's name
/// as a whole, in a larger file what stands behind the blob's id. Returns how many were found.
fn spoil(dir: &Path, blobs: &HashSet<String>) -> Result<usize> {
    let mut found = HashSet::new();
    for area in ["blobs", "segments"] {
        spoil_in(&dir.join(area), blobs, &mut found)?;
    }
    Ok(found.len())
}

fn spoil_in(dir: &Path, blobs: &HashSet<String>, found: &mut HashSet<String>) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(()); // the other layout
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            spoil_in(&path, blobs, found)?;
            continue;
        }
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let length = fs::metadata(&path)?.len();
        if blobs.contains(&name) {
            overwrite(&path, 0, length)?;
            found.insert(name);
            continue;
        }
        let content = fs::read(&path)?;
        for blob in blobs {
            let id = hex::decode(blob)?;
            let mut at = 0;
            while let Some(next) = content[at..].windows(id.len()).position(|w| w == id) {
                at += next + id.len();
                let rest = length.saturating_sub(at as u64);
                // A record's header has 1 KiB: this is behind it, in the bytes.
                overwrite(
                    &path,
                    (at + 1024) as u64,
                    rest.saturating_sub(1024).min(64 * 1024),
                )?;
                found.insert(blob.clone());
            }
        }
    }
    Ok(())
}

fn overwrite(path: &Path, from: u64, length: u64) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(from))?;
    file.write_all(&vec![0; usize::try_from(length)?])?;
    Ok(())
}

/// What an operator of the network would type.
fn restore(cluster: &Cluster, node_id: NodeId) -> Result<()> {
    let programs = Programs::in_dir(cluster.launcher()?.parent().unwrap_or(Path::new("/")));
    let config = cluster.config_file(Member::Coordinator(1));
    let output = std::process::Command::new(programs.coordinator)
        .args([
            "admin",
            "node",
            "restore",
            &node_id.to_string(),
            "--reason",
            "it was a demonstration",
        ])
        .arg("--config")
        .arg(config)
        .output()
        .context("the coordinator's program cannot be run")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the node was not pardoned: {said}");
    Ok(())
}
