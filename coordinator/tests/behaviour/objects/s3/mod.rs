//! S3, as its clients speak it.

mod rules;
mod versions;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coordinator::http::s3;
use http::{Method, StatusCode};
use md5::{Digest, Md5};
use sqlx::PgPool;

use crate::support::{CHUNK, Client, Coordinator, Node, S3Client, bare, content, count};

const ALL: &str = r#"{"name":"all","scopes":["read","write","list","delete"],"s3":true}"#;

struct Shop {
    coordinator: Coordinator,
    router: axum::Router,
    account: Client,
    s3: S3Client,
    _nodes: [Node; 3],
}

/// An account with a bucket that is called `b-1`.
async fn shop(pool: PgPool) -> Shop {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let router = s3::router(&coordinator.app).unwrap();
    let (_, account) = coordinator.customer().await;
    let s3 = S3Client::new(&router, &account, ALL).await;
    s3.put("/b-1", "").send().await.fine();
    Shop {
        coordinator,
        router,
        account,
        s3,
        _nodes: nodes,
    }
}

fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_put_is_read_listed_and_deleted(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    let bytes = content(3 * CHUNK + 5);
    let put = s3.put("/b-1/dir/a+b é%", bytes.clone());
    let put = put
        .header("x-amz-meta-mtime", "123.4")
        .header("content-type", "text/plain");
    let etag = format!("\"{}\"", md5_hex(&bytes));
    assert_eq!(put.send().await.fine().header("etag"), etag);

    let got = s3.get("/b-1/dir/a+b é%").send().await;
    assert_eq!(got.fine().bytes()[..], bytes);
    assert_eq!(got.header("etag"), etag);
    assert_eq!(got.header("x-amz-meta-mtime"), "123.4");
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("content-length"), bytes.len().to_string());
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    let range = format!("bytes={}-{}", CHUNK - 1, CHUNK + 1);
    let part = s3
        .get("/b-1/dir/a+b é%")
        .header("range", &range)
        .send()
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes()[..], bytes[CHUNK - 1..CHUNK + 2]);
    let beyond = s3
        .get("/b-1/dir/a+b é%")
        .header("range", "bytes=99999-")
        .send()
        .await;
    beyond.refused(416, "InvalidRange");

    let head = s3.call(Method::HEAD, "/b-1/dir/a+b é%").send().await;
    assert_eq!(
        head.fine().header("content-length"),
        bytes.len().to_string()
    );
    // What keys begin with is no key.
    let prefix = s3.call(Method::HEAD, "/b-1/dir").send().await;
    assert_eq!(prefix.status, StatusCode::NOT_FOUND);

    // As minio-go asks: with a delimiter that is empty.
    let list = s3
        .get("/b-1")
        .query("list-type", "2")
        .query("delimiter", "")
        .query("prefix", "");
    let list = list
        .query("encoding-type", "url")
        .query("fetch-owner", "true")
        .send()
        .await;
    assert_eq!(list.fine().only("Key"), "dir/a%2Bb%20%C3%A9%25");
    assert_eq!(list.only("Size"), bytes.len().to_string());
    assert!(list.all("Prefix").iter().all(|prefix| prefix.is_empty()));

    let deleted = s3.call(Method::DELETE, "/b-1/dir/a+b é%").send().await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    s3.get("/b-1/dir/a+b é%")
        .send()
        .await
        .refused(404, "NoSuchKey");
    let again = s3.call(Method::DELETE, "/b-1/dir/a+b é%").send().await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    let gone = s3.call(Method::DELETE, "/b-1").send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    s3.get("/b-1").send().await.refused(404, "NoSuchBucket");
    assert_eq!(shop.account.balances().await.2, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn buckets_are_found_and_are_in_the_region_that_is_set(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    assert_eq!(s3.get("/").send().await.fine().all("Name"), ["b-1"]);
    let location = s3.get("/b-1").query("location", "").send().await;
    assert!(
        location.fine().text().contains(">fsn<"),
        "{}",
        location.text()
    );
    s3.put("/b-1", "")
        .send()
        .await
        .refused(409, "BucketAlreadyOwnedByYou");
    s3.put("/B_1", "")
        .send()
        .await
        .refused(400, "InvalidBucketName");
    let elsewhere = "<CreateBucketConfiguration><LocationConstraint>eu-1</LocationConstraint></CreateBucketConfiguration>";
    s3.put("/b-2", elsewhere)
        .send()
        .await
        .refused(400, "InvalidLocationConstraint");
    let (_, stranger) = shop.coordinator.customer().await;
    let stranger = S3Client::new(&shop.router, &stranger, ALL).await;
    stranger
        .get("/b-1")
        .send()
        .await
        .refused(403, "AccessDenied");
    stranger
        .put("/b-1", "")
        .send()
        .await
        .refused(409, "BucketAlreadyExists");
    stranger
        .put("/b-1/k", "x")
        .send()
        .await
        .refused(403, "AccessDenied");
    s3.put("/b-1/k", "x").send().await.fine();
    s3.call(Method::DELETE, "/b-1")
        .send()
        .await
        .refused(409, "BucketNotEmpty");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nobody_is_let_in_without_a_signature_for_this_place_and_time(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    s3.put("/b-1/k", "content").send().await.fine();
    let anonymous = s3.send(bare(Method::GET, "/b-1/k")).await;
    anonymous.refused(403, "AccessDenied");
    let wrong = S3Client {
        secret_key: "x".to_owned(),
        ..s3.clone()
    };
    wrong
        .get("/b-1/k")
        .send()
        .await
        .refused(403, "SignatureDoesNotMatch");
    let unknown = S3Client {
        access_key: format!("FSN{}", "A".repeat(17)),
        ..s3.clone()
    };
    unknown
        .get("/b-1/k")
        .send()
        .await
        .refused(403, "InvalidAccessKeyId");
    let elsewhere = S3Client {
        region: "us-east-1".to_owned(),
        ..s3.clone()
    };
    elsewhere
        .get("/b-1/k")
        .send()
        .await
        .refused(400, "AuthorizationHeaderMalformed");
    // Whoever does not know the region may ask for it.
    elsewhere
        .get("/b-1")
        .query("location", "")
        .send()
        .await
        .fine();

    let link = s3.send(s3.get("/b-1/k").link(600)).await;
    assert_eq!(link.fine().bytes()[..], *b"content");
    let long = s3.send(s3.get("/b-1/k").link(604_801)).await;
    long.refused(400, "AuthorizationQueryParametersError");
    let changed = s3
        .get("/b-1/other")
        .link(600)
        .uri()
        .to_string()
        .replace("other", "k");
    s3.send(bare(Method::GET, &changed))
        .await
        .refused(403, "SignatureDoesNotMatch");
    let old_way = format!(
        "/b-1/k?AWSAccessKeyId={}&Expires=9999999999&Signature=x",
        s3.access_key
    );
    s3.send(bare(Method::GET, &old_way))
        .await
        .refused(400, "InvalidRequest");

    let revoked = shop
        .account
        .delete(&format!("/api/v1/access-keys/{}", s3.access_key))
        .await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    s3.get("/b-1/k")
        .send()
        .await
        .refused(403, "InvalidAccessKeyId");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_access_key_reaches_no_further_than_its_scopes_and_its_place(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    for key in ["in/a", "out/a"] {
        shop.s3.put(&format!("/b-1/{key}"), "x").send().await.fine();
    }
    shop.s3.put("/b-2", "").send().await.fine();
    let reads = r#"{"name":"r","scopes":["read","list"],"bucket":"b-1","prefix":"in/","s3":true}"#;
    let reader = S3Client::new(&shop.router, &shop.account, reads).await;
    reader.get("/b-1/in/a").send().await.fine();
    reader
        .get("/b-1/out/a")
        .send()
        .await
        .refused(403, "AccessDenied");
    let list = reader
        .get("/b-1")
        .query("list-type", "2")
        .query("prefix", "in/")
        .send()
        .await;
    assert_eq!(list.fine().only("Key"), "in/a");
    let all = reader.get("/b-1").query("list-type", "2").send().await;
    all.refused(403, "AccessDenied");
    reader.get("/b-2").send().await.refused(403, "AccessDenied");
    assert_eq!(reader.get("/").send().await.fine().all("Name"), ["b-1"]);
    reader
        .put("/b-1/in/b", "x")
        .send()
        .await
        .refused(403, "AccessDenied");
    let delete = reader.call(Method::DELETE, "/b-1/in/a").send().await;
    delete.refused(403, "AccessDenied");
    let copied = reader
        .put("/b-1/in/c", "")
        .header("x-amz-copy-source", "/b-1/in/a");
    copied.send().await.refused(403, "AccessDenied");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn bytes_that_are_not_what_their_client_says_are_not_stored(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    let bytes = content(2 * CHUNK);
    let right = STANDARD.encode(Md5::digest(&bytes));
    let wrong = STANDARD.encode(Md5::digest(b"other"));
    let put = |name: &'static str, value: &str| s3.put("/b-1/k", bytes.clone()).header(name, value);
    put("content-md5", &wrong)
        .send()
        .await
        .refused(400, "BadDigest");
    put("x-amz-checksum-crc32", "AAAAAA==")
        .send()
        .await
        .refused(400, "BadDigest");
    put("x-amz-checksum-sha256", "AAAA")
        .send()
        .await
        .refused(400, "InvalidRequest");
    put("content-md5", "AAAA")
        .send()
        .await
        .refused(400, "InvalidDigest");
    let other = s3
        .put("/b-1/k", bytes.clone())
        .payload(&hex::encode([0; 32]));
    other.send().await.refused(400, "XAmzContentSHA256Mismatch");
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 0);
    assert_eq!(shop.account.balances().await.2, 0);

    put("content-md5", &right).send().await.fine();
    let crc = s3
        .put("/b-1/crc", "123456789")
        .header("x-amz-checksum-crc32", "y/Q5Jg==");
    assert_eq!(
        crc.send().await.fine().header("x-amz-checksum-crc32"),
        "y/Q5Jg=="
    );
    let got = s3
        .get("/b-1/crc")
        .header("x-amz-checksum-mode", "ENABLED")
        .send()
        .await;
    assert_eq!(got.fine().header("x-amz-checksum-crc32"), "y/Q5Jg==");
}

/// A body in the form that the SDKs of 2025 send, with its checksum behind it.
fn with_trailer(bytes: &[u8], crc32: &str) -> Vec<u8> {
    let mut body = format!("{:x}\r\n", bytes.len()).into_bytes();
    body.extend_from_slice(bytes);
    body.extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{crc32}\r\n\r\n").as_bytes());
    body
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_checksum_behind_the_body_is_looked_at(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let put = |crc32: &str| {
        let body = with_trailer(b"123456789", crc32);
        let call = shop
            .s3
            .put("/b-1/k", body)
            .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let call = call.header("x-amz-trailer", "x-amz-checksum-crc32");
        let call = call.header("x-amz-decoded-content-length", "9");
        call.header("content-encoding", "aws-chunked")
    };
    put("AAAAAA==").send().await.refused(400, "BadDigest");
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 0);
    put("y/Q5Jg==").send().await.fine();
    let got = shop.s3.get("/b-1/k").send().await;
    assert_eq!(got.fine().bytes()[..], *b"123456789");
    // How it was sent is no property of what is stored.
    assert!(!got.headers.contains_key("content-encoding"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn lists_of_both_versions_go_on_where_they_stopped(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    let keys = ["a", "b/1", "b/2", "c", "d/1", "e"];
    for key in keys {
        s3.put(&format!("/b-1/{key}"), "x").send().await.fine();
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let list = s3
            .get("/b-1")
            .query("list-type", "2")
            .query("max-keys", "2");
        let list = list.query("continuation-token", &token).send().await;
        found.extend(list.fine().all("Key").into_iter().map(str::to_owned));
        match list.all("NextContinuationToken")[..] {
            [next] => token = next.to_owned(),
            _ => break,
        }
    }
    assert_eq!(found, keys);
    let (mut folded, mut marker) = (Vec::new(), String::new());
    loop {
        let list = s3
            .get("/b-1")
            .query("delimiter", "/")
            .query("max-keys", "1");
        let list = list.query("marker", &marker).send().await;
        folded.extend(list.fine().all("Key").into_iter().map(str::to_owned));
        let prefixes = list.all("CommonPrefixes").into_iter();
        folded.extend(prefixes.map(|p| p.replace("<Prefix>", "").replace("</Prefix>", "")));
        match list.all("NextMarker")[..] {
            [next] => marker = next.to_owned(),
            _ => break,
        }
    }
    assert_eq!(folded, ["a", "b/", "c", "d/", "e"]);
    let bad = s3
        .get("/b-1")
        .query("list-type", "2")
        .query("continuation-token", "%");
    bad.send().await.refused(400, "InvalidArgument");
    let none = s3
        .get("/b-1")
        .query("list-type", "2")
        .query("max-keys", "0")
        .send()
        .await;
    assert_eq!(none.fine().only("IsTruncated"), "false");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn conditions_hold_for_readers_and_for_writers(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    let etag = s3
        .put("/b-1/k", "x")
        .send()
        .await
        .fine()
        .header("etag")
        .to_owned();
    let known = s3.get("/b-1/k").header("if-none-match", &etag).send().await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    let other = s3
        .get("/b-1/k")
        .header("if-match", "\"other\"")
        .send()
        .await;
    other.refused(412, "PreconditionFailed");
    s3.get("/b-1/k")
        .header("if-match", &etag)
        .send()
        .await
        .fine();
    let new = s3
        .put("/b-1/k", "y")
        .header("if-none-match", "*")
        .send()
        .await;
    new.refused(412, "PreconditionFailed");
    s3.put("/b-1/k2", "y")
        .header("if-none-match", "*")
        .send()
        .await
        .fine();
    s3.put("/b-1/k", "y")
        .header("if-match", &etag)
        .send()
        .await
        .fine();
    let stale = s3.put("/b-1/k", "z").header("if-match", &etag).send().await;
    stale.refused(412, "PreconditionFailed");
    assert_eq!(s3.get("/b-1/k").send().await.bytes()[..], *b"y");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn copies_and_batches_of_deletions_are_one_request_each(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    s3.put("/b-1/a", "x")
        .header("x-amz-meta-m", "1")
        .send()
        .await
        .fine();
    let copy = s3
        .put("/b-1/b c", "")
        .header("x-amz-copy-source", "/b-1/a")
        .send()
        .await;
    assert!(copy.fine().only("ETag").contains(&md5_hex(b"x")));
    let got = s3.get("/b-1/b c").send().await;
    assert_eq!(
        (got.fine().bytes()[..].to_vec(), got.header("x-amz-meta-m")),
        (b"x".to_vec(), "1")
    );
    let itself = s3
        .put("/b-1/a", "")
        .header("x-amz-copy-source", "/b-1/a")
        .send()
        .await;
    itself.refused(400, "InvalidRequest");
    let replaced = s3.put("/b-1/a", "").header("x-amz-copy-source", "/b-1/a");
    let replaced = replaced
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-m", "2");
    replaced.send().await.fine();
    assert_eq!(s3.get("/b-1/a").send().await.header("x-amz-meta-m"), "2");

    let delete = "<Delete><Object><Key>a</Key></Object><Object><Key>b c</Key></Object>\
                  <Object><Key>never</Key></Object></Delete>";
    let md5 = STANDARD.encode(Md5::digest(delete));
    let deleted = s3
        .call(Method::POST, "/b-1")
        .query("delete", "")
        .header("content-md5", &md5);
    let deleted = deleted.body(delete).send().await;
    assert_eq!(deleted.fine().all("Key"), ["a", "b c", "never"]);
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_object_comes_in_parts_and_is_whole_when_they_are_named(pool: PgPool) {
    const LEAST: usize = 5 * 1024 * 1024;
    let settings = ["uploads.chunk_size=1MiB"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let router = s3::router(&coordinator.app).unwrap();
    let (_, account) = coordinator.customer().await;
    let s3 = &S3Client::new(&router, &account, ALL).await;
    s3.put("/b-1", "").send().await.fine();
    let begun = s3
        .call(Method::POST, "/b-1/big")
        .query("uploads", "")
        .send()
        .await;
    let id = begun.fine().only("UploadId").to_owned();
    let pieces = [content(LEAST), b"end".to_vec()];
    let mut named = String::new();
    for (number, piece) in (1..).zip(&pieces) {
        let part = s3
            .put("/b-1/big", piece.clone())
            .query("partNumber", &number.to_string());
        let part = part.query("uploadId", &id).send().await;
        let etag = part.fine().header("etag");
        assert_eq!(etag, format!("\"{}\"", md5_hex(piece)));
        named += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let copied = s3
        .put("/b-1/big", "")
        .query("partNumber", "3")
        .query("uploadId", &id);
    let copied = copied.header("x-amz-copy-source", "/b-1/none").send().await;
    copied.refused(404, "NoSuchKey");
    let parts = s3.get("/b-1/big").query("uploadId", &id).send().await;
    assert_eq!(parts.fine().all("PartNumber"), ["1", "2"]);
    let uploads = s3.get("/b-1").query("uploads", "").send().await;
    assert_eq!(uploads.fine().only("Key"), "big");

    let complete = |named: &str| {
        let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
        s3.call(Method::POST, "/b-1/big")
            .query("uploadId", &id)
            .body(body)
    };
    let wrong = "<Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag></Part>";
    complete(wrong).send().await.refused(400, "InvalidPart");
    let completed = complete(&named).send().await;
    let sums = pieces
        .iter()
        .map(|piece| <[u8; 16]>::from(Md5::digest(piece)));
    let sums: Vec<_> = sums.collect();
    let etag = gateway::etag::of_parts(sums.iter());
    assert!(
        completed.fine().only("ETag").contains(&etag),
        "{}",
        completed.text()
    );
    // Asked again, it says the same.
    assert!(complete(&named).send().await.fine().text().contains(&etag));
    let got = s3.get("/b-1/big").send().await;
    assert_eq!(got.fine().bytes()[..], pieces.concat());
    let part = s3.get("/b-1/big").query("partNumber", "2").send().await;
    assert_eq!(part.fine().bytes()[..], *b"end");
    assert_eq!(part.header("x-amz-mp-parts-count"), "2");
    let given_up = s3
        .call(Method::DELETE, "/b-1/big")
        .query("uploadId", &id)
        .send()
        .await;
    given_up.refused(404, "NoSuchUpload");
}
