//! The coordinator's HTTP API, as far as a node needs it: the network document, registration, what the
//! node has earned, and its leaving.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use libp2p_identity::Keypair;
use proto::{NetworkContext, NetworkDocument, NetworkId, NodeId, Registration, RegistrationNonce};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Config;
use crate::volume::Credentials;

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// The header that says which node asks.
const API_KEY: &str = "x-api-key";

/// Why a coordinator did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "the coordinator at {base} cannot be reached ({cause}); check the address and that it runs"
    )]
    Unreachable { base: Url, cause: String },
    #[error("the coordinator refused ({}): {reason}", status.as_u16())]
    Refused { status: StatusCode, reason: String },
}

impl ApiError {
    /// Whether the same request may be answered later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

#[derive(Debug, Clone)]
pub struct CoordinatorApi {
    base: Url,
    client: reqwest::Client,
}

/// What a node says about itself when it registers.
#[derive(Debug, Clone)]
pub struct Applicant {
    pub name: String,
    pub capacity_bytes: u64,
    pub region: Option<String>,
    /// For networks that admit nodes by token.
    pub token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    pub node_id: NodeId,
    pub api_key: String,
    pub network_id: NetworkId,
    pub state: String,
}

/// `GET nodes/{id}/earnings`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Earnings {
    pub pending: PendingEarnings,
    /// The newest first.
    pub days: Vec<EarningsDay>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PendingEarnings {
    pub gross_microcredits: i64,
    pub uptime_ppm: u32,
    pub earned_microcredits: i64,
    pub penalties_microcredits: i64,
    pub given_back_microcredits: i64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EarningsDay {
    pub day: String,
    pub gross_microcredits: i64,
    pub uptime_ppm: u32,
    pub penalties_microcredits: i64,
    pub given_back_microcredits: i64,
    pub net_microcredits: i64,
    pub held_microcredits: i64,
    pub available_microcredits: i64,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// How the network sees a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Standing {
    pub state: String,
    pub state_reason: String,
    pub state_since: Timestamp,
    /// Nothing new for a day, since half of its proofs failed at once.
    pub on_hold: bool,
    /// In parts per million.
    pub score_ppm: u32,
    /// The newest first.
    pub state_history: Vec<StateChange>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateChange {
    pub at: Timestamp,
    pub from: String,
    pub to: String,
    pub cause: String,
    pub reason: String,
}

/// `GET nodes/{id}/drain/plan`: what draining the node would mean now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrainPlan {
    pub blobs: u64,
    pub bytes: u64,
    pub eligible_nodes: u64,
    pub free_bytes: u64,
    pub possible: bool,
    /// Why it is not.
    pub obstacle: Option<String>,
    pub missing_bytes: u64,
    pub estimated_seconds: Option<u64>,
    pub returned_microcredits: i64,
    pub forfeited_microcredits: i64,
}

/// `GET nodes/{id}/drain`: how far the node has come, and its statement at the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrainProgress {
    /// draining, drained, cancelled or disqualified.
    pub state: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub blobs: u64,
    pub bytes: u64,
    pub blobs_left: u64,
    pub bytes_left: u64,
    pub estimated_seconds: Option<u64>,
    pub earned_microcredits: i64,
    pub paid_out_microcredits: i64,
    pub held_microcredits: i64,
    pub available_microcredits: i64,
}

#[derive(Serialize)]
struct RegisterBody<'a> {
    peer_id: String,
    name: &'a str,
    capacity_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    nonce: String,
    signature: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

#[derive(Deserialize)]
struct NonceAnswer {
    nonce: String,
}

#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl CoordinatorApi {
    /// The one that the settings name, or else the one that the node is registered with.
    pub fn of(config: &Config, own: &Credentials) -> Result<Self> {
        let url = config.node.coordinator_url.as_deref();
        Self::new(url.unwrap_or(&own.coordinator_url))
    }

    pub fn new(base_url: &str) -> Result<Self> {
        let mut base: Url = base_url
            .parse()
            .with_context(|| format!("node.coordinator_url: `{base_url}` is not a URL"))?;
        if !matches!(base.scheme(), "http" | "https") {
            bail!("node.coordinator_url: `{base_url}` must begin with http:// or https://");
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("storage-node/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up HTTP")?;
        Ok(Self { base, client })
    }

    /// The document, whole and signed by the key that it names itself.
    pub async fn network_document(&self) -> Result<NetworkDocument> {
        let url = self.url("api/v1/network")?;
        let document: NetworkDocument = self.answer(self.client.get(url)).await?;
        document
            .verify()
            .with_context(|| format!("the network document from {} is bad", self.base))?;
        Ok(document)
    }

    /// The state, the reason for it, and the score of a node.
    pub async fn standing(&self, node_id: NodeId) -> Result<Standing> {
        let url = self.url(&format!("api/v1/nodes/{node_id}"))?;
        self.answer(self.client.get(url)).await
    }

    /// Proves that the node owns its key and enters it into the network.
    pub async fn register(
        &self,
        network_id: NetworkId,
        keypair: &Keypair,
        applicant: &Applicant,
    ) -> Result<Registered> {
        let url = self.url("api/v1/nodes/register/nonce")?;
        let answer: NonceAnswer = self.answer(self.client.post(url)).await?;
        let mut nonce = RegistrationNonce::default();
        hex::decode_to_slice(&answer.nonce, &mut nonce)
            .context("the coordinator gave a nonce that is not 32 bytes of hex")?;
        let peer_id = keypair.public().to_peer_id();
        let registration = Registration {
            context: NetworkContext {
                network_id,
                peer_id,
            },
            nonce,
            name: applicant.name.clone(),
            capacity_bytes: applicant.capacity_bytes,
        };
        let body = RegisterBody {
            peer_id: peer_id.to_string(),
            name: &applicant.name,
            capacity_bytes: applicant.capacity_bytes,
            region: applicant.region.as_deref(),
            nonce: answer.nonce,
            signature: registration.sign(keypair)?.to_string(),
            token: applicant.token.as_deref(),
        };
        let url = self.url("api/v1/nodes/register")?;
        let registered: Registered = self.answer(self.client.post(url).json(&body)).await?;
        if registered.network_id != network_id {
            bail!("the coordinator registered the node in another network than it serves");
        }
        Ok(registered)
    }

    /// What the node has earned on its last days.
    pub async fn earnings(&self, node: NodeId, api_key: &str, days: u16) -> Result<Earnings> {
        let mut url = self.url(&format!("api/v1/nodes/{node}/earnings"))?;
        url.set_query(Some(&format!("limit={days}")));
        let request = self.client.get(url).header(API_KEY, api_key);
        self.answer(request).await
    }

    /// What draining the node would mean; changes nothing.
    pub async fn drain_plan(&self, own: &Credentials) -> Result<DrainPlan> {
        let url = self.url(&format!("api/v1/nodes/{}/drain/plan", own.node_id))?;
        self.answer(self.client.get(url).header(API_KEY, &own.api_key))
            .await
    }

    /// Asks that the node be drained; to ask again changes nothing.
    pub async fn drain(&self, own: &Credentials) -> Result<DrainProgress> {
        let request = self.client.post(self.drain_url(own)?);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// Calls a draining node back.
    pub async fn cancel_drain(&self, own: &Credentials) -> Result<DrainProgress> {
        let request = self.client.delete(self.drain_url(own)?);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// How far the node has come; `None` when nobody has ever asked to drain it.
    pub async fn drain_progress(&self, own: &Credentials) -> Result<Option<DrainProgress>> {
        let request = self.client.get(self.drain_url(own)?);
        match self.answer(request.header(API_KEY, &own.api_key)).await {
            Ok(progress) => Ok(Some(progress)),
            Err(error) => match error.downcast_ref() {
                Some(ApiError::Refused { status, .. }) if *status == StatusCode::NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    fn drain_url(&self, own: &Credentials) -> Result<Url> {
        self.url(&format!("api/v1/nodes/{}/drain", own.node_id))
    }

    fn url(&self, path: &str) -> Result<Url> {
        Ok(self.base.join(path)?)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let failed = |error: reqwest::Error| ApiError::Unreachable {
            base: self.base.clone(),
            cause: innermost(&error),
        };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                bail!("the coordinator at {} answers with too much", self.base);
            }
            body.extend_from_slice(&piece);
        }
        if !status.is_success() {
            let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
            let reason = match (problem.detail.is_empty(), problem.title.is_empty()) {
                (false, _) => problem.detail,
                (true, false) => problem.title,
                (true, true) => "it did not say why".to_owned(),
            };
            bail!(ApiError::Refused { status, reason });
        }
        serde_json::from_slice(&body).with_context(|| {
            format!(
                "{} does not answer like a coordinator of this network",
                self.base
            )
        })
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
