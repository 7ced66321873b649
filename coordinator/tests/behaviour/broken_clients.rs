//! Clients that break off, stall, or send something other than they announced.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use coordinator::http::server;
use futures::{StreamExt, stream};
use http::StatusCode;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::support::{CHUNK, Client, Coordinator, Node, content, count, eventually, soon};

const CREDITS: i64 = 1_000_000_000;

/// Nothing of any upload is left, but what is going to be purged.
async fn nothing_is_left(pool: &PgPool, client: &Client) {
    let files = "SELECT count(*) FROM files WHERE state <> 'deleted'";
    eventually(|| async { (count(pool, files).await == 0).then_some(()) }).await;
    assert_eq!(client.balances().await, (CREDITS, 0, 0));
    assert_eq!(count(pool, "SELECT count(*) FROM uploads").await, 0);
    assert_eq!(
        count(pool, "SELECT sum(file_count)::bigint FROM users").await,
        0
    );
}

fn breaks_off(after: usize) -> Body {
    let frames = content(after);
    let frames: Vec<_> = frames.chunks(1000).map(Bytes::copy_from_slice).collect();
    let broken = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let frames = stream::iter(frames.into_iter().map(Ok)).chain(stream::iter([broken]));
    Body::from_stream(frames)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_that_breaks_off_leaves_nothing_but_purges(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    for length in [Some(10 * CHUNK), None] {
        let mut call = client.put("/api/v1/files?filename=a");
        if let Some(length) = length {
            call = call.header("content-length", &length.to_string());
        }
        let answer = call.body(breaks_off(5 * CHUNK + 7)).send().await;
        answer.problem(400, "invalid-request");
        nothing_is_left(&pool, &client).await;
    }
    coordinator.start_workers();
    for node in &nodes {
        node.until(<[_]>::is_empty).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_a_body_of_chunks_that_breaks_off_those_that_came_whole_stay(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(5 * CHUNK + 3);
    let upload = client.initiate("a", bytes.len()).await;
    let upload = upload.expect(StatusCode::CREATED);
    let call = client.send_chunks_call(&upload, 0);
    let broken = call.body(breaks_off(3 * CHUNK + 7)).send().await;
    broken.problem(400, "invalid-request");
    let status = client.upload_status(&upload).await.expect(StatusCode::OK);
    assert_eq!(status["missing"], serde_json::json!([3, 4, 5]));
    let rest = client.send_chunks(&upload, 3, &bytes[3 * CHUNK..]).await;
    assert_eq!(rest.expect(StatusCode::OK)["count"], 3);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, bytes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_breaks_off_is_not_taken_and_can_be_sent_again(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client
        .initiate("a", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    let id = upload["upload_id"].as_str().unwrap();
    let call = client.put(&format!("/api/v1/files/upload/{id}/chunk?index=0"));
    let broken = call.body(breaks_off(CHUNK - 1)).send().await;
    broken.problem(400, "invalid-request");
    assert!(nodes.iter().all(|node: &Node| node.blobs().is_empty()));
    client
        .complete(&upload)
        .await
        .problem(409, "chunks-missing");
    client
        .send_chunk(&upload, 0, &content(CHUNK))
        .await
        .expect(StatusCode::OK);
    client.complete(&upload).await.expect(StatusCode::CREATED);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_body_that_stands_still_is_given_up(pool: PgPool) {
    let settings = ["http.idle_timeout=50ms"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.customer().await;
    let first = Ok::<_, io::Error>(Bytes::from(content(CHUNK + 1)));
    let stalled = stream::iter([first]).chain(stream::pending());
    let call = client
        .put("/api/v1/files?filename=a")
        .body(Body::from_stream(stalled));
    call.send().await.problem(408, "timeout");
    nothing_is_left(&pool, &client).await;
}

/// The coordinator behind a real socket.
async fn listen(coordinator: &Coordinator) -> (TcpStream, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (router, config) = (
        coordinator.router.clone(),
        coordinator.app.config.http.clone(),
    );
    tokio::spawn(server::serve(listener, router, config, stop.clone()));
    (TcpStream::connect(address).await.unwrap(), stop)
}

/// Reads an answer of known length from a connection that stays open.
async fn answer(socket: &mut TcpStream) -> String {
    let read = async {
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        loop {
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let mut lines = head.lines();
                let length = lines.find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return text;
                }
            }
            let bytes = socket.read(&mut buffer).await.unwrap();
            assert!(bytes > 0, "cut after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
        }
    };
    soon(read).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_is_refused_may_send_the_rest_and_hears_the_refusal(pool: PgPool) {
    let settings = ["money.trial_microcredits=0"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (user, _client) = coordinator.user().await;
    let token = coordinator.token_of(user);
    let (mut socket, _stop) = listen(&coordinator).await;
    let bytes = vec![0; 4 * 1024 * 1024];
    let head = format!(
        "PUT /api/v1/files?filename=a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n",
        bytes.len()
    );
    // As a client does that writes everything before it reads anything; and twice on one connection.
    for _ in 0..2 {
        socket.write_all(head.as_bytes()).await.unwrap();
        soon(socket.write_all(&bytes)).await.unwrap();
        let refusal = answer(&mut socket).await;
        assert!(refusal.starts_with("HTTP/1.1 402"), "{refusal}");
        assert!(refusal.contains("insufficient-credits"), "{refusal}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_client_that_disappears_gets_its_credits_back(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let token = coordinator.token_of(user);
    let (mut socket, _stop) = listen(&coordinator).await;
    let head = format!(
        "PUT /api/v1/files?filename=a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n",
        10 * CHUNK
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&content(4 * CHUNK + 9)).await.unwrap();
    nodes[0].until(|blobs| blobs.len() == 4).await;
    drop(socket);
    nothing_is_left(&pool, &client).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_two_lengths_the_chunks_count_and_are_paid_for(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (user, client) = coordinator.customer().await;
    let token = coordinator.token_of(user);
    let (mut socket, _stop) = listen(&coordinator).await;
    // `Transfer-Encoding` goes before `Content-Length`.
    let request = format!(
        "PUT /api/v1/files?filename=a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
         a\r\n0123456789\r\n0\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = soon(socket.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(answer.contains("\"size_bytes\":10,"), "{answer}");
    let paid = crate::support::price("a", 10);
    assert_eq!(client.balances().await, (CREDITS - paid, 0, paid));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_server_that_stops_finishes_what_runs(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (user, _client) = coordinator.customer().await;
    let token = coordinator.token_of(user);
    let (mut socket, stop) = listen(&coordinator).await;
    let bytes = content(2 * CHUNK);
    let head = format!(
        "PUT /api/v1/files?filename=a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n",
        bytes.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&bytes[..CHUNK]).await.unwrap();
    nodes[0].until(|blobs| blobs.len() == 1).await;
    stop.cancel();
    socket.write_all(&bytes[CHUNK..]).await.unwrap();
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}
