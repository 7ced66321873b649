//! The pages, as a browser meets them: what they say to it, whom they let in, what they refuse.

mod browser;

use std::time::Duration;

use credentials::totp::Secret;
use data_encoding::BASE32_NOPAD;
use http::{Method, StatusCode};
use kit::{Clock, SimulatedClock};
use serde_json::Value;
use sqlx::PgPool;
use zeroize::Zeroizing;

use self::browser::{Browser, HERE, PASSWORD, text};
use crate::support::{Coordinator, content, price};

fn credentials(email: &str) -> String {
    format!("email={email}&password={}", PASSWORD.replace(' ', "+"))
}

const OF_USERS: [&str; 8] = [
    "/overview",
    "/files",
    "/keys",
    "/security",
    "/security/log",
    "/leave",
    "/files/0198e7a0-0000-7000-8000-000000000000",
    "/admin",
];

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_browser_gets_a_page_at_the_root_and_a_program_is_told_where_the_api_is(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let browser = Browser::new(&coordinator);
    let page = browser.page("/").await;
    assert!(page.contains("Nodes that answer"), "{page}");
    let program = coordinator.visitor().get("/").await;
    program.problem(404, "no-such-route");
    // With what it loads, a first view has 60 KB at most.
    let mut loaded = page.len();
    for part in ["/static/style.css", "/static/live.js"] {
        assert!(page.contains(part), "{part}");
        let answer = browser.get(part).await;
        loaded += answer.bytes().len();
        let known = [("if-none-match", answer.header("etag"))];
        let again = browser.ask(Method::GET, part, &known, "").await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    }
    assert!(loaded < 60_000, "{loaded}");
    let live = browser.page("/live").await;
    assert!(
        live.contains("data-at=") && !live.contains("<html"),
        "{live}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_page_forbids_what_it_does_not_need(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let visitors = ["/", "/nodes", "/sign-in", "/sign-up", "/forgotten"];
    for path in visitors.iter().chain(&OF_USERS) {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy").to_owned();
        for needed in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(needed), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        let page = text(&answer);
        for inline in ["<style", " style=", " onclick", "javascript:"] {
            assert!(!page.contains(inline), "{path}: {inline}");
        }
        let scripts = page.matches("<script").count();
        assert_eq!(
            scripts,
            page.matches("<script type=\"module\" src=\"/static/")
                .count()
        );
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn nobody_sees_what_is_somebodys(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let owner = Browser::sign_up(&coordinator, "a@example.com").await;
    let stored = owner.ask(
        Method::PUT,
        "/api/v1/files?filename=geheim.txt",
        &[HERE, ("content-length", "3")],
        "abc",
    );
    let id = stored.await.expect(StatusCode::CREATED)["file_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = format!("/files/{id}");
    assert!(owner.page("/files").await.contains("geheim.txt"));
    assert!(owner.page(&page).await.contains("geheim.txt"));

    let nobody = Browser::new(&coordinator);
    let mut closed = OF_USERS.to_vec();
    closed.push(&page);
    for path in closed {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            answer.header("location").starts_with("/sign-in?next="),
            "{path}"
        );
    }
    let other = Browser::sign_up(&coordinator, "b@example.com").await;
    assert!(!other.page("/files").await.contains("geheim"));
    for (method, path) in [
        (Method::GET, page.clone()),
        (Method::POST, format!("{page}/prove")),
        (Method::POST, format!("{page}/delete")),
    ] {
        let answer = other.ask(method, &path, &[HERE], "").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!text(&answer).contains("geheim"), "{path}");
    }
    assert!(
        owner.page(&page).await.contains("geheim.txt"),
        "it is still there"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn forms_of_other_pages_change_nothing(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let elsewhere: [&[(&str, &str)]; 6] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ];
    let form = credentials("a@example.com");
    for headers in elsewhere {
        for path in [
            "/sign-in",
            "/sign-up",
            "/keys",
            "/sign-out",
            "/leave",
            "/overview/buy",
        ] {
            let answer = browser.ask(Method::POST, path, headers, &form).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert!(
                !answer.headers.contains_key("set-cookie"),
                "{path} {headers:?}"
            );
        }
        // Nor does the cookie speak for anybody at the API.
        let purchase = "/api/v1/access-keys";
        let answer = browser.ask(Method::POST, purchase, headers, "{}").await;
        answer.problem(401, "unauthorized");
    }
    for headers in [&elsewhere[1], &elsewhere[2], &elsewhere[4]] {
        let answer = browser
            .ask(Method::GET, "/api/v1/auth/me", headers, "")
            .await;
        answer.problem(401, "unauthorized");
        // A link that leads here is followed once more, by a page of this site.
        let answer = browser.ask(Method::GET, "/files", headers, "").await;
        assert!(
            text(&answer).contains("content=\"0;url=/files\""),
            "{headers:?}"
        );
    }
    // Where a browser does not say more, the origin has to be the host.
    let here = [("origin", "http://storage.example")];
    let answer = browser
        .ask(Method::POST, "/security/sessions/end-others", &here, "")
        .await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(
        browser.fetch("/api/v1/auth/me").await["email"],
        "a@example.com"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_login_is_one_of_its_own_and_ends_when_its_owner_says(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let first = Browser::sign_up(&coordinator, "a@example.com").await;
    let planted = first.cookie.clone();
    let mut second = Browser::new(&coordinator);
    second.cookie.clone_from(&planted);
    let answer = second
        .sign_in("/sign-in", &credentials("a@example.com"))
        .await;
    let cookie = answer.header("set-cookie");
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_ne!(
        second.cookie, planted,
        "what a browser showed is not taken over"
    );
    let sessions = second.fetch("/api/v1/auth/sessions").await;
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);

    let out = second.submit("/sign-out", "").await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    let gone = second.get("/overview").await;
    assert_eq!(
        gone.status,
        StatusCode::SEE_OTHER,
        "the token is good no more"
    );
    second
        .get("/api/v1/auth/me")
        .await
        .problem(401, "unauthorized");
    first.page("/overview").await;

    let wrong = "email=a%40example.com&password=violet+anchor+73+cloud";
    let answer = Browser::new(&coordinator).submit("/sign-in", wrong).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(text(&answer).contains("Address or password is wrong"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn over_tls_the_cookie_is_of_this_host_and_no_other_is_read(pool: PgPool) {
    let settings = [r#"http.trusted_proxies=["192.0.2.0/24"]"#];
    let coordinator = Coordinator::with(pool, &settings).await;
    let mut browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let plain = browser.cookie.clone().unwrap();
    let tls = [
        HERE,
        ("x-forwarded-for", "203.0.113.5"),
        ("x-forwarded-proto", "https"),
    ];
    let form = credentials("a@example.com");
    let answer = browser.ask(Method::POST, "/sign-in", &tls, &form).await;
    let cookie = answer.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-fsn=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let over_tls = async |browser: &Browser| {
        let answer = browser.ask(Method::GET, "/api/v1/auth/me", &tls, "").await;
        answer.status
    };
    assert_eq!(
        over_tls(&browser).await,
        StatusCode::UNAUTHORIZED,
        "{plain}"
    );
    browser.cookie = cookie.split(';').next().map(str::to_owned);
    assert_eq!(over_tls(&browser).await, StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_the_site_has_tls_the_cookie_is_for_tls_whatever_a_proxy_leaves_out(pool: PgPool) {
    let settings = ["http.public_url=https://storage.example"];
    let coordinator = Coordinator::with(pool, &settings).await;
    let mut browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let form = credentials("a@example.com");
    let answer = browser.sign_in("/sign-in", &form).await;
    let cookie = answer.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-fsn=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    browser.page("/overview").await;
    // Under the plain name it counts for nothing.
    let plain = browser.cookie.clone().unwrap().replace("__Host-", "");
    let kept = browser.cookie.replace(plain);
    let refused = browser.get("/api/v1/auth/me").await;
    refused.problem(401, "unauthorized");
    browser.cookie = kept;
    // That this very connection is in the clear is still said.
    let page = browser.page("/sign-in").await;
    assert!(page.contains("not encrypted"), "{page}");
    let out = browser.submit("/sign-out", "").await;
    let cleared = out.header("set-cookie");
    assert!(
        cleared.starts_with("__Host-fsn=;") && cleared.contains("; Secure"),
        "{cleared}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn names_stay_text_whatever_they_are(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let path = "/api/v1/files?filename=%3Cscript%3Ealert(1)%3C%2Fscript%3E%20%D9%85%D8%B1%D8%AD%D8%A8%D8%A7%20%22%27";
    let stored = browser.ask(Method::PUT, path, &[HERE, ("content-length", "3")], "abc");
    let id = stored.await.expect(StatusCode::CREATED)["file_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in ["/files".to_owned(), format!("/files/{id}")] {
        let page = browser.page(&path).await;
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(
            page.contains("<bdi>&lt;script&gt;alert(1)&lt;/script&gt; مرحبا"),
            "{page}"
        );
    }
    // Reflected, too.
    let page = browser
        .page("/files?prefix=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E")
        .await;
    assert!(!page.contains("<script>alert"), "{page}");
    // What is stored is handed out as what runs nowhere.
    let download = browser.get(&format!("/api/v1/files/{id}/download")).await;
    assert!(
        download
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert!(
        download
            .header("content-security-policy")
            .contains("sandbox")
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_shows_where_it_is_and_is_proven_when_asked(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool, &[]).await;
    let browser = Browser::sign_up(&coordinator, "b@example.com").await;
    let stored = browser.ask(
        Method::PUT,
        "/api/v1/files?filename=b",
        &[HERE, ("content-length", "3")],
        "abc",
    );
    let id = stored.await.expect(StatusCode::CREATED)["file_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = browser.page(&format!("/files/{id}")).await;
    for node in &nodes {
        assert!(page.contains(&node.node_id.to_string()), "{page}");
    }
    let proven = browser.submit(&format!("/files/{id}/prove"), "").await;
    let shown = text(&proven);
    assert!(
        shown.contains("3 of 3 copies on 3 nodes proved just now"),
        "{shown}"
    );
    let deleted = browser.submit(&format!("/files/{id}/delete"), "").await;
    assert_eq!(deleted.header("location"), "/files?done=deleted");
    assert!(
        browser
            .page("/files?done=deleted")
            .await
            .contains("The file is deleted")
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_list_goes_on_where_its_page_ends(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let stored = browser.ask(
        Method::PUT,
        "/api/v1/files?filename=first",
        &[HERE, ("content-length", "0")],
        "",
    );
    stored.await.expect(StatusCode::CREATED);
    let copied = "INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count, chunk_size_bytes,
                      replication, state, created_at, completed_at, paid_until)
                  SELECT gen_random_uuid(), user_id, 'copy ' || n, content_type, size_bytes, chunk_count, chunk_size_bytes,
                      replication, state, created_at, completed_at + n * interval '1 second', paid_until
                  FROM files, generate_series(1, 120) AS n";
    sqlx::query(copied).execute(&pool).await.unwrap();
    let first = browser.page("/files").await;
    assert_eq!(first.matches("<tr><td>").count(), 100);
    let link = first.split("rel=\"next\" href=\"").nth(1).unwrap();
    let link = link.split('"').next().unwrap().replace("&amp;", "&");
    let second = browser.page(&format!("/files{link}")).await;
    assert_eq!(second.matches("<tr><td>").count(), 21);
    assert!(!second.contains("rel=\"next\""));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_second_factor_is_set_up_asked_for_and_taken_away(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool, &[], Clock::from(&clock)).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let password = format!("password={}", PASSWORD.replace(' ', "+"));
    let shown = text(&browser.submit("/security/app", &password).await);
    assert!(shown.contains("class=\"qr\""), "{shown}");
    let secret = shown.split("Or type this into it: <code>").nth(1).unwrap();
    let secret = BASE32_NOPAD
        .decode(secret.split('<').next().unwrap().as_bytes())
        .unwrap();
    let secret = Secret::from_bytes(Zeroizing::new(secret));
    let code = || secret.code_at(clock.now().as_second());
    let wrong = text(&browser.submit("/security/app/confirm", "code=000000").await);
    assert!(wrong.contains("The code is wrong"), "{wrong}");
    let codes = text(
        &browser
            .submit("/security/app/confirm", &format!("code={}", code()))
            .await,
    );
    assert_eq!(codes.matches("<li><code>").count(), 10, "{codes}");

    clock.advance(Duration::from_secs(30));
    let mut other = Browser::new(&coordinator);
    let asked = text(
        &other
            .submit("/sign-in", &credentials("a@example.com"))
            .await,
    );
    let challenge = asked.split("name=\"challenge\" value=\"").nth(1).unwrap();
    let challenge = challenge.split('"').next().unwrap().to_owned();
    let answer = |code: &str| format!("challenge={challenge}&code={code}&next=%2Ffiles");
    let wrong = other.submit("/sign-in/code", &answer("000000")).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    let let_in = other.sign_in("/sign-in/code", &answer(&code())).await;
    assert_eq!(let_in.header("location"), "/files");
    other.page("/files").await;

    clock.advance(Duration::from_secs(30));
    let removed = other
        .submit(
            "/security/app/remove",
            &format!("{password}&code={}", code()),
        )
        .await;
    assert_eq!(removed.header("location"), "/security?done=app");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_shows_its_secret_once_and_is_revoked(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let made = text(
        &browser
            .submit("/keys", "name=laptop&read=on&list=on&days=30")
            .await,
    );
    let id = made.split("<dt>Access key</dt><dd><code>").nth(1).unwrap();
    let id = id.split('<').next().unwrap().to_owned();
    assert!(made.contains(&format!("curl -u {id}:")), "{made}");
    let secret = made.split("<dt>Secret</dt><dd><code>").nth(1).unwrap();
    let secret = secret.split('<').next().unwrap().to_owned();
    let list = browser.page("/keys").await;
    assert!(list.contains(&id) && !list.contains(&secret));
    let revoked = browser.submit(&format!("/keys/{id}/revoke"), "").await;
    assert_eq!(revoked.header("location"), "/keys?done=revoked");
    assert!(!browser.page("/keys").await.contains(&id));
    let nothing = browser.submit("/keys", "name=&days=").await;
    assert!(text(&nothing).contains("role=\"alert\""), "it says why");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_an_account_uses_is_what_it_pays_for(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let usage = async || {
        client
            .get("/api/v1/auth/me/usage")
            .await
            .expect(StatusCode::OK)
    };
    assert_eq!(usage().await["month_microcredits"], 0);
    let sizes = [1, 70_001, 200_000];
    for size in sizes {
        client.upload("name", &content(size)).await;
    }
    let usage = usage().await;
    let month: i64 = sizes.iter().map(|size| price("name", *size)).sum();
    assert_eq!(usage["files"], 3);
    assert_eq!(usage["bytes"], 270_002);
    assert_eq!(usage["month_microcredits"], month);
    let (_, _, escrow) = client.balances().await;
    assert_eq!(escrow, month, "the first month was paid in advance");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_summary_is_of_all_nodes_and_is_looked_up_once_in_a_while(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool.clone(), &[], Clock::from(&clock)).await;
    let insert = "INSERT INTO nodes (node_id, peer_id, name, region, capacity_bytes, used_bytes, blob_count, state,
                      api_key_hash, last_seen_at)
                  SELECT gen_random_uuid(), 'peer ' || n, 'n', CASE WHEN n > 100 THEN NULL ELSE 'region ' || (n % 50) END,
                      1000, 10, 1, CASE WHEN n = 1 THEN 'drained' ELSE 'active' END, sha256(n::text::bytea), now()
                  FROM generate_series(1, 110) AS n";
    sqlx::query(insert).execute(&pool).await.unwrap();
    let ask = async || {
        let answer = coordinator.visitor().get("/api/v1/network/summary").await;
        answer.expect(StatusCode::OK)
    };
    let summary = ask().await;
    let groups = summary["nodes"].as_array().unwrap();
    let nodes: u64 = groups
        .iter()
        .map(|group| group["nodes"].as_u64().unwrap())
        .sum();
    assert_eq!(nodes, 109, "one has left");
    assert_eq!(
        groups.len(),
        41,
        "what is beyond the largest regions is one group"
    );
    assert_eq!(groups[0]["region"], Value::Null);
    assert_eq!(groups[40]["region"], "elsewhere");
    sqlx::query("DELETE FROM nodes")
        .execute(&pool)
        .await
        .unwrap();
    clock.advance(Duration::from_secs(4));
    assert_eq!(ask().await, summary);
    clock.advance(Duration::from_secs(2));
    assert_eq!(ask().await["nodes"].as_array().unwrap().len(), 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_alone_see_the_background_work(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let refused = browser.get("/admin").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!browser.page("/overview").await.contains("href=\"/admin\""));
    sqlx::query("UPDATE users SET role = 'admin'")
        .execute(&pool)
        .await
        .unwrap();
    let browser = {
        let mut again = Browser::new(&coordinator);
        again
            .sign_in("/sign-in", &credentials("a@example.com"))
            .await;
        again
    };
    assert!(browser.page("/admin").await.contains("Background work"));
    assert!(browser.page("/overview").await.contains("href=\"/admin\""));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_leaves_takes_the_cookie_along(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let browser = Browser::sign_up(&coordinator, "a@example.com").await;
    let wrong = text(
        &browser
            .submit("/leave", "password=violet+anchor+73+cloud")
            .await,
    );
    assert!(wrong.contains("role=\"alert\""), "{wrong}");
    browser.page("/overview").await;
    let form = format!("password={}", PASSWORD.replace(' ', "+"));
    let left = browser.submit("/leave", &form).await;
    assert_eq!(left.header("location"), "/sign-in?done=left");
    assert!(left.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(browser.get("/overview").await.status, StatusCode::SEE_OTHER);
}
