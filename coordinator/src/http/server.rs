//! Connections: accepted one by one, bounded in number ([`Connections`]), served until told to stop.
//!
//! Not `axum::serve`: that has neither a limit of connections nor a bound on how long a client may
//! take over its request's head.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::client_address::is_proxy;
use super::holding_body::HoldingBody;
use crate::config::HttpConfig;
use limits::connections::{Admission, Connection, Connections, Limits, UnderWay};
use limits::early_answer;
use limits::metered::Metered;

/// Bytes read ahead of a connection at most; a body's frames are slices of this buffer.
const READ_BUFFER: usize = 256 * 1024;

/// Requests of one HTTP/2 connection that may be under way at one time.
const STREAMS: u32 = 64;

/// Streams that a client may have reset, or has had reset for its errors, before its connection is closed.
const RESETS: usize = 64;

/// What is kept to be sent of each stream.
const SEND_BUFFER: usize = 128 * 1024;

/// Names and values of a request's head.
const HEAD_BYTES: u32 = 16 * 1024;

const PING_EVERY: Duration = Duration::from_secs(30);

/// How long the next connection waits for one of those that are all at work.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Serves until `stop`, then lets running requests finish for up to `shutdown_timeout`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: HttpConfig,
    stop: CancellationToken,
) {
    let connections = Connections::new(Limits {
        all: config.max_connections,
        per_address: config.max_connections_per_address,
        idle_timeout: config.idle_timeout,
    });
    let graceful = GracefulShutdown::new();
    let builder = builder();
    while let Some((socket, address)) = accept(&listener, &stop).await {
        let own = (!is_proxy(&config, address.ip())).then_some(address.ip());
        let Some(admission) = admit(&connections, own, &stop).await else {
            break;
        };
        let connection = match admission {
            Admission::Welcome(connection) => Arc::new(connection),
            Admission::TooManyOfAddress | Admission::Full => {
                refuse(&socket);
                continue;
            }
        };
        prepare(&socket, config.idle_timeout);
        let io = TokioIo::new(Metered::new(socket, connection.traffic()));
        let service = service(&router, address, &connection);
        let served = builder
            .serve_connection_with_upgrades(io, service)
            .into_owned();
        let served = graceful.watch(served);
        tokio::spawn(async move {
            tokio::select! {
                ended = served => if let Err(error) = ended {
                    tracing::debug!(%address, %error, "a connection ended badly");
                },
                () = connection.over() => {
                    tracing::debug!(%address, "a connection was idle for too long, or gave way");
                }
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(config.shutdown_timeout, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests that did not finish in time are cut");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Time is kept of the connection, whatever is spoken on it.
        .header_read_timeout(None::<Duration>)
        .max_buf_size(READ_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// The next connection; `None` when no more are wanted.
async fn accept(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets some come back.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Waits while all are at work.
async fn admit(
    connections: &Connections,
    address: Option<std::net::IpAddr>,
    stop: &CancellationToken,
) -> Option<Admission> {
    loop {
        match connections.admit(address) {
            Admission::Full => {
                let pause = tokio::time::sleep(FULL_PAUSE);
                stop.run_until_cancelled(pause).await?;
            }
            admission => return Some(admission),
        }
    }
}

/// Says so, as far as that goes without waiting.
fn refuse(socket: &TcpStream) {
    const REFUSAL: &[u8] =
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\n\
        Content-Type: text/plain\r\nContent-Length: 59\r\n\r\n\
        This address has as many connections as it may. Close some.";
    let _ = socket.try_write(REFUSAL);
}

/// A request is under way until its answer has been taken from here.
type Answer = Response<HoldingBody<Arc<UnderWay>>>;

fn service(
    router: &Router,
    address: SocketAddr,
    connection: &Arc<Connection>,
) -> impl hyper::service::Service<Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
+ Clone
+ use<> {
    let (router, connection) = (router.clone(), Arc::clone(connection));
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        let under_way = Arc::new(connection.begin());
        let (request, answered) = early_answer::wrap(request, Arc::clone(&under_way));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            let answer = answer.await?;
            answered.tell();
            Ok(answer.map(|body| HoldingBody::new(body, under_way)))
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::config::Config;

    async fn serving() -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (config, stop) = (
            Config::load(None, &[]).unwrap().http,
            CancellationToken::new(),
        );
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        tokio::spawn(serve(listener, router, config, stop.clone()));
        (address, stop)
    }

    /// How long a connection lives on which no more is said than this.
    async fn life(said: &[u8]) -> Duration {
        let (address, _stop) = serving().await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(said).await.unwrap();
        let began = Instant::now();
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed_whatever_its_first_bytes() {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
        let preface_and_settings = [PREFACE, SETTINGS].concat();
        let beginnings = [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
            PREFACE,
            &preface_and_settings,
            b"GET / HTTP/1.1\r\nhost:",
        ];
        for said in beginnings {
            let life = life(said).await;
            let expected = Duration::from_secs(9)..Duration::from_secs(12);
            assert!(expected.contains(&life), "{said:?}: {life:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_its_request() {
        let life = life(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let expected = Duration::from_secs(60)..Duration::from_secs(90);
        assert!(expected.contains(&life), "{life:?}");
    }
}
