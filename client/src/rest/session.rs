//! Who asks: anybody, or a user with his credentials. Each call is one request, and what it answers; who wants it repeated
//! when it fails, or asked of another coordinator, takes [`crate::Client`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::access_keys::{AccessKey, AccessKeys, NewAccessKey};
use api::auth::{Credentials as Login, Me, RefreshToken, Registered, Tokens};
use api::credits::{PurchaseBody, Purchased};
use api::nodes::Node;
use api::page::{DEFAULT_LIMIT, Page, PageParams};
use api::paths;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::error::{ApiError, checked};

/// An access token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// Where somebody without credentials asks: one coordinator, or a node's own page.
#[derive(Debug, Clone)]
pub struct Endpoint {
    http: reqwest::Client,
    base_url: String,
}

/// What a user shows.
#[derive(Clone)]
pub enum Credentials {
    /// Logs in, and again when that has expired.
    Password { email: String, password: String },
    /// Shown with each request.
    AccessKey { id: String, secret: String },
    /// A login that somebody else has made; renewed by its refresh token, which nobody else may use meanwhile.
    Tokens(Tokens),
}

/// A user at a coordinator, with a token that is renewed as long as the session lives. Clones share the token.
#[derive(Debug, Clone)]
pub struct Session {
    endpoint: Endpoint,
    signed_in: Arc<SignedIn>,
}

struct SignedIn {
    credentials: Credentials,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    /// For another one, where it came with a login.
    refresh: String,
    since: Instant,
    renew_at: Instant,
}

impl fmt::Debug for SignedIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedIn(..)")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { email, .. } => write!(f, "Password({email}, ..)"),
            Self::AccessKey { id, .. } => write!(f, "AccessKey({id}, ..)"),
            Self::Tokens(_) => f.write_str("Tokens(..)"),
        }
    }
}

impl Endpoint {
    /// `base_url` without a slash at its end, as in `status --output json`.
    pub fn new(base_url: impl Into<String>) -> Result<Self, ApiError> {
        Self::build(base_url.into(), None)
    }

    /// One that connects from another of this machine's addresses, like 127.0.0.2.
    pub fn connecting_from(base_url: impl Into<String>, address: IpAddr) -> Result<Self, ApiError> {
        Self::build(base_url.into(), Some(address))
    }

    fn build(base_url: String, from: Option<IpAddr>) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .local_address(from)
            .connect_timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self { http, base_url })
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// A request to a path from the root, as [`api::paths`] has them.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.get_with(path, &()).await
    }

    pub async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<T, ApiError> {
        let request = || self.request(Method::GET, path).query(query);
        match json_of(request()).await {
            Err(error) if error.is_closed_connection() => json_of(request()).await,
            outcome => outcome,
        }
    }

    pub async fn is_ready(&self) -> bool {
        let request = self.request(Method::GET, paths::READYZ);
        let answer = request.timeout(Duration::from_secs(5)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The first hundred nodes that the coordinator knows.
    pub async fn nodes(&self) -> Result<Vec<Node>, ApiError> {
        let params = PageParams {
            limit: Some(DEFAULT_LIMIT),
            cursor: None,
        };
        let page: Page<Node> = self.get_with(paths::NODES, &params).await?;
        Ok(page.items)
    }

    pub async fn register(&self, email: &str, password: &str) -> Result<Registered, ApiError> {
        let request = self.request(Method::POST, paths::REGISTER);
        json_of(request.json(&credentials(email, password))).await
    }

    /// Logs in at once, to say at once what is wrong with the password.
    pub async fn login(&self, email: &str, password: &str) -> Result<Session, ApiError> {
        let session = self.session(Credentials::Password {
            email: email.to_owned(),
            password: password.to_owned(),
        });
        session.access_token().await?;
        Ok(session)
    }

    /// A user who shows this; nothing is asked yet.
    pub fn session(&self, credentials: Credentials) -> Session {
        let given = match &credentials {
            Credentials::Tokens(tokens) => Some(Token::of(tokens.clone(), Instant::now())),
            Credentials::Password { .. } | Credentials::AccessKey { .. } => None,
        };
        Session {
            endpoint: self.clone(),
            signed_in: Arc::new(SignedIn {
                credentials,
                token: Mutex::new(given),
            }),
        }
    }

    async fn log_in(&self, email: &str, password: &str) -> Result<Token, ApiError> {
        let request = self.request(Method::POST, paths::LOGIN);
        self.token_of(request.json(&credentials(email, password)))
            .await
    }

    async fn refresh(&self, refresh_token: String) -> Result<Token, ApiError> {
        let request = self.request(Method::POST, paths::REFRESH);
        self.token_of(request.json(&RefreshToken { refresh_token }))
            .await
    }

    async fn token_of(&self, request: RequestBuilder) -> Result<Token, ApiError> {
        let asked = Instant::now();
        Ok(Token::of(json_of(request).await?, asked))
    }
}

impl Token {
    fn of(tokens: Tokens, since: Instant) -> Self {
        let lifetime = Duration::from_secs(tokens.expires_in);
        Self {
            text: tokens.access_token,
            refresh: tokens.refresh_token,
            since,
            renew_at: since + lifetime.saturating_sub(RENEW_BEFORE),
        }
    }
}

fn credentials(email: &str, password: &str) -> Login {
    Login {
        email: email.to_owned(),
        password: password.to_owned(),
    }
}

impl Session {
    /// The same user with the same token, who asks another coordinator.
    pub fn at(&self, endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            signed_in: Arc::clone(&self.signed_in),
        }
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A request in this user's name, to a path from the root, as [`api::paths`] has them.
    pub async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let token = self.access_token().await?;
        Ok(self.endpoint.request(method, path).bearer_auth(token))
    }

    /// What stands behind `Bearer`.
    pub async fn access_token(&self) -> Result<String, ApiError> {
        let endpoint = &self.endpoint;
        let mut token = self.signed_in.token.lock().await;
        let is_good = |token: &Token| Instant::now() < token.renew_at;
        if let Some(token) = token.as_ref().filter(|token| is_good(token)) {
            return Ok(token.text.clone());
        }
        let fresh = match (&self.signed_in.credentials, &*token) {
            (Credentials::AccessKey { id, secret }, _) => return Ok(format!("{id}.{secret}")),
            (Credentials::Password { email, password }, _) => {
                endpoint.log_in(email, password).await?
            }
            (Credentials::Tokens(tokens), None) => {
                let given = tokens.refresh_token.clone();
                endpoint.refresh(given).await?
            }
            (Credentials::Tokens(_), Some(token)) => {
                endpoint.refresh(token.refresh.clone()).await?
            }
        };
        Ok(token.insert(fresh).text.clone())
    }

    /// A token of before `asked` was refused, whatever the clock says of it: the next request gets another one. `false`:
    /// there can be no other one.
    pub async fn renew(&self, asked: Instant) -> bool {
        let mut token = self.signed_in.token.lock().await;
        if let Some(token) = token.as_mut().filter(|token| token.since <= asked) {
            token.renew_at = Instant::now();
        }
        !matches!(self.signed_in.credentials, Credentials::AccessKey { .. })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.get_with(path, &()).await
    }

    pub async fn get_with<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<T, ApiError> {
        let request = self.request(Method::GET, path).await?.query(query);
        match json_of(request).await {
            Err(error) if error.is_closed_connection() => {
                json_of(self.request(Method::GET, path).await?.query(query)).await
            }
            outcome => outcome,
        }
    }

    pub async fn me(&self) -> Result<Me, ApiError> {
        self.get(paths::ME).await
    }

    /// What programs sign in with; its secret is in the answer, this once. Only who has logged in may ask for it.
    pub async fn create_access_key(&self, body: &NewAccessKey) -> Result<AccessKey, ApiError> {
        let request = self.request(Method::POST, paths::ACCESS_KEYS).await?;
        json_of(request.json(body)).await
    }

    pub async fn access_keys(&self) -> Result<Vec<AccessKey>, ApiError> {
        let keys: AccessKeys = self.get(paths::ACCESS_KEYS).await?;
        Ok(keys.items)
    }

    /// Buys credits with the pretended money of the mock payment provider.
    pub async fn purchase(&self, amount_usd: u32) -> Result<Purchased, ApiError> {
        let body = PurchaseBody {
            amount_usd: amount_usd.into(),
        };
        let request = self.request(Method::POST, paths::PURCHASE).await?;
        json_of(request.json(&body)).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Result<Response, ApiError> {
    checked(request.send().await?).await
}

pub(crate) async fn json_of<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ApiError> {
    Ok(send(request).await?.json().await?)
}
