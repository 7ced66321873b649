//! `storage-node init`: registration, and a configuration file that says what was registered.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use kit::config::set;
use kit::private_file;
use libp2p_identity::PeerId;
use toml::{Table, Value};

use super::join::JoinArgs;
use super::{SettingsArgs, block_on};
use crate::config::Config;
use crate::membership::{Applicant, Candidate};
use crate::volume::Volume;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What people call the node
    #[arg(long)]
    name: Option<String>,
    /// The coordinator's HTTP address
    #[arg(long, value_name = "URL")]
    coordinator_url: Option<String>,
    /// Where blobs and identity are kept [default: in the user's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The most that blobs may take, like 500GB [default: 80 % of the free disk space]
    #[arg(long)]
    capacity: Option<ByteSize>,
    /// Where the node stands, like eu-north
    #[arg(long)]
    region: Option<String>,
    #[command(flatten)]
    join: JoinArgs,
}

pub(super) fn run(settings: &SettingsArgs, args: Args) -> Result<ExitCode> {
    let file = settings.file()?;
    let mut overrides = settings.overrides()?;
    for (name, value) in args.settings()? {
        set(&mut overrides, name, value);
    }
    let config = Config::load(&file, false, overrides)?;
    let mut candidate = Candidate::prepare(&config, args.join.terms()?)?;
    let peer_id = candidate.keypair.public().to_peer_id();
    let made = if candidate.is_new { "new" } else { "kept" };
    println!("Identity  {peer_id} ({made})");
    let registered = block_on(candidate.register())?;
    let url = &candidate.coordinator_url;
    if config.node.coordinator_url.as_ref() != Some(url) {
        println!("Address   {url} (redirected there)");
    }
    println!("Network   {}", registered.network_id);
    println!("Node      {} ({})", registered.node_id, registered.state);
    let (volume, applicant) = (&candidate.volume, &candidate.applicant);
    let capacity = ByteSize(applicant.capacity_bytes);
    println!("Data      {} (up to {capacity})", volume.root().display());
    write_config(&file, &config, volume, applicant, url, &peer_id)?;
    match settings.config {
        Some(_) => println!("\nNext: storage-node start --config {}", file.display()),
        None => println!("\nNext: storage-node start"),
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The flags that are settings too.
    fn settings(&self) -> Result<Vec<(&'static str, Value)>> {
        let mut settings: Vec<(&str, Value)> = Vec::new();
        let texts = [
            ("node.name", &self.name),
            ("node.coordinator_url", &self.coordinator_url),
            ("node.region", &self.region),
        ];
        for (name, value) in texts {
            settings.extend(value.clone().map(|value| (name, value.into())));
        }
        if let Some(dir) = &self.data_dir {
            let dir = dir.to_str().context("--data-dir must be valid UTF-8")?;
            settings.push(("node.data_dir", dir.into()));
        }
        if let Some(capacity) = self.capacity {
            settings.push(("node.capacity", format!("{} B", capacity.0).into()));
        }
        Ok(settings)
    }
}

/// Writes the configuration file, or says where one that is there differs from what was asked for.
fn write_config(
    file: &Path,
    config: &Config,
    volume: &Volume,
    applicant: &Applicant,
    url: &str,
    peer_id: &PeerId,
) -> Result<()> {
    if file.exists() {
        println!("Settings  {} (kept)", file.display());
        let kept = Config::load(file, true, Table::new())?;
        let same = kept.node.name == config.node.name
            && kept.node.coordinator_url.as_deref() == Some(url)
            && kept.node.capacity == config.node.capacity
            && kept.node.region == config.node.region
            && kept.data_dir()? == config.data_dir()?;
        if !same {
            println!(
                "          It does not say what you asked for now: edit it, or remove it and run \
                 init again."
            );
        }
        return Ok(());
    }
    let root = volume.root().to_str();
    let root = root.context("the path of the data directory must be valid UTF-8")?;
    let capacity = format!("{} B", applicant.capacity_bytes);
    let mut known: Vec<(&str, Value)> = vec![
        ("node.name", applicant.name.as_str().into()),
        ("node.data_dir", root.into()),
        ("node.coordinator_url", url.into()),
        ("node.capacity", capacity.into()),
        ("node.peer_id", peer_id.to_string().into()),
    ];
    let region = applicant.region.as_deref();
    known.extend(region.map(|region| ("node.region", region.into())));
    let mut settings = Table::new();
    for (name, value) in known {
        set(&mut settings, name, value);
    }
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    private_file::write(file, Config::template(&settings).as_bytes())?;
    println!("Settings  {}", file.display());
    Ok(())
}
