//! Connections: accepted one by one, bounded in number, served until told to stop.
//!
//! Not `axum::serve`: that has neither a limit of connections nor a bound on how long a client may
//! take over its request's head.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::HttpConfig;

/// A client that takes longer over a request's head is not one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes read ahead of a connection at most; a body's frames are slices of this buffer.
const READ_BUFFER: usize = 256 * 1024;

/// Serves until `stop`, then lets running requests finish for up to `shutdown_timeout`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    stop: CancellationToken,
) {
    let (max_connections, shutdown_timeout) = (config.max_connections, config.shutdown_timeout);
    let idle_timeout = config.idle_timeout;
    let slots = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(READ_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let (socket, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: a pause lets some come back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        prepare(&socket, idle_timeout);
        let (builder, service) = (builder.clone(), service(&router, address));
        let (watcher, stop) = (graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            // The time limit for a head begins with its first byte; this is the one for that byte.
            let mut first = [0];
            let begun = tokio::time::timeout(HEADER_TIMEOUT, socket.peek(&mut first));
            if !matches!(stop.run_until_cancelled(begun).await, Some(Ok(Ok(1)))) {
                return;
            }
            let connection = builder
                .serve_connection_with_upgrades(TokioIo::new(socket), service)
                .into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%address, %error, "a connection ended badly");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(shutdown_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests that did not finish in time are cut");
    }
}

fn service(
    router: &Router,
    address: SocketAddr,
) -> impl hyper::service::Service<
    http::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ use<> {
    let router = router.clone();
    hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        router.clone().oneshot(request.map(axum::body::Body::new))
    })
}

/// Small answers must not wait for each other (Nagle), and a client that is gone, or takes nothing of
/// what it is sent (the user timeout counts a closed window too), must not be kept.
fn prepare(socket: &TcpStream, idle_timeout: Duration) {
    let options = socket2::SockRef::from(socket);
    let keepalive = socket2::TcpKeepalive::new().with_time(idle_timeout);
    let set = options
        .set_tcp_nodelay(true)
        .and_then(|()| options.set_tcp_user_timeout(Some(idle_timeout)))
        .and_then(|()| options.set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection's options cannot be set");
    }
}
