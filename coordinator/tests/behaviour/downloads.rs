//! Reading files: whole, in part, or not at all when the client has them.

use coordinator::proofs::audit;
use http::{Method, StatusCode};
use kit::Clock;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{Answer, CHUNK, Client, Coordinator, OnRead, content};

const SIZE: usize = 3 * CHUNK + 100;

async fn stored(pool: PgPool) -> (Coordinator, [crate::support::Node; 3], Client, Value) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("ü.txt", &content(SIZE)).await;
    (coordinator, nodes, client, file)
}

async fn read(client: &Client, method: Method, file: &Value, headers: &[(&str, &str)]) -> Answer {
    let path = format!(
        "/api/v1/files/{}/download",
        file["file_id"].as_str().unwrap()
    );
    let mut call = client.call(method, &path);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send().await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_range_is_answered_with_exactly_its_bytes(pool: PgPool) {
    let (_coordinator, _nodes, client, file) = stored(pool).await;
    let bytes = content(SIZE);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=1-9", 1, 10),
        ("bytes=4095-4096", CHUNK - 1, CHUNK + 1),
        ("bytes=4096-8191", CHUNK, 2 * CHUNK),
        ("bytes=100-12000", 100, 12_001),
        ("bytes=12300-", 12_300, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-5000", SIZE - 5000, SIZE),
        ("bytes=-99999999", 0, SIZE),
        ("bytes=0-99999999999999999999999", 0, SIZE),
        ("bytes=12000-99999999", 12_000, SIZE),
    ] {
        let answer = read(&client, Method::GET, &file, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.bytes(), &bytes[from..to], "{range}");
        let told = format!("bytes {from}-{}/{SIZE}", to - 1);
        assert_eq!(answer.header("content-range"), told);
        assert_eq!(answer.header("content-length"), (to - from).to_string());
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_range_outside_of_the_file_is_told_its_size(pool: PgPool) {
    let (_coordinator, _nodes, client, file) = stored(pool).await;
    let beyond = format!("bytes={SIZE}-");
    for range in [&*beyond, "bytes=99999999-", "bytes=-0"] {
        let answer = read(&client, Method::GET, &file, &[("range", range)]).await;
        answer.problem(416, "range-not-satisfiable");
        assert_eq!(answer.header("content-range"), format!("bytes */{SIZE}"));
    }
    for ignored in ["bytes=0-1,5-6", "lines=1-2", "bytes=x-y", "bytes"] {
        let answer = read(&client, Method::GET, &file, &[("range", ignored)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{ignored}");
        assert_eq!(answer.bytes().len(), SIZE);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_empty_file_is_empty_and_has_no_ranges(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("empty", b"").await;
    let whole = read(&client, Method::GET, &file, &[]).await;
    assert_eq!(
        (whole.status, whole.header("content-length")),
        (StatusCode::OK, "0")
    );
    let range = read(&client, Method::GET, &file, &[("range", "bytes=0-0")]).await;
    range.problem(416, "range-not-satisfiable");
    let suffix = read(&client, Method::GET, &file, &[("range", "bytes=-5")]).await;
    assert_eq!((suffix.status, suffix.bytes().len()), (StatusCode::OK, 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn head_tells_what_get_would_without_asking_a_node(pool: PgPool) {
    let (_coordinator, nodes, client, file) = stored(pool).await;
    let get = read(&client, Method::GET, &file, &[]).await;
    nodes.iter().for_each(|node| node.on_read(OnRead::Hang));
    let head = read(&client, Method::HEAD, &file, &[]).await;
    assert_eq!(head.status, StatusCode::OK);
    assert!(head.bytes().is_empty());
    for name in [
        "content-length",
        "content-type",
        "content-disposition",
        "etag",
        "accept-ranges",
        "last-modified",
        "repr-digest",
        "x-content-type-options",
        "cache-control",
    ] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(head.header("content-length"), SIZE.to_string());
    // Ranges are defined for GET alone.
    let range = read(&client, Method::HEAD, &file, &[("range", "bytes=5-9")]).await;
    assert_eq!(range.status, StatusCode::OK);
    assert_eq!(range.header("content-length"), SIZE.to_string());
    let metadata = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    let metadata = client.call(Method::HEAD, &metadata).send().await;
    assert_eq!(metadata.status, StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_client_that_has_the_file_gets_nothing_again(pool: PgPool) {
    let (_coordinator, _nodes, client, file) = stored(pool).await;
    let etag = read(&client, Method::HEAD, &file, &[]).await;
    let etag = etag.header("etag").to_owned();
    let listed = format!("\"other\", W/{etag}");
    for same in [&*etag, "*", &listed] {
        let answer = read(&client, Method::GET, &file, &[("if-none-match", same)]).await;
        assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{same}");
        assert!(answer.bytes().is_empty());
        assert_eq!(answer.header("etag"), etag);
    }
    let other = read(
        &client,
        Method::GET,
        &file,
        &[("if-none-match", "\"other\"")],
    )
    .await;
    assert_eq!(other.bytes().len(), SIZE);
    let weak = format!("W/{etag}");
    for changed in ["\"other\"", "*", &weak, "Sat, 01 Jan 2000 00:00:00 GMT"] {
        let changed = [("range", "bytes=0-1"), ("if-range", changed)];
        let whole = read(&client, Method::GET, &file, &changed).await;
        assert_eq!((whole.status, whole.bytes().len()), (StatusCode::OK, SIZE));
    }
    let modified = other.header("last-modified").to_owned();
    for same in [&*etag, &modified] {
        let resumed = [("range", "bytes=0-1"), ("if-range", same)];
        let resumed = read(&client, Method::GET, &file, &resumed).await;
        assert_eq!(resumed.status, StatusCode::PARTIAL_CONTENT, "{same}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_files_bytes_are_never_compressed_and_never_run_as_a_page(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let call = client.upload_call("page.html", &[b'a'; 2 * CHUNK]);
    let file = call.header("content-type", "text/html").send().await;
    let file = file.expect(StatusCode::CREATED);
    let answer = read(&client, Method::GET, &file, &[("accept-encoding", "gzip")]).await;
    assert!(!answer.headers.contains_key("content-encoding"));
    assert_eq!(answer.bytes().len(), 2 * CHUNK);
    assert_eq!(answer.header("content-type"), "text/html");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(
        answer
            .header("content-disposition")
            .starts_with("attachment")
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn without_a_readable_copy_the_answer_is_an_error_and_never_a_short_file(pool: PgPool) {
    let (_coordinator, nodes, client, file) = stored(pool.clone()).await;
    // Of the last chunk nothing is left, so that the answer has begun when that turns out.
    sqlx::query("DELETE FROM replicas WHERE chunk_index = 3")
        .execute(&pool)
        .await
        .unwrap();
    let cut = client.download(&file).await;
    assert_eq!(cut.status, StatusCode::OK);
    assert_eq!(cut.header("content-length"), SIZE.to_string());
    assert!(cut.body.is_err());
    let intact = read(&client, Method::GET, &file, &[("range", "bytes=0-12287")]).await;
    assert_eq!(intact.bytes(), &content(SIZE)[..3 * CHUNK]);

    nodes.iter().for_each(|node| node.on_read(OnRead::Deny));
    let refused = client.download(&file).await;
    refused.problem(503, "unreadable");
    assert_eq!(refused.header("retry-after"), "30");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_demoted_copy_is_still_read_when_no_other_is_left(pool: PgPool) {
    let (coordinator, nodes, client, file) = stored(pool).await;
    let [first, second, third] = &nodes;
    let (app, held) = (&coordinator.app, first.blobs());
    let demoted = audit::loss_reported(
        &app.proofs,
        first.node_id,
        &held,
        "a bad disk",
        Clock::system().now(),
    )
    .await;
    assert_eq!(demoted.unwrap(), 4);
    second.on_read(OnRead::Deny);
    third.on_read(OnRead::Flip);
    assert_eq!(client.content(&file).await, content(SIZE));
}
