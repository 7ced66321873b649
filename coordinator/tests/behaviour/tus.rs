//! Resumable uploads as the clients of tus speak them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use coordinator::files::jobs::ExpireUploads;
use coordinator::files::tables::tus;
use futures::{StreamExt, stream};
use http::{Method, StatusCode};
use kit::Job as _;
use model::ids::UploadId;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::support::{Answer, CHUNK, Call, Client, Coordinator, Node, content, count, eventually};

const TUS: &str = "/api/v1/files/tus";
const BYTES: &str = "application/offset+octet-stream";

async fn shop(pool: PgPool) -> (Coordinator, [Node; 3], Client) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    (coordinator, nodes, client)
}

fn call(client: &Client, method: Method, path: &str) -> Call {
    client.call(method, path).header("tus-resumable", "1.0.0")
}

fn metadata(filename: &str) -> String {
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    format!(
        "filename {},filetype {}",
        encoded(filename),
        encoded("text/plain")
    )
}

/// The address of a new upload.
async fn begin(client: &Client, length: usize) -> String {
    let call = call(client, Method::POST, TUS);
    let call = call.header("upload-length", &length.to_string());
    let answer = call
        .header("upload-metadata", &metadata("ü.txt"))
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    assert_eq!(answer.header("tus-resumable"), "1.0.0");
    assert!(!answer.header("upload-expires").is_empty());
    answer.header("location").to_owned()
}

/// The address of a new upload whose length is told later.
async fn begin_deferred(client: &Client) -> String {
    let call = call(client, Method::POST, TUS)
        .header("upload-defer-length", "1")
        .header("upload-metadata", &metadata("ü.txt"));
    let answer = call.send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.header("location").to_owned()
}

fn patch(client: &Client, upload: &str, offset: usize, bytes: impl Into<Body>) -> Call {
    call(client, Method::PATCH, upload)
        .header("content-type", BYTES)
        .header("upload-offset", &offset.to_string())
        .body(bytes)
}

async fn append(client: &Client, upload: &str, offset: usize, bytes: &[u8]) -> Answer {
    patch(client, upload, offset, bytes.to_vec()).send().await
}

fn sum(bytes: &[u8]) -> String {
    format!("sha256 {}", BASE64_STANDARD.encode(Sha256::digest(bytes)))
}

/// Appends bytes that are announced to be others, or these.
async fn append_summed(
    client: &Client,
    upload: &str,
    offset: usize,
    bytes: &[u8],
    announced: &[u8],
) -> Answer {
    let call = patch(client, upload, offset, bytes.to_vec());
    let call = call.header("upload-checksum", &sum(announced));
    call.send().await
}

/// Appends bytes with a checksum, and the connection breaks behind them.
async fn append_broken(client: &Client, upload: &str, offset: usize, bytes: &[u8]) {
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = Body::from_stream(stream::iter([
        Ok(Bytes::copy_from_slice(bytes)),
        Err(broken),
    ]));
    let call = patch(client, upload, offset, body).header("upload-checksum", &sum(bytes));
    call.send().await.problem(400, "invalid-request");
}

/// Appends the rest, and says that the upload ends with it.
async fn finish(client: &Client, upload: &str, offset: usize, rest: &[u8]) -> Answer {
    let call = patch(client, upload, offset, rest.to_vec());
    let length = (offset + rest.len()).to_string();
    call.header("upload-length", &length).send().await
}

async fn head(client: &Client, upload: &str) -> Answer {
    call(client, Method::HEAD, upload).send().await
}

async fn offset(client: &Client, upload: &str) -> usize {
    let answer = head(client, upload).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.header("upload-offset").parse().unwrap()
}

/// The bytes of the file that an upload has become.
async fn stored(client: &Client, last: &Answer) -> Bytes {
    assert_eq!(last.status, StatusCode::NO_CONTENT, "{:?}", last.body);
    let file = last.header("content-location");
    let described = client.get(file).await.expect(StatusCode::OK);
    assert_eq!(described["filename"], "ü.txt");
    assert_eq!(described["content_type"], "text/plain");
    let answer = client.get(&format!("{file}/download")).await;
    answer.bytes().clone()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn pieces_of_any_length_become_one_file(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(3 * CHUNK + 100);
    let upload = begin(&client, 100).await;
    append(&client, &upload, 0, b"no words of files").await;
    let rows: Vec<String> = sqlx::query_scalar("SELECT encode(tail, 'escape') FROM tus_uploads")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert!(rows.len() == 1 && !rows[0].contains("words"), "{rows:?}");
    for step in [100, CHUNK - 1, CHUNK, CHUNK + 1, bytes.len()] {
        let upload = begin(&client, bytes.len()).await;
        let mut last = None;
        for (index, piece) in bytes.chunks(step).enumerate() {
            let at = index * step;
            assert_eq!(offset(&client, &upload).await, at);
            let answer = append(&client, &upload, at, piece).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT, "{:?}", answer.body);
            let told: usize = answer.header("upload-offset").parse().unwrap();
            assert_eq!(told, at + piece.len(), "{step}");
            last = Some(answer);
        }
        assert_eq!(stored(&client, &last.unwrap()).await[..], bytes, "{step}");
        // A client that has not heard of it asks once more.
        assert_eq!(offset(&client, &upload).await, bytes.len());
        let again = append(&client, &upload, bytes.len(), b"").await;
        assert_eq!(again.status, StatusCode::NO_CONTENT);
        let answer = head(&client, &upload).await;
        assert_eq!(answer.header("upload-length"), bytes.len().to_string());
        assert_eq!(answer.header("upload-metadata"), metadata("ü.txt"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let tails = "SELECT count(*) FROM tus_uploads WHERE tail <> '' OR holder IS NOT NULL";
    assert_eq!(
        count(&pool, tails).await,
        1,
        "of the one that is not complete"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_came_before_a_connection_broke_need_not_be_sent_again(pool: PgPool) {
    let (coordinator, nodes, client) = shop(pool).await;
    let bytes = content(2 * CHUNK + 50);
    let upload = begin(&client, bytes.len()).await;
    let sent = Bytes::from(bytes[..CHUNK + 10].to_vec());
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let broken = Body::from_stream(stream::iter([Ok(sent), Err(broken)]));
    let answer = patch(&client, &upload, 0, broken).send().await;
    answer.problem(400, "invalid-request");
    assert_eq!(offset(&client, &upload).await, CHUNK + 10);

    // Its coordinator is gone; another one goes on where it stood.
    let elsewhere = coordinator.beside(&[]).await;
    for node in &nodes {
        node.leave(&coordinator).await;
        node.come_back(&elsewhere).await;
    }
    drop(coordinator);
    let client = elsewhere.visitor().with_token(client.token().unwrap());
    assert_eq!(offset(&client, &upload).await, CHUNK + 10);
    let done = append(&client, &upload, CHUNK + 10, &bytes[CHUNK + 10..]).await;
    assert_eq!(stored(&client, &done).await[..], bytes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_request_appends_alone_and_where_the_upload_stands(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(2 * CHUNK);
    let upload = begin(&client, bytes.len()).await;
    let wrong = append(&client, &upload, 5, b"x").await;
    wrong.problem(409, "wrong-offset");
    assert_eq!(wrong.header("upload-offset"), "0");

    let (go, wait) = oneshot::channel::<()>();
    let (first, second) = (bytes[..100].to_vec(), bytes[100..].to_vec());
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from(first))]);
    let body = body.chain(stream::once(async move {
        let _ = wait.await;
        Ok(Bytes::from(second))
    }));
    let slow = patch(&client, &upload, 0, Body::from_stream(Box::pin(body)));
    let slow = tokio::spawn(slow.send());
    let held = "SELECT count(*) FROM tus_uploads WHERE holder IS NOT NULL";
    eventually(|| async { (count(&pool, held).await == 1).then_some(()) }).await;
    let other = append(&client, &upload, 0, &bytes).await;
    other.problem(423, "upload-held");
    go.send(()).unwrap();
    let done = slow.await.unwrap();
    assert_eq!(stored(&client, &done).await[..], bytes);

    // A coordinator that has died holds nothing for ever.
    let upload = begin(&client, bytes.len()).await;
    let dead =
        "UPDATE tus_uploads SET holder = gen_random_uuid(), held_until = now() + interval '1 min'";
    sqlx::query(dead).execute(&pool).await.unwrap();
    let refused = append(&client, &upload, 0, &bytes).await;
    refused.problem(423, "upload-held");
    let over = "UPDATE tus_uploads SET held_until = now() - interval '1 s'";
    sqlx::query(over).execute(&pool).await.unwrap();
    let done = append(&client, &upload, 0, &bytes).await;
    assert_eq!(stored(&client, &done).await[..], bytes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn bytes_that_are_not_those_of_their_checksum_do_not_count(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool).await;
    let bytes = content(2 * CHUNK + 7);
    let upload = begin(&client, bytes.len()).await;
    let send = |at: usize, piece: &[u8], sum: String| {
        let call = patch(&client, &upload, at, piece.to_vec());
        call.header("upload-checksum", &sum).send()
    };
    let wrong = send(0, &bytes[..CHUNK + 5], sum(b"other")).await;
    wrong.problem(460, "checksum-mismatch");
    assert_eq!(offset(&client, &upload).await, 0);
    let right = send(0, &bytes[..CHUNK + 5], sum(&bytes[..CHUNK + 5])).await;
    assert_eq!(right.header("upload-offset"), (CHUNK + 5).to_string());
    let rest = &bytes[CHUNK + 5..];
    let wrong = send(CHUNK + 5, rest, sum(b"other")).await;
    wrong.problem(460, "checksum-mismatch");
    assert_eq!(offset(&client, &upload).await, CHUNK + 5);
    for unknown in ["md5 AAAA", "sha256 AAAA", "sha256"] {
        let refused = send(CHUNK + 5, rest, unknown.to_owned()).await;
        refused.problem(400, "invalid-request");
    }
    let done = send(CHUNK + 5, rest, sum(rest)).await;
    assert_eq!(stored(&client, &done).await[..], bytes);
}

const CHUNKS: &str = "SELECT count(*) FROM chunks";
const RESENT: &str = "SELECT sum(resent_chunks) FROM uploads";

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_of_a_wrong_checksum_become_part_of_no_file(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(4 * CHUNK);
    let upload = begin_deferred(&client).await;
    append(&client, &upload, 0, &bytes[..CHUNK]).await;
    let wrong = append_summed(&client, &upload, CHUNK, &bytes[CHUNK..], b"other").await;
    wrong.problem(460, "checksum-mismatch");
    assert_eq!(count(&pool, CHUNKS).await, 1);
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 3);
    let done = finish(&client, &upload, CHUNK, b"").await;
    assert_eq!(stored(&client, &done).await[..], bytes[..CHUNK]);
    assert_eq!(count(&pool, CHUNKS).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_wrong_checksum_is_counted_once_and_what_comes_instead_costs_nothing(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(18 * CHUNK);
    let upload = begin_deferred(&client).await;
    let wrong = append_summed(&client, &upload, 0, &[7; 18 * CHUNK], &bytes).await;
    wrong.problem(460, "checksum-mismatch");
    let right = append_summed(&client, &upload, 0, &bytes, &bytes).await;
    assert_eq!(right.status, StatusCode::NO_CONTENT, "{:?}", right.body);
    assert_eq!(count(&pool, RESENT).await, 1);
    let paid = "SELECT count(*) FROM transfers WHERE kind = 'resend'";
    assert_eq!(count(&pool, paid).await, 0);
    let done = finish(&client, &upload, 18 * CHUNK, b"").await;
    assert_eq!(stored(&client, &done).await[..], bytes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn wrong_checksums_put_nodes_to_work_a_few_times_only(pool: PgPool) {
    let (_coordinator, nodes, client) = shop(pool.clone()).await;
    let upload = begin_deferred(&client).await;
    let send = async |n: u8| append_summed(&client, &upload, 0, &[n; CHUNK], b"other").await;
    // What reaches no node is not counted.
    let small = append_summed(&client, &upload, 0, b"small", b"other").await;
    small.problem(460, "checksum-mismatch");
    for n in 0..16 {
        send(n).await.problem(460, "checksum-mismatch");
    }
    assert_eq!(count(&pool, RESENT).await, 16);
    send(16).await.problem(409, "too-many-resends");
    let stored = || nodes.iter().map(Node::blobs);
    let before: Vec<_> = stored().collect();
    send(17).await.problem(409, "too-many-resends");
    for (held, before) in stored().zip(before) {
        // Those that were taken away may have gone since.
        assert!(held.iter().all(|blob| before.contains(blob)));
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_ends_with_the_length_that_was_told(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(3 * CHUNK);
    // As long as it has come, and shorter than a chunk that has come and does not count.
    for length in [CHUNK, CHUNK + 9] {
        let before = count(&pool, CHUNKS).await;
        let upload = begin_deferred(&client).await;
        append(&client, &upload, 0, &bytes[..CHUNK]).await;
        append_broken(&client, &upload, CHUNK, &bytes[CHUNK..]).await;
        assert_eq!(count(&pool, CHUNKS).await, before + 3);
        let done = finish(&client, &upload, CHUNK, &bytes[CHUNK..length]).await;
        assert_eq!(stored(&client, &done).await[..], bytes[..length]);
        let chunks = length.div_ceil(CHUNK) as i64;
        assert_eq!(count(&pool, CHUNKS).await, before + chunks);
    }
    assert_eq!(count(&pool, RESENT).await, 0, "nor is it paid for");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_behind_the_last_hides_no_loss_and_stays_in_no_file(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(3 * CHUNK);
    let upload = begin_deferred(&client).await;
    append(&client, &upload, 0, &bytes[..CHUNK]).await;
    append_broken(&client, &upload, CHUNK, &bytes[CHUNK..]).await;
    // The length is known already when they come, from a request that has lost its turn.
    sqlx::query("UPDATE files SET size_bytes = $1, chunk_count = 1")
        .bind(CHUNK as i64)
        .execute(&pool)
        .await
        .unwrap();
    let lost =
        "UPDATE replicas SET demoted_at = now(), demoted_reason = 'lost' WHERE chunk_index = 0";
    sqlx::query(lost).execute(&pool).await.unwrap();
    let refused = append(&client, &upload, CHUNK, b"").await;
    refused.problem(503, "copies-lost");
    assert_eq!(count(&pool, CHUNKS).await, 3);
    let done = append(&client, &upload, 0, &bytes[..CHUNK]).await;
    assert_eq!(stored(&client, &done).await[..], bytes[..CHUNK]);
    assert_eq!(count(&pool, CHUNKS).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_turn_that_has_ended_is_not_renewed(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    begin(&client, CHUNK).await;
    let id: Uuid = sqlx::query_scalar("SELECT upload_id FROM tus_uploads")
        .fetch_one(&pool)
        .await
        .unwrap();
    let (id, time) = (UploadId::from_uuid(id), Duration::from_secs(30));
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let mut connection = pool.acquire().await.unwrap();
    let connection = &mut *connection;
    assert!(tus::take(connection, id, first, time).await.unwrap());
    assert!(tus::renew(connection, id, first, time).await.unwrap());
    assert!(!tus::take(connection, id, second, time).await.unwrap());
    tus::release(connection, id, first).await.unwrap();
    assert!(!tus::renew(connection, id, first, time).await.unwrap());
    assert!(tus::take(connection, id, second, time).await.unwrap());
    assert!(!tus::renew(connection, id, first, time).await.unwrap());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_may_begin_with_bytes_and_end_with_its_length(pool: PgPool) {
    let (_coordinator, _nodes, client) = shop(pool.clone()).await;
    let bytes = content(2 * CHUNK + 9);
    let begun = call(&client, Method::POST, TUS)
        .header("upload-length", &bytes.len().to_string())
        .header("upload-metadata", &metadata("ü.txt"))
        .header("content-type", BYTES)
        .body(bytes[..CHUNK + 1].to_vec());
    let begun = begun.send().await;
    assert_eq!(begun.status, StatusCode::CREATED, "{:?}", begun.body);
    assert_eq!(begun.header("upload-offset"), (CHUNK + 1).to_string());
    let upload = begun.header("location").to_owned();
    let done = append(&client, &upload, CHUNK + 1, &bytes[CHUNK + 1..]).await;
    assert_eq!(stored(&client, &done).await[..], bytes);

    let begun = call(&client, Method::POST, TUS)
        .header("upload-defer-length", "1")
        .header("upload-metadata", &metadata("ü.txt"));
    let begun = begun.send().await;
    let upload = begun.header("location").to_owned();
    assert_eq!(
        head(&client, &upload).await.header("upload-defer-length"),
        "1"
    );
    let part = append(&client, &upload, 0, &bytes[..CHUNK + 4]).await;
    assert_eq!(part.header("upload-offset"), (CHUNK + 4).to_string());
    let tell = |length: usize| {
        let call = patch(&client, &upload, CHUNK + 4, bytes[CHUNK + 4..].to_vec());
        call.header("upload-length", &length.to_string()).send()
    };
    tell(CHUNK).await.problem(400, "invalid-request");
    let done = tell(bytes.len()).await;
    assert_eq!(stored(&client, &done).await[..], bytes);
    assert_eq!(client.balances().await.1, 0, "nothing stays held");

    let empty = call(&client, Method::POST, TUS).header("upload-length", "0");
    let empty = empty.send().await;
    assert_eq!(empty.status, StatusCode::CREATED, "{:?}", empty.body);
    let file = client.get(empty.header("content-location")).await;
    assert_eq!(file.expect(StatusCode::OK)["size_bytes"], 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_that_is_given_up_or_left_is_paid_back(pool: PgPool) {
    let (coordinator, _nodes, client) = shop(pool.clone()).await;
    let before = client.balances().await;
    let upload = begin(&client, 2 * CHUNK).await;
    append(&client, &upload, 0, &content(CHUNK + 3)).await;
    let ended = call(&client, Method::DELETE, &upload).send().await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert_eq!(head(&client, &upload).await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.balances().await, before);

    let left = begin(&client, 2 * CHUNK).await;
    append(&client, &left, 0, b"abc").await;
    sqlx::query("UPDATE uploads SET expires_at = now() - interval '1 s'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(head(&client, &left).await.status, StatusCode::GONE);
    append(&client, &left, 3, b"d")
        .await
        .problem(410, "upload-expired");
    let expire = ExpireUploads(Arc::clone(&coordinator.app.files));
    expire.step().await.unwrap();
    assert_eq!(client.balances().await, before);
    assert_eq!(count(&pool, "SELECT count(*) FROM tus_uploads").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_spoken_is_told_and_nothing_else_is_taken(pool: PgPool) {
    let (coordinator, _nodes, client) = shop(pool).await;
    let options = coordinator
        .visitor()
        .call(Method::OPTIONS, TUS)
        .send()
        .await;
    assert_eq!(options.status, StatusCode::NO_CONTENT);
    assert_eq!(options.header("tus-version"), "1.0.0");
    assert!(
        options
            .header("tus-extension")
            .contains("creation-with-upload")
    );
    assert_eq!(options.header("tus-checksum-algorithm"), "sha1,sha256");
    assert!(options.header("tus-max-size").parse::<u64>().unwrap() > 0);
    let page = coordinator.visitor().call(Method::OPTIONS, TUS);
    let page = page
        .header("origin", "https://app.example")
        .header("access-control-request-method", "PATCH");
    let page = page.send().await;
    assert!(
        page.header("access-control-allow-methods")
            .contains("PATCH")
    );
    assert!(
        page.header("access-control-allow-headers")
            .contains("upload-offset")
    );

    let upload = begin(&client, 10).await;
    let old = client
        .call(Method::HEAD, &upload)
        .header("tus-resumable", "0.2.2");
    let old = old.send().await;
    assert_eq!(old.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(old.header("tus-version"), "1.0.0");
    let form = call(&client, Method::PATCH, &upload).header("upload-offset", "0");
    form.body("x")
        .send()
        .await
        .problem(415, "unsupported-media-type");
    for (name, value) in [
        ("upload-length", "-1"),
        ("upload-length", "99999999999999999999"),
        ("upload-length", "1e3"),
        ("upload-defer-length", "2"),
        ("upload-concat", "partial"),
        ("x-ignored", "neither length nor deferred"),
    ] {
        let refused = call(&client, Method::POST, TUS).header(name, value);
        refused.send().await.problem(400, "invalid-request");
    }
    for wrong in [
        "filename",
        "filename !!!",
        "filename YQ==,filename YQ==",
        "filename /w==",
        "key YQ==",
    ] {
        let refused = call(&client, Method::POST, TUS)
            .header("upload-length", "1")
            .header("upload-metadata", wrong);
        let answer = refused.send().await;
        match wrong {
            "filename" => assert_eq!(answer.status, StatusCode::CREATED, "an empty value"),
            _ => {
                answer.problem(400, "invalid-request");
            }
        }
    }
    let too_much = append(&client, &upload, 0, &content(11)).await;
    too_much.problem(413, "file-too-large");
    let (_, stranger) = coordinator.customer().await;
    append(&stranger, &upload, 0, b"x")
        .await
        .problem(404, "not-found");
    assert_eq!(head(&stranger, &upload).await.status, StatusCode::NOT_FOUND);
    let huge = call(&client, Method::POST, TUS).header("upload-length", "9223372036854775807");
    huge.send().await.problem(413, "file-too-large");
}
