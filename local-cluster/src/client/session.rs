//! Who asks: anybody, or a user who has logged in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::auth::{Credentials, Me, Registered, Tokens};
use api::credits::{PurchaseBody, Purchased};
use api::nodes::Node;
use api::page::{DEFAULT_LIMIT, Page, PageParams};
use api::paths;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::error::{ApiError, checked};
use crate::record::AccessKeyRecord;

/// An access token is renewed this long before it expires.
const RENEW_BEFORE: Duration = Duration::from_secs(120);

/// Somebody without a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
}

/// A user with a token that is renewed as long as the session lives.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    email: String,
    password: String,
    token: Arc<Mutex<Token>>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    renew_at: Instant,
}

impl Client {
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

    pub async fn login(&self, email: &str, password: &str) -> Result<Session, ApiError> {
        let token = self.token(email, password).await?;
        Ok(Session {
            client: self.clone(),
            email: email.to_owned(),
            password: password.to_owned(),
            token: Arc::new(Mutex::new(token)),
        })
    }

    async fn token(&self, email: &str, password: &str) -> Result<Token, ApiError> {
        let asked = Instant::now();
        let request = self.request(Method::POST, paths::LOGIN);
        let tokens: Tokens = json_of(request.json(&credentials(email, password))).await?;
        let lifetime = Duration::from_secs(tokens.expires_in);
        Ok(Token {
            text: tokens.access_token,
            renew_at: asked + lifetime.saturating_sub(RENEW_BEFORE),
        })
    }
}

fn credentials(email: &str, password: &str) -> Credentials {
    Credentials {
        email: email.to_owned(),
        password: password.to_owned(),
    }
}

impl Session {
    /// The same user with the same token, who asks another coordinator.
    pub fn at(&self, client: Client) -> Self {
        Self {
            client,
            ..self.clone()
        }
    }

    /// A request in this user's name, to a path from the root, as [`api::paths`] has them.
    pub async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let token = self.access_token().await?;
        Ok(self.client.request(method, path).bearer_auth(token))
    }

    pub async fn access_token(&self) -> Result<String, ApiError> {
        let mut token = self.token.lock().await;
        if Instant::now() >= token.renew_at {
            *token = self.client.token(&self.email, &self.password).await?;
        }
        Ok(token.text.clone())
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

    /// A key with which programs may do everything with objects.
    pub(crate) async fn create_access_key(&self, name: &str) -> Result<AccessKeyRecord, ApiError> {
        #[derive(Deserialize)]
        struct Made {
            access_key_id: String,
            secret_access_key: String,
        }
        let body = json!({
            "name": name,
            "scopes": ["read", "write", "list", "delete"],
            "s3": true,
        });
        let request = self.request(Method::POST, paths::ACCESS_KEYS).await?;
        let made: Made = json_of(request.json(&body)).await?;
        Ok(AccessKeyRecord {
            access_key: made.access_key_id,
            secret_key: made.secret_access_key,
        })
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
