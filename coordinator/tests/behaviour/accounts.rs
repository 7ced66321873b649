//! Accounts through the API: who may log in, and for how long.

use coordinator::accounts;
use coordinator::accounts::session::Device;
use coordinator::accounts::{addresses, auth};

use futures::future::join_all;
use http::StatusCode;
use model::ids::UserId;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Client, Coordinator, begin_session, count, soon};

async fn send(client: &Client, path: &str, body: &Value) -> Answer {
    let call = client.post(&format!("/api/v1/auth/{path}"));
    call.body(body.to_string()).send().await
}

async fn log_in(client: &Client) -> Value {
    let credentials = json!({"email": "test@example.com", "password": "test123"});
    send(client, "register", &credentials)
        .await
        .expect(StatusCode::CREATED);
    let answer = send(client, "login", &credentials).await;
    answer.expect(StatusCode::OK)
}

async fn refresh(client: &Client, tokens: &Value) -> Answer {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    send(client, "refresh", &body).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_address_is_taken_in_every_spelling_of_its_letters(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let account = |email: &str| json!({"email": email, "password": "test123"});
    let made = send(&client, "register", &account("Test@Example.com")).await;
    assert_eq!(
        made.expect(StatusCode::CREATED)["email"],
        "Test@Example.com"
    );
    for again in ["Test@Example.com", "test@example.com", " TEST@EXAMPLE.COM "] {
        let refused = send(&client, "register", &account(again)).await;
        refused.problem(409, "address-taken");
        let entered = send(&client, "login", &account(again)).await;
        assert_eq!(entered.status, StatusCode::OK, "{again:?}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_address_is_taken_in_every_spelling_that_unicode_knows(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let account = |email: &str| json!({"email": email, "password": "test123"});
    let made = send(&client, "register", &account("Ünder@example.com")).await;
    made.expect(StatusCode::CREATED);
    for again in ["ünder@example.com", "U\u{308}NDER@EXAMPLE.COM"] {
        let refused = send(&client, "register", &account(again)).await;
        refused.problem(409, "address-taken");
        let entered = send(&client, "login", &account(again)).await;
        assert_eq!(entered.status, StatusCode::OK, "{again:?}");
    }
}

/// As a coordinator of the release before opens an account, on a database whose locale knows no letter beyond ASCII.
async fn older_account(pool: &PgPool, email: &str, password_of: &str) {
    sqlx::query(
        "INSERT INTO users (user_id, email, password_hash)
         SELECT gen_random_uuid(), $1, password_hash FROM users WHERE email = $2",
    )
    .bind(email)
    .bind(password_of)
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn accounts_of_older_coordinators_are_found_before_and_after_their_address_has_a_form(
    pool: PgPool,
) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let client = coordinator.visitor();
    let account = |email: &str| json!({"email": email, "password": "test123"});
    let model = send(&client, "register", &account("model@example.com")).await;
    model.expect(StatusCode::CREATED);
    older_account(&pool, "Old@example.com", "model@example.com").await;
    for _ in 0..2 {
        for spelling in ["Old@example.com", "old@EXAMPLE.com"] {
            let entered = send(&client, "login", &account(spelling)).await;
            assert_eq!(entered.status, StatusCode::OK, "{spelling:?}");
        }
        addresses::form_all(&coordinator.app.accounts)
            .await
            .unwrap();
    }
    let refused = send(&client, "register", &account("oLd@example.com")).await;
    refused.problem(409, "address-taken");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_two_old_accounts_with_one_address_each_is_found_by_its_own_spelling(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let client = coordinator.visitor();
    let account = |email: &str, password: &str| json!({"email": email, "password": password});
    for (email, password) in [
        ("one@example.com", "first12"),
        ("two@example.com", "second1"),
    ] {
        let made = send(&client, "register", &account(email, password)).await;
        made.expect(StatusCode::CREATED);
    }
    // So they could be opened where the database's locale was C.
    let both = "UPDATE users SET email_form = NULL,
                email = CASE email WHEN 'one@example.com' THEN 'Ü@example.com' ELSE 'ü@example.com' END";
    sqlx::query("DROP INDEX users_email")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query(both).execute(&pool).await.unwrap();
    addresses::form_all(&coordinator.app.accounts)
        .await
        .unwrap();
    let enter = async |email: &str, password: &str| {
        send(&client, "login", &account(email, password))
            .await
            .status
    };
    assert_eq!(enter("Ü@example.com", "first12").await, StatusCode::OK);
    assert_eq!(enter("ü@example.com", "second1").await, StatusCode::OK);
    assert_eq!(
        enter("U\u{308}@example.com", "first12").await,
        StatusCode::OK
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM users WHERE email_form_taken").await,
        1
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_network_opens_so_many_accounts_a_day(pool: PgPool) {
    let settings = [
        "auth.accounts_per_network=2",
        "http.trust_forwarded_for=true",
    ];
    let visitor = Coordinator::with(pool.clone(), &settings).await.visitor();
    let open = async |address: &str, number: u32| {
        let account = json!({"email": format!("{number}@example.com"), "password": "test123"});
        let call = visitor.post("/api/v1/auth/register");
        let call = call.header("x-forwarded-for", address);
        call.body(account.to_string()).send().await
    };
    open("203.0.113.1", 1).await.expect(StatusCode::CREATED);
    open("203.0.113.2", 2).await.expect(StatusCode::CREATED);
    let refused = open("203.0.113.3", 3).await;
    refused.problem(429, "too-many-requests");
    open("198.51.100.1", 3).await.expect(StatusCode::CREATED);
    for number in 4..8 {
        open("192.168.0.1", number)
            .await
            .expect(StatusCode::CREATED);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM users").await, 7);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn registrations_of_one_address_at_once_make_one_account(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let client = coordinator.visitor();
    let account = json!({"email": "test@example.com", "password": "test123"});
    let made = join_all((0..4).map(|_| send(&client, "register", &account))).await;
    let of_status = |code| made.iter().filter(|answer| answer.status == code).count();
    assert_eq!(of_status(StatusCode::CREATED), 1);
    assert_eq!(of_status(StatusCode::CONFLICT), 3);
    let accounts = "SELECT count(*) FROM accounts WHERE owner_kind = 'user'";
    assert_eq!(count(&pool, accounts).await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    log_in(&client).await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("test@example.com", "test124"),
        ("nobody@example.com", "test123"),
        ("not an address", "test123"),
        ("nul\0@example.com", "test123"),
        ("test@example.com", ""),
    ] {
        let body = json!({"email": email, "password": password});
        let refused = send(&client, "login", &body).await;
        let mut problem = refused.problem(401, "wrong-credentials");
        problem["request_id"].take();
        answers.push(problem);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_no_address_or_no_password_makes_no_account(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let long = "x".repeat(1025);
    for (email, password) in [
        ("", "test123"),
        ("name", "test123"),
        ("a b@example.com", "test123"),
        ("nul\0@example.com", "test123"),
        ("test@example.com", "test12"),
        ("test@example.com", &long),
    ] {
        let body = json!({"email": email, "password": password});
        let refused = send(&client, "register", &body).await;
        refused.problem(400, "invalid-request");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM users").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_refresh_gives_a_new_pair_that_works(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let mut tokens = log_in(&client).await;
    for _ in 0..3 {
        let renewed = refresh(&client, &tokens).await.expect(StatusCode::OK);
        assert_ne!(renewed["refresh_token"], tokens["refresh_token"]);
        assert_eq!(renewed["token_type"], "Bearer");
        assert_eq!(renewed["expires_in"], 900);
        tokens = renewed;
        let user = client.with_token(tokens["access_token"].as_str().unwrap());
        let me = user.get("/api/v1/auth/me").await.expect(StatusCode::OK);
        assert_eq!(me["email"], "test@example.com");
        assert_eq!(me["role"], "user");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_that_comes_back_ends_its_login_and_no_other(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let stolen = log_in(&client).await;
    let credentials = json!({"email": "test@example.com", "password": "test123"});
    let other = send(&client, "login", &credentials).await;
    let other = other.expect(StatusCode::OK);

    let renewed = refresh(&client, &stolen).await.expect(StatusCode::OK);
    grace_is_over(&pool).await;
    let reused = refresh(&client, &stolen).await;
    reused.problem(401, "bad-refresh-token");
    let descendant = refresh(&client, &renewed).await;
    descendant.problem(401, "bad-refresh-token");
    refresh(&client, &other).await.expect(StatusCode::OK);
}

/// Every token that was used was used long ago.
async fn grace_is_over(pool: &PgPool) {
    sqlx::query("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds'")
        .execute(pool)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_answer_that_was_lost_can_be_had_again_until_what_it_gave_is_used(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let first = log_in(&client).await;
    let lost = refresh(&client, &first).await.expect(StatusCode::OK);
    let again = refresh(&client, &first).await.expect(StatusCode::OK);
    assert_eq!(again["refresh_token"], lost["refresh_token"]);
    let next = refresh(&client, &again).await.expect(StatusCode::OK);
    // Whoever has it now is not who got the answer.
    let stolen = refresh(&client, &first).await;
    stolen.problem(401, "bad-refresh-token");
    let ended = refresh(&client, &next).await;
    ended.problem(401, "bad-refresh-token");
    assert_eq!(count(&pool, "SELECT count(*) FROM refresh_tokens").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_login_is_two_rows_however_often_it_is_renewed_and_an_old_token_still_ends_it(
    pool: PgPool,
) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let stolen = log_in(&client).await;
    let mut tokens = stolen.clone();
    for _ in 0..20 {
        tokens = refresh(&client, &tokens).await.expect(StatusCode::OK);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM refresh_tokens").await, 2);
    let reused = refresh(&client, &stolen).await;
    reused.problem(401, "bad-refresh-token");
    let ended = refresh(&client, &tokens).await;
    ended.problem(401, "bad-refresh-token");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_has_so_many_logins_and_the_stalest_gives_way(pool: PgPool) {
    let settings = ["auth.logins_per_account=3"];
    let client = Coordinator::with(pool.clone(), &settings).await.visitor();
    let mut logins = vec![log_in(&client).await];
    let credentials = json!({"email": "test@example.com", "password": "test123"});
    for _ in 0..2 {
        let login = send(&client, "login", &credentials).await;
        logins.push(login.expect(StatusCode::OK));
    }
    logins[0] = refresh(&client, &logins[0]).await.expect(StatusCode::OK);
    let fourth = send(&client, "login", &credentials).await;
    logins.push(fourth.expect(StatusCode::OK));
    let mut alive = Vec::new();
    for login in &logins {
        alive.push(refresh(&client, login).await.status == StatusCode::OK);
    }
    assert_eq!(alive, [true, false, true, true]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_refresh_token_of_an_older_coordinator_is_still_good_and_still_single_use(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let client = coordinator.visitor();
    let (user, _) = coordinator.user().await;
    let token = format!("fsnr_{}", "ab".repeat(32));
    sqlx::query(
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, expires_at)
         VALUES ($1, $2, $2, now() + interval '1 day')",
    )
    .bind(&accounts::secrets::hash(&token)[..])
    .bind(user.as_uuid())
    .execute(&pool)
    .await
    .unwrap();
    let old = json!({"refresh_token": token});
    let renewed = refresh(&client, &old).await.expect(StatusCode::OK);
    let renewed = refresh(&client, &renewed).await.expect(StatusCode::OK);
    refresh(&client, &old)
        .await
        .problem(401, "bad-refresh-token");
    let ended = refresh(&client, &renewed).await;
    ended.problem(401, "bad-refresh-token");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn refreshes_of_one_token_at_once_all_give_the_same_successor(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let client = coordinator.visitor();
    let tokens = log_in(&client).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    let device = Device::new("192.0.2.1".parse().unwrap(), "");
    let refreshes = (0..5).map(|_| auth::refresh(&coordinator.app.accounts, token, &device));
    let outcomes: Vec<_> = soon(join_all(refreshes)).await;
    let given = outcomes.into_iter().map(Result::unwrap);
    let given: Vec<_> = given.map(|pair| pair.refresh_token).collect();
    assert!(given.iter().all(|token| *token == given[0]));
    auth::refresh(&coordinator.app.accounts, &given[0], &device)
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_expired_refresh_token_is_refused_and_forgotten(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let tokens = log_in(&client).await;
    let expire = "UPDATE refresh_tokens SET expires_at = now() - interval '1 second'";
    sqlx::query(expire).execute(&pool).await.unwrap();
    let refused = refresh(&client, &tokens).await;
    refused.problem(401, "bad-refresh-token");
    let mut connection = pool.acquire().await.unwrap();
    let forgotten = accounts::tables::refresh_tokens::delete_expired(&mut connection, 10).await;
    assert_eq!(forgotten.unwrap(), 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn logging_out_ends_the_login_and_may_be_repeated(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let tokens = log_in(&client).await;
    let renewed = refresh(&client, &tokens).await.expect(StatusCode::OK);
    let body = json!({"refresh_token": renewed["refresh_token"]});
    for _ in 0..2 {
        let ended = send(&client, "logout", &body).await;
        assert_eq!(ended.status, StatusCode::NO_CONTENT);
    }
    let refused = refresh(&client, &renewed).await;
    refused.problem(401, "bad-refresh-token");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_knew_the_old_password_is_out_when_it_is_changed(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    let owner = log_in(&client).await;
    let credentials = json!({"email": "test@example.com", "password": "test123"});
    let thief = send(&client, "login", &credentials).await;
    let thief = thief.expect(StatusCode::OK);
    let change = async |current: &str| {
        let user = client.with_token(owner["access_token"].as_str().unwrap());
        let body = json!({"current_password": current, "new_password": "another1"});
        send(&user, "password", &body).await
    };
    change("guess12").await.problem(401, "wrong-credentials");
    // The answer was lost, and the same is sent again.
    for _ in 0..2 {
        let changed = change("test123").await;
        assert_eq!(changed.status, StatusCode::NO_CONTENT);
    }
    let refused = refresh(&client, &thief).await;
    refused.problem(401, "bad-refresh-token");
    let user = client.with_token(thief["access_token"].as_str().unwrap());
    user.get("/api/v1/auth/me")
        .await
        .problem(401, "unauthorized");
    refresh(&client, &owner).await.expect(StatusCode::OK);
    let refused = send(&client, "login", &credentials).await;
    refused.problem(401, "wrong-credentials");
    let credentials = json!({"email": "test@example.com", "password": "another1"});
    let entered = send(&client, "login", &credentials).await;
    entered.expect(StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn neither_passwords_nor_tokens_stand_in_the_database(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let tokens = log_in(&client).await;
    let hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(hash.starts_with("$argon2id$"), "{hash}");
    let stored: Vec<u8> = sqlx::query_scalar("SELECT token_hash FROM refresh_tokens")
        .fetch_one(&pool)
        .await
        .unwrap();
    let token = tokens["refresh_token"].as_str().unwrap();
    assert!(!token.contains(&hex::encode(stored)));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn many_accounts_of_one_network_have_no_more_trials_than_its_share(pool: PgPool) {
    let settings = [
        "http.trust_forwarded_for=true",
        "money.trial_accounts_per_network=2",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let visitor = coordinator.visitor();
    let try_from = async |address: &str, number: u32| {
        let account = json!({"email": format!("{number}@example.com"), "password": "test123"});
        let call = visitor
            .post("/api/v1/auth/register")
            .body(account.to_string());
        let made = call.header("x-forwarded-for", address).send().await;
        let user = made.expect(StatusCode::CREATED)["user_id"].clone();
        let user: uuid::Uuid = user.as_str().unwrap().parse().unwrap();
        let user = UserId::from_uuid(user);
        begin_session(&pool, user).await;
        let client = coordinator.client_of(user);
        // In one request, and in steps.
        let small = client.upload_call("small", &[7; 100]).send().await.status;
        (small, client.initiate("in steps", 100).await.status)
    };
    let paid = (StatusCode::CREATED, StatusCode::CREATED);
    let refused = (StatusCode::PAYMENT_REQUIRED, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(try_from("203.0.113.1", 1).await, paid);
    assert_eq!(try_from("203.0.113.2", 2).await, paid);
    assert_eq!(try_from("203.0.113.3", 3).await, refused);
    assert_eq!(try_from("198.51.100.1", 4).await, paid);
    for number in 5..8 {
        assert_eq!(
            try_from("192.168.0.1", number).await,
            paid,
            "a private address"
        );
    }
    // The next day nobody knows any more, and everybody begins anew.
    sqlx::query("UPDATE registrations SET day = day - 1")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(try_from("203.0.113.4", 8).await, paid);
    let mut connection = pool.acquire().await.unwrap();
    let forgotten = accounts::tables::users::delete_old_registrations(&mut connection, 10).await;
    assert_eq!(forgotten.unwrap(), 2);
}
