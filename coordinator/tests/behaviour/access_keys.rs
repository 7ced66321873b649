//! Access keys: what programs sign in with, what each may do, and how it ends.

use coordinator::accounts::key_login::{self, KeyRefused};
use coordinator::database::Pool;
use coordinator::keys::rotation::{announce, put_to_use, rewrap_some};
use coordinator::keys::{self, KeyPurpose};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use kit::{Clock, Entropy, SimulatedClock};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Call, Client, Coordinator, content, count, eventually};

const KEYS: &str = "/api/v1/access-keys";

async fn make(client: &Client, wanted: Value) -> Value {
    let made = client.post(KEYS).body(wanted.to_string()).send().await;
    made.expect(StatusCode::CREATED)
}

/// A key that may do all that keys may.
async fn make_whole(client: &Client) -> Value {
    let scopes = ["read", "write", "list", "delete", "account"];
    make(client, json!({"name": "all", "scopes": scopes})).await
}

fn id(key: &Value) -> &str {
    key["access_key_id"].as_str().unwrap()
}

fn secret(key: &Value) -> &str {
    key["secret_access_key"].as_str().unwrap()
}

/// Asks with a key, from this machine.
fn with(coordinator: &Coordinator, key: &Value, method: Method, path: &str) -> Call {
    let call = coordinator.visitor().call(method, path);
    call.from("127.0.0.1").with_key(key)
}

async fn list_files(coordinator: &Coordinator, key: &Value) -> Answer {
    let call = with(coordinator, key, Method::GET, "/api/v1/files");
    call.send().await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_is_shown_once_listed_without_its_secret_and_revoked(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let key = make(
        &client,
        json!({"name": "laptop", "scopes": ["list", "read"]}),
    )
    .await;
    assert_eq!(id(&key).len(), 20);
    assert_eq!(key["scopes"], json!(["read", "list"]));
    let listed = client.get(KEYS).await.expect(StatusCode::OK);
    assert_eq!(listed["items"][0]["access_key_id"], key["access_key_id"]);
    assert!(listed["items"][0].get("secret_access_key").is_none());
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);

    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    let token = format!("{}.{}", id(&key), secret(&key));
    let as_bearer = coordinator.visitor().with_token(&token);
    as_bearer.get("/api/v1/files").await.expect(StatusCode::OK);

    let (_, stranger) = coordinator.user().await;
    let path = format!("{KEYS}/{}", id(&key));
    stranger.delete(&path).await.problem(404, "not-found");
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    for _ in 0..2 {
        client.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
    let refused = list_files(&coordinator, &key).await;
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let listed = client.get(KEYS).await.expect(StatusCode::OK);
    assert_eq!(listed["items"], json!([]));
    let nothing = client.delete(&format!("{KEYS}/FSNAAAAAAAAAAAAAAAAA")).await;
    nothing.problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_may_do_what_its_scopes_say_and_nothing_else(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let nothing = "/api/v1/files/01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6";
    let routes = [
        ("list", Method::GET, "/api/v1/files".to_owned()),
        ("read", Method::GET, nothing.to_owned()),
        ("read", Method::GET, format!("{nothing}/download")),
        ("read", Method::GET, format!("{nothing}/receipts")),
        ("read", Method::GET, format!("{nothing}/durability")),
        (
            "write",
            Method::POST,
            "/api/v1/files/upload/initiate".to_owned(),
        ),
        ("write", Method::PUT, "/api/v1/files?filename=a".to_owned()),
        ("delete", Method::DELETE, nothing.to_owned()),
        ("account", Method::GET, "/api/v1/auth/me".to_owned()),
        ("account", Method::GET, "/api/v1/balance".to_owned()),
        (
            "account",
            Method::POST,
            "/api/v1/auth/credits/purchase".to_owned(),
        ),
        ("account", Method::POST, "/api/v1/nodes/tokens".to_owned()),
    ];
    for scope in ["read", "write", "list", "delete", "account"] {
        let key = make(&client, json!({"name": scope, "scopes": [scope]})).await;
        for (needed, method, path) in &routes {
            let answer = with(&coordinator, &key, method.clone(), path).send().await;
            if scope == *needed {
                let refused = matches!(answer.status.as_u16(), 401 | 403);
                assert!(!refused, "{scope}: {method} {path}: {:?}", answer.body);
            } else {
                answer.problem(403, "not-for-this-key");
            }
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn no_key_makes_or_ends_keys_or_changes_a_password(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let key = make_whole(&client).await;
    let own = format!("{KEYS}/{}", id(&key));
    let routes = [
        (Method::POST, KEYS),
        (Method::GET, KEYS),
        (Method::DELETE, own.as_str()),
        (Method::POST, "/api/v1/auth/password"),
    ];
    for (method, path) in routes {
        let call = with(&coordinator, &key, method, path).body("{}");
        call.send().await.problem(403, "not-for-this-key");
    }
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_of_a_bucket_is_for_nothing_outside_of_it(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let wanted =
        json!({"name": "photos", "scopes": ["list"], "bucket": "photos", "prefix": "2026/"});
    let key = make(&client, wanted).await;
    assert_eq!(key["prefix"], "2026/");
    let refused = list_files(&coordinator, &key).await;
    refused.problem(403, "not-for-this-key");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_cannot_be_a_key_is_refused_by_name(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    for (wrong, named) in [
        (json!({"name": "", "scopes": ["read"]}), "`name`"),
        (json!({"name": "a", "scopes": []}), "scope"),
        (json!({"name": "a", "scopes": ["admin"]}), "`admin`"),
        (
            json!({"name": "a", "scopes": ["read"], "prefix": "x"}),
            "`bucket`",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}),
            "`expires_at`",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "allowed_addresses": ["home"]}),
            "`home`",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "bytes_per_day": 0}),
            "`bytes_per_day`",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "credits_per_day": 0}),
            "`credits_per_day`",
        ),
        (
            json!({"name": "a", "scopes": ["read"], "admin": true}),
            "`admin`",
        ),
    ] {
        let refused = client.post(KEYS).body(wrong.to_string()).send().await;
        let problem = refused.problem(400, "invalid-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail}");
    }
    assert_eq!(
        count(
            coordinator.app.db.connections(),
            "SELECT count(*) FROM access_keys"
        )
        .await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_ends_when_it_says_and_is_used_from_where_it_says(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool, &[], Clock::from(&clock)).await;
    let (_, client) = coordinator.user().await;
    let expires_at = clock.now() + SignedDuration::from_secs(600);
    let wanted = json!({"name": "short", "scopes": ["list"], "expires_at": expires_at,
                        "allowed_addresses": ["127.0.0.0/8"]});
    let key = make(&client, wanted).await;
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    let token = format!("{}.{}", id(&key), secret(&key));
    let elsewhere = coordinator.visitor().with_token(&token);
    let refused = elsewhere.get("/api/v1/files").await;
    refused.problem(403, "not-for-this-key");
    clock.advance(std::time::Duration::from_secs(600));
    let expired = list_files(&coordinator, &key).await;
    expired.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn basic_is_not_taken_from_web_pages_nor_in_the_clear(pool: PgPool) {
    let settings = [r#"http.trusted_proxies=["10.0.0.0/8"]"#];
    let coordinator = Coordinator::with(pool, &settings).await;
    let (_, client) = coordinator.user().await;
    let key = make(&client, json!({"name": "a", "scopes": ["list"]})).await;
    let list = || {
        coordinator
            .visitor()
            .call(Method::GET, "/api/v1/files")
            .with_key(&key)
    };

    for (name, value) in [
        ("origin", "https://example.com"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let from_page = list().from("127.0.0.1").header(name, value);
        from_page.send().await.problem(403, "basic-refused");
    }
    for site in ["same-origin", "none"] {
        let own = list().from("127.0.0.1").header("sec-fetch-site", site);
        own.send().await.expect(StatusCode::OK);
    }

    let (https, http) = (
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http"),
    );
    let client = ("x-forwarded-for", "203.0.113.7");
    for (from, headers, taken) in [
        ("203.0.113.7", &[][..], false),
        ("203.0.113.7", &[https][..], false),
        ("10.0.0.1", &[client, https][..], true),
        ("10.0.0.1", &[client, http][..], false),
        ("10.0.0.1", &[client][..], false),
        (
            "10.0.0.1",
            &[client, ("x-forwarded-proto", "https, http")][..],
            false,
        ),
        ("127.0.0.1", &[][..], true),
    ] {
        let mut call = list().from(from);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        match taken {
            true => drop(answer.expect(StatusCode::OK)),
            false => drop(answer.problem(403, "basic-refused")),
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_has_no_key_is_told_and_soon_slowed_down(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let key = make(&client, json!({"name": "a", "scopes": ["list"]})).await;
    let mut wrong = key.clone();
    wrong["secret_access_key"] = "fsnk_guessed".into();
    let mut refused = list_files(&coordinator, &wrong).await;
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    for _ in 0..150 {
        refused = list_files(&coordinator, &wrong).await;
    }
    refused.problem(429, "too-many-requests");
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_lost_answer_is_given_again_for_an_hour_and_another_request_is_refused(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool.clone(), &[], Clock::from(&clock)).await;
    let (user, _) = coordinator.user().await;
    let ask = |name: &str| {
        let wanted = json!({"name": name, "scopes": ["list"], "s3": true});
        let client = coordinator.client_of(user);
        let call = client.post(KEYS).header("idempotency-key", "once");
        call.body(wanted.to_string()).send()
    };
    let first = ask("a").await.expect(StatusCode::CREATED);
    assert_eq!(ask("a").await.expect(StatusCode::CREATED), first);
    ask("b").await.problem(422, "idempotency-key-reused");
    assert_eq!(count(&pool, "SELECT count(*) FROM access_keys").await, 1);
    list_files(&coordinator, &first)
        .await
        .expect(StatusCode::OK);

    clock.advance(std::time::Duration::from_secs(3700));
    ask("a").await.problem(422, "idempotency-key-reused");
    list_files(&coordinator, &first)
        .await
        .expect(StatusCode::OK);

    let (_, other) = coordinator.user().await;
    let wanted = json!({"name": "a", "scopes": ["list"], "s3": true});
    let call = other.post(KEYS).header("idempotency-key", "once");
    let others = call.body(wanted.to_string()).send().await;
    let others = others.expect(StatusCode::CREATED);
    assert_ne!(secret(&others), secret(&first));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_answer_of_a_revoked_key_is_not_given_again(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let (_, client) = coordinator.user().await;
    let ask = || {
        let wanted = json!({"name": "a", "scopes": ["list"]});
        let call = client.post(KEYS).header("idempotency-key", "once");
        call.body(wanted.to_string()).send()
    };
    let key = ask().await.expect(StatusCode::CREATED);
    let path = format!("{KEYS}/{}", id(&key));
    client.delete(&path).await.expect(StatusCode::NO_CONTENT);
    ask().await.problem(422, "idempotency-key-reused");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_has_so_many_keys_and_one_that_is_revoked_makes_room(pool: PgPool) {
    let coordinator = Coordinator::with(pool, &["auth.access_keys_per_account=2"]).await;
    let (_, client) = coordinator.user().await;
    let first = make_whole(&client).await;
    make_whole(&client).await;
    let wanted = json!({"name": "a", "scopes": ["list"]}).to_string();
    let refused = client.post(KEYS).body(wanted).send().await;
    let problem = refused.problem(403, "too-many-access-keys");
    assert_eq!(problem["limit"], 2);
    let path = format!("{KEYS}/{}", id(&first));
    client.delete(&path).await.expect(StatusCode::NO_CONTENT);
    make_whole(&client).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_uses_and_spends_no_more_in_a_day_than_it_may(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let scopes = ["read", "write"];
    let wanted = json!({"name": "a", "scopes": scopes, "bytes_per_day": 10_000});
    let key = make(&client, wanted).await;
    let upload = |key: &Value, bytes: usize| {
        let call = with(&coordinator, key, Method::PUT, "/api/v1/files?filename=a");
        let call = call.header("content-length", &bytes.to_string());
        call.body(content(bytes)).send()
    };
    let file = upload(&key, 6_000).await.expect(StatusCode::CREATED);
    let refused = upload(&key, 6_000).await;
    refused.problem(429, "key-used-up");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    let path = format!(
        "/api/v1/files/{}/download",
        file["file_id"].as_str().unwrap()
    );
    let download = || with(&coordinator, &key, Method::GET, &path);
    let part = download().header("range", "bytes=0-3999").send().await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    download().send().await.problem(429, "key-used-up");
    client.content(&file).await; // a login has no cap

    let endless = with(&coordinator, &key, Method::PUT, "/api/v1/files?filename=a");
    let endless = endless.body(content(10)).send().await;
    endless.problem(411, "length-required");

    let wanted = json!({"name": "b", "scopes": scopes, "credits_per_day": 1});
    let thrifty = make(&client, wanted).await;
    upload(&thrifty, 6_000).await.expect(StatusCode::CREATED);
    sqlx::query("UPDATE access_key_days SET microcredits = 999999")
        .execute(&pool)
        .await
        .unwrap();
    let refused = upload(&thrifty, 6_000).await;
    refused.problem(429, "key-used-up");
    sqlx::query("UPDATE access_key_days SET day = day - 1")
        .execute(&pool)
        .await
        .unwrap();
    upload(&thrifty, 6_000).await.expect(StatusCode::CREATED);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_last_use_of_a_key_is_noted_once_a_minute(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool, &[], Clock::from(&clock)).await;
    let (_, client) = coordinator.user().await;
    let key = make(&client, json!({"name": "a", "scopes": ["list"]})).await;
    assert_eq!(key["last_used_at"], Value::Null);
    let last_use = || async {
        let listed = client.get(KEYS).await.expect(StatusCode::OK);
        listed["items"][0]["last_used_at"].clone()
    };
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    let first = last_use().await;
    assert!(first.is_string(), "{first}");
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    assert_eq!(last_use().await, first);
    clock.advance(std::time::Duration::from_secs(120));
    list_files(&coordinator, &key).await.expect(StatusCode::OK);
    assert_ne!(last_use().await, first);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_revoked_key_and_a_suspended_account_are_refused_by_every_coordinator_at_once(
    pool: PgPool,
) {
    // Time stands still: what was known would be known for ever.
    let clock = SimulatedClock::new(Clock::system().now());
    let first = Coordinator::at(pool.clone(), &[], Clock::from(&clock)).await;
    let second = first.another(&[], Clock::from(&clock)).await;
    second.start_workers();
    let (_, client) = first.user().await;
    let (kept, revoked) = (make_whole(&client).await, make_whole(&client).await);
    // Until the second one hears, and knows the key.
    eventually(|| async {
        list_files(&second, &revoked).await.expect(StatusCode::OK);
        let keys = &second.app.accounts.known.keys;
        let known = keys.get(id(&revoked).parse().unwrap(), clock.now());
        known.map(drop)
    })
    .await;
    list_files(&second, &kept).await.expect(StatusCode::OK);

    let path = format!("{KEYS}/{}", id(&revoked));
    client.delete(&path).await.expect(StatusCode::NO_CONTENT);
    list_files(&first, &revoked)
        .await
        .problem(401, "unauthorized");
    eventually(|| async {
        let answer = list_files(&second, &revoked).await;
        (answer.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    list_files(&second, &kept).await.expect(StatusCode::OK);

    sqlx::query("UPDATE users SET suspended_at = now(), suspended_reason = 'unpaid'")
        .execute(&pool)
        .await
        .unwrap();
    let refused = eventually(|| async {
        let answer = list_files(&second, &kept).await;
        (answer.status != StatusCode::OK).then_some(answer)
    })
    .await;
    let problem = refused.problem(403, "account-suspended");
    assert!(problem["detail"].as_str().unwrap().contains("unpaid"));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_secret_of_a_signing_key_outlives_a_rotation_and_stands_nowhere_in_the_clear(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let signing = json!({"name": "s3", "scopes": ["read", "list"], "s3": true, "bucket": "photos"});
    let signing = make(&client, signing).await;
    let plain = make(&client, json!({"name": "rest", "scopes": ["read"]})).await;
    let accounts = &coordinator.app.accounts;
    let from = "127.0.0.1".parse().unwrap();

    let found = key_login::signing_key(accounts, id(&signing), from)
        .await
        .unwrap();
    assert_eq!(found.secret.expose(), secret(&signing));
    assert_eq!(found.bucket.as_deref(), Some("photos"));
    assert_eq!(found.principal.user_id, user);
    let refused = key_login::signing_key(accounts, id(&plain), from).await;
    assert!(matches!(refused, Err(KeyRefused::SignsNothing)));
    for unknown in ["FSNAAAAAAAAAAAAAAAAA", "AKIAIOSFODNN7EXAMPLE", ""] {
        let refused = key_login::signing_key(accounts, unknown, from).await;
        assert!(matches!(refused, Err(KeyRefused::Unknown)), "{unknown}");
    }

    let rng = &mut Entropy::system().rng();
    let ring = keys::open(coordinator.keys_dir.path(), &Pool::new(pool.clone()), rng)
        .await
        .unwrap();
    let key = announce(&Pool::new(pool.clone()), &ring, KeyPurpose::Master, rng)
        .await
        .unwrap();
    put_to_use(&Pool::new(pool.clone()), &key).await.unwrap();
    ring.refresh(&Pool::new(pool.clone())).await.unwrap();
    coordinator
        .app
        .keys
        .ring
        .refresh(&Pool::new(pool.clone()))
        .await
        .unwrap();
    assert_eq!(
        rewrap_some(&Pool::new(pool.clone()), &ring, rng)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        rewrap_some(&Pool::new(pool.clone()), &ring, rng)
            .await
            .unwrap(),
        0
    );
    let under_new = "SELECT count(*) FROM wrapped_secrets WHERE master_key_id = 'master-2'";
    assert_eq!(count(&pool, under_new).await, 1);
    let found = key_login::signing_key(accounts, id(&signing), from)
        .await
        .unwrap();
    assert_eq!(found.secret.expose(), secret(&signing));

    let rows: Vec<String> = sqlx::query_scalar(
        "SELECT k::text FROM access_keys k UNION ALL SELECT s::text FROM wrapped_secrets s",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    for key in [&signing, &plain] {
        let hex = hex::encode(secret(key));
        let shown = [secret(key), &secret(key)[5..], &hex];
        for row in &rows {
            assert!(shown.iter().all(|shown| !row.contains(shown)), "{row}");
        }
    }
    let path = format!("{KEYS}/{}", id(&signing));
    client.delete(&path).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM wrapped_secrets").await,
        0
    );
}
