//! Passwords that are good enough, forgotten ones, and addresses that are shown to be one's own.

use http::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::command_line::{fails, succeeds};
use crate::support::{Answer, Client, Coordinator, MailServer, count};

const OLD: &str = "violet anchor 72 cloud";
const NEW: &str = "another tin of marbles";

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

async fn log_in(client: &Client, email: &str, password: &str) -> Answer {
    post(
        client,
        "login",
        &json!({"email": email, "password": password}),
    )
    .await
}

async fn register(client: &Client, email: &str, password: &str) -> Answer {
    post(
        client,
        "register",
        &json!({"email": email, "password": password}),
    )
    .await
}

async fn with_mail(pool: PgPool, server: &MailServer, settings: &[&str]) -> Coordinator {
    let own = server.settings();
    let own = own.iter().map(String::as_str);
    let settings: Vec<&str> = own.chain(settings.iter().copied()).collect();
    Coordinator::with(pool, &settings).await
}

async fn reset(client: &Client, token: &str, password: &str) -> Answer {
    let body = json!({"token": token, "new_password": password});
    post(client, "password/reset", &body).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_commonest_passwords_and_ones_own_address_are_refused_and_sentences_are_taken(
    pool: PgPool,
) {
    let strict = [
        "auth.password_min_length=8",
        "auth.refuse_common_passwords=true",
    ];
    let client = Coordinator::with(pool.clone(), &strict).await.visitor();
    for common in [
        "password1",
        "12345678",
        "iloveyou",
        "qwertyuiop",
        "P@ssw0rd",
        "hieronymus",
    ] {
        let refused = register(&client, "hieronymus@example.com", common).await;
        refused.problem(400, "weak-password");
    }
    for short in ["", "k7#mQ2p"] {
        let refused = register(&client, "hieronymus@example.com", short).await;
        refused.problem(400, "invalid-request");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM users").await, 0);
    let sentence = "ein ganzer Satz, mit Umlauten: äöü, und länger als vierundsechzig Zeichen!";
    register(&client, "hieronymus@example.com", sentence)
        .await
        .expect(StatusCode::CREATED);
    let tokens = log_in(&client, "hieronymus@example.com", sentence).await;
    let tokens = tokens.expect(StatusCode::OK);
    let owner = client.with_token(tokens["access_token"].as_str().unwrap());
    let change = json!({"current_password": sentence, "new_password": "password1"});
    post(&owner, "password", &change)
        .await
        .problem(400, "weak-password");
    log_in(&client, "hieronymus@example.com", sentence)
        .await
        .expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_forgotten_password_is_set_anew_by_a_letter_once_and_ends_all_logins(pool: PgPool) {
    let mut server = MailServer::start(0).await;
    let client = with_mail(pool.clone(), &server, &[]).await.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    let welcome = server.letter().await;
    assert!(welcome.content.contains("/verify-address#"), "{welcome:?}");
    let thief = log_in(&client, "a@example.com", OLD).await;
    let thief = thief.expect(StatusCode::OK);

    let ask = json!({"email": " A@Example.com "});
    let asked = post(&client, "password/reset/request", &ask).await;
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let letter = server.letter().await;
    assert_eq!(letter.to, "a@example.com");
    assert_eq!(letter.from, "storage@example.net");
    let token = letter.token();
    assert!(
        letter
            .content
            .contains(&format!("http://localhost:8080/reset-password#{token}"))
    );
    let kept = "SELECT count(*) FROM account_tokens";
    assert_eq!(count(&pool, kept).await, 2);
    let in_clear: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM account_tokens t WHERE position($1 in t::text) > 0",
    )
    .bind(token.split('_').next_back().unwrap())
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(in_clear, 0, "tokens are kept hashed");

    reset(&client, &token, "short")
        .await
        .problem(400, "invalid-request");
    // The answer to the first is lost, and the same is sent again; another password is another request.
    for _ in 0..2 {
        let done = reset(&client, &token, NEW).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
    }
    reset(&client, &token, OLD).await.problem(401, "bad-token");
    log_in(&client, "a@example.com", OLD)
        .await
        .problem(401, "wrong-credentials");
    log_in(&client, "a@example.com", NEW)
        .await
        .expect(StatusCode::OK);
    let renew = json!({"refresh_token": thief["refresh_token"]});
    post(&client, "refresh", &renew)
        .await
        .problem(401, "bad-refresh-token");
    let told = server.letter().await;
    assert!(told.content.contains("has just been changed"), "{told:?}");
    let verified = "SELECT count(*) FROM users WHERE email_verified_at IS NOT NULL";
    assert_eq!(
        count(&pool, verified).await,
        1,
        "he reads what is sent there"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn asking_for_a_letter_is_answered_alike_whoever_has_the_address(pool: PgPool) {
    let mut server = MailServer::start(0).await;
    let client = with_mail(pool.clone(), &server, &[]).await.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    server.letter().await;
    for _ in 0..5 {
        for email in ["a@example.com", "nobody@example.com"] {
            let asked = post(&client, "password/reset/request", &json!({"email": email})).await;
            assert_eq!(asked.status, StatusCode::ACCEPTED);
            assert!(asked.bytes().is_empty());
        }
    }
    for _ in 0..3 {
        assert_eq!(server.letter().await.to, "a@example.com");
    }
    // What comes last is worked through last.
    register(&client, "b@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(server.letter().await.to, "b@example.com");
    assert!(
        server.is_empty(),
        "three letters an hour, and none to nobody"
    );
    let many = async || {
        let ask = json!({"email": "nobody@example.com"});
        post(&client, "password/reset/request", &ask).await
    };
    let mut last = many().await;
    for _ in 0..20 {
        last = many().await;
    }
    last.problem(429, "too-many-requests");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_that_has_expired_or_is_for_something_else_sets_no_password(pool: PgPool) {
    let mut server = MailServer::start(0).await;
    let client = with_mail(pool.clone(), &server, &[]).await.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    let verify = server.letter().await.token();
    reset(&client, &verify, NEW).await.problem(401, "bad-token");
    let ask = json!({"email": "a@example.com"});
    post(&client, "password/reset/request", &ask).await;
    let token = server.letter().await.token();
    sqlx::query("UPDATE account_tokens SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    for token in [token.as_str(), "fsnl_00", "", "\0"] {
        reset(&client, token, NEW).await.problem(401, "bad-token");
    }
    log_in(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_letter_that_the_server_puts_off_is_sent_again(pool: PgPool) {
    let mut server = MailServer::start(1).await;
    let client = with_mail(pool, &server, &[]).await.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    assert_eq!(server.letter().await.to, "a@example.com");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_it_is_asked_for_files_are_taken_from_verified_addresses_only(pool: PgPool) {
    let mut server = MailServer::start(0).await;
    let coordinator = with_mail(
        pool.clone(),
        &server,
        &["auth.require_verified_address=true"],
    )
    .await;
    let client = coordinator.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    let tokens = log_in(&client, "a@example.com", OLD).await;
    let tokens = tokens.expect(StatusCode::OK);
    let owner = client.with_token(tokens["access_token"].as_str().unwrap());
    server.letter().await;
    let again = post(&owner, "verify/request", &json!({})).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    let token = server.letter().await.token();
    let refused = owner.upload_call("a", b"a").send().await;
    refused.problem(403, "address-not-verified");
    owner
        .initiate("a", 1)
        .await
        .problem(403, "address-not-verified");
    for _ in 0..2 {
        let verified = post(&client, "verify", &json!({"token": token})).await;
        assert_eq!(verified.status, StatusCode::NO_CONTENT);
    }
    // There is no node to store it on, which is another matter.
    let taken = owner.upload_call("a", b"a").send().await;
    taken.problem(503, "too-few-nodes");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn without_mail_an_administrator_makes_a_link_that_is_good_once(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    register(&client, "a@example.com", OLD)
        .await
        .expect(StatusCode::CREATED);
    let ask = json!({"email": "a@example.com"});
    let refused = post(&client, "password/reset/request", &ask).await;
    refused.problem(503, "no-mail");
    let site = ["--set", "http.public_url=https://storage.example"];
    let link = ["admin", "user", "reset-link", "a@example.com"];
    let shown = succeeds(&pool, &[&link[..], &site[..]].concat()).await;
    let begin = "https://storage.example/reset-password#";
    let line = shown.lines().find(|line| line.starts_with(begin));
    let token = line
        .unwrap_or_else(|| panic!("no link: {shown}"))
        .strip_prefix(begin);
    let token = token.unwrap().trim();
    let done = reset(&client, token, NEW).await;
    assert_eq!(done.status, StatusCode::NO_CONTENT);
    log_in(&client, "a@example.com", NEW)
        .await
        .expect(StatusCode::OK);
    reset(&client, token, OLD).await.problem(401, "bad-token");
    let verified = "SELECT count(*) FROM users WHERE email_verified_at IS NOT NULL";
    assert_eq!(count(&pool, verified).await, 0, "the link came another way");
    let unknown = ["admin", "user", "reset-link", "nobody@example.com"];
    fails(&pool, &unknown).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_page_of_a_link_runs_one_script_of_its_own_and_stands_in_no_frame(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    for page in ["/reset-password", "/verify-address"] {
        let shown = client.get(page).await;
        assert_eq!(shown.status, StatusCode::OK);
        let policy = shown.header("content-security-policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(shown.header("referrer-policy"), "no-referrer");
        let html = String::from_utf8(shown.bytes().to_vec()).unwrap();
        assert!(!html.contains("onclick") && html.matches("<script").count() == 1);
    }
    for part in ["/static/account.js", "/static/style.css"] {
        assert_eq!(client.get(part).await.status, StatusCode::OK);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_the_network_is_called_is_no_password_of_it(pool: PgPool) {
    let settings = [
        "http.public_url=https://quokkavault.example.com",
        "auth.refuse_common_passwords=true",
    ];
    let client = Coordinator::with(pool, &settings).await.visitor();
    let register = async |password: &str| {
        let body = json!({"email": "a@example.com", "password": password});
        let call = client.post("/api/v1/auth/register").body(body.to_string());
        call.send().await
    };
    for password in ["quokkavault", "Quokkavault1", "storagenode1"] {
        register(password).await.problem(400, "weak-password");
    }
    register("violet anchor 72 cloud")
        .await
        .expect(StatusCode::CREATED);
}
