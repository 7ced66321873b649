//! The settings, a table for each concern: their defaults, and the text of the template.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use blobstore::LayoutKind;
use bytesize::ByteSize;
use network::{AuthMode as NetworkAuthMode, KademliaMode, Multiaddr, PeerId, Target};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// The node and what it gives.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct NodeConfig {
    /// What people call the node, 1 to 64 characters.
    #[config(env = "FSN_NODE_NAME")]
    pub name: Option<String>,

    /// The directory of the blobs, the catalogue and the identity. When it is unset, one in the user's
    /// data directory.
    #[config(env = "FSN_NODE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// The coordinator's HTTP address, like "https://storage.example.org".
    #[config(env = "FSN_NODE_COORDINATOR_URL")]
    pub coordinator_url: Option<String>,

    /// The most that blobs may take on disk. When it is unset, 80 % of what is free or taken by blobs.
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
pub(crate) struct P2pConfig {
    /// Multiaddresses to listen on. The node dials its coordinators; nothing needs to reach it.
    #[config(default = ["/ip4/0.0.0.0/tcp/0"], env = "FSN_P2P_LISTEN", parse_env = confique::env::parse::list_by_comma)]
    pub listen: Vec<Multiaddr>,

    /// Multiaddresses at which others reach this node, such as a forwarded port. When there are
    /// none, the node finds out by asking others.
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

    /// How many connections there may be at one time, 8 to 65536.
    #[config(default = 256, env = "FSN_P2P_MAX_CONNECTIONS")]
    pub max_connections: u32,

    /// How many connections one IPv4 address or IPv6 /64 may have, 1 to 65536.
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

    /// Dial private, loopback and link-local addresses, and names, on the word of other peers, too. Only where all peers stand
    /// on this machine or behind the same router: others could have this node knock at any door of its own network.
    /// Coordinators and `bootstrap_peers` are dialled wherever they are.
    #[config(default = false, env = "FSN_P2P_PRIVATE_ADDRESSES")]
    pub private_addresses: bool,

    /// Find peers, and be found by them, on the local network (multicast DNS).
    #[config(default = false, env = "FSN_P2P_MDNS")]
    pub mdns: bool,

    /// Ask the router to forward the ports that are listened on (UPnP).
    #[config(default = false, env = "FSN_P2P_UPNP")]
    pub upnp: bool,
}

/// A peer and where it is, checked as it is read, so that an error names its line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub(crate) struct BootstrapPeer(pub Target);

impl FromStr for BootstrapPeer {
    type Err = network::ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl<'de> Deserialize<'de> for BootstrapPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
pub(crate) struct AllowedPeer(pub PeerId);

impl FromStr for AllowedPeer {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> Result<Self, NotAPeerId> {
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

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotAPeerId(String);

impl<'de> Deserialize<'de> for AllowedPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
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
pub(crate) enum AuthMode {
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
pub(crate) enum KademliaChoice {
    Auto,
    Server,
    Client,
    Off,
}

impl KademliaChoice {
    pub(crate) fn mode(self) -> Option<KademliaMode> {
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
pub(crate) struct AdminConfig {
    /// Address and port that the API is served on.
    #[config(default = "127.0.0.1:9090", env = "FSN_ADMIN_LISTEN")]
    pub listen: SocketAddr,

    /// Allow an address that other machines can reach. The API tells what the node holds to whoever asks.
    #[config(default = false, env = "FSN_ADMIN_ALLOW_REMOTE")]
    pub allow_remote: bool,
}

/// How a lost coordinator is dialled again: with growing, jittered pauses.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ReconnectConfig {
    /// The pause between the first failed dial and the next one.
    #[config(default = "1s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_INITIAL")]
    pub initial: Duration,

    /// The longest pause between two dials, rests excepted.
    #[config(default = "20s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_MAX")]
    pub max: Duration,

    /// How much longer each pause is than the one before.
    #[config(default = 2.0, env = "FSN_RECONNECT_FACTOR")]
    pub factor: f64,

    /// How many dials fail in a row before the node rests from dialling.
    #[config(default = 10, env = "FSN_RECONNECT_ATTEMPTS")]
    pub attempts: u32,

    /// How long the node rests from dialling after `attempts` failures in a row.
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_REST")]
    pub rest: Duration,

    /// After a lost connection the first dial comes within this time, at a random moment.
    #[config(default = "10s", deserialize_with = humantime_serde::deserialize, env = "FSN_RECONNECT_SPREAD")]
    pub spread: Duration,
}

/// How a silent coordinator is told from a slow one.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct PingConfig {
    /// Time between two pings of a peer of which nothing else is heard, 100ms to 10m.
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
pub(crate) struct StoreConfig {
    /// "segments": many blobs in large files that only grow. "files": one file for each blob, slower and
    /// plain to see. A data directory keeps the layout that it was made with; when this is unset, that
    /// one, and "segments" for a new one. `storage-node chunks convert` changes it.
    #[config(env = "FSN_STORE_LAYOUT")]
    pub layout: Option<LayoutKind>,
}

/// Reading every blob now and then, to find rot.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ScrubConfig {
    /// Every blob is read once within this time.
    #[config(default = "14d", deserialize_with = humantime_serde::deserialize, env = "FSN_SCRUB_PERIOD")]
    pub period: Duration,
}

/// Blobs that a coordinator threw away but may still want back.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct TrashConfig {
    /// How long blobs stay in the trash before they are deleted. Sooner than after 72 hours only a few go in a day.
    #[config(default = "7d", deserialize_with = humantime_serde::deserialize, env = "FSN_TRASH_RETENTION")]
    pub retention: Duration,
}

/// Proving to coordinators that the blobs are here.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ProofsConfig {
    /// The part of the disk's time that proofs may take, above 0 and at most 1. What would go beyond
    /// is put off; a node that always puts it off is taken for one that has lost its blobs.
    #[config(default = 0.25, env = "FSN_PROOFS_DISK_SHARE")]
    pub disk_share: f64,
}

fn deserialize_peer_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let expected = "a peer id, like the one that `storage-node identity show` prints";
        serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &expected)
    })
}
