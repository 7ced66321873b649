//! What uploads cost, and how much of everything one account may have.

use axum::body::Body;
use coordinator::bookkeeping::chart;
use futures::future::join_all;
use futures::stream;
use http::StatusCode;
use jiff::SignedDuration;
use kit::{Clock, SimulatedClock};
use sqlx::PgPool;

use crate::support::{CHUNK, Coordinator, Node, content, count, price, soon, total};

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
    assert_eq!(problem["needed_microcredits"], price("big", size));
    assert_eq!(problem["available_microcredits"], 1_000_000);
    assert_eq!(
        problem["missing_microcredits"],
        price("big", size) - 1_000_000
    );
    assert_eq!(client.balances().await, (1_000_000, 0, 0));
}

/// What is lent to all accounts at present.
async fn lent(pool: &PgPool) -> i64 {
    count(
        pool,
        "SELECT sum(trial_used_microcredits)::bigint FROM users",
    )
    .await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_trial_is_lent_for_files_and_never_becomes_the_accounts_own(pool: PgPool) {
    let settings = ["money.trial_microcredits=600"];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.user().await;
    let cost = price("first", 16_000);
    assert_eq!(cost, 246);
    let first = client.initiate("first", 16_000).await;
    let first = first.expect(StatusCode::CREATED);
    assert_eq!(client.balances().await, (0, cost, 0));
    let second = client.upload("second", b"content").await;
    assert_eq!(client.balances().await, (0, cost, cost));
    client
        .initiate("one byte", 1)
        .await
        .problem(402, "insufficient-credits");
    assert_eq!(
        (total(&pool, chart::INCOME).await, lent(&pool).await),
        (-2 * cost, 2 * cost)
    );
    // What is given up, and what was not used of a file, goes back to where it came from and may be used again.
    client.abort(&first).await;
    assert_eq!(client.balances().await, (0, 0, cost));
    assert_eq!(lent(&pool).await, cost);
    let path = format!("/api/v1/files/{}", second["file_id"].as_str().unwrap());
    assert_eq!(client.delete(&path).await.status, StatusCode::NO_CONTENT);
    assert_eq!(client.balances().await, (0, 0, 0));
    // A moment of it was used.
    let used = lent(&pool).await;
    assert!((0..=1).contains(&used), "{used}");
    assert_eq!(
        total(&pool, chart::INCOME).await + total(&pool, chart::ROUNDING).await,
        0
    );
    for name in ["again", "and again"] {
        client
            .initiate(name, 16_000)
            .await
            .expect(StatusCode::CREATED);
    }
    let own = "SELECT count(*) FROM entries WHERE account = 'available'";
    assert_eq!(count(&pool, own).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_empty_file_with_a_long_name_costs_what_64_kib_do(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.user().await;
    let name = |n: usize| format!("{n}{}", "A".repeat(1000));
    for n in 0..4 {
        client.upload(&name(n), b"").await;
        assert_eq!(client.balances().await.2, 246 * (n as i64 + 1));
    }
    // The trial is used up: nothing is stored for nothing.
    let refused = client.upload_call(&name(4), b"").send().await;
    refused.problem(402, "insufficient-credits");
    client
        .initiate(&name(5), 0)
        .await
        .problem(402, "insufficient-credits");
    let far = "SELECT count(*) FROM files WHERE paid_until > now() + interval '31 days'
         OR renew_at IS NULL OR billed_name_bytes <> 1001";
    assert_eq!(count(&pool, far).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn before_the_new_terms_begin_files_are_sold_under_the_old_ones(pool: PgPool) {
    // Tokens are made by the clock of the machine: the coordinator's is behind it, and then is not.
    let since = "UPDATE billing_terms SET since = now() - interval '30 seconds'";
    sqlx::query(since).execute(&pool).await.unwrap();
    let now = Clock::system().now();
    let clock = SimulatedClock::new(now - SignedDuration::from_secs(60));
    let coordinator = Coordinator::at(pool.clone(), &[], Clock::from(&clock)).await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    client.upload("a", &content(1000)).await;
    let upload = client.initiate("b", 1000).await;
    let upload = upload.expect(StatusCode::CREATED);
    assert_eq!(upload["cost_microcredits"], 4);
    let old = "SELECT count(*) FROM files WHERE billed_name_bytes IS NULL";
    assert_eq!(count(&pool, old).await, 2);

    // What was promised when the upload began holds when it ends.
    clock.set(now);
    client
        .send_chunk(&upload, 0, &content(1000))
        .await
        .expect(StatusCode::OK);
    client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.balances().await, (CREDITS - 8, 0, 8));
    client.upload("c", &content(1000)).await;
    let paid = 8 + price("c", 1000);
    assert_eq!(client.balances().await, (CREDITS - paid, 0, paid));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_account_that_has_not_bought_has_few_files_and_uploads_even_where_they_cost_nothing(
    pool: PgPool,
) {
    let settings = [
        "money.price_per_gb_month=0",
        "money.pay_per_gb_month=0",
        "money.trial_files=3",
        "money.trial_uploads=2",
    ];
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (user, client) = coordinator.user().await;
    for name in ["a", "b"] {
        client.initiate(name, 1).await.expect(StatusCode::CREATED);
    }
    let refused = client.initiate("c", 1).await;
    assert_eq!(refused.problem(403, "too-many-uploads")["limit"], 2);
    client.upload("c", b"c").await;
    let refused = client.upload_call("d", b"d").send().await;
    assert_eq!(refused.problem(403, "too-many-files")["limit"], 3);
    // What costs nothing is not kept for ever either.
    let far = "SELECT count(*) FROM files WHERE paid_until > now() + interval '360 days'";
    assert_eq!(count(&pool, far).await, 0);

    // Bought before the account's row remembered it, and spent since.
    let bought = [(chart::OUTSIDE, -5), (chart::available(user), 5)];
    crate::support::post(&pool, "bought", &bought)
        .await
        .unwrap();
    let spent = [(chart::available(user), -5), (chart::INCOME, 5)];
    crate::support::post(&pool, "spent", &spent).await.unwrap();
    client.upload("d", b"d").await;
    client.initiate("e", 1).await.expect(StatusCode::CREATED);
    let remembered = "SELECT count(*) FROM users WHERE has_bought";
    assert_eq!(count(&pool, remembered).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_chunk_that_comes_again_moves_nothing_or_is_charged_and_bounded(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client.initiate("a", CHUNK).await;
    let upload = upload.expect(StatusCode::CREATED);
    let send = async |n: u8| client.send_chunk(&upload, 0, &[n; CHUNK]).await;
    let held = price("a", CHUNK);
    for _ in 0..5 {
        send(0).await.expect(StatusCode::OK);
    }
    assert_eq!(nodes[0].blobs().len(), 1, "it was there already");
    assert_eq!(client.balances().await, (CREDITS - held, held, 0));

    // Each time the bytes go to all nodes again, it costs what storing them for a month does.
    let each = (CHUNK as i64 * 3 * 1_250_000 + 999_999_999) / 1_000_000_000;
    for n in 1..=17 {
        send(n).await.expect(StatusCode::OK);
        let paid = each * i64::from(n);
        assert_eq!(client.balances().await, (CREDITS - held - paid, held, 0));
    }
    let refused = send(18).await.problem(409, "too-many-resends");
    assert_eq!(refused["limit"], 17);
    send(17).await.expect(StatusCode::OK);
    assert_eq!(nodes[0].blobs().len(), 18);
    assert_eq!(total(&pool, chart::INCOME).await, 17 * each);
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(client.content(&file).await, [17; CHUNK][..]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_cannot_pay_for_a_chunk_again_puts_no_node_to_work(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.user().await;
    let upload = client.initiate("a", CHUNK).await;
    let upload = upload.expect(StatusCode::CREATED);
    let sends = (0..8u8).map(|n| {
        let (client, upload) = (client.clone(), upload.clone());
        async move { client.send_chunk(&upload, 0, &[n; CHUNK]).await }
    });
    // All at once: one of them is the first, and nobody pays for the others.
    let answers = soon(join_all(sends)).await;
    let stored = answers.iter().filter(|a| a.status == StatusCode::OK);
    assert_eq!(stored.count(), 1);
    for node in &nodes {
        assert_eq!(node.blobs().len(), 1);
    }
    assert_eq!(client.balances().await, (0, price("a", CHUNK), 0));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_that_a_node_lost_is_sent_again_for_nothing(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let upload = client.initiate("a", CHUNK).await;
    let upload = upload.expect(StatusCode::CREATED);
    let chunk = [7; CHUNK];
    let send = || client.send_chunk(&upload, 0, &chunk);
    send().await.expect(StatusCode::OK);
    let lost = "UPDATE replicas SET demoted_at = now(), demoted_reason = 'lost'
         WHERE node_id = (SELECT node_id FROM replicas LIMIT 1)";
    sqlx::query(lost).execute(&pool).await.unwrap();
    client
        .complete(&upload)
        .await
        .problem(409, "chunks-missing");
    send().await.expect(StatusCode::OK);
    let held = price("a", CHUNK);
    assert_eq!(client.balances().await, (CREDITS - held, held, 0));
    client.complete(&upload).await.expect(StatusCode::CREATED);
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
        paid += price("stream", size);
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
        (available + price("small", CHUNK), 0, price("small", CHUNK))
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
