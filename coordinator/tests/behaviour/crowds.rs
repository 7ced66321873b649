//! Clients that take much of what there is for all, and those who come beside them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use coordinator::http::server;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt, stream};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use limits::memory::Holder;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{CHUNK, Client, Coordinator, content, eventually, soon};

/// The coordinator behind a real socket.
async fn listen(coordinator: &Coordinator) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (router, config) = (
        coordinator.router.clone(),
        coordinator.app.config.http.clone(),
    );
    tokio::spawn(server::serve(listener, router, config, stop.clone()));
    (address, stop)
}

async fn connect(address: SocketAddr, said: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(said).await.unwrap();
    socket
}

/// A body of which nothing comes, and which tells when somebody waits for it.
fn never(asked: &Arc<Notify>) -> Body {
    let asked = Arc::clone(asked);
    let nothing = stream::once(async move {
        asked.notify_one();
        std::future::pending::<io::Result<Bytes>>().await
    });
    Body::from_stream(nothing)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn uploads_of_which_nothing_comes_keep_nobody_waiting(pool: PgPool) {
    let settings = ["uploads.memory=64KiB", "http.idle_timeout=1d"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (idler, _) = coordinator.user().await;
    let token = coordinator.token_of(idler);
    let (address, _stop) = listen(&coordinator).await;
    let head = format!(
        "PUT /api/v1/files?filename=z HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {CHUNK}\r\n\r\n"
    );
    let idle = join_all((0..70).map(|_| connect(address, head.as_bytes()))).await;
    let (_, client) = coordinator.customer().await;
    for _ in 0..10 {
        client.upload("a", &content(3 * CHUNK)).await;
    }
    drop(idle);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn many_halves_of_chunks_are_all_stored_in_the_end(pool: PgPool) {
    // What arrives has room for four chunks.
    let settings = ["uploads.memory=64KiB", "http.idle_timeout=1d"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let uploads = (0..20).map(|number| {
        let (client, go) = (client.clone(), Arc::clone(&go));
        async move {
            let bytes = content(CHUNK);
            let (first, second) = bytes.split_at(CHUNK / 2);
            let (first, second) = (first.to_vec(), second.to_vec());
            let second = stream::once(async move {
                let _ = go.acquire().await.map(tokio::sync::SemaphorePermit::forget);
                Ok(Bytes::from(second))
            });
            let body = stream::iter([Ok::<_, io::Error>(Bytes::from(first))]).chain(second);
            let call = client
                .put(&format!("/api/v1/files?filename={number}"))
                .header("content-length", &CHUNK.to_string());
            let stored = call.body(Body::from_stream(body)).send().await;
            stored.expect(StatusCode::CREATED);
        }
    });
    let all = tokio::spawn(join_all(uploads.collect::<Vec<_>>()));
    let arriving = &coordinator.app.files.upload_memory.arriving;
    eventually(|| async { arriving.is_contended().then_some(()) }).await;
    go.add_permits(20);
    soon(all).await.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_cannot_pay_is_refused_before_a_byte_is_read(pool: PgPool) {
    let settings = ["money.trial_microcredits=0", "http.idle_timeout=1d"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.user().await;
    let asked = Arc::new(Notify::new());
    for length in [Some(CHUNK), Some(10 * CHUNK), None] {
        let mut call = client.put("/api/v1/files?filename=a");
        if let Some(length) = length {
            call = call.header("content-length", &length.to_string());
        }
        let refused = call.body(never(&asked)).send().await;
        refused.problem(402, "insufficient-credits");
    }
    let form = client
        .post("/api/v1/files")
        .header("content-type", "multipart/form-data; boundary=x");
    let refused = form.body(never(&asked)).send().await;
    refused.problem(402, "insufficient-credits");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_was_read_ahead_for_those_who_do_not_read_is_there_for_others(pool: PgPool) {
    let settings = [
        "downloads.memory=64KiB",
        "downloads.window=12",
        "http.idle_timeout=1d",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (user, client) = coordinator.customer().await;
    let file = client.upload("long", &content(40 * CHUNK)).await;
    let path = format!(
        "/api/v1/files/{}/download",
        file["file_id"].as_str().unwrap()
    );
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let token = coordinator.token_of(user);
        let request = http::Request::builder()
            .method(Method::GET)
            .uri(&path)
            .header("authorization", format!("Bearer {token}"))
            .extension(axum::extract::ConnectInfo::<SocketAddr>(
                "192.0.2.7:1".parse().unwrap(),
            ));
        let request = request.body(Body::empty()).unwrap();
        let answer = coordinator.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        stalled.push(answer.into_body());
    }
    // All there is, which leaves nothing for those who were there before.
    let files = &coordinator.app.files;
    let everything = files.download_memory.reserve(64 * 1024);
    let everything = soon(everything).await;
    drop(everything);
    // And whoever reads after all gets every byte, also now that they are fetched anew.
    let body = soon(stalled.remove(0).collect()).await.unwrap();
    assert_eq!(body.to_bytes(), content(40 * CHUNK));
    let others = Holder {
        account: user,
        address: [198, 51, 100, 1].into(),
    };
    soon(files.download_memory.reserve_for(others, 16 * 1024)).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn connections_that_say_one_byte_keep_nobody_out(pool: PgPool) {
    let settings = [
        "http.max_connections=20",
        "http.max_connections_per_address=20",
    ];
    let coordinator = Coordinator::with(pool, &settings).await;
    let (address, _stop) = listen(&coordinator).await;
    let silent = join_all((0..40).map(|_| connect(address, b"P"))).await;
    let mut newcomer = connect(
        address,
        b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    let mut answer = String::new();
    soon(newcomer.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(silent);
}

/// A request under way from a client of a proxy.
async fn under_way(client: &Client, forwarded: &'static str) -> tokio::task::JoinHandle<()> {
    let asked = Arc::new(Notify::new());
    let call = client
        .put("/api/v1/files?filename=a")
        .header("x-forwarded-for", forwarded)
        .header("content-length", "4")
        .body(never(&asked));
    let task = tokio::spawn(async move {
        call.send().await;
    });
    soon(asked.notified()).await;
    task
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn behind_a_trusted_proxy_each_client_counts_for_itself(pool: PgPool) {
    let settings = [
        "http.max_connections_per_address=1",
        "http.trusted_proxies=[\"192.0.2.0/24\"]",
        "http.idle_timeout=1d",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    let me = |forwarded: &'static str| {
        let call = client.call(Method::GET, "/api/v1/auth/me");
        call.header("x-forwarded-for", forwarded).send()
    };
    let busy = under_way(&client, "203.0.113.1").await;
    // What its client has written before does not count.
    let refused = me("198.51.100.9, 203.0.113.1").await;
    refused.problem(429, "too-many-requests");
    assert_eq!(me("203.0.113.2").await.status, StatusCode::OK);
    busy.abort();
    let _ = busy.await;
    assert_eq!(me("203.0.113.1").await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nobody_chooses_the_address_that_he_counts_for(pool: PgPool) {
    let settings = [
        "http.max_connections_per_address=1",
        "http.trusted_proxies=[\"10.0.0.0/8\"]",
        "http.idle_timeout=1d",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    let busy = under_way(&client, "203.0.113.1").await;
    let call = client.call(Method::GET, "/api/v1/auth/me");
    let refused = call.header("x-forwarded-for", "203.0.113.2").send().await;
    refused.problem(429, "too-many-requests");
    busy.abort();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_download_that_nobody_reads_holds_no_connection_to_the_database(pool: PgPool) {
    // More chunks than one query tells the places of.
    const CHUNKS: usize = 270;
    let connections = pool.options().get_max_connections();
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (user, client) = coordinator.customer().await;
    let file = client.upload("long", &content(CHUNKS * CHUNK)).await;
    let id = file["file_id"].as_str().unwrap();
    let request = http::Request::builder()
        .uri(format!("/api/v1/files/{id}/download"))
        .header(
            "authorization",
            format!("Bearer {}", coordinator.token_of(user)),
        )
        .extension(axum::extract::ConnectInfo::<SocketAddr>(
            "192.0.2.7:1".parse().unwrap(),
        ));
    let request = request.body(Body::empty()).unwrap();
    let answer = coordinator.router.clone().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(frame) = soon(body.frame()).await {
        read += frame.unwrap().into_data().unwrap().len();
        // Wherever its client stops, all connections are there for others.
        let all = join_all((0..connections).map(|_| coordinator.app.db.acquire()));
        assert!(soon(all).await.iter().all(Result::is_ok), "{read}");
    }
    assert_eq!(read, CHUNKS * CHUNK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_crowd_that_waits_for_the_database_lets_others_pass(pool: PgPool) {
    const CROWD: usize = 100;
    let settings = ["http.trusted_proxies=[\"192.0.2.0/24\"]"];
    let connections = pool.options().get_max_connections() as usize;
    let coordinator = Coordinator::with(pool.clone(), &settings).await;
    let (crowd, (_, honest)) = (coordinator.user().await, coordinator.user().await);
    let me = |client: &Client, forwarded: &'static str| {
        let call = client.call(Method::GET, "/api/v1/balance");
        call.header("x-forwarded-for", forwarded).send()
    };
    // Somebody has all connections, and what has no client comes before whoever has one.
    let mut busy = join_all((0..connections).map(|_| coordinator.app.db.acquire())).await;
    let mut crowd: FuturesUnordered<_> = (0..CROWD).map(|_| me(&crowd.1, "203.0.113.1")).collect();
    assert!(crowd.next().now_or_never().is_none());
    let honest = me(&honest, "203.0.113.2");
    let mut honest = std::pin::pin!(honest);
    assert!(honest.as_mut().now_or_never().is_none());
    busy.clear();
    let mut before = 0;
    let answer = loop {
        tokio::select! {
            biased;
            Some(answer) = crowd.next() => {
                assert_eq!(answer.status, StatusCode::OK);
                before += 1;
            }
            answer = &mut honest => break answer,
        }
    };
    assert_eq!(answer.status, StatusCode::OK);
    assert!(before <= 2 * connections, "{before} were answered before");
}
