//! A client of the API that needs no socket.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header, request};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt;

use super::soon;

#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(router: Router, token: Option<String>) -> Self {
        Self { router, token }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self::new(self.router.clone(), Some(token.to_owned()))
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let address: SocketAddr = "192.0.2.1:1234".parse().unwrap();
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .extension(ConnectInfo(address));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        Call {
            router: self.router.clone(),
            request,
            body: Body::empty(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).send().await
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    /// Stores a file in one request of known length; the file as it is described.
    pub(crate) async fn upload(&self, filename: &str, content: &[u8]) -> Value {
        let answer = self.upload_call(filename, content).send().await;
        answer.expect(StatusCode::CREATED)
    }

    pub(crate) fn upload_call(&self, filename: &str, content: &[u8]) -> Call {
        let filename = utf8_percent_encode(filename, NON_ALPHANUMERIC);
        self.put(&format!("/api/v1/files?filename={filename}"))
            .header("content-length", &content.len().to_string())
            .body(content.to_vec())
    }

    pub(crate) async fn download(&self, file: &Value) -> Answer {
        let id = file["file_id"].as_str().unwrap();
        self.get(&format!("/api/v1/files/{id}/download")).await
    }

    /// The whole file, which has to be readable.
    pub(crate) async fn content(&self, file: &Value) -> Bytes {
        let answer = self.download(file).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.body.unwrap()
    }

    pub(crate) async fn initiate(&self, filename: &str, size_bytes: usize) -> Answer {
        let body = serde_json::json!({"filename": filename, "size_bytes": size_bytes});
        let call = self.post("/api/v1/files/upload/initiate");
        call.body(body.to_string()).send().await
    }

    pub(crate) async fn send_chunk(&self, upload: &Value, index: usize, content: &[u8]) -> Answer {
        let id = upload["upload_id"].as_str().unwrap();
        let call = self.put(&format!("/api/v1/files/upload/{id}/chunk?index={index}"));
        call.body(content.to_vec()).send().await
    }

    /// Chunks in one body, of which `first` is the first.
    pub(crate) async fn send_chunks(&self, upload: &Value, first: usize, content: &[u8]) -> Answer {
        let call = self.send_chunks_call(upload, first);
        call.body(content.to_vec()).send().await
    }

    pub(crate) fn send_chunks_call(&self, upload: &Value, first: usize) -> Call {
        let id = upload["upload_id"].as_str().unwrap();
        self.put(&format!("/api/v1/files/upload/{id}/chunks?first={first}"))
    }

    pub(crate) async fn complete(&self, upload: &Value) -> Answer {
        let id = upload["upload_id"].as_str().unwrap();
        let call = self.post(&format!("/api/v1/files/upload/{id}/complete"));
        call.send().await
    }

    pub(crate) async fn abort(&self, upload: &Value) -> Answer {
        let id = upload["upload_id"].as_str().unwrap();
        self.delete(&format!("/api/v1/files/upload/{id}")).await
    }

    pub(crate) async fn upload_status(&self, upload: &Value) -> Answer {
        let id = upload["upload_id"].as_str().unwrap();
        self.get(&format!("/api/v1/files/upload/{id}")).await
    }

    /// Available, held and in escrow, in micro-credits.
    pub(crate) async fn balances(&self) -> (i64, i64, i64) {
        let me = self.get("/api/v1/auth/me").await.expect(StatusCode::OK);
        let amount = |name: &str| me[name].as_i64().unwrap();
        (
            amount("available_microcredits"),
            amount("held_microcredits"),
            amount("escrow_microcredits"),
        )
    }
}

/// A request that is being written.
pub(crate) struct Call {
    router: Router,
    request: request::Builder,
    body: Body,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// As it arrives from there.
    pub(crate) fn from(mut self, address: &str) -> Self {
        let address: SocketAddr = format!("{address}:1234").parse().unwrap();
        self.request = self.request.extension(ConnectInfo(address));
        self
    }

    /// With an access key, as its answer showed it, in place of a token.
    pub(crate) fn with_key(self, key: &Value) -> Self {
        let member = |name: &str| key[name].as_str().unwrap().to_owned();
        let shown = format!(
            "{}:{}",
            member("access_key_id"),
            member("secret_access_key")
        );
        self.header(
            "authorization",
            &format!("Basic {}", BASE64_STANDARD.encode(shown)),
        )
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let response = soon(self.router.oneshot(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await;
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.map(http_body_util::Collected::to_bytes),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// An error when the server cut the connection.
    pub body: Result<Bytes, axum::Error>,
}

impl Answer {
    pub(crate) fn bytes(&self) -> &Bytes {
        self.body.as_ref().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        let bytes = self.bytes();
        serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
    }

    /// The JSON of an answer with this status; `null` where there is no content.
    #[track_caller]
    pub(crate) fn expect(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        if self.bytes().is_empty() {
            return Value::Null;
        }
        self.json()
    }

    /// The problem document, which has the shape that all have.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, slug: &str) -> Value {
        let document = self.json();
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{document}"
        );
        assert_eq!(
            document["type"],
            format!("urn:fsn:problem:{slug}"),
            "{document}"
        );
        assert_eq!(document["status"], status, "{document}");
        assert_eq!(self.status.as_u16(), status);
        for member in ["title", "detail", "instance"] {
            assert!(
                document[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{document}"
            );
        }
        assert_eq!(document["request_id"], self.header("x-request-id"));
        document
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} among {:?}", self.headers));
        value.to_str().unwrap()
    }
}
