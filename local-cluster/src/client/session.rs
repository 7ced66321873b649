//! Who asks: anybody, or a user who has logged in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::error::{ApiError, checked};

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

/// One page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Login {
    access_token: String,
    expires_in: u64,
}

impl Client {
    /// `base_url` without a slash at its end, as in `status --output json`.
    pub fn new(base_url: impl Into<String>) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .tcp_nodelay(true)
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            http,
            base_url: base_url.into(),
        })
    }

    /// A request to a path from the root, `/health` for instance.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base_url))
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        match json_of(self.request(Method::GET, path)).await {
            Err(error) if error.is_closed_connection() => {
                json_of(self.request(Method::GET, path)).await
            }
            outcome => outcome,
        }
    }

    pub async fn is_ready(&self) -> bool {
        let request = self.request(Method::GET, "/readyz");
        let answer = request.timeout(Duration::from_secs(5)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Every node that the coordinator knows, as JSON objects of the API.
    pub async fn nodes(&self) -> Result<Vec<Value>, ApiError> {
        let page: Page<Value> = self.get("/api/v1/nodes?limit=100").await?;
        Ok(page.items)
    }

    pub async fn register(&self, email: &str, password: &str) -> Result<Value, ApiError> {
        let body = json!({"email": email, "password": password});
        json_of(
            self.request(Method::POST, "/api/v1/auth/register")
                .json(&body),
        )
        .await
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
        let body = json!({"email": email, "password": password});
        let login: Login =
            json_of(self.request(Method::POST, "/api/v1/auth/login").json(&body)).await?;
        let lifetime = Duration::from_secs(login.expires_in);
        Ok(Token {
            text: login.access_token,
            renew_at: asked + lifetime.saturating_sub(RENEW_BEFORE),
        })
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

    /// A request in this user's name, to a path under `/api/v1`.
    pub async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let token = self.access_token().await?;
        let request = self.client.request(method, &format!("/api/v1{path}"));
        Ok(request.bearer_auth(token))
    }

    pub async fn access_token(&self) -> Result<String, ApiError> {
        let mut token = self.token.lock().await;
        if Instant::now() >= token.renew_at {
            *token = self.client.token(&self.email, &self.password).await?;
        }
        Ok(token.text.clone())
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        match json_of(self.request(Method::GET, path).await?).await {
            Err(error) if error.is_closed_connection() => {
                json_of(self.request(Method::GET, path).await?).await
            }
            outcome => outcome,
        }
    }

    pub async fn me(&self) -> Result<Value, ApiError> {
        self.get("/auth/me").await
    }

    /// Buys credits with the pretended money of the mock payment provider.
    pub async fn purchase(&self, amount_usd: u32) -> Result<Value, ApiError> {
        let request = self.request(Method::POST, "/auth/credits/purchase").await?;
        json_of(request.json(&json!({"amount_usd": amount_usd}))).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Result<Response, ApiError> {
    checked(request.send().await?).await
}

pub(crate) async fn json_of<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ApiError> {
    Ok(send(request).await?.json().await?)
}
