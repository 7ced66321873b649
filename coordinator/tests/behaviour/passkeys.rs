//! Passkeys: a device lets its owner in, without a password and beside one, and nobody else.

use http::{Method, StatusCode};
use passkeys::authenticator::Authenticator;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::command_line::succeeds;
use crate::support::{Answer, Client, Coordinator, count, waits_for_lock};

const PASSWORD: &str = "violet anchor 72 cloud";
const CREDENTIALS: &str = r#"{"email":"a@example.com","password":"violet anchor 72 cloud"}"#;
const URL: &str = "https://storage.example.com";
const SITE: &str = "storage.example.com";

async fn post(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

async fn delete(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.call(Method::DELETE, &format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

/// An account, its device, and a login of it.
struct Scene {
    coordinator: Coordinator,
    visitor: Client,
    owner: Client,
    device: Authenticator,
}

async fn scene(pool: &PgPool) -> Scene {
    let site = format!("http.public_url={URL}");
    let coordinator = Coordinator::with(pool.clone(), &[&site]).await;
    let visitor = coordinator.visitor();
    let made = visitor.post("/api/v1/auth/register").body(CREDENTIALS);
    made.send().await.expect(StatusCode::CREATED);
    let owner = entered(&visitor, log_in(&visitor).await);
    Scene {
        coordinator,
        visitor,
        owner,
        device: Authenticator::new(URL, SITE),
    }
}

async fn log_in(visitor: &Client) -> Answer {
    let call = visitor.post("/api/v1/auth/login");
    call.body(CREDENTIALS).send().await
}

fn entered(visitor: &Client, answer: Answer) -> Client {
    let tokens = answer.expect(StatusCode::OK);
    visitor.with_token(tokens["access_token"].as_str().unwrap())
}

impl Scene {
    /// A passkey is asked for; what the device answers.
    async fn shown(&mut self, asked: &Value) -> Value {
        let question = post(&self.visitor, "login/passkey/begin", asked).await;
        let question = question.expect(StatusCode::OK);
        let credential = self.device.get(&question["options"]).unwrap();
        json!({"challenge": question["challenge"], "credential": credential})
    }

    async fn made(&mut self, proof: &Value) -> Value {
        let question = post(&self.owner, "passkeys/begin", proof).await;
        let question = question.expect(StatusCode::OK);
        let credential = self.device.create(&question["options"]).unwrap();
        json!({"name": "my phone", "challenge": question["challenge"], "credential": credential})
    }

    /// The account's first passkey, and its recovery codes.
    async fn add(&mut self) -> Value {
        let made = self.made(&json!({"password": PASSWORD})).await;
        let added = post(&self.owner, "passkeys", &made).await;
        added.expect(StatusCode::CREATED)
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_device_lets_its_owner_in_by_itself_and_beside_the_password(pool: PgPool) {
    let mut scene = scene(&pool).await;
    let wrong = json!({"password": "violet anchor 73 cloud"});
    let refused = post(&scene.owner, "passkeys/begin", &wrong).await;
    refused.problem(401, "wrong-credentials");
    let other = entered(&scene.visitor, log_in(&scene.visitor).await);
    let added = scene.add().await;
    assert_eq!(added["recovery_codes"].as_array().unwrap().len(), 10);
    let ended = other.get("/api/v1/auth/me").await;
    ended.problem(401, "unauthorized");

    // The password alone is not enough any more; the device is, and so is it beside the password.
    let waits = log_in(&scene.visitor).await;
    let waits = waits.problem(401, "second-factor-required");
    let shown = scene.shown(&json!({})).await;
    let inside = post(&scene.visitor, "login/passkey", &shown).await;
    let inside = entered(&scene.visitor, inside);
    let me = inside.get("/api/v1/auth/me").await.expect(StatusCode::OK);
    assert_eq!(me["email"], "a@example.com");
    let beside = json!({"login_challenge": waits["challenge"]});
    let shown = scene.shown(&beside).await;
    let inside = post(&scene.visitor, "login/passkey", &shown).await;
    inside.expect(StatusCode::OK);
    // Nor does a recovery code need the device.
    let code = json!({"challenge": waits["challenge"], "code": added["recovery_codes"][0]});
    let inside = post(&scene.visitor, "login/second-factor", &code).await;
    inside.expect(StatusCode::OK);

    let status = scene.owner.get("/api/v1/auth/second-factor").await;
    let status = status.expect(StatusCode::OK);
    assert_eq!(
        (&status["passkeys"], &status["totp_since"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(status["recovery_codes_left"], 9);
    let listed = scene.owner.get("/api/v1/auth/passkeys").await;
    let listed = listed.expect(StatusCode::OK);
    assert_eq!(listed["items"][0]["name"], "my phone");
    assert!(listed["items"][0]["last_used_at"].is_string());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_question_is_answered_once_and_by_a_key_that_is_known(pool: PgPool) {
    let mut scene = scene(&pool).await;
    let made = scene.made(&json!({"password": PASSWORD})).await;
    let added = post(&scene.owner, "passkeys", &made).await;
    let added = added.expect(StatusCode::CREATED);
    // The answer was lost: the same passkey, once.
    let again = post(&scene.owner, "passkeys", &made).await;
    let again = again.expect(StatusCode::CREATED);
    assert_eq!(again["passkey_id"], added["passkey_id"]);
    assert_eq!(count(&pool, "SELECT count(*) FROM passkeys").await, 1);

    let shown = scene.shown(&json!({})).await;
    let inside = post(&scene.visitor, "login/passkey", &shown).await;
    inside.expect(StatusCode::OK);
    let again = post(&scene.visitor, "login/passkey", &shown).await;
    again.problem(401, "bad-challenge");
    let late = scene.shown(&json!({})).await;
    let over = "UPDATE passkey_challenges SET expires_at = now()";
    sqlx::query(over).execute(&pool).await.unwrap();
    let refused = post(&scene.visitor, "login/passkey", &late).await;
    refused.problem(401, "bad-challenge");

    // Signed for another question, by a key that nobody knows, or for somebody else.
    let first = scene.shown(&json!({})).await;
    let second = scene.shown(&json!({})).await;
    let mixed = json!({"challenge": second["challenge"], "credential": first["credential"]});
    let refused = post(&scene.visitor, "login/passkey", &mixed).await;
    refused.problem(401, "wrong-passkey");
    let mut forged = scene.shown(&json!({})).await;
    forged["credential"]["rawId"] = json!("AAAA");
    let refused = post(&scene.visitor, "login/passkey", &forged).await;
    refused.problem(401, "wrong-passkey");
    let mut of_another = scene.shown(&json!({})).await;
    of_another["credential"]["response"]["userHandle"] = json!("AAAAAAAAAAAAAAAAAAAAAA");
    let refused = post(&scene.visitor, "login/passkey", &of_another).await;
    refused.problem(401, "wrong-passkey");
    // From the first one on the password alone makes no other.
    let alone = json!({"password": PASSWORD});
    let question = post(&scene.owner, "passkeys/begin", &alone).await;
    question.problem(401, "wrong-code");
    let nonsense = json!({"challenge": "x", "credential": {"id": 7}});
    let refused = post(&scene.visitor, "login/passkey", &nonsense).await;
    refused.problem(401, "wrong-passkey");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn strangers_fill_no_table_with_questions(pool: PgPool) {
    let scene = scene(&pool).await;
    for _ in 0..30 {
        let question = post(&scene.visitor, "login/passkey/begin", &json!({})).await;
        question.expect(StatusCode::OK);
    }
    let asked = "SELECT count(*) FROM passkey_challenges";
    assert_eq!(count(&pool, asked).await, 20);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_is_entered_without_any_password_and_deleted_with_its_passkey(pool: PgPool) {
    let mut scene = scene(&pool).await;
    let added = scene.add().await;
    let id = added["passkey_id"].as_str().unwrap().to_owned();
    let shown = scene.shown(&json!({})).await;
    let given_up = delete(&scene.owner, "password", &shown).await;
    assert_eq!(given_up.status, StatusCode::NO_CONTENT);
    log_in(&scene.visitor)
        .await
        .problem(401, "wrong-credentials");
    let proof = json!({"passkey": scene.shown(&json!({})).await});
    let refused = delete(&scene.owner, &format!("passkeys/{id}"), &proof).await;
    refused.problem(409, "last-way-in");
    // Another one, of another device, for which the first vouches.
    let first = json!({"passkey": scene.shown(&json!({})).await});
    let known = std::mem::replace(&mut scene.device, Authenticator::new(URL, SITE));
    let made = scene.made(&first).await;
    let second = post(&scene.owner, "passkeys", &made).await;
    let second = second.expect(StatusCode::CREATED);
    assert_eq!(second["recovery_codes"], json!([]));
    let proof = json!({"passkey": scene.shown(&json!({})).await});
    let removed = delete(&scene.owner, &format!("passkeys/{id}"), &proof).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let stays = std::mem::replace(&mut scene.device, known);
    let lost = scene.shown(&json!({})).await;
    let refused = post(&scene.visitor, "login/passkey", &lost).await;
    refused.problem(401, "wrong-passkey");
    scene.device = stays;
    let id = second["passkey_id"].as_str().unwrap();
    let named = scene
        .owner
        .call(Method::PUT, &format!("/api/v1/auth/passkeys/{id}"));
    let named = named.body(json!({"name": "a key ring"}).to_string());
    assert_eq!(named.send().await.status, StatusCode::NO_CONTENT);

    let owner = json!({"passkey": scene.shown(&json!({})).await});
    let deleted = delete(&scene.owner, "me", &owner).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for rows in [
        "SELECT count(*) FROM passkeys",
        "SELECT count(*) FROM passkey_challenges WHERE user_id IS NOT NULL",
        "SELECT count(*) FROM recovery_codes",
    ] {
        assert_eq!(count(&pool, rows).await, 0, "{rows}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_lost_device_is_removed_with_password_and_recovery_code_or_by_an_administrator(
    pool: PgPool,
) {
    let mut scene = scene(&pool).await;
    let added = scene.add().await;
    let id = added["passkey_id"].as_str().unwrap();
    let path = format!("passkeys/{id}");
    let refused = delete(&scene.owner, &path, &json!({"password": PASSWORD})).await;
    refused.problem(401, "wrong-code");
    let proof = json!({"password": PASSWORD, "code": added["recovery_codes"][0]});
    let removed = delete(&scene.owner, &path, &proof).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    let inside = log_in(&scene.visitor).await;
    inside.expect(StatusCode::OK);
    let codes = "SELECT count(*) FROM recovery_codes";
    assert_eq!(
        count(&pool, codes).await,
        0,
        "they stood in for nothing more"
    );

    scene.device = Authenticator::new(URL, SITE);
    scene.add().await;
    log_in(&scene.visitor)
        .await
        .problem(401, "second-factor-required");
    let remove = [
        "admin",
        "user",
        "remove-second-factor",
        "a@example.com",
        "--reason",
        "lost",
    ];
    succeeds(&pool, &remove).await;
    log_in(&scene.visitor).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_passkey_that_is_removed_while_it_is_shown_lets_nobody_in(pool: PgPool) {
    let mut scene = scene(&pool).await;
    scene.add().await;
    let sessions = "SELECT count(*) FROM sessions";
    let before = count(&pool, sessions).await;
    let shown = scene.shown(&json!({})).await;
    // Holds what ends and begins logins of the account, as a removal does until it is done.
    let mut removal = pool.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended(user_id::text, 0)) FROM users";
    sqlx::query(lock).execute(&mut *removal).await.unwrap();
    let removed = async {
        waits_for_lock(&pool).await;
        let gone = "DELETE FROM passkeys";
        sqlx::query(gone).execute(&mut *removal).await.unwrap();
        removal.commit().await.unwrap();
    };
    let inside = post(&scene.visitor, "login/passkey", &shown);
    let (inside, ()) = tokio::join!(inside, removed);
    inside.problem(401, "wrong-passkey");
    assert_eq!(count(&pool, sessions).await, before);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_passkey_is_the_second_factor_that_administrators_must_have(pool: PgPool) {
    let site = format!("http.public_url={URL}");
    let demanded = "auth.admin_second_factor=true";
    let coordinator = Coordinator::with(pool.clone(), &[&site, demanded]).await;
    let visitor = coordinator.visitor();
    let made = visitor.post("/api/v1/auth/register").body(CREDENTIALS);
    made.send().await.expect(StatusCode::CREATED);
    succeeds(&pool, &["admin", "set-role", "a@example.com", "admin"]).await;
    let owner = entered(&visitor, log_in(&visitor).await);
    let refused = owner.get("/api/v1/admin/jobs").await;
    refused.problem(403, "second-factor-demanded");
    let mut scene = Scene {
        coordinator,
        visitor,
        owner,
        device: Authenticator::new(URL, SITE),
    };
    scene.add().await;
    scene
        .owner
        .get("/api/v1/admin/jobs")
        .await
        .expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_site_without_a_name_says_that_it_has_no_passkeys(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let refused = post(&coordinator.visitor(), "login/passkey/begin", &json!({})).await;
    refused.problem(503, "passkeys-not-configured");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn any_coordinator_takes_the_answer_to_what_another_asked(pool: PgPool) {
    let mut scene = scene(&pool).await;
    scene.add().await;
    let shown = scene.shown(&json!({})).await;
    let site = format!("http.public_url={URL}");
    let other = scene.coordinator.beside(&[&site]).await;
    let inside = post(&other.visitor(), "login/passkey", &shown).await;
    inside.expect(StatusCode::OK);
}
