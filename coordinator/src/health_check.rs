//! `coordinator health`: asks the coordinator that runs on this machine whether it can serve. For
//! container engines and scripts, so that an image needs no HTTP client of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, client, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longer than `/readyz` itself waits for the database.
const TIMEOUT: Duration = Duration::from_secs(4);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What `/readyz` says on the listener of `http.listen`; an error unless it is good.
pub async fn run(listen: SocketAddr) -> anyhow::Result<String> {
    let address = reachable(listen);
    tokio::time::timeout(TIMEOUT, ask(address))
        .await
        .with_context(|| format!("{address} does not answer within {TIMEOUT:?}"))?
}

async fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let socket = TcpStream::connect(address).await.with_context(|| {
        format!("no coordinator listens on {address} (http.listen); is it running?")
    })?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(api::paths::READYZ)
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
    let body = body.await.map_err(|error| anyhow!(error))?.to_bytes();
    connection.abort();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    ensure!(
        status.is_success(),
        "the coordinator cannot serve ({}): {text}",
        status.as_u16()
    );
    Ok(text)
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
