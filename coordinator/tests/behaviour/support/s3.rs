//! A client of S3 that needs no socket: requests are signed here, by the book (SigV4), with nothing of the server's.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kit::Clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use super::{Answer, Client, soon};

const HOST: &str = "s3.test";

/// What a signature leaves as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

#[derive(Clone)]
pub(crate) struct S3Client {
    pub router: Router,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

/// A request that is being written.
pub(crate) struct S3Call<'a> {
    client: &'a S3Client,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    payload: Option<String>,
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    match key.len() > block.len() {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let pad = |byte: u8| block.map(|b| b ^ byte);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl S3Client {
    /// With a key that this account makes.
    pub(crate) async fn new(router: &Router, account: &Client, wanted: &str) -> Self {
        let made = account
            .post("/api/v1/access-keys")
            .body(wanted.to_owned())
            .send()
            .await;
        let made = made.expect(StatusCode::CREATED);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Self {
            router: router.clone(),
            access_key: text("access_key_id"),
            secret_key: text("secret_access_key"),
            region: "fsn".to_owned(),
        }
    }

    /// `path` is not encoded yet.
    pub(crate) fn call(&self, method: Method, path: &str) -> S3Call<'_> {
        S3Call {
            client: self,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            payload: None,
        }
    }

    pub(crate) fn get(&self, path: &str) -> S3Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> S3Call<'_> {
        self.call(Method::PUT, path).body(body)
    }

    fn signature(&self, date: &str, to_sign: &str) -> String {
        let key = format!("AWS4{}", self.secret_key);
        let mut key = hmac(key.as_bytes(), date.as_bytes());
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        hex::encode(hmac(&key, to_sign.as_bytes()))
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = soon(self.router.clone().oneshot(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = soon(body.collect()).await;
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.map(http_body_util::Collected::to_bytes),
        }
    }
}

/// Without a signature.
pub(crate) fn bare(method: Method, uri: &str) -> Request<Body> {
    let address: SocketAddr = "192.0.2.1:1234".parse().unwrap();
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", HOST);
    request
        .extension(ConnectInfo(address))
        .body(Body::empty())
        .unwrap()
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

impl S3Call<'_> {
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// What is signed in the place of the body's digest.
    pub(crate) fn payload(mut self, word: &str) -> Self {
        self.payload = Some(word.to_owned());
        self
    }

    fn encoded_query(&self) -> String {
        let mut pairs: Vec<String> = self
            .query
            .iter()
            .map(|(name, value)| {
                let encode = |text| utf8_percent_encode(text, QUERY).to_string();
                format!("{}={}", encode(name), encode(value))
            })
            .collect();
        pairs.sort_unstable();
        pairs.join("&")
    }

    fn request(self, headers: Vec<(String, String)>, query: &str) -> Request<Body> {
        let path = utf8_percent_encode(&self.path, PATH);
        let uri = match query {
            "" => path.to_string(),
            query => format!("{path}?{query}"),
        };
        // Clients tell the length of what they send, and of nothing where nothing is expected.
        let tells_length = !matches!(self.method, Method::GET | Method::HEAD | Method::DELETE);
        let mut request = bare(self.method, &uri);
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        if tells_length {
            let length = self.body.len().to_string();
            request
                .headers_mut()
                .insert("content-length", length.parse().unwrap());
        }
        *request.body_mut() = Body::from(self.body);
        request
    }

    /// Signed in its head.
    pub(crate) async fn send(self) -> Answer {
        let at = stamp(Clock::system().now());
        let payload = self
            .payload
            .clone()
            .unwrap_or_else(|| hex_sha256(&self.body));
        let mut headers = self.headers.clone();
        headers.push(("host".to_owned(), HOST.to_owned()));
        headers.push(("x-amz-date".to_owned(), at.clone()));
        headers.push(("x-amz-content-sha256".to_owned(), payload.clone()));
        headers.sort();
        let query = self.encoded_query();
        let path = utf8_percent_encode(&self.path, PATH).to_string();
        let mut canonical = format!("{}\n{path}\n{query}\n", self.method);
        for (name, value) in &headers {
            writeln!(canonical, "{name}:{value}").unwrap();
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        write!(canonical, "\n{names}\n{payload}").unwrap();
        let (client, date) = (self.client, &at[..8]);
        let scope = format!("{date}/{}/s3/aws4_request", client.region);
        let digest = hex_sha256(canonical.as_bytes());
        let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
        let signature = client.signature(date, &to_sign);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            client.access_key
        );
        headers.push(("authorization".to_owned(), authorization));
        client.send(self.request(headers, &query)).await
    }

    /// Signed in its query, as a link that is good for so long.
    pub(crate) fn link(mut self, seconds: u64) -> Request<Body> {
        let at = stamp(Clock::system().now());
        let (client, date) = (self.client, at[..8].to_owned());
        let scope = format!("{date}/{}/s3/aws4_request", client.region);
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{scope}", client.access_key)),
            ("X-Amz-Date", at.clone()),
            ("X-Amz-Expires", seconds.to_string()),
            ("X-Amz-SignedHeaders", "host".to_owned()),
        ] {
            self = self.query(name, &value);
        }
        let query = self.encoded_query();
        let path = utf8_percent_encode(&self.path, PATH).to_string();
        let canonical = format!(
            "{}\n{path}\n{query}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD",
            self.method
        );
        let digest = hex_sha256(canonical.as_bytes());
        let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
        let signature = client.signature(&date, &to_sign);
        self.request(Vec::new(), &format!("{query}&X-Amz-Signature={signature}"))
    }
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap()
    }

    /// What stands in all elements of this name.
    pub(crate) fn all(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let pieces = self.text().split(open.as_str()).skip(1);
        pieces
            .map(|piece| piece.split(close.as_str()).next().unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn only(&self, element: &str) -> &str {
        let all = self.all(element);
        assert_eq!(all.len(), 1, "{element} in {}", self.text());
        all[0]
    }

    /// An error of S3, with this code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.only("Code"), code, "{}", self.text());
    }

    #[track_caller]
    pub(crate) fn fine(&self) -> &Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        self
    }
}
