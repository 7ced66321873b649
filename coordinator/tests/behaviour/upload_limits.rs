//! What uploads cost, and how much of everything one account may have.

use axum::body::Body;
use futures::stream;
use http::StatusCode;
use sqlx::PgPool;

use crate::support::{CHUNK, Coordinator, content, count, price};

const CREDITS: i64 = 1_000_000_000;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn too_little_credit_is_told_to_the_micro_credit(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.user().await;
    let buy = client.post("/api/v1/auth/credits/purchase");
    let buy = buy.body(r#"{"amount_usd":0.01}"#).send().await;
    buy.expect(StatusCode::CREATED); // 1 credit, and 1000 µc to try
    let size = 300_000_000; // costs 1,125,000 µc
    let refused = client.initiate("big", size).await;
    let problem = refused.problem(402, "insufficient-credits");
    assert_eq!(problem["needed_microcredits"], price(size));
    assert_eq!(problem["available_microcredits"], 1_000_000);
    assert_eq!(problem["missing_microcredits"], price(size) - 1_000_000);
    assert_eq!(client.balances().await, (1_000_000, 0, 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_trial_covers_its_allowance_once_and_no_more(pool: PgPool) {
    let settings = ["money.trial_microcredits=100"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.user().await;
    let size = 16_000; // 60 µc
    let first = client.initiate("first", size).await;
    let first = first.expect(StatusCode::CREATED);
    assert_eq!(client.balances().await, (0, 60, 0));
    client
        .initiate("second", size)
        .await
        .problem(402, "insufficient-credits");
    client
        .initiate("small", 10_666)
        .await
        .expect(StatusCode::CREATED); // the other 40
    client
        .initiate("one byte", 1)
        .await
        .problem(402, "insufficient-credits");
    // What is given up stays the user's own, and the allowance stays used.
    client.abort(&first).await;
    assert_eq!(client.balances().await.0, 60);
    client
        .initiate("again", size)
        .await
        .expect(StatusCode::CREATED);
    client
        .initiate("one byte", 1)
        .await
        .problem(402, "insufficient-credits");
    let given = "SELECT sum(trial_used_microcredits)::bigint FROM users";
    assert_eq!(count(&pool, given).await, 100);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_number_of_files_is_limited_until_one_goes(pool: PgPool) {
    let settings = ["uploads.max_files_per_user=2"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.customer().await;
    let upload = client.initiate("a", 1).await;
    let upload = upload.expect(StatusCode::CREATED);
    let file = client.upload("b", b"b").await;
    let refused = client.initiate("c", 1).await;
    assert_eq!(refused.problem(403, "too-many-files")["limit"], 2);
    client
        .upload_call("c", b"c")
        .send()
        .await
        .problem(403, "too-many-files");
    assert_eq!(
        count(&pool, "SELECT sum(file_count)::bigint FROM users").await,
        2
    );
    client.abort(&upload).await;
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    assert_eq!(client.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(
        count(&pool, "SELECT sum(file_count)::bigint FROM users").await,
        0
    );
    client.upload("c", b"c").await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_file_beyond_the_limit_is_refused_before_and_while_it_comes(pool: PgPool) {
    let settings = ["uploads.max_file_size=10000B"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    client.upload("fits", &content(10_000)).await;
    let balances = client.balances().await;
    let refused = client.initiate("a", 10_001).await;
    assert_eq!(
        refused.problem(413, "file-too-large")["limit_bytes"],
        10_000
    );
    client
        .initiate("a", u64::MAX as usize)
        .await
        .problem(413, "file-too-large");
    let call = client.put("/api/v1/files?filename=a").body(content(10_001));
    call.send().await.problem(413, "file-too-large");
    assert_eq!(client.balances().await, balances);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_body_of_unknown_length_pays_for_exactly_what_it_was(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let mut paid = 0;
    for size in [0, 1, CHUNK, 600_000] {
        let bytes = content(size);
        let call = client.post("/api/v1/files?filename=stream");
        let frames: Vec<_> = bytes.chunks(50_000).map(<[u8]>::to_vec).collect();
        let frames = frames.into_iter().map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(stream::iter(frames));
        let file = call.body(body).send().await.expect(StatusCode::CREATED);
        assert_eq!(file["size_bytes"], size);
        assert_eq!(client.content(&file).await, bytes);
        paid += price(size);
        assert_eq!(client.balances().await, (CREDITS - paid, 0, paid), "{size}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_small_body_of_unknown_length_fits_into_the_trial(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.user().await;
    let call = client
        .put("/api/v1/files?filename=small")
        .body(content(CHUNK));
    call.send().await.expect(StatusCode::CREATED);
    let (available, held, escrow) = client.balances().await;
    assert_eq!(
        (available + escrow, held, escrow),
        (available + price(CHUNK), 0, price(CHUNK))
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_has_so_many_uploads_under_way_and_each_that_ends_makes_room(pool: PgPool) {
    let settings = ["uploads.max_open_per_user=2"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    let first = client.initiate("a", 0).await.expect(StatusCode::CREATED);
    let second = client.initiate("b", 10).await.expect(StatusCode::CREATED);
    let refused = client.initiate("c", 0).await;
    let problem = refused.problem(429, "too-many-requests");
    assert_eq!(problem["limit"], 2);
    assert_eq!(client.upload("whole", b"one chunk").await["size_bytes"], 9);
    let (_, other) = coordinator.customer().await;
    other.initiate("d", 0).await.expect(StatusCode::CREATED);

    client.complete(&first).await.expect(StatusCode::CREATED);
    client.initiate("e", 0).await.expect(StatusCode::CREATED);
    client
        .initiate("f", 0)
        .await
        .problem(429, "too-many-requests");
    client.abort(&second).await.expect(StatusCode::NO_CONTENT);
    client.initiate("g", 0).await.expect(StatusCode::CREATED);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_begins_so_many_uploads_a_minute_even_if_it_gives_them_up(pool: PgPool) {
    let settings = ["uploads.sessions_per_minute=3"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &settings).await;
    let (_, client) = coordinator.customer().await;
    for _ in 0..3 {
        let begun = client.initiate("a", 10).await.expect(StatusCode::CREATED);
        client.abort(&begun).await.expect(StatusCode::NO_CONTENT);
    }
    let refused = client.initiate("a", 10).await;
    refused.problem(429, "too-many-requests");
    assert_eq!(refused.header("ratelimit-policy"), "\"uploads\";q=3;w=60");
}
