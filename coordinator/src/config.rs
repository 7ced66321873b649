//! Settings: flag > environment > file > default, checked once, at the start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytesize::ByteSize;
use confique::toml::FormatOptions;
use confique::{Config as _, File, FileFormat, Layer as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::day::DAY;
use crate::domain::money::PricePerGbMonth;

mod show;

/// Settings of a coordinator of a federated storage network.
///
/// Each can also be given as an environment variable, `FSN_<TABLE>_<KEY>`, or on the command line,
/// `--set table.key=value`. Durations are written like "15m", sizes like "256KiB".
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    #[config(nested)]
    pub http: HttpConfig,
    #[config(nested)]
    pub metrics: MetricsConfig,
    #[config(nested)]
    pub database: DatabaseConfig,
    #[config(nested)]
    pub p2p: P2pConfig,
    #[config(nested)]
    pub ping: PingConfig,
    #[config(nested)]
    pub keys: KeysConfig,
    #[config(nested)]
    pub auth: AuthConfig,
    #[config(nested)]
    pub nodes: NodesConfig,
    #[config(nested)]
    pub placement: PlacementConfig,
    #[config(nested)]
    pub uploads: UploadsConfig,
    #[config(nested)]
    pub downloads: DownloadsConfig,
    #[config(nested)]
    pub proofs: ProofsConfig,
    #[config(nested)]
    pub repair: RepairConfig,
    #[config(nested)]
    pub money: MoneyConfig,
    #[config(nested)]
    pub log: LogConfig,
}

/// The REST API.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct HttpConfig {
    /// Address and port to serve on. Put a proxy that speaks TLS before it when it leaves the machine.
    #[config(default = "127.0.0.1:8080", env = "FSN_HTTP_LISTEN")]
    pub listen: SocketAddr,

    /// Web pages that may call the API from a browser; "*" allows all. Tokens travel in headers,
    /// never in cookies, so a foreign page can do nothing in a visitor's name.
    #[config(default = ["*"], env = "FSN_HTTP_CORS_ORIGINS", parse_env = confique::env::parse::list_by_comma)]
    pub cors_origins: Vec<String>,

    /// How long a request without a file body may take.
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_REQUEST_TIMEOUT")]
    pub request_timeout: Duration,

    /// How long a file body may stand still in either direction before its connection is closed.
    #[config(default = "60s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_IDLE_TIMEOUT")]
    pub idle_timeout: Duration,

    /// How long running requests may go on after SIGTERM.
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_SHUTDOWN_TIMEOUT")]
    pub shutdown_timeout: Duration,

    /// Connections served at one time; more wait to be accepted.
    #[config(default = 1024, env = "FSN_HTTP_MAX_CONNECTIONS")]
    pub max_connections: usize,

    /// Take the client's address from the last entry of X-Forwarded-For. Only for a coordinator that
    /// nobody can reach but through your own proxy.
    #[config(default = false, env = "FSN_HTTP_TRUST_FORWARDED_FOR")]
    pub trust_forwarded_for: bool,
}

/// Prometheus metrics, on a listener of their own.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct MetricsConfig {
    /// Address and port of GET /metrics.
    #[config(default = "127.0.0.1:9100", env = "FSN_METRICS_LISTEN")]
    pub listen: SocketAddr,
}

/// Postgres 15 or newer.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct DatabaseConfig {
    /// postgres://user:password@host:port/database
    #[config(env = "FSN_DATABASE_URL")]
    pub url: Option<String>,

    /// A file with the password in its first line, in place of one in the URL.
    #[config(env = "FSN_DATABASE_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// Connections held open at most.
    #[config(default = 16, env = "FSN_DATABASE_MAX_CONNECTIONS")]
    pub max_connections: u32,

    /// How long a request waits for a free connection before it is answered with 503.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_DATABASE_ACQUIRE_TIMEOUT")]
    pub acquire_timeout: Duration,
}

/// The peer network.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct P2pConfig {
    /// Multiaddresses to listen on for storage nodes.
    #[config(default = ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"], env = "FSN_P2P_LISTEN", parse_env = confique::env::parse::list_by_comma)]
    pub listen: Vec<String>,

    /// Multiaddresses at which nodes reach this coordinator, as they go into the network document.
    /// Empty: the addresses that are listened on.
    #[config(default = [], env = "FSN_P2P_EXTERNAL_ADDRS", parse_env = confique::env::parse::list_by_comma)]
    pub external_addrs: Vec<String>,

    /// Who may connect. "enforce": registered nodes; "learn": everybody, and the log names those who
    /// are not registered; "off": everybody. Only registered nodes are ever served.
    #[config(default = "enforce", env = "FSN_P2P_AUTH_MODE")]
    pub auth_mode: AuthMode,

    /// Connections of peers at one time, 1 to 1000000.
    #[config(default = 4096, env = "FSN_P2P_MAX_CONNECTIONS")]
    pub max_connections: u32,

    /// Connections from one IPv4 address or IPv6 /64. More nodes behind one router need more.
    #[config(default = 256, env = "FSN_P2P_MAX_CONNECTIONS_PER_ADDRESS")]
    pub max_connections_per_address: u32,

    /// Incoming connections whose handshake is under way; more are refused.
    #[config(default = 256, env = "FSN_P2P_MAX_PENDING")]
    pub max_pending: u32,

    /// New connections are refused while this process has more memory than this, like "2GiB". When it
    /// is unset, 90 % of the machine's.
    #[config(env = "FSN_P2P_MAX_MEMORY")]
    pub max_memory: Option<ByteSize>,

    /// Answer nodes that look for a coordinator or for each other (Kademlia).
    #[config(default = true, env = "FSN_P2P_KADEMLIA")]
    pub kademlia: bool,

    /// Tell nodes on request whether they can be reached from outside (AutoNAT v2).
    #[config(default = true, env = "FSN_P2P_AUTONAT")]
    pub autonat: bool,

    /// Be found by nodes on the local network (multicast DNS).
    #[config(default = false, env = "FSN_P2P_MDNS")]
    pub mdns: bool,

    /// Ask the router to forward the ports that are listened on (UPnP).
    #[config(default = false, env = "FSN_P2P_UPNP")]
    pub upnp: bool,
}

/// What becomes of a peer that is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    Enforce,
    Learn,
    Off,
}

impl From<AuthMode> for network::AuthMode {
    fn from(mode: AuthMode) -> Self {
        match mode {
            AuthMode::Enforce => Self::Enforce,
            AuthMode::Learn => Self::Learn,
            AuthMode::Off => Self::Off,
        }
    }
}

/// How a silent node is told from a slow one.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct PingConfig {
    /// Time between two pings of an idle connection, 100ms to 10m.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_INTERVAL")]
    pub interval: Duration,

    /// How long a ping may take, 100ms to 10m.
    #[config(default = "5s", deserialize_with = humantime_serde::deserialize, env = "FSN_PING_TIMEOUT")]
    pub timeout: Duration,

    /// A node is unresponsive when nothing has come from it for this many intervals, 1 to 1000.
    #[config(default = 3, env = "FSN_PING_FAILURES")]
    pub failures: u32,
}

/// Key files.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct KeysConfig {
    /// Directory of the key files (0700, files 0600). Without them no stored file can be read: back
    /// it up apart from the database.
    #[config(default = "keys", env = "FSN_KEYS_DIR")]
    pub dir: PathBuf,
}

/// Accounts and tokens.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct AuthConfig {
    /// Life of an access token.
    #[config(default = "15m", deserialize_with = humantime_serde::deserialize, env = "FSN_AUTH_ACCESS_TOKEN_TTL")]
    pub access_token_ttl: Duration,

    /// Life of a refresh token; each use gives a new one.
    #[config(default = "30d", deserialize_with = humantime_serde::deserialize, env = "FSN_AUTH_REFRESH_TOKEN_TTL")]
    pub refresh_token_ttl: Duration,

    /// Registrations and logins per minute from one address.
    #[config(default = 120, env = "FSN_AUTH_REQUESTS_PER_ADDRESS")]
    pub requests_per_address: u32,

    /// Logins per minute for one account.
    #[config(default = 30, env = "FSN_AUTH_REQUESTS_PER_ACCOUNT")]
    pub requests_per_account: u32,
}

/// Who may join the fleet.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct NodesConfig {
    /// "open": any node; "token": nodes with an admission token; "allowlist": the listed peer ids.
    #[config(default = "open", env = "FSN_NODES_ADMISSION")]
    pub admission: Admission,

    /// An admission token that is good for any number of nodes (with admission = "token").
    #[config(env = "FSN_NODES_BOOTSTRAP_TOKEN")]
    pub bootstrap_token: Option<String>,

    /// A file with that token in its first line, in place of the token itself.
    #[config(env = "FSN_NODES_BOOTSTRAP_TOKEN_FILE")]
    pub bootstrap_token_file: Option<PathBuf>,

    /// Peer ids that may register (with admission = "allowlist").
    #[config(default = [], env = "FSN_NODES_ALLOWED_PEERS", parse_env = confique::env::parse::list_by_comma)]
    pub allowed_peers: Vec<String>,

    /// A node that has been offline for this long is disqualified.
    #[config(default = "30d", deserialize_with = humantime_serde::deserialize, env = "FSN_NODES_GONE_AFTER")]
    pub gone_after: Duration,
}

/// Who may register a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    Open,
    Token,
    Allowlist,
}

/// Where replicas go.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct PlacementConfig {
    /// Replicas of each chunk, 1 to 16. A file is acknowledged only when every chunk has them all.
    #[config(default = 3, env = "FSN_PLACEMENT_REPLICAS")]
    pub replicas: u32,

    /// Put no two replicas of a chunk on one operator, one network prefix or one region.
    #[config(default = true, env = "FSN_PLACEMENT_DISTINCT_DOMAINS")]
    pub distinct_domains: bool,

    /// How long an upload waits for enough nodes to be connected before it fails with 503.
    #[config(default = "10s", deserialize_with = humantime_serde::deserialize, env = "FSN_PLACEMENT_PATIENCE")]
    pub patience: Duration,
}

/// Uploads.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct UploadsConfig {
    /// Size of a chunk, "4KiB" to "4MiB". Files keep the size they were stored with.
    #[config(default = "256KiB", env = "FSN_UPLOADS_CHUNK_SIZE")]
    pub chunk_size: ByteSize,

    /// How long an upload may stay unfinished.
    #[config(default = "24h", deserialize_with = humantime_serde::deserialize, env = "FSN_UPLOADS_SESSION_TTL")]
    pub session_ttl: Duration,

    /// Memory for the chunks of all uploads that are on their way; more wait, and their clients with them.
    #[config(default = "64MiB", env = "FSN_UPLOADS_MEMORY")]
    pub memory: ByteSize,

    /// Chunks of one upload that are on their way to nodes at one time.
    #[config(default = 12, env = "FSN_UPLOADS_WINDOW")]
    pub window: usize,

    /// The longest file.
    #[config(default = "5TiB", env = "FSN_UPLOADS_MAX_FILE_SIZE")]
    pub max_file_size: ByteSize,

    /// Files that one user may have.
    #[config(default = 1000000, env = "FSN_UPLOADS_MAX_FILES_PER_USER")]
    pub max_files_per_user: u64,
}

/// Downloads.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct DownloadsConfig {
    /// Memory for the chunks of all downloads that wait for their clients.
    #[config(default = "48MiB", env = "FSN_DOWNLOADS_MEMORY")]
    pub memory: ByteSize,

    /// Chunks of one download that are fetched ahead of the client.
    #[config(default = 12, env = "FSN_DOWNLOADS_WINDOW")]
    pub window: usize,
}

/// Proofs of storage.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ProofsConfig {
    /// How often each replica is challenged, at a random moment; "1s" to "30d".
    #[config(default = "4h", deserialize_with = humantime_serde::deserialize, env = "FSN_PROOFS_INTERVAL")]
    pub interval: Duration,

    /// Leaves that a challenge visits in a blob, 1 to 256.
    #[config(default = 16, env = "FSN_PROOFS_DIFFICULTY")]
    pub difficulty: u32,

    /// How long a node may take to answer, its way not counted.
    #[config(default = "2s", deserialize_with = humantime_serde::deserialize, env = "FSN_PROOFS_DEADLINE")]
    pub deadline: Duration,

    /// Replicas of one node that are challenged in one interval; of a node that holds more, a sample.
    #[config(default = 512, env = "FSN_PROOFS_PER_NODE_LIMIT")]
    pub per_node_limit: u32,

    /// How long after a challenge without an answer the whole blob is asked for, up to three times.
    #[config(default = "1h", deserialize_with = humantime_serde::deserialize, env = "FSN_PROOFS_RETRY_AFTER")]
    pub retry_after: Duration,
}

/// What is done about lost replicas.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct RepairConfig {
    /// How long a node may be away before its replicas do not count.
    #[config(default = "15m", deserialize_with = humantime_serde::deserialize, env = "FSN_REPAIR_GRACE")]
    pub grace: Duration,

    /// How long nothing is demoted after a quarter of 20 nodes or more has failed within 10 minutes:
    /// the fault is then more likely with the coordinator. `coordinator admin repair resume` ends it.
    #[config(default = "2h", deserialize_with = humantime_serde::deserialize, env = "FSN_REPAIR_MASS_FAILURE_HOLD")]
    pub mass_failure_hold: Duration,
}

/// Prices. 1 credit = 1,000,000 micro-credits; GB = 10^9 bytes, month = 30 days.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct MoneyConfig {
    /// Credits a user pays per GB and month of each replica; up to six decimals.
    #[config(default = 1.25, env = "FSN_MONEY_PRICE_PER_GB_MONTH")]
    pub price_per_gb_month: PricePerGbMonth,

    /// Credits a node earns per GB and month of each replica; not more than the price.
    #[config(default = 1, env = "FSN_MONEY_PAY_PER_GB_MONTH")]
    pub pay_per_gb_month: PricePerGbMonth,

    /// How much time is settled at once, "5s" to "24h". At 24h these are the days of UTC.
    #[config(default = "24h", deserialize_with = humantime_serde::deserialize, env = "FSN_MONEY_SETTLEMENT_INTERVAL")]
    pub settlement_interval: Duration,

    /// How long before its time is up a file is renewed for another month.
    #[config(default = "14d", deserialize_with = humantime_serde::deserialize, env = "FSN_MONEY_RENEWAL_BEFORE")]
    pub renewal_before: Duration,

    /// Credits for one US dollar, 1 to 1000000.
    #[config(default = 100, env = "FSN_MONEY_CREDITS_PER_USD")]
    pub credits_per_usd: u32,

    /// What an account may use before its first purchase, in micro-credits. 1000 pay for one chunk
    /// of 256 KiB on three nodes for a month.
    #[config(default = 1000, env = "FSN_MONEY_TRIAL_MICROCREDITS")]
    pub trial_microcredits: u32,
}

/// Logs, on standard error.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct LogConfig {
    /// What is logged: a level, or a filter like "info,sqlx=warn".
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
    /// Reads all sources and checks the outcome. `overrides` are `table.key=value`.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<Self> {
        let flags = flags_layer(overrides)?;
        let environment = ConfigLayer::from_env().context("the environment has a bad setting")?;
        let from_file = match file {
            Some(path) => File::with_format(path, FileFormat::Toml)
                .required()
                .load::<ConfigLayer>()
                .with_context(|| format!("{} cannot be used", path.display()))?,
            None => ConfigLayer::empty(),
        };
        let layer = flags
            .with_fallback(environment)
            .with_fallback(from_file)
            .with_fallback(ConfigLayer::default_values());
        let config = Self::from_layer(layer)?;
        config.check()?;
        Ok(config)
    }

    /// The commented template that `coordinator config` prints.
    pub fn template() -> String {
        confique::toml::template::<Self>(FormatOptions::default())
    }

    /// The settings that `load` takes from the same sources, and where each comes from.
    pub fn show(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<String> {
        Self::load(file, overrides)?;
        let from_file = match file {
            Some(path) => std::fs::read_to_string(path)?.parse()?,
            None => toml::Table::new(),
        };
        let sources = show::Sources {
            flags: &flags_table(overrides)?,
            environment: |name: &str| std::env::var(name).ok(),
            file: &from_file,
        };
        Ok(sources.show(Self::META.fields))
    }

    pub fn database_url(&self) -> anyhow::Result<&str> {
        self.database.url.as_deref().context(
            "no database is configured: set database.url (FSN_DATABASE_URL) to \
             postgres://user:password@host:port/database",
        )
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=16).contains(&self.placement.replicas),
            "placement.replicas is {}, it must be 1 to 16",
            self.placement.replicas
        );
        let chunk_size = self.uploads.chunk_size;
        ensure!(
            (ByteSize::kib(4)..=ByteSize::mib(4)).contains(&chunk_size),
            "uploads.chunk_size is {chunk_size}, it must be 4 KiB to 4 MiB"
        );
        // One chunk with all its sealed copies has to fit, or no upload could ever begin.
        let needed = ByteSize(chunk_size.0 * u64::from(self.placement.replicas + 2));
        for (name, memory) in [
            ("uploads.memory", self.uploads.memory),
            ("downloads.memory", self.downloads.memory),
        ] {
            ensure!(
                (needed..=ByteSize::gib(64)).contains(&memory),
                "{name} is {memory}, it must be {needed} (one chunk with its copies) to 64 GiB"
            );
        }
        for (name, window) in [
            ("uploads.window", self.uploads.window),
            ("downloads.window", self.downloads.window),
        ] {
            ensure!(
                (1..=256).contains(&window),
                "{name} is {window}, it must be 1 to 256"
            );
        }
        let proofs = &self.proofs;
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        ensure!(
            (Duration::from_secs(1)..=days(30)).contains(&proofs.interval),
            "proofs.interval is {:?}, it must be 1s to 30d",
            proofs.interval
        );
        ensure!(
            (1..=256).contains(&proofs.difficulty),
            "proofs.difficulty is {}, it must be 1 to 256",
            proofs.difficulty
        );
        ensure!(
            (Duration::from_millis(1)..=Duration::from_secs(9)).contains(&proofs.deadline),
            "proofs.deadline is {:?}, it must be 1ms to 9s: an exchange ends after 10",
            proofs.deadline
        );
        ensure!(
            proofs.per_node_limit >= 2 && proofs.retry_after <= days(30),
            "proofs.per_node_limit must be at least 2 and proofs.retry_after at most 30d"
        );
        ensure!(
            self.nodes.gone_after >= Duration::from_secs(60),
            "nodes.gone_after is {:?}, it must be at least 1m: a restart is no departure",
            self.nodes.gone_after
        );
        ensure!(
            self.auth.requests_per_address > 0 && self.auth.requests_per_account > 0,
            "auth.requests_per_address and auth.requests_per_account must be at least 1"
        );
        let money = &self.money;
        ensure!(
            money.pay_per_gb_month <= money.price_per_gb_month,
            "money.pay_per_gb_month is more than money.price_per_gb_month: every stored byte would be \
             a loss, and storing for oneself a profit"
        );
        ensure!(
            (Duration::from_secs(5)..=DAY).contains(&money.settlement_interval),
            "money.settlement_interval must be 5s to 24h"
        );
        ensure!(
            money.renewal_before <= DAY * 30,
            "money.renewal_before must be at most 30d, the time that a renewal buys"
        );
        ensure!(
            (1..=1_000_000).contains(&money.credits_per_usd),
            "money.credits_per_usd must be 1 to 1000000"
        );
        let p2p = &self.p2p;
        for (name, limit) in [
            ("p2p.max_connections", p2p.max_connections),
            (
                "p2p.max_connections_per_address",
                p2p.max_connections_per_address,
            ),
            ("p2p.max_pending", p2p.max_pending),
        ] {
            ensure!(
                (1..=1_000_000).contains(&limit),
                "{name} is {limit}, it must be 1 to 1000000"
            );
        }
        if let Some(memory) = p2p.max_memory {
            ensure!(
                memory >= ByteSize::mib(64),
                "p2p.max_memory is {memory}, it must be at least 64 MiB"
            );
        }
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
        ensure!(
            (1..=1000).contains(&self.ping.failures),
            "ping.failures is {}, it must be 1 to 1000",
            self.ping.failures
        );
        if self.nodes.admission == Admission::Allowlist && self.nodes.allowed_peers.is_empty() {
            bail!(
                "nodes.admission is \"allowlist\" and nodes.allowed_peers is empty: no node could \
                 join. List their peer ids (`storage-node identity show`)"
            );
        }
        Ok(())
    }
}

/// The secret in a file's first line, as Docker and Kubernetes hand secrets over.
pub fn read_secret(setting: &str, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| {
        format!(
            "{setting}: {} cannot be read by this account",
            path.display()
        )
    })?;
    let secret = text.lines().next().unwrap_or_default().trim();
    ensure!(!secret.is_empty(), "{setting}: {} is empty", path.display());
    Ok(Zeroizing::new(secret.to_owned()))
}

/// `--set a.b=c` as a layer.
fn flags_layer(overrides: &[String]) -> anyhow::Result<ConfigLayer> {
    ConfigLayer::deserialize(flags_table(overrides)?)
        .context("a setting given with --set cannot be used")
}

/// Values are TOML, or plain text where they do not parse as such.
fn flags_table(overrides: &[String]) -> anyhow::Result<toml::Table> {
    let mut root = toml::Table::new();
    for text in overrides {
        let parts = text.split_once('=').and_then(|(name, value)| {
            let (table, key) = name.trim().split_once('.')?;
            Some((table, key, value.trim()))
        });
        let Some((table, key, value)) = parts else {
            bail!("`--set {text}` is not of the form table.key=value");
        };
        root.entry(table.to_owned())
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .with_context(|| format!("`{table}` is not a table"))?
            .insert(key.to_owned(), toml_or_text(value));
    }
    Ok(root)
}

fn toml_or_text(text: &str) -> toml::Value {
    format!("v = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, overrides: &[&str]) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("coordinator.toml");
        std::fs::write(&path, file).unwrap();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::load(Some(&path), &overrides)
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.uploads.chunk_size, ByteSize::kib(256));
        assert_eq!(config.uploads.session_ttl, Duration::from_secs(24 * 3600));
        assert_eq!(config.placement.replicas, 3);
        assert_eq!(config.proofs.interval, Duration::from_secs(4 * 3600));
        assert_eq!(config.proofs.deadline, Duration::from_secs(2));
        assert_eq!(config.nodes.gone_after, Duration::from_secs(30 * 24 * 3600));
        assert_eq!(
            config.money.price_per_gb_month,
            PricePerGbMonth::from_microcredits(1_250_000)
        );
    }

    #[test]
    fn a_flag_goes_before_the_file() {
        let file = "[placement]\nreplicas = 4\n[uploads]\nchunk_size = \"1MiB\"";
        let config = load(file, &["placement.replicas=2", "nodes.admission=token"]).unwrap();
        assert_eq!(config.placement.replicas, 2);
        assert_eq!(config.uploads.chunk_size, ByteSize::mib(1));
        assert_eq!(config.nodes.admission, Admission::Token);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            ("[uploads]\nchunk_sise = \"1MiB\"", "chunk_sise"),
            ("[uploads]\nchunk_size = \"1KiB\"", "uploads.chunk_size"),
            ("[placement]\nreplicas = 0", "placement.replicas"),
            ("[p2p]\nauth_mode = \"never\"", "never"),
            ("[p2p]\nmax_connections = 0", "p2p.max_connections"),
            ("[p2p]\nmax_memory = \"1MiB\"", "p2p.max_memory"),
            ("[ping]\ninterval = \"1ms\"", "ping.interval"),
            ("[ping]\nfailures = 0", "ping.failures"),
            ("[nodes]\nadmission = \"everybody\"", "everybody"),
            ("[nodes]\nadmission = \"allowlist\"", "nodes.allowed_peers"),
            ("[http]\nlisten = \"here\"", "listen"),
            ("[proofs]\ninterval = \"0s\"", "proofs.interval"),
            ("[proofs]\ndifficulty = 257", "proofs.difficulty"),
            ("[proofs]\ndeadline = \"1m\"", "proofs.deadline"),
            ("[nodes]\ngone_after = \"1s\"", "nodes.gone_after"),
            ("not toml", "coordinator.toml"),
        ];
        for (file, named) in wrong {
            let error = format!("{:#}", load(file, &[]).unwrap_err());
            assert!(error.contains(named), "{file:?}: {error}");
        }
    }

    #[test]
    fn the_template_is_a_valid_file_that_changes_nothing() {
        let template = Config::template();
        assert!(template.contains("#price_per_gb_month = 1.25"));
        load(&template, &[]).unwrap();
    }
}
