//! What a request says is done or refused, never passed over: conditions, codings, parts of files, forms.

use http::{Method, StatusCode};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{Answer, Client, Coordinator, count};

const FILES: &str = "/api/v1/files?filename=a";

fn path(file: &Value) -> String {
    format!("/api/v1/files/{}", file["file_id"].as_str().unwrap())
}

async fn with(client: &Client, method: Method, path: &str, header: (&str, &str)) -> Answer {
    let call = client.call(method, path).header(header.0, header.1);
    call.send().await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_is_deleted_and_read_only_as_the_one_that_its_tag_names(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let (file, other) = (
        client.upload("a", b"one").await,
        client.upload("b", b"two").await,
    );
    let download = format!("{}/download", path(&file));
    let etag = client.get(&download).await.header("etag").to_owned();
    let others = format!("\"{}\"", other["file_id"].as_str().unwrap());
    let weak = format!("W/{etag}");
    let long_ago = "Sat, 01 Jan 2000 00:00:00 GMT";
    let modified = client
        .get(&download)
        .await
        .header("last-modified")
        .to_owned();
    for refused in [
        ("if-match", others.as_str()),
        ("if-match", &weak),
        ("if-match", ""),
        ("if-unmodified-since", long_ago),
    ] {
        for (method, path) in [
            (Method::GET, download.clone()),
            (Method::GET, path(&file)),
            (Method::DELETE, path(&file)),
        ] {
            let answer = with(&client, method, &path, refused).await;
            answer.problem(412, "precondition-failed");
        }
        let head = with(&client, Method::HEAD, &download, refused).await;
        assert_eq!(head.status, StatusCode::PRECONDITION_FAILED);
    }
    for refused in [("if-none-match", "*"), ("if-none-match", &etag)] {
        let kept = with(&client, Method::DELETE, &path(&file), refused).await;
        kept.problem(412, "precondition-failed");
    }
    for (name, value) in [("if-modified-since", &modified), ("if-none-match", &etag)] {
        let unchanged = with(&client, Method::GET, &download, (name, value)).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED, "{name}");
    }
    for taken in [
        ("if-match", &*etag),
        ("if-match", "*"),
        ("if-unmodified-since", &modified),
    ] {
        let read = with(&client, Method::GET, &download, taken).await;
        assert_eq!(read.bytes(), "one");
    }
    let unrelated = path(&other);
    let unrelated = with(&client, Method::DELETE, &unrelated, ("if-match", &others));
    assert_eq!(unrelated.await.status, StatusCode::NO_CONTENT);
    let deleted = with(&client, Method::DELETE, &path(&file), ("if-match", &etag)).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    let gone = with(&client, Method::DELETE, &path(&file), ("if-match", "*")).await;
    gone.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_header_that_makes_another_request_of_it_is_refused(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let before = client.balances().await;
    let upload = client.initiate("a", 3).await.expect(StatusCode::CREATED);
    let held = client.balances().await;
    let id = upload["upload_id"].as_str().unwrap();
    let chunk = format!("/api/v1/files/upload/{id}/chunk?index=0");
    for (name, value, status, slug) in [
        ("content-range", "bytes 6-9/10", 400, "invalid-request"),
        ("content-encoding", "gzip", 415, "unsupported-media-type"),
        (
            "content-encoding",
            "identity, br",
            415,
            "unsupported-media-type",
        ),
        ("transfer-encoding", "gzip, chunked", 400, "invalid-request"),
        ("if-match", "\"x\"", 412, "precondition-failed"),
        (
            "if-unmodified-since",
            "Sat, 01 Jan 2000 00:00:00 GMT",
            412,
            "precondition-failed",
        ),
        ("if-none-match", "*", 400, "invalid-request"),
        (
            "if-modified-since",
            "Sat, 01 Jan 2000 00:00:00 GMT",
            400,
            "invalid-request",
        ),
        ("if-range", "\"x\"", 400, "invalid-request"),
        ("upload-offset", "6", 400, "invalid-request"),
        ("tus-resumable", "1.0.0", 400, "invalid-request"),
        ("x-http-method-override", "DELETE", 400, "invalid-request"),
        ("digest", "SHA-256=AAAA", 400, "invalid-request"),
        ("trailer", "content-digest", 400, "invalid-request"),
        ("expect", "a miracle", 400, "invalid-request"),
    ] {
        for (method, path) in [
            (Method::PUT, FILES),
            (Method::POST, FILES),
            (Method::PUT, &*chunk),
            (Method::POST, "/api/v1/files/upload/initiate"),
            (Method::POST, "/api/v1/auth/credits/purchase"),
        ] {
            let call = client.call(method, path).header(name, value);
            call.body("{}x").send().await.problem(status, slug);
        }
    }
    assert_eq!(client.balances().await, held);
    client.abort(&upload).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(client.balances().await, before);
    let ready = "SELECT count(*) FROM files WHERE state = 'ready'";
    assert_eq!(count(&pool, ready).await, 0);
    let plain = client
        .upload_call("a", b"abc")
        .header("content-encoding", "identity");
    let plain = plain.header("expect", "100-continue").send().await;
    assert_eq!(
        plain.header("location"),
        path(&plain.expect(StatusCode::CREATED))
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_without_a_body_is_an_empty_file_only_if_it_says_so(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    for method in [Method::PUT, Method::POST] {
        let refused = client.call(method, FILES).send().await;
        refused.problem(411, "length-required");
    }
    let empty = client.put(FILES).header("content-length", "0").send().await;
    assert_eq!(empty.expect(StatusCode::CREATED)["size_bytes"], 0);
    let chunked = client
        .put(FILES)
        .header("transfer-encoding", "chunked")
        .send()
        .await;
    assert_eq!(chunked.expect(StatusCode::CREATED)["size_bytes"], 0);
}

fn part(disposition: &str, content: &str) -> Vec<u8> {
    let head = format!("--x\r\ncontent-disposition: form-data; {disposition}\r\n\r\n");
    [head.as_bytes(), content.as_bytes(), b"\r\n"].concat()
}

fn form(client: &Client, path: &str, parts: &[Vec<u8>]) -> impl Future<Output = Answer> {
    let call = client
        .post(path)
        .header("content-type", "multipart/form-data; boundary=x");
    call.body([&parts.concat()[..], b"--x--\r\n"].concat())
        .send()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_form_with_two_files_stores_neither(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let before = client.balances().await;
    for size in [5, crate::support::CHUNK, 3 * crate::support::CHUNK] {
        let first = part("name=\"f\"; filename=\"a\"", &"a".repeat(size));
        let second = part("name=\"g\"; filename=\"b\"", "second");
        let note = part("name=\"note\"", "n");
        let refused = form(&client, "/api/v1/files", &[first, note, second]).await;
        let problem = refused.problem(400, "invalid-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("more than one file"), "{detail}");
    }
    assert_eq!(client.balances().await, before);
    let kept = "SELECT count(*) FROM files WHERE state <> 'deleted'";
    assert_eq!(count(&pool, kept).await, 0);

    let first = part("name=\"f\"; filename=\"a\"", "first");
    let unchosen = part("name=\"g\"; filename=\"\"", "");
    let taken = form(&client, "/api/v1/files", &[first, unchosen]).await;
    assert_eq!(taken.expect(StatusCode::CREATED)["size_bytes"], 5);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_form_is_taken_where_a_file_is_and_nowhere_else(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client.initiate("a", 3).await.expect(StatusCode::CREATED);
    let id = upload["upload_id"].as_str().unwrap();
    let chunk = format!("/api/v1/files/upload/{id}/chunk?index=0");
    for path in [
        &*chunk,
        "/api/v1/files/upload/initiate",
        "/api/v1/auth/login",
        "/api/v1/auth/credits/purchase",
    ] {
        let parts = [part("name=\"file\"; filename=\"a\"", "abc")];
        let refused = form(&client, path, &parts).await;
        let problem = refused.problem(415, "unsupported-media-type");
        assert!(
            problem["detail"].as_str().unwrap().contains("form"),
            "{problem}"
        );
    }
    let urlencoded = client
        .post("/api/v1/auth/login")
        .body("email=a%40b&password=test123");
    let urlencoded = urlencoded.header("content-type", "application/x-www-form-urlencoded");
    urlencoded
        .send()
        .await
        .problem(415, "unsupported-media-type");
    let without_boundary = client
        .put(FILES)
        .header("content-type", "multipart/form-data");
    let without_boundary = without_boundary.body("abc").send().await;
    without_boundary.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn json_is_an_object_of_what_is_known_and_says_nothing_else_of_itself(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.customer().await;
    let purchase = |body: &'static str, content_type: &str| {
        let call = client.post("/api/v1/auth/credits/purchase");
        call.header("content-type", content_type).body(body).send()
    };
    let json = "application/json";
    for body in [
        "[10]",
        " [10]",
        "{\"amount_usd\":10,\"amount\":20}",
        "{\"amount_usd\":10,\"amount_usd\":20}",
    ] {
        purchase(body, json).await.problem(400, "invalid-request");
    }
    let ten = "{\"amount_usd\":10}";
    for content_type in [
        "text/plain",
        "application/xml",
        "application/json; charset=latin1",
        "image/png",
    ] {
        purchase(ten, content_type)
            .await
            .problem(415, "unsupported-media-type");
    }
    for content_type in [
        json,
        "Application/JSON; charset=\"UTF-8\"",
        "application/merge-patch+json",
        "application/x-www-form-urlencoded",
    ] {
        purchase(ten, content_type)
            .await
            .expect(StatusCode::CREATED);
    }
    let wrong = client.post("/api/v1/auth/credits/purchase").body(ten);
    let wrong = wrong
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")
        .send()
        .await;
    wrong.problem(400, "digest-mismatch");
    let pair = r#"["a@example.com", "test1234"]"#;
    let register = client.post("/api/v1/auth/register").body(pair).send().await;
    register.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_name_is_utf8_of_1024_bytes_at_most_and_one_in_latin1_of_a_form_is_read(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let longest = "日".repeat(341) + "x";
    let file = client.upload(&longest, b"x").await;
    assert_eq!(file["filename"], longest);
    let too_long = client.upload_call(&"日".repeat(342), b"x").send().await;
    too_long.problem(400, "invalid-request");
    for query in ["filename=%FF", "filename=a%00", "filename=%C3", "filename="] {
        let call = client.put(&format!("/api/v1/files?{query}")).body("x");
        call.send().await.problem(400, "invalid-request");
    }
    let head =
        b"--x\r\ncontent-disposition: form-data; name=\"up\"; filename=\"M\xfcller.txt\"\r\n\r\n";
    let latin1 = [&head[..], b"hello\r\n"].concat();
    let file = form(&client, "/api/v1/files", &[latin1])
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(file["filename"], "Müller.txt");
    let answer = client.download(&file).await;
    assert_eq!(answer.bytes(), "hello");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_type_that_says_nothing_is_dropped_and_one_that_is_none_is_refused(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    for claimed in [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded;charset=utf-8",
    ] {
        let call = client
            .upload_call("a", b"x")
            .header("content-type", claimed);
        let file = call.send().await.expect(StatusCode::CREATED);
        assert_eq!(
            file["content_type"], "application/octet-stream",
            "{claimed}"
        );
    }
    for odd in ["text", "täxt/plain", ""] {
        let call = client.upload_call("a", b"x").header("content-type", odd);
        call.send().await.problem(400, "invalid-request");
    }
    let twice = client
        .upload_call("a", b"x")
        .header("content-type", "text/plain");
    let twice = twice.header("content-type", "text/html").send().await;
    twice.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_head_of_a_download_is_shorter_than_what_proxies_take(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", b"x").await;
    for name in [
        "日".repeat(600),
        "\"".repeat(4096),
        "%".repeat(4000) + ".txt",
    ] {
        // As an older coordinator has taken it.
        sqlx::query("UPDATE files SET filename = $1, content_type = $2")
            .bind(&name)
            .bind(format!("text/{}", "x".repeat(250)))
            .execute(&pool)
            .await
            .unwrap();
        let id = file["file_id"].as_str().unwrap();
        let call = client.call(Method::GET, &format!("/api/v1/files/{id}/download"));
        let call = call.header("origin", "https://app.example.com");
        let answer = call.header("x-request-id", &"r".repeat(128)).send().await;
        assert_eq!(answer.bytes(), "x");
        let lines = answer.headers.iter();
        let length: usize = lines
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        assert!(length < 4096 - 200, "{length}");
    }
}
