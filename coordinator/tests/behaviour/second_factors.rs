//! Second factors: who has the password alone does not get in.

use std::time::Duration;

use credentials::totp::Secret;
use data_encoding::BASE32_NOPAD;
use http::{Method, StatusCode};
use kit::{Clock, SimulatedClock};
use serde_json::{Value, json};
use sqlx::PgPool;
use zeroize::Zeroizing;

use crate::command_line::succeeds;
use crate::support::{Answer, Client, Coordinator, count};

const PASSWORD: &str = "violet anchor 72 cloud";
const CREDENTIALS: &str = r#"{"email":"a@example.com","password":"violet anchor 72 cloud"}"#;

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

async fn log_in(client: &Client) -> Answer {
    let call = client.post("/api/v1/auth/login");
    call.body(CREDENTIALS).send().await
}

/// A coordinator whose clock stands still, an account with an app, and what the app has.
struct Scene {
    coordinator: Coordinator,
    clock: SimulatedClock,
    visitor: Client,
    secret: Secret,
    recovery_codes: Vec<String>,
}

async fn scene(pool: &PgPool, settings: &[&str]) -> Scene {
    let clock = SimulatedClock::new(Clock::system().now());
    let coordinator = Coordinator::at(pool.clone(), settings, Clock::from(&clock)).await;
    let visitor = coordinator.visitor();
    let made = visitor.post("/api/v1/auth/register").body(CREDENTIALS);
    made.send().await.expect(StatusCode::CREATED);
    let tokens = log_in(&visitor).await.expect(StatusCode::OK);
    let owner = visitor.with_token(tokens["access_token"].as_str().unwrap());
    let wrong = json!({"password": "violet anchor 73 cloud"});
    post(&owner, "second-factor/totp", &wrong)
        .await
        .problem(401, "wrong-credentials");
    let enrolled = post(&owner, "second-factor/totp", &json!({"password": PASSWORD})).await;
    let enrolled = enrolled.expect(StatusCode::OK);
    let text = enrolled["secret"].as_str().unwrap();
    let secret = BASE32_NOPAD.decode(text.as_bytes()).unwrap();
    let secret = Secret::from_bytes(Zeroizing::new(secret));
    assert!(
        enrolled["uri"]
            .as_str()
            .unwrap()
            .starts_with("otpauth://totp/")
    );
    // Until the app has shown a code, the password is enough.
    let other = log_in(&visitor).await.expect(StatusCode::OK);
    post(
        &owner,
        "second-factor/totp/confirm",
        &json!({"code": "000000"}),
    )
    .await
    .problem(401, "wrong-code");
    let code = secret.code_at(clock.now().as_second());
    let confirmed = post(&owner, "second-factor/totp/confirm", &json!({"code": code})).await;
    let confirmed = confirmed.expect(StatusCode::OK);
    let codes = confirmed["recovery_codes"].as_array().unwrap().iter();
    let recovery_codes: Vec<String> = codes
        .map(|code| code.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(recovery_codes.len(), 10);
    let renew = |tokens: &Value| json!({"refresh_token": tokens["refresh_token"]});
    post(&visitor, "refresh", &renew(&other))
        .await
        .problem(401, "bad-refresh-token");
    post(&visitor, "refresh", &renew(&tokens))
        .await
        .expect(StatusCode::OK);
    clock.advance(Duration::from_secs(30));
    Scene {
        coordinator,
        clock,
        visitor,
        secret,
        recovery_codes,
    }
}

impl Scene {
    fn code(&self) -> String {
        self.secret.code_at(self.clock.now().as_second())
    }

    async fn challenge(&self) -> String {
        let waits = log_in(&self.visitor).await;
        let waits = waits.problem(401, "second-factor-required");
        assert_eq!(waits["expires_in"], 300);
        waits["challenge"].as_str().unwrap().to_owned()
    }

    async fn show(&self, challenge: &str, code: &str) -> Answer {
        let body = json!({"challenge": challenge, "code": code});
        post(&self.visitor, "login/second-factor", &body).await
    }

    async fn enter(&self, code: &str) -> Client {
        let entered = self.show(&self.challenge().await, code).await;
        let tokens = entered.expect(StatusCode::OK);
        self.visitor
            .with_token(tokens["access_token"].as_str().unwrap())
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_password_alone_lets_nobody_in_and_each_code_is_good_once(pool: PgPool) {
    let scene = scene(&pool, &[]).await;
    let wrong = r#"{"email":"a@example.com","password":"violet anchor 73 cloud"}"#;
    let refused = scene.visitor.post("/api/v1/auth/login").body(wrong);
    refused.send().await.problem(401, "wrong-credentials");
    let (challenge, code) = (scene.challenge().await, scene.code());
    scene
        .show(&challenge, "000000")
        .await
        .problem(401, "wrong-code");
    scene.show(&challenge, &code).await.expect(StatusCode::OK);
    scene
        .show(&challenge, &code)
        .await
        .problem(401, "bad-challenge");
    let other = scene.challenge().await;
    scene.show(&other, &code).await.problem(401, "wrong-code");
    scene.clock.advance(Duration::from_secs(30));
    scene
        .show(&other, &scene.code())
        .await
        .expect(StatusCode::OK);
    scene
        .show("fsnc_0", &scene.code())
        .await
        .problem(401, "bad-challenge");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_has_the_password_tries_few_codes_and_keeps_the_owner_out_with_none(pool: PgPool) {
    let scene = scene(&pool, &[]).await;
    let mut wrong = 0;
    let mut challenge = scene.challenge().await;
    loop {
        let answer = scene.show(&challenge, "000000").await;
        match answer.status.as_u16() {
            429 => break,
            401 if answer.json()["type"] == "urn:fsn:problem:bad-challenge" => {
                challenge = scene.challenge().await;
            }
            _ => {
                answer.problem(401, "wrong-code");
                wrong += 1;
                assert!(wrong <= 10, "a tenth is the last");
            }
        }
    }
    // One was wrong when the app was set up, and its good one has made that forgotten.
    assert_eq!(wrong, 10);
    let right = scene.challenge().await;
    let refused = scene.show(&right, &scene.code()).await;
    refused.problem(429, "too-many-requests");
    let recovery = &scene.recovery_codes[3];
    let owner = scene.enter(&recovery.to_uppercase()).await;
    owner.get("/api/v1/auth/me").await.expect(StatusCode::OK);
    let again = scene.challenge().await;
    scene
        .show(&again, recovery)
        .await
        .problem(401, "wrong-code");
    let status = owner.get("/api/v1/auth/second-factor").await;
    assert_eq!(status.expect(StatusCode::OK)["recovery_codes_left"], 9);
    let later = "UPDATE second_factors SET failures_since = now() - interval '16 minutes'";
    sqlx::query(later).execute(&pool).await.unwrap();
    let right = scene.challenge().await;
    scene
        .show(&right, &scene.code())
        .await
        .expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_login_waits_five_minutes_and_ends_when_the_password_is_changed(pool: PgPool) {
    let scene = scene(&pool, &[]).await;
    let challenge = scene.challenge().await;
    sqlx::query("UPDATE login_challenges SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    scene
        .show(&challenge, &scene.code())
        .await
        .problem(401, "bad-challenge");
    let owner = scene.enter(&scene.code()).await;
    let waits = scene.challenge().await;
    let change = json!({"current_password": PASSWORD, "new_password": "another tin of marbles"});
    let changed = post(&owner, "password", &change).await;
    assert_eq!(changed.status, StatusCode::NO_CONTENT);
    scene.clock.advance(Duration::from_secs(30));
    scene
        .show(&waits, &scene.code())
        .await
        .problem(401, "bad-challenge");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_second_factor_is_removed_by_who_shows_both_or_by_an_administrator(pool: PgPool) {
    let scene = scene(&pool, &[]).await;
    let owner = scene.enter(&scene.code()).await;
    let enrol = json!({"password": PASSWORD});
    post(&owner, "second-factor/totp", &enrol)
        .await
        .problem(409, "has-second-factor");
    let remove = async |password: &str, code: &str| {
        let body = json!({"password": password, "code": code}).to_string();
        let call = owner.call(Method::DELETE, "/api/v1/auth/second-factor/totp");
        call.body(body).send().await
    };
    scene.clock.advance(Duration::from_secs(30));
    remove("violet anchor 73 cloud", &scene.code())
        .await
        .problem(401, "wrong-credentials");
    remove(PASSWORD, "000000").await.problem(401, "wrong-code");
    let renewed = json!({"password": PASSWORD, "code": scene.recovery_codes[0]});
    let codes = post(&owner, "second-factor/recovery-codes", &renewed).await;
    let codes = codes.expect(StatusCode::OK);
    let challenge = scene.challenge().await;
    scene
        .show(&challenge, &scene.recovery_codes[1])
        .await
        .problem(401, "wrong-code");
    let code = codes["recovery_codes"][1].as_str().unwrap();
    let removed = remove(PASSWORD, code).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let tokens = log_in(&scene.visitor).await.expect(StatusCode::OK);
    let owner = scene
        .visitor
        .with_token(tokens["access_token"].as_str().unwrap());
    let enrolled = post(&owner, "second-factor/totp", &enrol).await;
    let enrolled = enrolled.expect(StatusCode::OK);
    let secret = BASE32_NOPAD.decode(enrolled["secret"].as_str().unwrap().as_bytes());
    let secret = Secret::from_bytes(Zeroizing::new(secret.unwrap()));
    let code = json!({"code": secret.code_at(scene.clock.now().as_second())});
    post(&owner, "second-factor/totp/confirm", &code)
        .await
        .expect(StatusCode::OK);
    log_in(&scene.visitor)
        .await
        .problem(401, "second-factor-required");
    let by = [
        "admin",
        "user",
        "remove-second-factor",
        "a@example.com",
        "--reason",
        "he lost his phone",
    ];
    succeeds(&pool, &by).await;
    log_in(&scene.visitor).await.expect(StatusCode::OK);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM wrapped_secrets").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_have_their_rights_with_a_second_factor_where_it_is_demanded(pool: PgPool) {
    let scene = scene(&pool, &["auth.admin_second_factor=true"]).await;
    let (other, _) = scene.coordinator.user().await;
    let refused = scene
        .coordinator
        .admin(other)
        .await
        .get("/api/v1/admin/jobs")
        .await;
    refused.problem(403, "second-factor-demanded");
    succeeds(&pool, &["admin", "set-role", "a@example.com", "admin"]).await;
    let admin = scene.enter(&scene.code()).await;
    admin.get("/api/v1/admin/jobs").await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn neither_secrets_of_apps_nor_recovery_codes_stand_in_the_database(pool: PgPool) {
    let scene = scene(&pool, &[]).await;
    let secret = hex::encode(scene.secret.as_bytes());
    let code = scene.recovery_codes[0].replace('-', "");
    for table in [
        "wrapped_secrets",
        "second_factors",
        "recovery_codes",
        "login_challenges",
        "users",
    ] {
        for text in [&secret, &code, &scene.recovery_codes[0]] {
            let query = format!("SELECT count(*) FROM {table} t WHERE position($1 in t::text) > 0");
            let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
                .bind(text.as_str())
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(rows, 0, "{table}");
        }
    }
}
