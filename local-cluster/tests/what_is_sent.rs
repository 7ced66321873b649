//! What clients say of what they send is held to, over real sockets: parts of files, codings, digests, keys, names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use local_cluster::Cluster;
use local_cluster::client::Session;
use reqwest::{Method, Response, StatusCode, header};
use sha2::{Digest, Sha256};
use support::{CHUNK, random_bytes, refused, shared, user};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TEN: &str = "/api/v1/files?filename=ten";

async fn put(user: &Session, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
    let mut request = user.request(Method::PUT, path).await.unwrap();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).send().await.unwrap()
}

/// The answer to a request that is written as it stands here, behind the line that names it.
async fn raw(cluster: &Cluster, user: &Session, request: &str, rest: &str) -> String {
    let token = user
        .request(Method::GET, TEN)
        .await
        .unwrap()
        .build()
        .unwrap();
    let token = token.headers()[header::AUTHORIZATION]
        .to_str()
        .unwrap()
        .to_owned();
    let base = cluster.base_url();
    let address = base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nhost: {address}\r\nauthorization: {token}\r\nconnection: close\r\n{rest}"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

fn digest(bytes: &[u8]) -> String {
    format!(
        "sha-256=:{}:",
        BASE64_STANDARD.encode(Sha256::digest(bytes))
    )
}

#[tokio::test]
async fn a_part_of_a_file_is_never_stored_as_the_file() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    for (name, value, status) in [
        ("content-range", "bytes 6-9/10", 400), // curl -C 6 -T ten
        ("content-encoding", "gzip", 415),
        ("if-none-match", "*", 400),
        ("if-match", "\"x\"", 412),
        ("upload-offset", "6", 400),
    ] {
        let answer = put(&user, TEN, &[(name, value)], b"6789".to_vec()).await;
        assert_eq!(answer.status().as_u16(), status, "{name}");
    }
    let gzip = "transfer-encoding: gzip, chunked\r\n\r\n4\r\n6789\r\n0\r\n\r\n";
    let answer = raw(&cluster, &user, &format!("PUT {TEN}"), gzip).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = raw(&cluster, &user, &format!("PUT {TEN}"), "\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
    assert!(user.files().await.unwrap().items.is_empty());

    let file = user.upload("ten", Some(10), "0123456789").await.unwrap();
    let path = api::paths::file_download(file.file_id);
    let last = user.request(Method::GET, &path).await.unwrap();
    let last = last
        .header(header::RANGE, "bytes=-100")
        .send()
        .await
        .unwrap();
    assert_eq!(last.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(last.headers()[header::CONTENT_RANGE], "bytes 0-9/10");
    assert_eq!(last.text().await.unwrap(), "0123456789");
}

#[tokio::test]
async fn a_key_and_a_digest_name_the_bytes_that_they_came_with() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    for size in [1000, 2 * CHUNK + 1] {
        let (bytes, other) = (random_bytes(size).to_vec(), random_bytes(size).to_vec());
        let key = format!("key-{size}");
        let keyed = |body: Vec<u8>| {
            let (user, key) = (&user, &key);
            async move { put(user, TEN, &[("idempotency-key", key)], body).await }
        };
        let first = keyed(bytes.clone()).await;
        assert_eq!(first.status(), StatusCode::CREATED);
        let first: api::files::File = first.json().await.unwrap();
        assert_eq!(first.sha256, Some(hex::encode(Sha256::digest(&bytes))));
        let again: api::files::File = keyed(bytes.clone()).await.json().await.unwrap();
        assert_eq!(again, first);
        let refused = keyed(other.clone()).await;
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);

        let wrong = digest(&other);
        let wrong = put(&user, TEN, &[("content-digest", &wrong)], bytes.clone()).await;
        assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
        let back = user.open(first.file_id).await.unwrap();
        assert_eq!(back.headers()["repr-digest"], *digest(&bytes));
        assert!(back.bytes().await.unwrap() == bytes);

        let steps = user
            .upload_in_steps("in steps", &bytes.clone().into())
            .await
            .unwrap();
        assert_eq!(steps.sha256, first.sha256);
    }
    assert_eq!(user.files().await.unwrap().items.len(), 4);
}

/// Names that no compression shortens were once too long for an index, and failed whatever was stored beside them.
#[tokio::test]
async fn names_of_any_length_keep_nobody_else_from_storing() {
    let cluster = shared().await;
    let (attacker, honest) = (user(&cluster).await, user(&cluster).await);
    let long: Vec<String> = (0..32).map(|_| hex::encode(random_bytes(2048))).collect();
    let attacks = long.iter().map(|name| attacker.upload(name, Some(1), "x"));
    let uploads = (0..96).map(|n| honest.upload("small", Some(1), [b'a' + n % 26].to_vec()));
    let (attacks, uploads) = tokio::join!(join_all(attacks), join_all(uploads));
    for stored in uploads {
        stored.unwrap();
    }
    for attack in attacks {
        assert_eq!(refused(attack), 400);
    }
    let longest = "日".repeat(341);
    let file = honest.upload(&longest, Some(1), "x").await.unwrap();
    assert_eq!(honest.file(file.file_id).await.unwrap().filename, longest);
}
