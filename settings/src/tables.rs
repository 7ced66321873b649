//! The settings, a table for each concern: their defaults, and the text of the template.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::proxies::{ProxyNetwork, networks};
use model::money::PricePerGbMonth;
use payments::ProviderName;

/// A variable that is empty counts as one that is not set, as it does for all other settings.
#[derive(Debug, thiserror::Error)]
#[error("it is empty")]
struct Empty;

fn list(text: &str) -> Result<Vec<String>, Empty> {
    if text.is_empty() {
        return Err(Empty);
    }
    Ok(text.split(',').map(str::to_owned).collect())
}

/// The REST API.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct HttpConfig {
    /// Address and port to serve on. Put a proxy that speaks TLS before it when it leaves the machine.
    #[config(default = "127.0.0.1:8080", env = "FSN_HTTP_LISTEN")]
    pub listen: SocketAddr,

    /// A proxy that speaks TLS stands before this coordinator. Says only that: without it, and with no trusted_proxies, a start
    /// that listens beyond this machine warns that passwords travel in the clear.
    #[config(default = false, env = "FSN_HTTP_BEHIND_PROXY")]
    pub behind_proxy: bool,

    /// Where people reach this network's site, like `https://storage.example.com`: what links in letters begin with, the origin of
    /// its pages, and, by its name, what passkeys are bound to. Without a path; a name, not an address.
    #[config(env = "FSN_HTTP_PUBLIC_URL")]
    pub public_url: Option<String>,

    /// Web pages that may call the API from a browser; "*" allows all. They bring a token in
    /// a header: the cookie of this site's own pages counts for no other page.
    #[config(default = ["*"], env = "FSN_HTTP_CORS_ORIGINS", parse_env = list)]
    pub cors_origins: Vec<String>,

    /// How long a request without a file body may take, "10ms" to "1d".
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_REQUEST_TIMEOUT")]
    pub request_timeout: Duration,

    /// How long a client may send or take nothing of a file's body before its connection is closed. Besides, a body
    /// has to bring 64 KiB in its first 5 s and then more and more, up to 32 KiB/s, and a download's client has to
    /// take 256 KiB in each such time.
    #[config(default = "60s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_IDLE_TIMEOUT")]
    pub idle_timeout: Duration,

    /// How long running requests may go on after SIGTERM.
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_HTTP_SHUTDOWN_TIMEOUT")]
    pub shutdown_timeout: Duration,

    /// Connections served at one time, 1 to 1000000. When there are so many, one without a request under way gives
    /// way to the next; when all have one, the next waits to be accepted.
    #[config(default = 1024, env = "FSN_HTTP_MAX_CONNECTIONS")]
    pub max_connections: usize,

    /// Connections, and requests under way, of one client at one time: one IPv4 address or IPv6 /64. Clients behind a
    /// trusted proxy are told apart and counted by their requests.
    #[config(default = 256, env = "FSN_HTTP_MAX_CONNECTIONS_PER_ADDRESS")]
    pub max_connections_per_address: usize,

    /// Take the client's address from the last entry of X-Forwarded-For, whoever connects. Only for a coordinator that
    /// nobody can reach but through your own proxy. Where trusted_proxies names any, that holds instead.
    #[config(default = false, env = "FSN_HTTP_TRUST_FORWARDED_FOR")]
    pub trust_forwarded_for: bool,

    /// Your own proxies, addresses or networks like "10.0.0.0/8": of what they connect for, X-Forwarded-For tells the
    /// client, which is its last entry that is not one of these proxies. Nobody else's word counts.
    #[config(default = [], env = "FSN_HTTP_TRUSTED_PROXIES", parse_env = networks)]
    pub trusted_proxies: Vec<ProxyNetwork>,
}

/// S3, on a listener of its own: aws-cli, rclone, restic and whatever else speaks it.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct S3Config {
    /// Address and port to serve S3 on; when it is unset, it is not served. Limits of connections, timeouts and trusted
    /// proxies are those of [http]. Put a proxy that speaks TLS before it when it leaves the machine; clients sign the
    /// host that they ask for, so it has to pass `Host` on.
    #[config(env = "FSN_S3_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// The region that clients sign for. Not one of Amazon's: for us-east-1, aws-cli signs links in an old way that is
    /// not served.
    #[config(default = "fsn", env = "FSN_S3_REGION")]
    pub region: String,

    /// A domain like "s3.example.com", so that buckets can be asked for as hosts, too: my-bucket.s3.example.com. By
    /// path, s3.example.com/my-bucket, they always can.
    #[config(env = "FSN_S3_DOMAIN")]
    pub domain: Option<String>,
}

/// Buckets and what is in them.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ObjectsConfig {
    /// Buckets that one user may have, 1 to 100000.
    #[config(default = 100, env = "FSN_OBJECTS_MAX_BUCKETS_PER_USER")]
    pub max_buckets_per_user: u32,
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

    /// Connections held open at most, 1 to 10000, and one more that hears of changes to credentials.
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
    #[config(default = ["/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"], env = "FSN_P2P_LISTEN", parse_env = list)]
    pub listen: Vec<String>,

    /// Multiaddresses at which nodes reach this coordinator, as they go into the network document.
    /// Empty: the addresses that are listened on.
    #[config(default = [], env = "FSN_P2P_EXTERNAL_ADDRS", parse_env = list)]
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

    /// Incoming connections whose handshake is under way, of strangers, and as many from addresses of registered nodes.
    /// Beyond that, and beyond 16 from one IPv4 address or IPv6 /64, the oldest gives way to a new one.
    #[config(default = 256, env = "FSN_P2P_MAX_PENDING")]
    pub max_pending: u32,

    /// New connections are refused while this process has more memory than this, like "2GiB". When it
    /// is unset, 90 % of the machine's.
    #[config(env = "FSN_P2P_MAX_MEMORY")]
    pub max_memory: Option<ByteSize>,

    /// Answer nodes that look for a coordinator or for each other (Kademlia).
    #[config(default = true, env = "FSN_P2P_KADEMLIA")]
    pub kademlia: bool,

    /// Tell nodes on request whether they can be reached from outside (AutoNAT v2). A node is dialled where it comes
    /// from and nowhere else.
    #[config(default = true, env = "FSN_P2P_AUTONAT")]
    pub autonat: bool,

    /// Dial private, loopback and link-local addresses, and names, on the word of peers, too. Only where nodes stand on this
    /// machine or behind the same router: others could have this coordinator knock at any door of its own network.
    #[config(default = false, env = "FSN_P2P_PRIVATE_ADDRESSES")]
    pub private_addresses: bool,

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
    /// Time between two pings of a peer of which nothing else is heard, 100ms to 10m.
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

    /// Replace the master key after this long, 1h to 3650d, and destroy it on every coordinator, so that what was deleted cannot be
    /// read from older backups either. A BACKUP OF THE DATABASE THAT IS OLDER OPENS NOTHING. "0s" switches it off. The same
    /// at all coordinators.
    #[config(default = "0s", deserialize_with = humantime_serde::deserialize, env = "FSN_KEYS_PERIOD")]
    pub period: Duration,
}

/// Accounts and tokens.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct AuthConfig {
    /// Life of an access token, "1s" to "30d".
    #[config(default = "15m", deserialize_with = humantime_serde::deserialize, env = "FSN_AUTH_ACCESS_TOKEN_TTL")]
    pub access_token_ttl: Duration,

    /// Life of a refresh token; each use gives a new one.
    #[config(default = "30d", deserialize_with = humantime_serde::deserialize, env = "FSN_AUTH_REFRESH_TOKEN_TTL")]
    pub refresh_token_ttl: Duration,

    /// Life of a login, however often its tokens are renewed: "1m" to "3650d". After it the password is asked for again.
    #[config(default = "90d", deserialize_with = humantime_serde::deserialize, env = "FSN_AUTH_SESSION_TTL")]
    pub session_ttl: Duration,

    /// Registrations and logins per minute from one address (IPv4 address or IPv6 /64): each has a password
    /// hashed. Five times as many refresh tokens may be exchanged.
    #[config(default = 120, env = "FSN_AUTH_REQUESTS_PER_ADDRESS")]
    pub requests_per_address: u32,

    /// Logins per minute for one account from one address. Beyond them a wrong password is answered with 429, and
    /// each attempt counts as four for its address; a right password is let in.
    #[config(default = 30, env = "FSN_AUTH_REQUESTS_PER_ACCOUNT")]
    pub requests_per_account: u32,

    /// Accounts that may be opened from one network (IPv4 /24, IPv6 /48) on one day. Private addresses are not
    /// counted.
    #[config(default = 1000, env = "FSN_AUTH_ACCOUNTS_PER_NETWORK")]
    pub accounts_per_network: u32,

    /// Characters that a new password has at least, 7 to 64. Passwords that are there stay.
    #[config(default = 8, env = "FSN_AUTH_PASSWORD_MIN_LENGTH")]
    pub password_min_length: usize,

    /// Refuse new passwords that somebody who guesses would find among the first million.
    #[config(default = true, env = "FSN_AUTH_REFUSE_COMMON_PASSWORDS")]
    pub refuse_common_passwords: bool,

    /// Take files only from accounts that have shown that their address is theirs. Needs mail.server.
    #[config(default = false, env = "FSN_AUTH_REQUIRE_VERIFIED_ADDRESS")]
    pub require_verified_address: bool,

    /// Give administrators their rights only when they have a second factor.
    #[config(default = false, env = "FSN_AUTH_ADMIN_SECOND_FACTOR")]
    pub admin_second_factor: bool,

    /// Logins that one account may have at one time, 1 to 10000; another one ends the one that was used least
    /// lately.
    #[config(default = 100, env = "FSN_AUTH_LOGINS_PER_ACCOUNT")]
    pub logins_per_account: u32,

    /// Access keys that one account may have, 1 to 10000.
    #[config(default = 100, env = "FSN_AUTH_ACCESS_KEYS_PER_ACCOUNT")]
    pub access_keys_per_account: u32,
}

/// Who may join the fleet.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct NodesConfig {
    /// "open": any node; "token": nodes with an admission token, which administrators make, and accounts that were given
    /// the right with `coordinator admin user allow-nodes`; "allowlist": the listed peer ids.
    #[config(default = "open", env = "FSN_NODES_ADMISSION")]
    pub admission: Admission,

    /// An admission token that is good for any number of nodes (with admission = "token").
    #[config(env = "FSN_NODES_BOOTSTRAP_TOKEN")]
    pub bootstrap_token: Option<String>,

    /// A file with that token in its first line, in place of the token itself. Only one may be set.
    #[config(env = "FSN_NODES_BOOTSTRAP_TOKEN_FILE")]
    pub bootstrap_token_file: Option<PathBuf>,

    /// Peer ids that may register (with admission = "allowlist").
    #[config(default = [], env = "FSN_NODES_ALLOWED_PEERS", parse_env = list)]
    pub allowed_peers: Vec<String>,

    /// How long a new node is on probation at least, whatever it proves: "0s" to "365d". Meanwhile it gets a small
    /// share of what is stored, once enough others are vetted.
    #[config(default = "72h", deserialize_with = humantime_serde::deserialize, env = "FSN_NODES_VETTING_TIME")]
    pub vetting_time: Duration,
    /// A node that has registered and has not been seen within this time is forgotten; 1h at least.
    #[config(default = "7d", deserialize_with = humantime_serde::deserialize, env = "FSN_NODES_FORGET_UNSEEN_AFTER")]
    pub forget_unseen_after: Duration,

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

    /// How long an upload may stay unfinished, "1m" to "365d".
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

    /// Uploads that one user may have begun and not completed, 1 to 1000000.
    #[config(default = 1000, env = "FSN_UPLOADS_MAX_OPEN_PER_USER")]
    pub max_open_per_user: u32,

    /// Uploads in steps that one user may begin in a minute.
    #[config(default = 1200, env = "FSN_UPLOADS_SESSIONS_PER_MINUTE")]
    pub sessions_per_minute: u32,
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

/// What owners may have opened, to see that nodes hold their bytes and no others.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct EvidenceConfig {
    /// The part of a file's chunks whose keys its owner is shown in a day, 0 to 1; at least one chunk. Who has a
    /// chunk's key and conspires with all its nodes can keep one copy of that chunk and call it several.
    #[config(default = 0.01, env = "FSN_EVIDENCE_OPEN_SHARE")]
    pub open_share: f64,
}

/// What is done about lost replicas.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct RepairConfig {
    /// How long a node may be offline before its replicas do not count. Where a chunk has only one replica
    /// left that can be read, it is repaired at once.
    #[config(default = "15m", deserialize_with = humantime_serde::deserialize, env = "FSN_REPAIR_GRACE")]
    pub grace: Duration,

    /// Bytes of copies that one coordinator makes in a second, like "20MiB"; 64KiB at least. When it is
    /// unset, as many as it can.
    #[config(env = "FSN_REPAIR_BYTES_PER_SECOND")]
    pub bytes_per_second: Option<ByteSize>,

    /// How often a coordinator looks for chunks to repair when nothing tells it to, "100ms" to "1h".
    #[config(default = "10s", deserialize_with = humantime_serde::deserialize, env = "FSN_REPAIR_INTERVAL")]
    pub interval: Duration,

    /// How long nothing is demoted after a quarter of 20 nodes or more has failed within 10 minutes:
    /// the fault is then more likely with the coordinator. Only chunks with a single replica left are
    /// repaired meanwhile. `coordinator admin repair resume` ends it.
    #[config(default = "2h", deserialize_with = humantime_serde::deserialize, env = "FSN_REPAIR_MASS_FAILURE_HOLD")]
    pub mass_failure_hold: Duration,
}

/// How nodes and database are compared.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct ReconcileConfig {
    /// How often what a node holds is compared with what the database names on it.
    #[config(default = "1d", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONCILE_INTERVAL")]
    pub interval: Duration,
}

/// Prices. 1 credit = 1,000,000 micro-credits; GB = 10^9 bytes, month = 30 days.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct MoneyConfig {
    /// Credits a user pays per GB and month of each replica; up to six decimals. Billed are the bytes of
    /// content and name, and 64 KiB at least.
    #[config(default = 1.25, env = "FSN_MONEY_PRICE_PER_GB_MONTH")]
    pub price_per_gb_month: PricePerGbMonth,

    /// Credits a node earns per GB and month of each replica; not more than the price.
    #[config(default = 1, env = "FSN_MONEY_PAY_PER_GB_MONTH")]
    pub pay_per_gb_month: PricePerGbMonth,

    /// How much time is settled at once, "5s" to "24h". At 24h these are the days of UTC.
    #[config(default = "24h", deserialize_with = humantime_serde::deserialize, env = "FSN_MONEY_SETTLEMENT_INTERVAL")]
    pub settlement_interval: Duration,

    /// How long before its time is up a file is renewed for another month; at most "30d", the time that a
    /// renewal buys.
    #[config(default = "14d", deserialize_with = humantime_serde::deserialize, env = "FSN_MONEY_RENEWAL_BEFORE")]
    pub renewal_before: Duration,

    /// Credits for one US dollar, 1 to 1000000.
    #[config(default = 100, env = "FSN_MONEY_CREDITS_PER_USD")]
    pub credits_per_usd: u32,

    /// Who moves the money: "stripe" (table `stripe`), or "mock", with which every purchase counts as paid, every payout
    /// as made, and no money moves: for trying things out. Unset: nothing can be bought or paid out.
    #[config(env = "FSN_MONEY_PROVIDER")]
    pub provider: Option<ProviderName>,

    /// US dollars that one purchase may be of at most, 1 to 1000000.
    #[config(default = 10000, env = "FSN_MONEY_PURCHASE_MAX_USD")]
    pub purchase_max_usd: u32,

    /// Purchases that one account may have begun and not paid, 1 to 10000.
    #[config(default = 10, env = "FSN_MONEY_OPEN_PURCHASES")]
    pub open_purchases: u32,

    /// After what time a purchase that was not paid is called off, "10m" to "30d".
    #[config(default = "24h", deserialize_with = humantime_serde::deserialize, env = "FSN_MONEY_PURCHASE_TTL")]
    pub purchase_ttl: Duration,

    /// Purchases that one account may make on one day (UTC).
    #[config(default = 100, env = "FSN_MONEY_PURCHASES_PER_DAY")]
    pub purchases_per_day: u32,

    /// What an account may use before its first purchase, in micro-credits. 1000 pay for one file of
    /// 256 KiB, or four small ones, on three nodes for a month. What is not used up of it goes back to the
    /// network and may be used again; it never becomes the account's own.
    #[config(default = 1000, env = "FSN_MONEY_TRIAL_MICROCREDITS")]
    pub trial_microcredits: u32,

    /// Accounts that may do so among those that are opened from one network (IPv4 /24, IPv6 /48) on one
    /// day. Private addresses are not counted.
    #[config(default = 20, env = "FSN_MONEY_TRIAL_ACCOUNTS_PER_NETWORK")]
    pub trial_accounts_per_network: u32,

    /// Files that an account may have before its first purchase, uploads that are not complete among them.
    #[config(default = 100, env = "FSN_MONEY_TRIAL_FILES")]
    pub trial_files: u64,

    /// Uploads that such an account may have open at one time.
    #[config(default = 8, env = "FSN_MONEY_TRIAL_UPLOADS")]
    pub trial_uploads: u64,
}

/// Stripe, where money.provider is "stripe".
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct StripeConfig {
    /// A file with the secret key in its first line: `sk_…`, or a restricted one, `rk_…`.
    #[config(env = "FSN_STRIPE_SECRET_KEY_FILE")]
    pub secret_key_file: Option<PathBuf>,

    /// A file with the signing secret of the webhook endpoint in its first line: `whsec_…`.
    #[config(env = "FSN_STRIPE_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,

    /// A page of yours, https://…, to which Stripe sends people back who have told it whom to pay.
    #[config(env = "FSN_STRIPE_RETURN_URL")]
    pub return_url: Option<String>,

    /// Where the API is.
    #[config(default = "https://api.stripe.com", env = "FSN_STRIPE_API_URL")]
    pub api_url: String,
}
