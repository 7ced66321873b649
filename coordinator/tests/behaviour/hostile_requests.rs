//! Whatever strangers send to the HTTP port is answered or hung up on, and never by a fault of ours.
//!
//! Over real sockets, so that the parsers in front of the router have their part. The corpus is whole requests, in
//! which `{token}` and `{file}` stand for a good token and a file that is there.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coordinator::accounts::access_tokens;
use coordinator::http::server;
use kit::Clock;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Coordinator, content, soon};

const DIR: &str = env!("CARGO_MANIFEST_DIR");

/// Each of these goes to the database, some to nodes.
const CASES: u32 = 1_000;

fn replace(bytes: &[u8], what: &str, with: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(what.len()).position(|w| w == what.as_bytes()) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(with.as_bytes());
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What comes back before the connection ends.
fn answer(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    // It may hang up on us in the middle.
    let _ = socket.write_all(request);
    let _ = socket.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        use std::io::ErrorKind::{TimedOut, WouldBlock};
        assert!(
            !matches!(error.kind(), TimedOut | WouldBlock),
            "it never ends"
        );
    }
    answer
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn requests_are_answered_or_hung_up_on_and_never_by_a_fault(pool: PgPool) {
    let settings = [
        "auth.requests_per_address=4000000000",
        "auth.requests_per_account=4000000000",
        "http.idle_timeout=2s",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (user, client) = coordinator.customer().await;
    let file = client.upload("a", &content(5000)).await;
    let (token, file) = (
        coordinator.token_of(user),
        file["file_id"].as_str().unwrap().to_owned(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (router, config) = (
        coordinator.router.clone(),
        coordinator.app.config.http.clone(),
    );
    tokio::spawn(server::serve(listener, router, config, stop.clone()));

    let filled = move |bytes: &[u8]| replace(&replace(bytes, "{token}", &token), "{file}", &file);
    let filled = Arc::new(filled);
    let attack = {
        let filled = Arc::clone(&filled);
        move || {
            let corpus = hostile::kept(&Path::new(DIR).join("tests/corpus/http"));
            let sound: Vec<_> = corpus.iter().map(|(_, bytes)| filled(bytes)).collect();
            hostile::attack_with(hostile::cases_or(CASES), DIR, "http", sound, |bytes| {
                let answer = answer(address, bytes);
                let status = answer.get(9..12).unwrap_or_default();
                assert!(
                    !matches!(status, b"500" | b"502"),
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
            });
        }
    };
    tokio::task::spawn_blocking(attack).await.unwrap();
    // It serves on.
    let request = filled(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let alive = tokio::task::spawn_blocking(move || answer(address, &request));
    assert!(soon(alive).await.unwrap().starts_with(b"HTTP/1.1 200"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn no_tampered_access_token_is_taken(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (user, _) = coordinator.customer().await;
    let sound = coordinator.token_of(user);
    let (ring, now) = (&coordinator.app.keys.ring, Clock::system().now());
    assert!(access_tokens::verify(ring, &sound, now).is_ok());
    hostile::attack(DIR, "tokens", [sound.clone().into_bytes()], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let taken = access_tokens::verify(ring, &text, now).is_ok();
        assert_eq!(taken, text == sound, "{text}");
    });
}
