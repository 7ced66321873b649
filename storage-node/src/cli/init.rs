//! `storage-node init`: identity, network, registration, data directory, configuration file.
//!
//! Every step can be repeated, so whatever went wrong, running it again is the answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use libp2p_identity::Keypair;
use proto::{NetworkDocument, NetworkId};
use toml::Value;

use super::{SettingsArgs, block_on};
use crate::config::{Config, set};
use crate::coordinator_api::{Applicant, CoordinatorApi};
use crate::volume::{Credentials, Volume};
use crate::{clock, identity, node, private_file};

#[derive(Debug, clap::Args)]
pub struct Args {
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
    /// An admission token, for networks that ask for one
    #[arg(long, env = "FSN_NODE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The id of the network that you mean to join, to be checked against the coordinator's
    #[arg(long)]
    network_id: Option<NetworkId>,
}

pub(super) fn run(settings: &SettingsArgs, args: Args) -> Result<ExitCode> {
    let file = settings.file()?;
    let mut overrides = settings.overrides()?;
    for (name, value) in args.settings()? {
        set(&mut overrides, name, value);
    }
    let config = Config::load(&file, false, overrides)?;
    let Some(name) = config.node.name.clone() else {
        bail!("the node needs a name: --name \"My Node\"");
    };
    let Some(url) = config.node.coordinator_url.clone() else {
        bail!("where is the coordinator? --coordinator-url http://localhost:8080");
    };
    let api = CoordinatorApi::new(&url)?;

    let volume = Volume::at(config.data_dir()?);
    volume.prepare()?;
    let _lock = volume.lock()?;
    let keypair = identity_of(&volume)?;
    let peer_id = keypair.public().to_peer_id();
    volume.bind(peer_id, config.store.layout, clock::now())?;
    let applicant = Applicant {
        name,
        capacity_bytes: node::capacity(&config, &volume)?,
        region: config.node.region.clone(),
        token: args.token.clone(),
    };

    let registered = block_on(async {
        let document = join(&api, &volume, args.network_id).await?;
        println!("Network   {}", document.network_id);
        api.register(document.network_id, &keypair, &applicant)
            .await
    })?;
    volume.save_credentials(&Credentials {
        node_id: registered.node_id,
        api_key: registered.api_key,
        coordinator_url: url.clone(),
    })?;
    println!("Node      {} ({})", registered.node_id, registered.state);
    let capacity = ByteSize(applicant.capacity_bytes);
    println!("Data      {} (up to {capacity})", volume.root().display());
    write_config(&file, &config, &volume, &applicant, &url)?;
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

fn identity_of(volume: &Volume) -> Result<Keypair> {
    let path = volume.identity_path();
    if let Some(keypair) = identity::load(&path)? {
        println!("Identity  {} (kept)", keypair.public().to_peer_id());
        return Ok(keypair);
    }
    if let Some(marker) = volume.marker()? {
        bail!(
            "{} belongs to node {} and its identity.key is gone: restore it with \
             `storage-node identity import`",
            volume.root().display(),
            marker.peer_id
        );
    }
    let keypair = identity::generate(&mut clock::rng())?;
    identity::save(&path, &keypair)?;
    println!("Identity  {} (new)", keypair.public().to_peer_id());
    Ok(keypair)
}

/// Fetches the network document and pins it; a node belongs to one network for good.
async fn join(
    api: &CoordinatorApi,
    volume: &Volume,
    wanted: Option<NetworkId>,
) -> Result<NetworkDocument> {
    let document = api.network_document().await?;
    if let Some(wanted) = wanted {
        ensure!(
            document.network_id == wanted,
            "the coordinator serves network {}, not {wanted}",
            document.network_id
        );
    }
    if let Some(pinned) = volume.network_document()? {
        ensure!(
            document.network_id == pinned.network_id,
            "this node belongs to network {} and the coordinator serves {}; choose another \
             --data-dir to join that one with a new node",
            pinned.network_id,
            document.network_id
        );
        if document.serial <= pinned.serial {
            return Ok(pinned);
        }
    }
    volume.save_network_document(&document)?;
    Ok(document)
}

/// Writes the configuration file, or says where one that is there differs from what was asked for.
fn write_config(
    file: &Path,
    config: &Config,
    volume: &Volume,
    applicant: &Applicant,
    url: &str,
) -> Result<()> {
    if file.exists() {
        println!("Settings  {} (kept)", file.display());
        let kept = Config::load(file, true, toml::Table::new())?;
        let same = kept.node.name == config.node.name
            && kept.node.coordinator_url == config.node.coordinator_url
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
    let mut settings: Vec<(&str, Value)> = vec![
        ("node.name", applicant.name.as_str().into()),
        ("node.data_dir", root.into()),
        ("node.coordinator_url", url.into()),
        ("node.capacity", capacity.into()),
    ];
    let region = applicant.region.as_deref();
    settings.extend(region.map(|region| ("node.region", region.into())));
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    private_file::write(file, Config::template(&settings).as_bytes())?;
    println!("Settings  {}", file.display());
    Ok(())
}
