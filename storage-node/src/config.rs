//! Settings: flag > environment > file > default, checked once, at the start.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use confique::toml::FormatOptions;
use confique::{Config as _, Layer as _};
use network::ReconnectPolicy;
use serde::Deserialize;
use toml::{Table, Value};

mod show;
mod tables;

pub use tables::{
    AdminConfig, AllowedPeer, AuthMode, BootstrapPeer, KademliaChoice, LayoutKind, LogConfig,
    LogFormat, NodeConfig, NotAPeerId, P2pConfig, PingConfig, ProofsConfig, ReconnectConfig,
    ScrubConfig, StoreConfig, TrashConfig,
};

/// Settings of a storage node of a federated storage network.
///
/// Each can also be given as an environment variable, `FSN_<TABLE>_<KEY>`, or on the command line,
/// `--set table.key=value`. Durations are written like "15m", sizes like "10GB".
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    #[config(nested)]
    pub node: NodeConfig,
    #[config(nested)]
    pub p2p: P2pConfig,
    #[config(nested)]
    pub admin: AdminConfig,
    #[config(nested)]
    pub reconnect: ReconnectConfig,
    #[config(nested)]
    pub ping: PingConfig,
    #[config(nested)]
    pub store: StoreConfig,
    #[config(nested)]
    pub scrub: ScrubConfig,
    #[config(nested)]
    pub trash: TrashConfig,
    #[config(nested)]
    pub proofs: ProofsConfig,
    #[config(nested)]
    pub log: LogConfig,
}

type ConfigLayer = <Config as confique::Config>::Layer;

impl Config {
    /// Reads all sources and checks the outcome. `overrides` are a table of tables; a file that is
    /// not there counts as empty only when it is not `required`.
    pub fn load(file: &Path, required: bool, overrides: Table) -> Result<Self> {
        let flags = ConfigLayer::deserialize(overrides).map_err(|error| {
            let reason = one_line(error.message());
            anyhow::anyhow!("a setting given on the command line cannot be used: {reason}")
        })?;
        let environment = ConfigLayer::from_env()
            .map_err(|error| anyhow::anyhow!("the environment has a bad setting: {error:#}"))?;
        let layer = flags
            .with_fallback(environment)
            .with_fallback(read_file(file, required)?)
            .with_fallback(ConfigLayer::default_values());
        let config = Self::from_layer(layer)?;
        config.check()?;
        Ok(config)
    }

    /// The template with every setting that `load` takes from the same sources.
    pub fn show(file: &Path, required: bool, overrides: Table) -> Result<String> {
        let config = Self::load(file, required, overrides.clone())?;
        let sources = show::Sources {
            flags: &overrides,
            environment: |name: &str| std::env::var(name).ok(),
            file: &read_text(file, required)?.parse::<Table>()?,
        };
        let mut settings = sources.settings(Self::META.fields);
        let data_dir = config.data_dir()?.display().to_string();
        set(&mut settings, "node.data_dir", data_dir.into());
        Ok(Self::template(&settings))
    }

    /// The commented template, with these settings filled in.
    pub fn template(settings: &Table) -> String {
        let mut table = "";
        let template = confique::toml::template::<Self>(FormatOptions::default());
        let lines = template.lines().map(|line| {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                table = name;
            }
            let setting = line.strip_prefix('#').and_then(|rest| {
                let (key, _) = rest.split_once(" =")?;
                Some((key, settings.get(table)?.get(key)?))
            });
            match setting {
                Some((key, value)) => format!("{key} = {value}\n"),
                None => format!("{line}\n"),
            }
        });
        lines.collect()
    }

    pub fn data_dir(&self) -> Result<PathBuf> {
        let dir = match &self.node.data_dir {
            Some(dir) => dir.clone(),
            None => user_dirs()?.data_dir().join("storage-node"),
        };
        std::path::absolute(&dir).with_context(|| format!("{} is no path", dir.display()))
    }

    pub fn reconnect_policy(&self) -> ReconnectPolicy {
        let ReconnectConfig {
            initial,
            max,
            factor,
            attempts,
            rest,
            spread,
        } = self.reconnect;
        ReconnectPolicy {
            initial,
            max,
            factor,
            attempts,
            rest,
            spread,
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = &self.node.name {
            ensure!(
                (1..=64).contains(&name.chars().count()) && !name.contains(char::is_control),
                "node.name must have 1 to 64 printable characters"
            );
        }
        if let Some(capacity) = self.node.capacity {
            let range = ByteSize::mb(1)..=ByteSize::pb(1);
            ensure!(
                range.contains(&capacity),
                "node.capacity is {capacity}, it must be 1 MB to 1 PB"
            );
        }
        ensure!(
            self.admin.allow_remote || self.admin.listen.ip().is_loopback(),
            "admin.listen is {}, which other machines can reach; choose an address like \
             127.0.0.1:9090, or set admin.allow_remote = true if that is what you want",
            self.admin.listen
        );
        ensure!(
            self.reconnect.factor >= 1.0 && self.reconnect.factor.is_finite(),
            "reconnect.factor is {}, it must be at least 1",
            self.reconnect.factor
        );
        let disk_share = self.proofs.disk_share;
        ensure!(
            disk_share > 0.0 && disk_share <= 1.0,
            "proofs.disk_share is {disk_share}, it must be above 0 and at most 1"
        );
        let reconnect = &self.reconnect;
        ensure!(
            !reconnect.initial.is_zero() && reconnect.attempts > 0,
            "reconnect.initial and reconnect.attempts must not be 0"
        );
        ensure!(
            reconnect.max >= reconnect.initial && reconnect.attempts <= 1_000_000,
            "reconnect.max must not be less than reconnect.initial, and reconnect.attempts at most \
             1000000"
        );
        let a_day = Duration::from_secs(24 * 3600);
        ensure!(
            [reconnect.max, reconnect.rest, reconnect.spread]
                .iter()
                .all(|time| *time <= a_day),
            "reconnect.max, reconnect.rest and reconnect.spread must be at most 24h: a node that \
             waits longer is lost to its network"
        );
        ensure!(
            (1..=1000).contains(&self.ping.failures),
            "ping.failures is {}, it must be 1 to 1000",
            self.ping.failures
        );
        for (name, time) in [
            ("ping.interval", self.ping.interval),
            ("ping.timeout", self.ping.timeout),
        ] {
            let range = Duration::from_millis(100)..=Duration::from_secs(600);
            ensure!(
                range.contains(&time),
                "{name} is {time:?}, it must be 100ms to 10m"
            );
        }
        ensure!(!self.scrub.period.is_zero(), "scrub.period must not be 0");
        for (name, limit, least) in [
            ("p2p.max_connections", self.p2p.max_connections, 8),
            (
                "p2p.max_connections_per_address",
                self.p2p.max_connections_per_address,
                1,
            ),
        ] {
            ensure!(
                (least..=65536).contains(&limit),
                "{name} is {limit}, it must be {least} to 65536"
            );
        }
        Ok(())
    }
}

/// `storage-node.toml` in the user's configuration directory.
pub fn default_file() -> Result<PathBuf> {
    Ok(user_dirs()?.config_dir().join("storage-node.toml"))
}

fn user_dirs() -> Result<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "federated-storage").context(
        "this account has no home directory: say where things are with --config FILE and \
         --set node.data_dir=DIR",
    )
}

fn read_text(path: &Path, required: bool) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !required => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {}", path.display())),
    }
}

fn read_file(path: &Path, required: bool) -> Result<ConfigLayer> {
    let text = read_text(path, required)?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.as_bytes()[..at.min(text.len())]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let reason = one_line(error.message());
        anyhow::anyhow!("{}, line {line}: {reason}", path.display())
    })
}

/// The parser spreads some of its messages over several lines.
fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    lines.join(", ")
}

/// `--set a.b=c` into a table. Values are TOML, or plain text where they do not parse as such.
pub fn parse_overrides(settings: &[String]) -> Result<Table> {
    let mut root = Table::new();
    for text in settings {
        let parts = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = parts.filter(|(name, _)| name.contains('.')) else {
            bail!("`--set {text}` is not of the form table.key=value");
        };
        set(&mut root, name, toml_or_text(value));
    }
    Ok(root)
}

fn toml_or_text(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Sets `table.key`, the only depth that settings have.
pub fn set(root: &mut Table, name: &str, value: Value) {
    let (table, key) = name.split_once('.').unwrap_or(("", name));
    let entry = root.entry(table).or_insert_with(|| Table::new().into());
    if let Value::Table(entry) = entry {
        entry.insert(key.to_owned(), value);
    }
}
