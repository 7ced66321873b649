//! The second half of the demo: a node that has not what it should, and how it is found out.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use local_cluster::client::Session;
use local_cluster::{Cluster, Member, Programs};
use rand::Rng;
use reqwest::Body;
use serde_json::Value;

use super::demo::{held, plural};
use local_cluster::edge;

const BYTES: usize = 1024 * 1024;
const CAUGHT_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Overwrites a node's copies of a file behind its back, waits until its proofs have given it away,
/// and puts everything in order again.
pub(super) async fn show(cluster: &Cluster, session: &Session) -> Result<()> {
    let before = held(cluster).await?;
    let mut content = vec![0; BYTES];
    edge::random_source().fill_bytes(&mut content);
    let file = session
        .upload("bait", Some(BYTES as u64), Body::from(content))
        .await
        .context("the file could not be stored")?;
    let replicas = replicas(session, &file.file_id).await?;
    let nodes = cluster.status()?.nodes;
    let holding = |id: &str| replicas.iter().filter(|replica| replica.node == id).count();
    let cheat = nodes
        .iter()
        .enumerate()
        .max_by_key(|(_, node)| node.node_id.as_deref().map_or(0, holding))
        .context("the cluster has no nodes")?;
    let (number, cheat) = cheat;
    let name = Member::Node(number + 1);
    let id = cheat.node_id.as_deref().context("the node has no id")?;
    let blobs: HashSet<String> = replicas
        .iter()
        .filter(|replica| replica.node == id)
        .map(|replica| replica.blob.clone())
        .collect();
    let score = score(session, id).await?;
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
        let replicas = self::replicas(session, &file.file_id).await?;
        let mine = replicas.iter().filter(|replica| replica.node == id);
        let caught = mine.filter(|replica| replica.demoted).count();
        let now = self::score(session, id).await?;
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

    session.delete(&file.file_id).await?;
    let began = Instant::now();
    while held(cluster).await?[number] > before[number] && began.elapsed() < CAUGHT_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // In a small cluster this was half of the node's round, which would keep it from new data for a day.
    let node: Value = session.get(&format!("/nodes/{id}")).await?;
    if node["on_hold"] == true || node["state"] == "suspended" || node["state"] == "disqualified" {
        restore(cluster, id)?;
        println!("Pardoned    {name}: coordinator admin node restore");
    }
    Ok(())
}

struct Replica {
    node: String,
    blob: String,
    demoted: bool,
}

async fn replicas(session: &Session, file_id: &str) -> Result<Vec<Replica>> {
    let path = format!("/files/{file_id}/durability?limit=1000");
    let durability: Value = session.get(&path).await?;
    let chunks = durability["chunks"].as_array().into_iter().flatten();
    let replicas = chunks.flat_map(|chunk| chunk["replicas"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let replicas = replicas.map(|replica| Replica {
        node: text(&replica["node_id"]),
        blob: text(&replica["blob_id"]),
        demoted: replica["state"] == "demoted",
    });
    Ok(replicas.collect())
}

async fn score(session: &Session, node_id: &str) -> Result<u64> {
    let node: Value = session.get(&format!("/nodes/{node_id}")).await?;
    node["score_ppm"].as_u64().context("a node without a score")
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
fn restore(cluster: &Cluster, node_id: &str) -> Result<()> {
    let programs = Programs::in_dir(cluster.launcher()?.parent().unwrap_or(Path::new("/")));
    let config = cluster.config_file(Member::Coordinator(1));
    let output = std::process::Command::new(programs.coordinator)
        .args([
            "admin",
            "node",
            "restore",
            node_id,
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
