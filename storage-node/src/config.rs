//! Settings: flag > environment > file > default, checked once, at the start.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use confique::toml::FormatOptions;
use confique::{Config as _, Layer as _};
use libp2p_identity::PeerId;
use network::{Multiaddr, ReconnectPolicy};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

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

/// The node and what it gives.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct NodeConfig {
    /// What people call it, 1 to 64 characters.
    #[config(env = "FSN_NODE_NAME")]
    pub name: Option<String>,

    /// Where the blobs, the catalogue and the identity are. When it is unset, a directory in the
    /// user's data directory.
    #[config(env = "FSN_NODE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// The coordinator's HTTP address, like "https://storage.example.org".
    #[config(env = "FSN_NODE_COORDINATOR_URL")]
    pub coordinator_url: Option<String>,

    /// The most that blobs may take on disk. When it is unset, 80 % of what is free or theirs already.
    #[config(env = "FSN_NODE_CAPACITY")]
    pub capacity: Option<ByteSize>,

    /// The peer id of this node, written by `init`. A data directory with another identity, such as
    /// another node's disk that is mounted in its place, is then refused.
    #[config(env = "FSN_NODE_PEER_ID", deserialize_with = deserialize_peer_id)]
    pub peer_id: Option<PeerId>,

    /// Where the node stands, like "eu-north". Copies of one file go to different regions.
    #[config(env = "FSN_NODE_REGION")]
    pub region: Option<String>,
}

/// The peer network.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct P2pConfig {
    /// Multiaddresses to listen on. The node dials its coordinators; nothing needs to reach it.
    #[config(default = ["/ip4/0.0.0.0/tcp/0"], env = "FSN_P2P_LISTEN", parse_env = confique::env::parse::list_by_comma)]
    pub listen: Vec<Multiaddr>,
}

/// The HTTP API for the node's operator.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct AdminConfig {
    /// Address and port to serve on.
    #[config(default = "127.0.0.1:9090", env = "FSN_ADMIN_LISTEN")]
    pub listen: SocketAddr,

    /// Allow an address that other machines can reach. The API tells what the node holds to whoever asks.
    #[config(default = false, env = "FSN_ADMIN_ALLOW_REMOTE")]
    pub allow_remote: bool,
}

/// How a lost coordinator is dialled again: with growing, jittered pauses.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ReconnectConfig {
    /// Pause after the first failure.
    #[config(default = "1s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_INITIAL")]
    pub initial: Duration,

    /// The longest pause.
    #[config(default = "20s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_MAX")]
    pub max: Duration,

    /// How much longer each pause is than the one before.
    #[config(default = 2.0, env = "FSN_RECONNECT_FACTOR")]
    pub factor: f64,

    /// Failures in a row before a rest.
    #[config(default = 10, env = "FSN_RECONNECT_ATTEMPTS")]
    pub attempts: u32,

    /// The rest.
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_REST")]
    pub rest: Duration,

    /// After a lost connection the first dial comes within this time, at a random moment.
    #[config(default = "10s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_SPREAD")]
    pub spread: Duration,
}

/// How a silent coordinator is told from a slow one.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct PingConfig {
    /// Time between two pings of an idle connection.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_INTERVAL")]
    pub interval: Duration,

    /// How long a ping may take.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_TIMEOUT")]
    pub timeout: Duration,

    /// Heartbeats in a row without an answer before the connection is given up.
    #[config(default = 3, env = "FSN_PING_FAILURES")]
    pub failures: u32,
}

/// How blobs are kept.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct StoreConfig {
    /// "segments": many blobs in large files that only grow. "files": one file for each blob, slower and
    /// plain to see. A data directory keeps the layout that it was made with; when this is unset, that
    /// one, and "segments" for a new one. `storage-node chunks convert` changes it.
    #[config(env = "FSN_STORE_LAYOUT")]
    pub layout: Option<LayoutKind>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LayoutKind {
    #[default]
    Segments,
    Files,
}

impl std::fmt::Display for LayoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Segments => "segments",
            Self::Files => "files",
        })
    }
}

/// Reading every blob now and then, to find rot.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ScrubConfig {
    /// Each blob is read within this time.
    #[config(default = "14d", deserialize_with = humantime_serde::deserialize, env = "FSN_SCRUB_PERIOD")]
    pub period: Duration,
}

/// Blobs that a coordinator threw away but may still want back.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct TrashConfig {
    /// How long they are kept.
    #[config(default = "7d", deserialize_with = humantime_serde::deserialize, env = "FSN_TRASH_RETENTION")]
    pub retention: Duration,
}

/// Proving to coordinators that the blobs are here.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ProofsConfig {
    /// The part of the disk's time that proofs may take, above 0 and at most 1. What would go beyond
    /// is put off; a node that always puts it off is taken for one that has lost its blobs.
    #[config(default = 0.25, env = "FSN_PROOFS_DISK_SHARE")]
    pub disk_share: f64,
}

/// Logs, on standard error.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct LogConfig {
    /// What is logged: a level, or a filter like "info,network=debug".
    #[config(default = "info", env = "FSN_LOG_FILTER")]
    pub filter: String,

    /// "text", "json", or "auto": text on a terminal, JSON lines otherwise.
    #[config(default = "auto", env = "FSN_LOG_FORMAT")]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
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

    /// The commented template, with these settings filled in: `("node.name", "Test Node".into())`.
    pub fn template(settings: &[(&str, Value)]) -> String {
        let mut table = "";
        let template = confique::toml::template::<Self>(FormatOptions::default());
        let lines = template.lines().map(|line| {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                table = name;
            }
            let setting = settings.iter().find(|(name, _)| {
                let key = name
                    .strip_prefix(table)
                    .and_then(|rest| rest.strip_prefix('.'));
                key.is_some_and(|key| {
                    let rest = line
                        .strip_prefix('#')
                        .and_then(|rest| rest.strip_prefix(key));
                    rest.is_some_and(|rest| rest.starts_with(" ="))
                })
            });
            match setting {
                Some((name, value)) => {
                    let key = &name[table.len() + 1..];
                    format!("{key} = {value}\n")
                }
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
        ensure!(self.ping.failures > 0, "ping.failures must not be 0");
        let pings = [self.ping.interval, self.ping.timeout, self.scrub.period];
        ensure!(
            pings.iter().all(|duration| !duration.is_zero()),
            "ping.interval, ping.timeout and scrub.period must not be 0"
        );
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

fn read_file(path: &Path, required: bool) -> Result<ConfigLayer> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !required => {
            return Ok(ConfigLayer::empty());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
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

fn deserialize_peer_id<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<PeerId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let expected = "a peer id, like the one that `storage-node identity show` prints";
        serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &expected)
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
        let value = format!("v = {value}")
            .parse::<Table>()
            .ok()
            .and_then(|mut parsed| parsed.remove("v"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        set(&mut root, name, value);
    }
    Ok(root)
}

/// Sets `table.key`, the only depth that settings have.
pub fn set(root: &mut Table, name: &str, value: Value) {
    let (table, key) = name.split_once('.').unwrap_or(("", name));
    let entry = root.entry(table).or_insert_with(|| Table::new().into());
    if let Value::Table(entry) = entry {
        entry.insert(key.to_owned(), value);
    }
}
