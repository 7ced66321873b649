//! What is set for a bucket: pages of other origins, public objects, how long objects are kept.

use coordinator::objects::bucket_rules;
use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::support::Answer;

const CORS: &str = "<CORSConfiguration><CORSRule><AllowedOrigin>https://*.example.com</AllowedOrigin>\
    <AllowedMethod>GET</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
    <MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>";

async fn asked(
    shop: &Shop,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Answer {
    let mut request = bare(method, path);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    shop.s3.send(request).await
}

async fn patch(shop: &Shop, body: serde_json::Value) -> serde_json::Value {
    let call = shop.account.call(Method::PATCH, "/api/v1/buckets/b-1");
    call.body(body.to_string())
        .send()
        .await
        .expect(StatusCode::OK)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_page_may_ask_for_what_a_rule_of_the_bucket_lets_it(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    s3.put("/b-1/k", "content").send().await.fine();
    let none = s3.get("/b-1").query("cors", "").send().await;
    none.refused(404, "NoSuchCORSConfiguration");
    let preflight = |origin: &'static str, method: &'static str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "x-amz-date"),
        ];
        let shop = &shop;
        async move { asked(shop, Method::OPTIONS, "/b-1/k", &headers).await }
    };
    const PAGE: &str = "https://a.example.com";
    preflight(PAGE, "GET").await.refused(403, "AccessDenied");

    s3.put("/b-1", CORS).query("cors", "").send().await.fine();
    let set = s3.get("/b-1").query("cors", "").send().await;
    assert_eq!(set.fine().only("AllowedOrigin"), "https://*.example.com");
    assert_eq!(set.only("MaxAgeSeconds"), "60");
    let told = preflight(PAGE, "GET").await;
    assert_eq!(told.fine().header("access-control-allow-origin"), PAGE);
    assert_eq!(told.header("access-control-allow-headers"), "x-amz-date");
    assert_eq!(told.header("access-control-max-age"), "60");
    preflight(PAGE, "PUT").await.refused(403, "AccessDenied");
    preflight("https://evil.test", "GET")
        .await
        .refused(403, "AccessDenied");
    asked(&shop, Method::OPTIONS, "/b-1/k", &[])
        .await
        .refused(403, "AccessDenied");

    let got = s3.get("/b-1/k").header("origin", PAGE).send().await;
    assert_eq!(got.fine().header("access-control-allow-origin"), PAGE);
    assert_eq!(got.header("access-control-expose-headers"), "ETag");
    assert!(got.header("vary").contains("Origin"));
    let other = s3
        .get("/b-1/k")
        .header("origin", "https://evil.test")
        .send()
        .await;
    let is_told = |headers: &HeaderMap| headers.contains_key("access-control-allow-origin");
    assert!(!is_told(&other.fine().headers));
    // A page learns why it is refused, too.
    let refused = asked(&shop, Method::GET, "/b-1/k", &[("origin", PAGE)]).await;
    refused.refused(403, "AccessDenied");
    assert!(is_told(&refused.headers));

    let both = CORS.replace("https://*", "https://*.*");
    s3.put("/b-1", both)
        .query("cors", "")
        .send()
        .await
        .refused(400, "InvalidArgument");
    s3.call(Method::DELETE, "/b-1")
        .query("cors", "")
        .send()
        .await
        .fine();
    preflight(PAGE, "GET").await.refused(403, "AccessDenied");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn anybody_reads_what_is_public_and_nothing_else(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    for (key, content) in [
        ("site/index.html", "start"),
        ("site/a/index.html", "a"),
        ("secret", "s"),
    ] {
        s3.put(&format!("/b-1/{key}"), content).send().await.fine();
    }
    let get = |path: &'static str| {
        let shop = &shop;
        async move { asked(shop, Method::GET, path, &[]).await }
    };
    get("/b-1/site/index.html")
        .await
        .refused(403, "AccessDenied");
    let set = patch(
        &shop,
        json!({"public_read": ["site/"], "index_document": "index.html"}),
    )
    .await;
    assert_eq!(set["rules"]["public_read"], json!(["site/"]));
    let page = get("/b-1/site/index.html").await;
    assert_eq!(page.fine().bytes()[..], *b"start");
    let policy = page.header("content-security-policy");
    assert!(policy.ends_with("; sandbox"), "{policy}");
    assert_eq!(get("/b-1/site/").await.fine().bytes()[..], *b"start");
    assert_eq!(get("/b-1/site/a/").await.fine().bytes()[..], *b"a");
    let head = asked(&shop, Method::HEAD, "/b-1/site/a/", &[]).await;
    assert_eq!(head.fine().header("content-length"), "1");
    get("/b-1/site/none").await.refused(404, "NoSuchKey");
    for path in [
        "/b-1/secret",
        "/b-1",
        "/b-1/",
        "/b-1?list-type=2",
        "/b-1/site/index.html?versionId=null",
        "/b-1/site/index.html?response-content-type=text/html",
        "/b-1/site/index.html?acl",
    ] {
        get(path).await.refused(403, "AccessDenied");
    }
    for method in [Method::PUT, Method::DELETE] {
        let refused = asked(
            &shop,
            method,
            "/b-1/site/index.html",
            &[("content-length", "0")],
        )
        .await;
        refused.refused(403, "AccessDenied");
    }
    // A key of somebody else is worth no less than none, and no more.
    let (_, stranger) = shop.coordinator.customer().await;
    let stranger = S3Client::new(&shop.router, &stranger, ALL).await;
    let read = stranger.get("/b-1/site/index.html").send().await;
    assert_eq!(read.fine().bytes()[..], *b"start");
    let taken = stranger.put("/b-3", "").send().await;
    taken.fine();
    let taken = stranger.put("/b-3/k", "");
    let taken = taken.header("x-amz-copy-source", "/b-1/site/index.html");
    taken.send().await.refused(403, "AccessDenied");
    stranger
        .get("/b-1/secret")
        .send()
        .await
        .refused(403, "AccessDenied");

    let status = s3.get("/b-1").query("policyStatus", "").send().await;
    assert_eq!(status.fine().only("IsPublic"), "true");
    let open = s3
        .put("/b-1", "")
        .query("acl", "")
        .header("x-amz-acl", "public-read");
    open.send().await.fine();
    assert_eq!(get("/b-1/secret").await.fine().bytes()[..], *b"s");
    let acl = s3.get("/b-1").query("acl", "").send().await;
    assert!(acl.fine().text().contains("AllUsers"));
    let suspended = "UPDATE users SET suspended_at = now(), suspended_reason = 'x'";
    sqlx::query(suspended).execute(&pool).await.unwrap();
    get("/b-1/secret").await.refused(403, "AccessDenied");
    let back = "UPDATE users SET suspended_at = NULL, suspended_reason = NULL";
    sqlx::query(back).execute(&pool).await.unwrap();
    let close = s3
        .put("/b-1", "")
        .query("acl", "")
        .header("x-amz-acl", "private");
    close.send().await.fine();
    get("/b-1/site/index.html")
        .await
        .refused(403, "AccessDenied");
    let open = s3.put("/b-2", "").header("x-amz-acl", "public-read");
    open.send().await.fine();
    s3.put("/b-2/k", "y").send().await.fine();
    assert_eq!(get("/b-2/k").await.fine().bytes()[..], *b"y");
    let odd = shop.account.call(Method::PATCH, "/api/v1/buckets/b-1");
    let odd = odd
        .body(json!({"index_document": "a/b"}).to_string())
        .send()
        .await;
    odd.problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn objects_of_a_prefix_go_after_their_days(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    for key in ["log/old", "log/new", "other"] {
        s3.put(&format!("/b-1/{key}"), "x").send().await.fine();
    }
    let rule = |more: &str| {
        format!(
            "<LifecycleConfiguration><Rule><ID>logs</ID><Filter><Prefix>log/</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>2</Days></Expiration>{more}</Rule></LifecycleConfiguration>"
        )
    };
    let moved = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
    let refused = s3
        .put("/b-1", rule(moved))
        .query("lifecycle", "")
        .send()
        .await;
    refused.refused(501, "NotImplemented");
    s3.put("/b-1", rule(""))
        .query("lifecycle", "")
        .send()
        .await
        .fine();
    let set = s3.get("/b-1").query("lifecycle", "").send().await;
    assert_eq!(
        (set.fine().only("Days"), set.only("Status")),
        ("2", "Enabled")
    );
    let told = shop
        .account
        .get("/api/v1/buckets/b-1")
        .await
        .expect(StatusCode::OK);
    assert_eq!(told["rules"]["lifecycle"][0]["days"], 2);

    let older =
        "UPDATE objects SET created_at = now() - interval '49 hours' WHERE key <> 'log/new'";
    sqlx::query(older).execute(&pool).await.unwrap();
    let objects = &shop.coordinator.app.objects;
    while bucket_rules::walk_one(objects).await.unwrap() {}
    let keys = s3.get("/b-1").query("list-type", "2").send().await;
    assert_eq!(keys.fine().all("Key"), ["log/new", "other"]);
    // Looked at again only after a while, or when the rules are set anew.
    sqlx::query(older).execute(&pool).await.unwrap();
    sqlx::query("UPDATE objects SET created_at = now() - interval '49 hours'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(!bucket_rules::walk_one(objects).await.unwrap());
    s3.put("/b-1", rule(""))
        .query("lifecycle", "")
        .send()
        .await
        .fine();
    while bucket_rules::walk_one(objects).await.unwrap() {}
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 1);
    s3.call(Method::DELETE, "/b-1")
        .query("lifecycle", "")
        .send()
        .await
        .fine();
    let none = s3.get("/b-1").query("lifecycle", "").send().await;
    none.refused(404, "NoSuchLifecycleConfiguration");
    assert!(!bucket_rules::walk_one(objects).await.unwrap());
}
