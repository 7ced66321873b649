//! Secrets that people and programs show: none of them stands in a log, an error, or a row, whatever goes wrong.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tracing_subscriber::EnvFilter;

use crate::closing::rows_with;
use crate::command_line::succeeds;
use crate::support::{Answer, Client, Coordinator};

const PASSWORD: &str = "planted anchor 72 first";
const WRONG: &str = "planted anchor 72 wrong";
const NEW: &str = "planted anchor 72 second";

/// All that is logged, as it would be with everything switched on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        let log = Self::default();
        let kept = log.clone();
        // Each test has a process of its own (nextest), so it is this test's log.
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug,coordinator=trace"))
            .with_writer(move || kept.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// What was answered, problems above all.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    async fn call(&mut self, client: &Client, method: Method, path: &str, body: &str) -> Answer {
        let call = client.call(method, &format!("/api/v1/{path}"));
        let answer = call.body(body.to_owned()).send().await;
        if !answer.status.is_success() {
            let text = String::from_utf8_lossy(answer.bytes()).into_owned();
            self.0.push(text);
        }
        answer
    }

    async fn post(&mut self, client: &Client, path: &str, body: &Value) -> Answer {
        self.call(client, Method::POST, path, &body.to_string())
            .await
    }
}

fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap().to_owned()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn planted_secrets_stand_in_no_log_no_error_and_no_row(pool: PgPool) {
    let log = Log::begin();
    let coordinator = Coordinator::start(pool.clone()).await;
    let (visitor, mut told) = (coordinator.visitor(), Told::default());
    let with = |password: &str| json!({"email": "a@example.com", "password": password});
    told.post(&visitor, "auth/register", &with(PASSWORD)).await;
    told.post(&visitor, "auth/register", &with(PASSWORD)).await;
    told.post(&visitor, "auth/login", &with(WRONG)).await;
    // Bodies that are broken off, or misspelt, around what is secret.
    let broken = format!(r#"{{"email":"a@example.com","password":"{PASSWORD}""#);
    let misspelt = json!({"email": "a@example.com", "password": PASSWORD, "passwort": WRONG});
    told.call(&visitor, Method::POST, "auth/login", &broken)
        .await;
    told.post(&visitor, "auth/login", &misspelt).await;
    let of_no_kind = json!({"email": 7, "password": {"is": PASSWORD}});
    told.post(&visitor, "auth/login", &of_no_kind).await;

    let first = told.post(&visitor, "auth/login", &with(PASSWORD)).await;
    let first = first.expect(StatusCode::OK);
    let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let next = json!({"refresh_token": refresh});
    let second = told.post(&visitor, "auth/refresh", &next).await;
    let second = second.expect(StatusCode::OK);
    let next_refresh = text(&second, "refresh_token");
    let forged = visitor.with_token(&format!("{access}x"));
    told.call(&forged, Method::GET, "auth/me", "").await;
    let owner = visitor.with_token(&access);

    let key = json!({"name": "a key", "scopes": ["read", "account"], "s3": true});
    let key = told.post(&owner, "access-keys", &key).await;
    let key = text(&key.expect(StatusCode::CREATED), "secret_access_key");
    let change = json!({"current_password": WRONG, "new_password": NEW});
    told.post(&owner, "auth/password", &change).await;
    let change = json!({"current_password": PASSWORD, "new_password": NEW});
    told.post(&owner, "auth/password", &change).await;

    let enrolled = json!({"password": NEW});
    let enrolled = told
        .post(&owner, "auth/second-factor/totp", &enrolled)
        .await;
    let app = text(&enrolled.expect(StatusCode::OK), "secret");
    told.post(
        &owner,
        "auth/second-factor/totp/confirm",
        &json!({"code": app}),
    )
    .await;
    let link = [
        "admin",
        "user",
        "reset-link",
        "a@example.com",
        "--output",
        "json",
    ];
    let link: Value = serde_json::from_str(&succeeds(&pool, &link).await).unwrap();
    let link = text(&link, "token");
    let reset = json!({"token": link, "new_password": "short"});
    told.post(&visitor, "auth/password/reset", &reset).await;
    let unknown = json!({"token": format!("{link}x"), "new_password": NEW});
    told.post(&visitor, "auth/password/reset", &unknown).await;
    told.post(
        &visitor,
        "auth/logout",
        &json!({"refresh_token": next_refresh}),
    )
    .await;

    let log = log.text();
    assert!(log.contains("answered"), "requests are logged");
    assert!(told.0.len() >= 9, "{:?}", told.0);
    let secrets = [
        PASSWORD,
        WRONG,
        NEW,
        &access,
        &refresh,
        &next_refresh,
        &key,
        &app,
        &link,
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "the log has {secret}");
        for answer in &told.0 {
            assert!(!answer.contains(secret), "an error has {secret}: {answer}");
        }
        assert_eq!(
            rows_with(&pool, secret).await,
            Vec::<String>::new(),
            "{secret}"
        );
    }
}
