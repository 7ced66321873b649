//! Sessions: seen and ended by their owner, everywhere at once; what an account may do is looked up.

use std::time::Duration;

use coordinator::accounts::tables::users::set_role;
use http::StatusCode;
use kit::{Clock, SimulatedClock};
use model::ids::{SessionId, UserId};
use model::user::Role;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Client, Coordinator, eventually};

const SESSIONS: &str = "/api/v1/auth/sessions";
const ME: &str = "/api/v1/auth/me";

fn credentials() -> Value {
    json!({"email": "test@example.com", "password": "test123"})
}

async fn send(client: &Client, call: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{call}"));
    call.header("user-agent", "test/1")
        .body(body.to_string())
        .send()
        .await
}

async fn register(coordinator: &Coordinator) -> UserId {
    let made = send(&coordinator.visitor(), "register", &credentials()).await;
    let made = made.expect(StatusCode::CREATED);
    made["user_id"].as_str().unwrap().parse().unwrap()
}

async fn log_in(coordinator: &Coordinator) -> Value {
    let tokens = send(&coordinator.visitor(), "login", &credentials()).await;
    tokens.expect(StatusCode::OK)
}

async fn refresh(coordinator: &Coordinator, tokens: &Value) -> Answer {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    send(&coordinator.visitor(), "refresh", &body).await
}

fn client(coordinator: &Coordinator, tokens: &Value) -> Client {
    let token = tokens["access_token"].as_str().unwrap();
    coordinator.visitor().with_token(token)
}

async fn listed(client: &Client) -> Vec<Value> {
    let sessions = client.get(SESSIONS).await.expect(StatusCode::OK);
    sessions["items"].as_array().unwrap().clone()
}

/// The path of the session that asks.
async fn own(client: &Client) -> String {
    let sessions = listed(client).await;
    let own = sessions.iter().find(|session| session["current"] == true);
    format!(
        "{SESSIONS}/{}",
        own.unwrap()["session_id"].as_str().unwrap()
    )
}

/// Two coordinators whose time stands still, so that what is known would be known for ever; the second one hears.
async fn two(pool: &PgPool) -> (Coordinator, Coordinator) {
    let clock = SimulatedClock::new(Clock::system().now());
    let first = Coordinator::at(pool.clone(), &[], Clock::from(&clock)).await;
    let second = first.another(&[], Clock::from(&clock)).await;
    second.start_workers();
    (first, second)
}

/// Until this coordinator does not ask its database about the session any more.
async fn until_known(coordinator: &Coordinator, tokens: &Value) {
    let client = client(coordinator, tokens);
    let path = own(&client).await;
    let id = path
        .rsplit('/')
        .next()
        .unwrap()
        .parse::<SessionId>()
        .unwrap();
    eventually(|| async {
        client.get(ME).await.expect(StatusCode::OK);
        let now = coordinator.app.clock.now();
        coordinator
            .app
            .accounts
            .known
            .sessions
            .get(id, now)
            .map(drop)
    })
    .await;
}

/// Until the client is refused. What it is refused with.
async fn until_refused(client: &Client) -> Answer {
    eventually(|| async {
        let answer = client.get(ME).await;
        (answer.status != StatusCode::OK).then_some(answer)
    })
    .await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_login_is_a_session_that_its_owner_sees_and_ends(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    register(&coordinator).await;
    let (first, second) = (log_in(&coordinator).await, log_in(&coordinator).await);
    let (one, other) = (client(&coordinator, &first), client(&coordinator, &second));
    let sessions = listed(&one).await;
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        assert_eq!(session["address"], "192.0.2.1");
        assert_eq!(session["user_agent"], "test/1");
    }
    assert_ne!(own(&one).await, own(&other).await);
    let renewed = refresh(&coordinator, &first).await.expect(StatusCode::OK);
    assert_eq!(own(&client(&coordinator, &renewed)).await, own(&one).await);

    let (_, stranger) = coordinator.user().await;
    stranger
        .delete(&own(&one).await)
        .await
        .expect(StatusCode::NO_CONTENT);
    one.get(ME).await.expect(StatusCode::OK);

    let path = own(&one).await;
    for _ in 0..2 {
        other.delete(&path).await.expect(StatusCode::NO_CONTENT);
    }
    one.get(ME).await.problem(401, "unauthorized");
    let ended = refresh(&coordinator, &renewed).await;
    ended.problem(401, "bad-refresh-token");
    assert_eq!(listed(&other).await.len(), 1);
    let path = own(&other).await;
    other.delete(&path).await.expect(StatusCode::NO_CONTENT);
    other.get(ME).await.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn all_other_sessions_end_and_the_one_that_asks_stays(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    register(&coordinator).await;
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(log_in(&coordinator).await);
    }
    let own = client(&coordinator, &logins[1]);
    own.delete(SESSIONS).await.expect(StatusCode::NO_CONTENT);
    for (number, login) in logins.iter().enumerate() {
        let stays = number == 1;
        let asked = client(&coordinator, login).get(ME).await;
        assert_eq!(asked.status == StatusCode::OK, stays);
        let renewed = refresh(&coordinator, login).await;
        assert_eq!(renewed.status == StatusCode::OK, stays);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_session_that_is_ended_at_one_coordinator_is_refused_by_all_at_once(pool: PgPool) {
    let (first, second) = two(&pool).await;
    register(&first).await;
    let (kept, ended) = (log_in(&first).await, log_in(&first).await);
    until_known(&second, &ended).await;
    until_known(&second, &kept).await;
    let owner = client(&first, &kept);
    let path = own(&client(&first, &ended)).await;
    owner.delete(&path).await.expect(StatusCode::NO_CONTENT);
    client(&first, &ended)
        .get(ME)
        .await
        .problem(401, "unauthorized");
    let refused = until_refused(&client(&second, &ended)).await;
    refused.problem(401, "unauthorized");
    client(&second, &kept).get(ME).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_new_password_and_a_logout_end_access_tokens_at_every_coordinator(pool: PgPool) {
    let (first, second) = two(&pool).await;
    register(&first).await;
    let (thief, out) = (log_in(&first).await, log_in(&first).await);
    for tokens in [&thief, &out] {
        until_known(&second, tokens).await;
    }
    let token = json!({"refresh_token": out["refresh_token"]});
    let logged_out = send(&first.visitor(), "logout", &token).await;
    logged_out.expect(StatusCode::NO_CONTENT);
    until_refused(&client(&second, &out))
        .await
        .problem(401, "unauthorized");

    let owner = client(&first, &log_in(&first).await);
    let change = json!({"current_password": "test123", "new_password": "another1"});
    send(&owner, "password", &change)
        .await
        .expect(StatusCode::NO_CONTENT);
    until_refused(&client(&second, &thief))
        .await
        .problem(401, "unauthorized");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_an_account_may_do_is_looked_up_and_not_read_from_its_token(pool: PgPool) {
    let (first, second) = two(&pool).await;
    let user = register(&first).await;
    let tokens = log_in(&first).await;
    until_known(&second, &tokens).await;
    let admin = client(&second, &tokens);
    let peers = "/api/v1/admin/peers";
    admin.get(peers).await.problem(403, "admins-only");
    let mut connection = pool.acquire().await.unwrap();
    for (role, status) in [
        (Role::Admin, StatusCode::OK),
        (Role::User, StatusCode::FORBIDDEN),
    ] {
        set_role(&mut connection, user, role).await.unwrap();
        eventually(|| async { (admin.get(peers).await.status == status).then_some(()) }).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_suspended_account_is_told_why_and_does_nothing(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    register(&coordinator).await;
    let tokens = log_in(&coordinator).await;
    sqlx::query("UPDATE users SET suspended_at = now(), suspended_reason = 'unpaid'")
        .execute(&pool)
        .await
        .unwrap();
    let visitor = coordinator.visitor();
    for refused in [
        client(&coordinator, &tokens).get(ME).await,
        refresh(&coordinator, &tokens).await,
        send(&visitor, "login", &credentials()).await,
    ] {
        let problem = refused.problem(403, "account-suspended");
        assert!(problem["detail"].as_str().unwrap().contains("unpaid"));
    }
    let wrong = json!({"email": "test@example.com", "password": "guessed"});
    let stranger = send(&visitor, "login", &wrong).await;
    stranger.problem(401, "wrong-credentials");

    sqlx::query("UPDATE users SET suspended_at = NULL, suspended_reason = NULL")
        .execute(&pool)
        .await
        .unwrap();
    client(&coordinator, &tokens)
        .get(ME)
        .await
        .expect(StatusCode::OK);
    refresh(&coordinator, &tokens).await.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_login_ends_when_its_time_is_over_however_often_it_is_renewed(pool: PgPool) {
    let clock = SimulatedClock::new(Clock::system().now());
    let settings = ["auth.session_ttl=1h"];
    let coordinator = Coordinator::at(pool, &settings, Clock::from(&clock)).await;
    register(&coordinator).await;
    let mut tokens = log_in(&coordinator).await;
    assert_eq!(tokens["expires_in"], 900);
    for _ in 0..5 {
        clock.advance(Duration::from_secs(600));
        tokens = refresh(&coordinator, &tokens).await.expect(StatusCode::OK);
    }
    assert_eq!(tokens["expires_in"], 600);
    client(&coordinator, &tokens)
        .get(ME)
        .await
        .expect(StatusCode::OK);
    clock.advance(Duration::from_secs(600));
    client(&coordinator, &tokens)
        .get(ME)
        .await
        .problem(401, "unauthorized");
    let refused = refresh(&coordinator, &tokens).await;
    refused.problem(401, "bad-refresh-token");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_stops_hearing_of_changes_forgets_what_it_knew(pool: PgPool) {
    let (first, second) = two(&pool).await;
    register(&first).await;
    let tokens = log_in(&first).await;
    until_known(&second, &tokens).await;
    // Nobody can listen any more, and who does is thrown out.
    let hushed = "ALTER TABLE sessions DISABLE TRIGGER session_changed";
    sqlx::query(hushed).execute(&pool).await.unwrap();
    let path = own(&client(&first, &tokens)).await;
    let id: SessionId = path.rsplit('/').next().unwrap().parse().unwrap();
    let thrown_out = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    eventually(|| async {
        let listeners: i64 = sqlx::query_scalar(thrown_out)
            .fetch_one(&pool)
            .await
            .unwrap();
        let now = second.app.clock.now();
        let known = second.app.accounts.known.sessions.get(id, now);
        (listeners == 0 && known.is_none()).then_some(())
    })
    .await;
    sqlx::query("DELETE FROM sessions")
        .execute(&pool)
        .await
        .unwrap();
    let refused = client(&second, &tokens).get(ME).await;
    refused.problem(401, "unauthorized");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_login_of_an_older_coordinator_becomes_a_session_when_it_is_renewed(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    register(&coordinator).await;
    let tokens = log_in(&coordinator).await;
    sqlx::query("DELETE FROM sessions")
        .execute(&pool)
        .await
        .unwrap();
    client(&coordinator, &tokens)
        .get(ME)
        .await
        .problem(401, "unauthorized");
    let renewed = refresh(&coordinator, &tokens).await.expect(StatusCode::OK);
    let client = client(&coordinator, &renewed);
    assert_eq!(listed(&client).await.len(), 1);
}
