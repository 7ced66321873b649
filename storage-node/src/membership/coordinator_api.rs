//! The coordinator's HTTP API, as far as a node needs it: the network document, registration, what the
//! node has earned, and its leaving. Paths and bodies are those of [`api`].

use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::drain::{DrainPlan, DrainView};
use api::earnings::{Earnings, PayoutBody, PayoutView};
use api::headers::{API_KEY, IDEMPOTENCY_KEY};
use api::node_proofs::ProofsView;
use api::nodes::{NodeDetail, Nonce, RegisterBody, RegisteredNode};
use api::page::{Page, PageParams};
use api::paths;
use api::problem::Problem;
use libp2p_identity::Keypair;
use proto::{
    MicroCredits, NetworkContext, NetworkDocument, NetworkId, NodeId, Registration,
    RegistrationForm, RegistrationNonce,
};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::volume::Credentials;

const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Redirects that are followed for one request.
const HOPS: usize = 3;

/// Why a coordinator did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error(
        "the coordinator at {base} cannot be reached ({cause}); check the address and that it runs"
    )]
    Unreachable { base: Url, cause: String },
    /// Somebody else's address, or one without encryption where there was some: what is sent is not for everybody.
    #[error(
        "{from} redirects to {to}, which is not followed: if that is the coordinator, write its address as \
         node.coordinator_url (--coordinator-url)"
    )]
    Elsewhere { from: Url, to: String },
    #[error("the coordinator refused ({}): {}", .0.status, reason(.0))]
    Refused(Box<Problem>),
}

/// In words.
pub(crate) fn reason(problem: &Problem) -> &str {
    let said = [&problem.detail, &problem.title];
    let said = said.into_iter().find(|text| !text.is_empty());
    said.map_or("it did not say why", String::as_str)
}

impl ApiError {
    /// Whether the same request may be answered later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Elsewhere { .. } => false,
            Self::Refused(problem) => {
                problem.status >= 500 || problem.status == StatusCode::TOO_MANY_REQUESTS
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CoordinatorApi {
    base: Url,
    client: reqwest::Client,
}

/// What a node says about itself when it registers.
#[derive(Debug, Clone)]
pub(crate) struct Applicant {
    pub name: String,
    pub capacity_bytes: u64,
    pub region: Option<String>,
    /// For networks that admit nodes by token.
    pub token: Option<String>,
}

impl CoordinatorApi {
    /// The one that the settings name, or else the one that the node is registered with.
    pub(crate) fn of(config: &Config, own: &Credentials) -> Result<Self> {
        let url = config.node.coordinator_url.as_deref();
        Self::new(url.unwrap_or(&own.coordinator_url))
    }

    pub(crate) fn new(base_url: &str) -> Result<Self> {
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
            .redirect(Policy::none())
            .user_agent(concat!("storage-node/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up HTTP")?;
        Ok(Self { base, client })
    }

    /// At the address that this one redirects to, if it does: what is secret need not take the way over the first one.
    pub(crate) async fn settled(&self) -> Result<Self> {
        let url = self.url(paths::NETWORK)?;
        let at = self.send(self.client.get(url)).await?.url().clone();
        match at.as_str().strip_suffix(paths::NETWORK) {
            Some(base) => Self::new(base),
            None => Ok(self.clone()),
        }
    }

    /// As it is written in settings.
    pub(crate) fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The document, whole and signed by the key that it names itself.
    pub(crate) async fn network_document(&self) -> Result<NetworkDocument> {
        let url = self.url(paths::NETWORK)?;
        let document: NetworkDocument = self.answer(self.client.get(url)).await?;
        document
            .verify()
            .with_context(|| format!("the network document from {} is bad", self.base))?;
        Ok(document)
    }

    /// The state, the reason for it, and the score of a node.
    pub(crate) async fn standing(&self, node_id: NodeId) -> Result<NodeDetail> {
        let url = self.url(&paths::node(node_id))?;
        self.answer(self.client.get(url)).await
    }

    /// Proves that the node owns its key and enters it into the network.
    pub(crate) async fn register(
        &self,
        network_id: NetworkId,
        keypair: &Keypair,
        applicant: &Applicant,
    ) -> Result<RegisteredNode> {
        let url = self.url(paths::NODE_NONCE)?;
        let answer: Nonce = self.answer(self.client.post(url)).await?;
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
            region: applicant.region.clone(),
            token_hash: applicant.token.as_deref().map(Registration::token_hash),
        };
        let form = match answer.newest_form {
            Some(form) if form >= RegistrationForm::V2.number() => RegistrationForm::V2,
            _ => RegistrationForm::V1,
        };
        let body = RegisterBody {
            peer_id: peer_id.to_string(),
            name: applicant.name.clone(),
            capacity_bytes: applicant.capacity_bytes,
            region: applicant.region.clone(),
            nonce: answer.nonce,
            // Coordinators of the release before do not know the member.
            form: (form != RegistrationForm::V1).then(|| form.number()),
            signature: registration.sign(form, keypair)?.to_string(),
            token: applicant.token.clone(),
        };
        let url = self.url(paths::NODE_REGISTER)?;
        let registered: RegisteredNode = self.answer(self.client.post(url).json(&body)).await?;
        if registered.network_id != network_id {
            bail!("the coordinator registered the node in another network than it serves");
        }
        Ok(registered)
    }

    /// What the node has earned on its last days.
    pub(crate) async fn earnings(
        &self,
        node: NodeId,
        api_key: &str,
        days: u16,
    ) -> Result<Earnings> {
        let url = self.url(&paths::node_earnings(node))?;
        let page = PageParams {
            limit: Some(days),
            cursor: None,
        };
        let request = self.client.get(url).query(&page);
        self.answer(request.header(API_KEY, api_key)).await
    }

    /// Has so much, or all that is available, paid out. Under the same key it is done once.
    pub(crate) async fn pay_out(
        &self,
        own: &Credentials,
        amount: Option<MicroCredits>,
        key: &str,
    ) -> Result<PayoutView> {
        let url = self.url(&paths::node_payouts(own.node_id))?;
        let body = PayoutBody {
            amount_microcredits: amount,
        };
        let request = self.client.post(url).json(&body);
        let request = request.header(API_KEY, &own.api_key);
        self.answer(request.header(IDEMPOTENCY_KEY, key)).await
    }

    /// The node's payouts, the newest first.
    pub(crate) async fn payouts(&self, own: &Credentials, limit: u16) -> Result<Page<PayoutView>> {
        let url = self.url(&paths::node_payouts(own.node_id))?;
        let page = PageParams {
            limit: Some(limit),
            cursor: None,
        };
        let request = self.client.get(url).query(&page);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// What the node was asked to prove, and how it was judged, the newest first.
    pub(crate) async fn proofs(&self, own: &Credentials, limit: u16) -> Result<Page<ProofsView>> {
        let url = self.url(&paths::node_proofs(own.node_id))?;
        let page = PageParams {
            limit: Some(limit),
            cursor: None,
        };
        let request = self.client.get(url).query(&page);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// What draining the node would mean; changes nothing.
    pub(crate) async fn drain_plan(&self, own: &Credentials) -> Result<DrainPlan> {
        let url = self.url(&paths::node_drain_plan(own.node_id))?;
        self.answer(self.client.get(url).header(API_KEY, &own.api_key))
            .await
    }

    /// Asks that the node be drained; to ask again changes nothing.
    pub(crate) async fn drain(&self, own: &Credentials) -> Result<DrainView> {
        let request = self.client.post(self.drain_url(own)?);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// Calls a draining node back.
    pub(crate) async fn cancel_drain(&self, own: &Credentials) -> Result<DrainView> {
        let request = self.client.delete(self.drain_url(own)?);
        self.answer(request.header(API_KEY, &own.api_key)).await
    }

    /// How far the node has come; `None` when nobody has ever asked to drain it.
    pub(crate) async fn drain_progress(&self, own: &Credentials) -> Result<Option<DrainView>> {
        let request = self.client.get(self.drain_url(own)?);
        match self.answer(request.header(API_KEY, &own.api_key)).await {
            Ok(progress) => Ok(Some(progress)),
            Err(error) => match error.downcast_ref() {
                Some(ApiError::Refused(problem)) if problem.status == StatusCode::NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }

    fn drain_url(&self, own: &Credentials) -> Result<Url> {
        self.url(&paths::node_drain(own.node_id))
    }

    /// Below the base, which may have a path of its own.
    fn url(&self, path: &str) -> Result<Url> {
        Ok(self.base.join(path.trim_start_matches('/'))?)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let failed = |error: reqwest::Error| ApiError::Unreachable {
            base: self.base.clone(),
            cause: innermost(&error),
        };
        let (client, request) = request.build_split();
        let mut request = request?;
        for _ in 0..=HOPS {
            let (from, again) = (request.url().clone(), request.try_clone());
            let response = client.execute(request).await.map_err(failed)?;
            let Some(to) = redirected(&from, &response)? else {
                return Ok(response);
            };
            tracing::warn!(%from, %to, "the coordinator redirects: write the new address as node.coordinator_url");
            request = again.context("a request that is redirected cannot be sent again")?;
            *request.url_mut() = to;
        }
        bail!("{} redirects more than {HOPS} times", self.base)
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let failed = |error: reqwest::Error| ApiError::Unreachable {
            base: self.base.clone(),
            cause: innermost(&error),
        };
        let mut response = self.send(request).await?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MAX_ANSWER_BYTES {
                bail!("the coordinator at {} answers with too much", self.base);
            }
            body.extend_from_slice(&piece);
        }
        if !status.is_success() {
            let problem = Problem::of_answer(status.as_u16(), &body);
            bail!(ApiError::Refused(Box::new(problem)));
        }
        serde_json::from_slice(&body).with_context(|| {
            format!(
                "{} does not answer like a coordinator of this network",
                self.base
            )
        })
    }
}

/// Where an answer says that what was asked for is. Within one host, and never away from TLS. Unlike a browser, which
/// makes a GET of a POST, the same request is sent there.
fn redirected(from: &Url, response: &Response) -> Result<Option<Url>, ApiError> {
    const WITH_THE_SAME_REQUEST: [u16; 4] = [301, 302, 307, 308];
    if !WITH_THE_SAME_REQUEST.contains(&response.status().as_u16()) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    match to {
        Some(to) if may_follow(from, &to) => Ok(Some(to)),
        to => Err(ApiError::Elsewhere {
            from: from.clone(),
            to: to.map_or_else(|| "nowhere".to_owned(), |to| to.to_string()),
        }),
    }
}

fn may_follow(from: &Url, to: &Url) -> bool {
    let safe = to.scheme() == "https" || to.scheme() == from.scheme();
    safe && to.host() == from.host()
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_within_its_host_and_never_away_from_tls() {
        let follow =
            |from: &str, to: &str| may_follow(&from.parse().unwrap(), &to.parse().unwrap());
        assert!(follow("http://a.example/", "https://a.example/"));
        assert!(follow("http://a.example:8080/", "https://a.example/x"));
        assert!(follow("https://a.example/", "https://a.example/x"));
        assert!(follow("http://a.example/", "http://a.example:81/"));
        assert!(!follow("https://a.example/", "http://a.example/"));
        assert!(!follow("http://a.example/", "https://b.example/"));
        assert!(!follow("http://a.example/", "ftp://a.example/"));
    }
}
