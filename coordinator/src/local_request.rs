//! Asks the coordinator that runs on this machine, over HTTP: `coordinator health` for container engines and scripts,
//! so that an image needs no HTTP client of its own, and `coordinator admin jobs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than `/readyz` itself waits for the database.
const TIMEOUT: Duration = Duration::from_secs(4);
const MAX_ANSWER_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    text: String,
}

impl Answer {
    /// What was answered; an error unless it is good.
    pub fn good(self) -> Result<String> {
        let Self { status, text } = self;
        let code = status.as_u16();
        ensure!(
            status.is_success(),
            "the coordinator cannot serve ({code}): {text}"
        );
        Ok(text)
    }
}

/// What `/readyz` says on the listener of `http.listen`; an error unless it is good.
pub async fn health(listen: SocketAddr) -> Result<String> {
    get(listen, api::paths::READYZ, "http.listen").await?.good()
}

/// GET `path` from a listener of the coordinator on this machine; `setting` says where the address comes from.
pub async fn get(listen: SocketAddr, path: &str, setting: &str) -> Result<Answer> {
    let address = reachable(listen);
    tokio::time::timeout(TIMEOUT, ask(address, path, setting))
        .await
        .with_context(|| format!("{address} does not answer within {TIMEOUT:?}"))?
}

async fn ask(address: SocketAddr, path: &str, setting: &str) -> Result<Answer> {
    let socket = TcpStream::connect(address).await.with_context(|| {
        format!("no coordinator listens on {address} ({setting}); is it running?")
    })?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
    let body = body.await.map_err(|error| anyhow!(error))?.to_bytes();
    connection.abort();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    Ok(Answer { status, text })
}

/// Where a listener on all addresses can be reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
