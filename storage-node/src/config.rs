//! Settings: flag > environment > file > default, checked once, at the start.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use confique::toml::FormatOptions;
use confique::{Config as _, Layer as _};
use network::{
    AuthMode as NetworkAuthMode, KademliaMode, Multiaddr, PeerId, ReconnectPolicy, Target,
};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
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

    /// Multiaddresses at which others reach this node, such as a forwarded port. Empty: it is found
    /// out by asking.
    #[config(default = [], env = "FSN_P2P_EXTERNAL_ADDRS", parse_env = confique::env::parse::list_by_comma)]
    pub external_addrs: Vec<Multiaddr>,

    /// Other peers to stay connected to: "peer_id@multiaddr", or a multiaddr that ends in
    /// "/p2p/peer_id". The coordinators need not be among them.
    #[config(default = [], env = "FSN_P2P_BOOTSTRAP_PEERS", parse_env = confique::env::parse::list_by_comma)]
    pub bootstrap_peers: Vec<BootstrapPeer>,

    /// Peer ids that may connect, beside the coordinators and the bootstrap peers.
    #[config(default = [], env = "FSN_P2P_ALLOWED_PEERS", parse_env = confique::env::parse::list_by_comma)]
    pub allowed_peers: Vec<AllowedPeer>,

    /// What becomes of a peer that is not allowed. "enforce": it may not connect; "learn": it may, and
    /// `storage-node peers` shows it; "off": it may. Blobs are for coordinators only, whatever this says.
    #[config(default = "learn", env = "FSN_P2P_AUTH_MODE")]
    pub auth_mode: AuthMode,

    /// Connections at one time, 8 to 65536.
    #[config(default = 256, env = "FSN_P2P_MAX_CONNECTIONS")]
    pub max_connections: u32,

    /// Connections from one IPv4 address or IPv6 /64, 1 to 65536.
    #[config(default = 32, env = "FSN_P2P_MAX_CONNECTIONS_PER_ADDRESS")]
    pub max_connections_per_address: u32,

    /// How peers help each other to find a coordinator that has moved (Kademlia). "auto": ask others,
    /// and answer them once the node can be reached from outside; "server": always answer; "client":
    /// only ask; "off": neither.
    #[config(default = "auto", env = "FSN_P2P_KADEMLIA")]
    pub kademlia: KademliaChoice,

    /// Ask coordinators whether this node can be reached from outside (AutoNAT v2).
    #[config(default = true, env = "FSN_P2P_AUTONAT")]
    pub autonat: bool,

    /// Find and be found on the local network (multicast DNS).
    #[config(default = false, env = "FSN_P2P_MDNS")]
    pub mdns: bool,

    /// Ask the router to forward the ports that are listened on (UPnP).
    #[config(default = false, env = "FSN_P2P_UPNP")]
    pub upnp: bool,
}

/// A peer and where it is, checked as it is read, so that an error names its line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct BootstrapPeer(pub Target);

impl FromStr for BootstrapPeer {
    type Err = network::ParseTargetError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for BootstrapPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl From<BootstrapPeer> for String {
    fn from(peer: BootstrapPeer) -> Self {
        peer.0.to_string()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct AllowedPeer(pub PeerId);

impl FromStr for AllowedPeer {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> std::result::Result<Self, NotAPeerId> {
        let parsed = text.parse().map(Self);
        parsed.map_err(|error| NotAPeerId(format!("`{text}` is not a peer id: {error}")))
    }
}

/// Reads a text while the file's reader still knows its line; a conversion behind it would be blamed on
/// the line where the list begins.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAPeerId(String);

impl<'de> Deserialize<'de> for AllowedPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

impl From<AllowedPeer> for String {
    fn from(peer: AllowedPeer) -> Self {
        peer.0.to_string()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Enforce,
    Learn,
    Off,
}

impl From<AuthMode> for NetworkAuthMode {
    fn from(mode: AuthMode) -> Self {
        match mode {
            AuthMode::Enforce => Self::Enforce,
            AuthMode::Learn => Self::Learn,
            AuthMode::Off => Self::Off,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KademliaChoice {
    Auto,
    Server,
    Client,
    Off,
}

impl KademliaChoice {
    pub fn mode(self) -> Option<KademliaMode> {
        match self {
            Self::Auto => Some(KademliaMode::Auto),
            Self::Server => Some(KademliaMode::Server),
            Self::Client => Some(KademliaMode::Client),
            Self::Off => None,
        }
    }
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
    /// Time between two pings of an idle connection, 100ms to 10m.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_INTERVAL")]
    pub interval: Duration,

    /// How long a ping may take, 100ms to 10m.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_TIMEOUT")]
    pub timeout: Duration,

    /// A peer is unresponsive when nothing has come from it for this many intervals; its connection is
    /// given up after twice that time, or when it has left this many heartbeats unanswered. 1 to 1000.
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
