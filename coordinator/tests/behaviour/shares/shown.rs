//! What browsers are shown of shares, and how stored bytes are served to them.

use coordinator::http::s3;
use http::{Method, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use super::{PASSWORD, about, html, make, page, shop};
use crate::support::{Answer, CHUNK, OnRead, S3Client, content};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_page_needs_no_script_and_what_others_have_chosen_does_not_run_in_it(pool: PgPool) {
    let shop = shop(pool).await;
    let name = "<img src=x onerror=alert(1)>\"'&.html";
    let share = shop
        .share(b"<script>1</script>", json!({"name": name}))
        .await;
    let shown = shop.visitor.get(&page(&share)).await;
    assert_eq!(shown.status, StatusCode::OK);
    let policy = shown.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(shown.header("referrer-policy"), "no-referrer");
    assert_eq!(shown.header("cache-control"), "no-store");
    let text = html(&shown);
    assert!(
        !text.contains("<img") && !text.contains("<script"),
        "{text}"
    );
    assert!(
        text.contains(&format!("href=\"{}\"", about(&share, "/content"))),
        "{text}"
    );
    for part in ["/share.css", "/share.js"] {
        assert_eq!(shop.visitor.get(part).await.status, StatusCode::OK);
    }

    let locked = shop.share(b"secret", json!({"password": PASSWORD})).await;
    let form = html(&shop.visitor.get(&page(&locked)).await);
    assert!(
        form.contains("<form") && !form.contains("tree.txt"),
        "{form}"
    );
    let tell = |password: &str| {
        let call = shop.visitor.post(&page(&locked));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.body(format!("password={password}")).send()
    };
    let wrong = tell("wrong+password").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(html(&wrong).contains("The password is wrong"));
    let right = tell("violet+anchor").await;
    assert_eq!(right.status, StatusCode::SEE_OTHER);
    assert_eq!(right.header("location"), about(&locked, "/content"));
    let cookie = right.header("set-cookie").split(';').next().unwrap();
    let read = shop
        .read_with(&locked, "192.0.2.1", &[("cookie", cookie)])
        .await;
    assert_eq!(read.bytes()[..], *b"secret");
    let gone = shop.visitor.get("/s/BwcHBwcHBwcHBwcHBwcHBw").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    html(&gone);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_a_share_with_a_password_strangers_learn_that_it_has_one_and_no_more(pool: PgPool) {
    let shop = shop(pool).await;
    let wanted = json!({"password": PASSWORD, "evidence": true, "max_downloads": 5,
        "expires_at": "2999-01-01T00:00:00Z"});
    let share = shop.share(b"secret", wanted).await;
    let facts = shop.facts(&share).await.expect(StatusCode::OK);
    let told = facts.as_object().unwrap();
    for (member, value) in told {
        let says_nothing = value.is_null() || *value == json!(false);
        assert!(says_nothing || member == "needs_password", "{facts}");
    }
    assert_eq!(facts["needs_password"], true);

    let token = shop.unlock(&share, "192.0.2.1", PASSWORD).await;
    let token = token.expect(StatusCode::OK)["token"].clone();
    let facts = shop.visitor.call(Method::GET, &about(&share, ""));
    let facts = facts.header("share-token", token.as_str().unwrap());
    let facts = facts.send().await.expect(StatusCode::OK);
    assert_eq!(
        (&facts["needs_password"], &facts["evidence"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(facts["downloads_left"], 5);
    assert_eq!(facts["expires_at"], "2999-01-01T00:00:00Z");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn stored_bytes_run_nowhere_whatever_they_are_said_to_be(pool: PgPool) {
    let shop = shop(pool).await;
    let s3_router = s3::router(&shop.coordinator.app).unwrap();
    let all = r#"{"name":"all","scopes":["read","write","list","delete"],"s3":true}"#;
    let s3 = S3Client::new(&s3_router, &shop.owner, all).await;
    s3.put("/b-1", "").send().await;
    for (kind, is_shown) in [
        ("text/html", false),
        ("image/svg+xml", false),
        ("application/xhtml+xml; charset=utf-8", false),
        ("application/pdf", false),
        ("text/javascript", false),
        ("image/png", true),
        ("text/plain; charset=utf-8", true),
    ] {
        let call = shop.owner.upload_call("a.html", b"<script>1</script>");
        let file = call.header("content-type", kind).send().await;
        let file = file.expect(StatusCode::CREATED);
        let wanted = json!({"file_id": file["file_id"]});
        let share = make(&shop.owner, &wanted).await.expect(StatusCode::CREATED);
        let put = s3.put("/b-1/a.html", "<script>1</script>");
        let put = put.header("content-type", kind);
        let put = put.header("content-disposition", "inline").send().await;
        assert_eq!(put.status, StatusCode::OK, "{:?}", put.body);

        let shared = shop.read(&share).await;
        let own = shop.owner.download(&file).await;
        let object = s3.get("/b-1/a.html").send().await;
        for answer in [&shared, &own, &object] {
            assert_eq!(answer.header("content-type"), kind);
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            let policy = answer.header("content-security-policy");
            let parts: Vec<_> = policy.split(';').map(str::trim).collect();
            assert!(parts.contains(&"sandbox"), "{policy}");
        }
        let begins = |answer: &Answer| {
            let told = answer.header("content-disposition");
            told.split(';').next().unwrap().to_owned()
        };
        let expected = if is_shown { "inline" } else { "attachment" };
        assert_eq!(begins(&shared), expected, "{kind}");
        assert_eq!(begins(&object), expected, "{kind}");
        assert_eq!(begins(&own), "attachment", "{kind}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_share_of_evidence_shows_copies_and_no_content(pool: PgPool) {
    let shop = shop(pool).await;
    let share = shop
        .share(&content(2 * CHUNK), json!({"evidence": true}))
        .await;
    let shown = shop.visitor.get(&about(&share, "/durability")).await;
    let shown = shown.expect(StatusCode::OK);
    assert_eq!(shown["chunks"].as_array().unwrap().len(), 2);
    assert_eq!(shown["chunks"][0]["replicas"].as_array().unwrap().len(), 3);
    shop.read(&share).await.problem(404, "not-found");
    let text = html(&shop.visitor.get(&page(&share)).await);
    assert!(
        text.contains("3 copies") && !text.contains("/content"),
        "{text}"
    );

    let plain = shop.share(b"abc", json!({})).await;
    let refused = shop.visitor.get(&about(&plain, "/durability")).await;
    refused.problem(404, "not-found");
    shop.nodes[0].on_read(OnRead::Deny);
    assert_eq!(shop.read(&plain).await.bytes()[..], *b"abc");
}
