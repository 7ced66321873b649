//! Which nodes are let in, and what they have to prove.

use coordinator::fleet::jobs::CleanUp;
use coordinator::fleet::removal;
use http::StatusCode;
use kit::Job;
use model::ids::UserId;
use network::Keypair;
use proto::RegistrationForm;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{Answer, Client, Coordinator, Node, count, registration, registration_with};

async fn register(client: &Client, body: &Value) -> Answer {
    let call = client.post("/api/v1/nodes/register");
    call.body(body.to_string()).send().await
}

/// Registers under a fresh nonce, with further members in the body; region and token are signed.
async fn join(client: &Client, keypair: &Keypair, members: Value) -> Answer {
    join_with(client, keypair, members, RegistrationForm::V2).await
}

async fn join_with(
    client: &Client,
    keypair: &Keypair,
    members: Value,
    form: RegistrationForm,
) -> Answer {
    let body = registration_with(client, keypair, "a node", &members, form).await;
    register(client, &body).await
}

/// An account that may have so many nodes.
async fn operator(coordinator: &Coordinator, nodes: i32) -> (UserId, Client) {
    let (user_id, client) = coordinator.user().await;
    sqlx::query("UPDATE users SET node_quota = $2 WHERE user_id = $1")
        .bind(user_id.as_uuid())
        .bind(nodes)
        .execute(coordinator.app.db.connections())
        .await
        .unwrap();
    (user_id, client)
}

async fn token(client: &Client) -> Value {
    let made = client.post("/api/v1/nodes/tokens").send().await;
    made.expect(StatusCode::CREATED)["token"].clone()
}

async fn key_works(client: &Client, registered: &Value) -> bool {
    let key = registered["api_key"].as_str().unwrap();
    let call = client.call(http::Method::GET, "/api/v1/balance");
    call.header("x-api-key", key).send().await.status == StatusCode::OK
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn registering_again_gives_the_same_node_and_voids_its_old_key(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (client, keypair) = (coordinator.visitor(), Keypair::generate_ed25519());
    let first = join(&client, &keypair, json!({"region": "EU-Central"})).await;
    let first = first.expect(StatusCode::CREATED);
    assert_eq!(first["state"], "probation");
    assert_eq!(
        first["network_id"],
        coordinator.app.keys.ring.network_id.to_string()
    );
    assert!(key_works(&client, &first).await);

    let second = join(&client, &keypair, json!({})).await;
    let second = second.expect(StatusCode::CREATED);
    assert_eq!(second["node_id"], first["node_id"]);
    assert!(key_works(&client, &second).await);
    assert!(!key_works(&client, &first).await);
    assert_eq!(count(&pool, "SELECT count(*) FROM nodes").await, 1);
    let accounts = "SELECT count(*) FROM accounts WHERE owner_kind = 'node'";
    assert_eq!(count(&pool, accounts).await, 2);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_nonce_is_good_for_one_registration(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let body = registration(&client, &Keypair::generate_ed25519(), "a node").await;
    let (first, second) = tokio::join!(register(&client, &body), register(&client, &body));
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422]);
    register(&client, &body).await.problem(422, "bad-nonce");
    let left = "SELECT count(*) FROM registration_nonces";
    assert_eq!(count(&pool, left).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_nonce_that_is_old_or_made_up_is_refused(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let keypair = Keypair::generate_ed25519();
    let mut body = registration(&client, &keypair, "a node").await;
    sqlx::query("UPDATE registration_nonces SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    register(&client, &body).await.problem(422, "bad-nonce");
    body["nonce"] = json!("00".repeat(32));
    register(&client, &body).await.problem(422, "bad-nonce");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_signature_holds_for_exactly_what_was_signed(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let other = Keypair::generate_ed25519().public().to_peer_id();
    for (name, value) in [
        ("name", json!("another name")),
        ("capacity_bytes", json!(1)),
        ("peer_id", json!(other.to_string())),
        ("signature", json!("00".repeat(64))),
    ] {
        let mut changes = json!({});
        changes[name] = value;
        let answer = join(&client, &Keypair::generate_ed25519(), changes).await;
        answer.problem(422, "bad-signature");
    }
    // What was signed, with something else in its place.
    let signed = json!({"region": "north", "token": "fsnt_one"});
    for (name, value) in [
        ("region", json!("south")),
        ("region", Value::Null),
        ("token", json!("fsnt_another")),
        ("token", Value::Null),
    ] {
        let keypair = Keypair::generate_ed25519();
        let form = RegistrationForm::V2;
        let mut body = registration_with(&client, &keypair, "a node", &signed, form).await;
        body[name] = value;
        register(&client, &body).await.problem(422, "bad-signature");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM nodes").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_old_form_of_a_registration_is_taken_where_nothing_is_to_be_gained_by_altering_it(
    pool: PgPool,
) {
    let v1 = RegistrationForm::V1;
    let coordinator = Coordinator::start(pool).await;
    let client = coordinator.visitor();
    let region = json!({"region": "north"});
    join_with(&client, &Keypair::generate_ed25519(), region, v1)
        .await
        .expect(StatusCode::CREATED);
    let token = token(&coordinator.user().await.1).await;
    let with_token = json!({"token": token});
    join_with(&client, &Keypair::generate_ed25519(), with_token, v1)
        .await
        .problem(422, "bad-signature");
    join(&client, &Keypair::generate_ed25519(), json!({"form": 3}))
        .await
        .problem(400, "invalid-request");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_old_form_of_a_registration_is_not_taken_where_a_token_is_asked_for(pool: PgPool) {
    let coordinator = Coordinator::with(pool, &["nodes.admission=token"]).await;
    let (client, keypair) = (coordinator.visitor(), Keypair::generate_ed25519());
    let token = token(&operator(&coordinator, 1).await.1).await;
    let with_token = json!({"token": token});
    let refused = join_with(&client, &keypair, with_token.clone(), RegistrationForm::V1).await;
    let problem = refused.problem(422, "bad-signature");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("upgrade the storage-node"), "{detail}");
    join(&client, &keypair, with_token)
        .await
        .expect(StatusCode::CREATED);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_a_token_is_asked_for_a_fresh_account_makes_none(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (fresh, client) = coordinator.user().await;
    let ask = async |client: &Client| client.post("/api/v1/nodes/tokens").send().await;
    ask(&client).await.problem(403, "may-not-add-nodes");

    let (_, entitled) = operator(&coordinator, 2).await;
    let token = token(&entitled).await;
    ask(&entitled).await.expect(StatusCode::CREATED);
    let full = ask(&entitled).await.problem(403, "too-many-nodes");
    assert_eq!(full["limit"], 2);
    // A node takes the place of its token, and one that has left leaves room.
    join(
        &coordinator.visitor(),
        &Keypair::generate_ed25519(),
        json!({"token": token}),
    )
    .await
    .expect(StatusCode::CREATED);
    ask(&entitled).await.problem(403, "too-many-nodes");
    sqlx::query("UPDATE nodes SET state = 'drained'")
        .execute(&pool)
        .await
        .unwrap();
    ask(&entitled).await.expect(StatusCode::CREATED);
    ask(&entitled).await.problem(403, "too-many-nodes");

    let admin = coordinator.admin(fresh).await;
    for _ in 0..5 {
        ask(&admin).await.expect(StatusCode::CREATED);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_questions_at_once_no_more_tokens_come_than_the_account_may_have(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (_, client) = operator(&coordinator, 3).await;
    let asked = (0..10).map(|_| client.post("/api/v1/nodes/tokens").send());
    let answers = futures::future::join_all(asked).await;
    let made = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(made.count(), 3);
    assert_eq!(count(&pool, "SELECT count(*) FROM node_tokens").await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_a_token_has_let_in_needs_none_to_register_again(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (_, user) = operator(&coordinator, 1).await;
    let (client, keypair) = (coordinator.visitor(), Keypair::generate_ed25519());
    let token = token(&user).await;
    join(&client, &keypair, json!({"token": token}))
        .await
        .expect(StatusCode::CREATED);
    join(&client, &keypair, json!({}))
        .await
        .expect(StatusCode::CREATED);
    let operators = "SELECT count(*) FROM nodes WHERE operator_id IS NOT NULL";
    assert_eq!(count(&pool, operators).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_registers_and_never_comes_is_forgotten_and_who_came_once_is_not(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let node = Node::join(&coordinator).await;
    let (client, sybil) = (coordinator.visitor(), Keypair::generate_ed25519());
    for _ in 0..5 {
        join(&client, &Keypair::generate_ed25519(), json!({}))
            .await
            .expect(StatusCode::CREATED);
    }
    let first = join(&client, &sybil, json!({})).await;
    let first = first.expect(StatusCode::CREATED);
    let nodes = &coordinator.app.nodes;
    let week = std::time::Duration::from_secs(7 * 24 * 3600);
    let forget = async || removal::forget_never_seen(nodes, week, 1000).await.unwrap();
    assert_eq!(forget().await, 0);
    sqlx::query("UPDATE nodes SET created_at = now() - interval '8 days'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(forget().await, 6);
    let left = "SELECT count(*) FROM nodes";
    assert_eq!(count(&pool, left).await, 1);
    let accounts = "SELECT count(*) FROM accounts WHERE owner_kind = 'node'";
    assert_eq!(count(&pool, accounts).await, 2);
    assert!(node.beat(&coordinator).await);
    // It may come again, as another node.
    let again = join(&client, &sybil, json!({})).await;
    let again = again.expect(StatusCode::CREATED);
    assert_ne!(again["node_id"], first["node_id"]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_cannot_be_a_registration_is_refused_by_name(pool: PgPool) {
    let client = Coordinator::start(pool).await.visitor();
    for (name, value) in [
        ("peer_id", json!("nobody")),
        ("nonce", json!("abc")),
        ("signature", json!("")),
        ("name", json!("")),
        ("name", json!("line\nbreak")),
        ("region", json!("über all")),
        ("capacity_bytes", json!(-1)),
        ("capacity_bytes", json!("1GB")),
    ] {
        let mut changes = json!({});
        changes[name] = value.clone();
        let answer = join(&client, &Keypair::generate_ed25519(), changes).await;
        answer.problem(400, "invalid-request");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_lets_one_node_in_as_often_as_it_comes(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (user_id, user) = operator(&coordinator, 1).await;
    let (client, keypair) = (coordinator.visitor(), Keypair::generate_ed25519());
    join(&client, &keypair, json!({}))
        .await
        .problem(403, "node-token-required");
    join(&client, &keypair, json!({"token": "fsnt_guessed"}))
        .await
        .problem(403, "bad-node-token");

    let token = token(&user).await;
    let first = join(&client, &keypair, json!({"token": token})).await;
    let first = first.expect(StatusCode::CREATED);
    let again = join(&client, &keypair, json!({"token": token})).await;
    assert_eq!(
        again.expect(StatusCode::CREATED)["node_id"],
        first["node_id"]
    );
    let stranger = join(
        &client,
        &Keypair::generate_ed25519(),
        json!({"token": token}),
    )
    .await;
    stranger.problem(403, "bad-node-token");

    let operator: uuid::Uuid = sqlx::query_scalar("SELECT operator_id FROM nodes")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(operator, user_id.as_uuid());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_two_nodes_with_one_token_at_once_one_is_let_in(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (_, user) = operator(&coordinator, 1).await;
    let (client, token) = (coordinator.visitor(), token(&user).await);
    let (a, b) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (a, b) = tokio::join!(
        join(&client, &a, json!({"token": token})),
        join(&client, &b, json!({"token": token})),
    );
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403]);
    assert_eq!(count(&pool, "SELECT count(*) FROM nodes").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_expired_token_lets_nobody_in(pool: PgPool) {
    let coordinator = Coordinator::with(pool.clone(), &["nodes.admission=token"]).await;
    let (_, user) = operator(&coordinator, 1).await;
    let token = token(&user).await;
    sqlx::query("UPDATE node_tokens SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    let keypair = Keypair::generate_ed25519();
    let refused = join(&coordinator.visitor(), &keypair, json!({"token": token})).await;
    refused.problem(403, "bad-node-token");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_bootstrap_token_lets_any_number_in(pool: PgPool) {
    let settings = [
        "nodes.admission=token",
        "nodes.bootstrap_token=correct horse battery",
    ];
    let client = Coordinator::with(pool.clone(), &settings).await.visitor();
    for _ in 0..3 {
        let members = json!({"token": "correct horse battery"});
        let joined = join(&client, &Keypair::generate_ed25519(), members).await;
        joined.expect(StatusCode::CREATED);
    }
    let own = "SELECT count(*) FROM nodes WHERE operator_id IS NULL";
    assert_eq!(count(&pool, own).await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_allowlist_lets_in_who_stands_on_it(pool: PgPool) {
    let listed = Keypair::generate_ed25519();
    let peers = format!("nodes.allowed_peers=[\"{}\"]", listed.public().to_peer_id());
    let settings = ["nodes.admission=allowlist", &peers];
    let client = Coordinator::with(pool, &settings).await.visitor();
    join(&client, &listed, json!({}))
        .await
        .expect(StatusCode::CREATED);
    join(&client, &Keypair::generate_ed25519(), json!({}))
        .await
        .problem(403, "node-not-allowed");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_disqualified_node_is_told_why_and_keeps_its_old_key(pool: PgPool) {
    let client = Coordinator::start(pool.clone()).await.visitor();
    let keypair = Keypair::generate_ed25519();
    let registered = join(&client, &keypair, json!({})).await;
    let registered = registered.expect(StatusCode::CREATED);
    sqlx::query("UPDATE nodes SET state = 'disqualified', state_reason = 'lost too much'")
        .execute(&pool)
        .await
        .unwrap();
    let refused = join(&client, &keypair, json!({})).await;
    let problem = refused.problem(403, "node-disqualified");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("lost too much")
    );
    assert!(key_works(&client, &registered).await);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn tokens_that_wait_for_a_node_are_bounded_and_swept_when_their_time_is_up(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    sqlx::query(
        "INSERT INTO node_tokens (token_hash, operator_id, expires_at)
         SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), $1, now() + interval '1 day'
         FROM generate_series(1, 99) AS n",
    )
    .bind(user.as_uuid())
    .execute(&pool)
    .await
    .unwrap();
    token(&client).await;
    let refused = client.post("/api/v1/nodes/tokens").send().await;
    refused.problem(429, "too-many-requests");
    let (_, other) = coordinator.user().await;
    token(&other).await;

    sqlx::query("UPDATE node_tokens SET expires_at = now() - interval '1 second'")
        .execute(&pool)
        .await
        .unwrap();
    token(&client).await;
    let job = CleanUp(std::sync::Arc::clone(&coordinator.app.nodes));
    job.step().await.unwrap();
    assert_eq!(count(&pool, "SELECT count(*) FROM node_tokens").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_client_makes_so_many_tokens_a_minute(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.user().await;
    for _ in 0..60 {
        token(&client).await;
    }
    // One more comes free each second, so on a slow machine some more are let through.
    for _ in 0..600 {
        let answer = client.post("/api/v1/nodes/tokens").send().await;
        if answer.status != StatusCode::CREATED {
            answer.problem(429, "too-many-requests");
            return;
        }
    }
    panic!("no end of tokens");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_leaves_one_token_behind_however_often_it_registers(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, client) = coordinator.user().await;
    let keypair = Keypair::generate_ed25519();
    let mut last = Value::Null;
    for _ in 0..3 {
        last = token(&client).await;
        let joined = join(&client, &keypair, json!({"token": last})).await;
        joined.expect(StatusCode::CREATED);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM node_tokens").await, 1);
    let again = join(&client, &keypair, json!({"token": last})).await;
    again.expect(StatusCode::CREATED);
}
