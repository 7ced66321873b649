//! Many requests about one upload, or one account, at once. Whatever order they come in, credits
//! and blobs are accounted for.

use coordinator::bookkeeping::chart;
use coordinator::files::upload::complete;
use futures::future::join_all;
use http::StatusCode;
use model::ids::UserId;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{
    CHUNK, Client, Coordinator, Node, balance, content, count, eventually, purges_of, soon, total,
    waits_for_lock,
};

const CREDITS: i64 = 1_000_000_000;

/// What the moments have cost in which files were kept.
async fn used(pool: &PgPool) -> i64 {
    total(pool, chart::INCOME).await + total(pool, chart::ROUNDING).await
}

/// All of a user's credits are on their accounts, and what is held belongs to open uploads.
async fn nothing_is_lost(pool: &PgPool, user: UserId) {
    let mut sum = 0;
    for account in [
        chart::available(user),
        chart::upload_hold(user),
        chart::escrow(user),
    ] {
        sum += balance(pool, account).await;
    }
    let used = used(pool).await;
    assert_eq!(sum + used, CREDITS);
    let held =
        "SELECT coalesce(sum(hold_microcredits), 0)::bigint FROM uploads WHERE state = 'open'";
    assert_eq!(
        balance(pool, chart::upload_hold(user)).await,
        count(pool, held).await
    );
    let escrow = "SELECT coalesce(sum(paid_microcredits), 0)::bigint FROM files";
    assert_eq!(
        balance(pool, chart::escrow(user)).await,
        count(pool, escrow).await
    );
    let files = count(pool, "SELECT count(*) FROM files WHERE state <> 'deleted'").await;
    let counted = count(pool, "SELECT sum(file_count)::bigint FROM users").await;
    assert_eq!(files, counted);
}

/// Every blob that a node holds has a row, or is going to be purged; and never both.
async fn every_blob_is_known(pool: &PgPool, nodes: &[Node; 3]) {
    for node in nodes {
        let rows = "SELECT blob_id FROM replicas WHERE node_id = $1";
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(rows)
            .bind(node.node_id.as_uuid())
            .fetch_all(pool)
            .await
            .unwrap();
        let rows = rows
            .iter()
            .map(|row| proto::BlobId::try_from(&row[..]).unwrap());
        let mut known: Vec<_> = rows.chain(purges_of(pool, node.node_id).await).collect();
        known.sort_unstable();
        assert_eq!(known, node.blobs());
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_same_chunk_sent_many_times_at_once_is_stored_once(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let upload = client
        .initiate("a", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    let sends = (0..12u8).map(|n| {
        let (client, upload) = (client.clone(), upload.clone());
        async move { client.send_chunk(&upload, 0, &[n; CHUNK]).await }
    });
    for sent in soon(join_all(sends)).await {
        sent.expect(StatusCode::OK);
    }
    let file = client.complete(&upload).await.expect(StatusCode::CREATED);
    let bytes = client.content(&file).await;
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
    assert_eq!(count(&pool, "SELECT count(*) FROM replicas").await, 3);
    every_blob_is_known(&pool, &nodes).await;
    nothing_is_lost(&pool, user).await;
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Complete,
    Abort,
    Expire,
}

async fn end_upload(coordinator: &Coordinator, client: &Client, upload: &Value, how: Ending) {
    let answer = match how {
        Ending::Complete => client.complete(upload).await,
        Ending::Abort => client.abort(upload).await,
        Ending::Expire => {
            complete::expire_one(&coordinator.app.files).await.unwrap();
            return;
        }
    };
    assert!(
        !answer.status.is_server_error(),
        "{how:?}: {:?}",
        answer.body
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_completion_and_abort_at_once_leave_one_outcome(pool: PgPool) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    for round in 0..6 {
        let upload = client
            .initiate("a", 2 * CHUNK)
            .await
            .expect(StatusCode::CREATED);
        client
            .send_chunk(&upload, 0, &[0; CHUNK])
            .await
            .expect(StatusCode::OK);
        if round % 2 == 0 {
            client
                .send_chunk(&upload, 1, &[1; CHUNK])
                .await
                .expect(StatusCode::OK);
        }
        let sends = join_all((0..4u8).map(|n| {
            let (client, upload) = (client.clone(), upload.clone());
            async move {
                let sent = client.send_chunk(&upload, 1, &[n; CHUNK]).await;
                assert!(!sent.status.is_server_error(), "{:?}", sent.body);
            }
        }));
        let endings = [
            Ending::Complete,
            Ending::Abort,
            Ending::Complete,
            Ending::Abort,
        ];
        let endings = endings.map(|how| end_upload(&coordinator, &client, &upload, how));
        soon(async { tokio::join!(sends, join_all(endings)) }).await;
        nothing_is_lost(&pool, user).await;
        every_blob_is_known(&pool, &nodes).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn completion_and_abort_of_a_whole_upload_exclude_each_other(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    for _ in 0..8 {
        let upload = client.initiate("a", 1).await.expect(StatusCode::CREATED);
        client
            .send_chunk(&upload, 0, b"x")
            .await
            .expect(StatusCode::OK);
        let (completed, aborted) = tokio::join!(client.complete(&upload), client.abort(&upload));
        match completed.status {
            StatusCode::CREATED => drop(aborted.problem(409, "upload-closed")),
            _ => {
                completed.problem(404, "not-found");
                assert_eq!(aborted.status, StatusCode::NO_CONTENT);
            }
        }
        nothing_is_lost(&pool, user).await;
    }
}

/// Begin, abort, complete, expire and delete of one account take the same rows.
#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn everything_at_once_on_one_account_never_deadlocks(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let life = |n: usize| {
        let (client, coordinator) = (client.clone(), &coordinator);
        async move {
            for step in 0..4 {
                let upload = client.initiate("a", 0).await;
                let upload = upload.expect(StatusCode::CREATED);
                match (n + step) % 3 {
                    0 => end_upload(coordinator, &client, &upload, Ending::Abort).await,
                    1 => {
                        let file = client.complete(&upload).await;
                        let file = file.expect(StatusCode::CREATED);
                        let id = file["file_id"].as_str().unwrap();
                        let deleted = client.delete(&format!("/api/v1/files/{id}")).await;
                        assert_eq!(deleted.status, StatusCode::NO_CONTENT);
                    }
                    _ => {
                        let late = "UPDATE uploads SET expires_at = now() - interval '1 second'
                             WHERE upload_id = $1::uuid AND state = 'open'";
                        let id = upload["upload_id"].as_str().unwrap();
                        let db = coordinator.app.db.connections();
                        sqlx::query(late).bind(id).execute(db).await.unwrap();
                        end_upload(coordinator, &client, &upload, Ending::Expire).await;
                    }
                }
            }
        }
    };
    soon(join_all((0..8).map(life))).await;
    // A row that a refused request still holds is passed over: expiry comes by again.
    eventually(|| async {
        while complete::expire_one(&coordinator.app.files).await.unwrap() {}
        coordinator.forget().await;
        (count(&pool, "SELECT count(*) FROM files").await == 0).then_some(())
    })
    .await;
    nothing_is_lost(&pool, user).await;
}

/// The same with amounts to move, where the order of the locks shows: the account's credits against
/// its number of files.
#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn beginning_and_giving_up_at_once_wait_for_each_other_in_one_order(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (user, client) = coordinator.customer().await;
    let file = client.upload("a", &content(CHUNK)).await;
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    let upload = client
        .initiate("b", CHUNK)
        .await
        .expect(StatusCode::CREATED);

    // Somebody holds the account's row in `users`, and everybody queues up behind.
    let mut first = pool.begin().await.unwrap();
    sqlx::query("UPDATE users SET file_count = file_count WHERE user_id = $1")
        .bind(user.as_uuid())
        .execute(&mut *first)
        .await
        .unwrap();
    let release = async {
        waits_for_lock(&pool).await;
        // Nobody who waits for the account's row may hold its credits.
        let free = "SELECT 1 FROM accounts WHERE owner_id = $1 FOR UPDATE NOWAIT";
        let free = sqlx::query(free)
            .bind(user.as_uuid())
            .execute(&mut *first)
            .await;
        first.commit().await.unwrap();
        free
    };
    let everything = async {
        tokio::join!(
            client.abort(&upload),
            client.delete(&path),
            client.initiate("d", CHUNK),
            release,
        )
    };
    let (aborted, deleted, begun, free) = soon(everything).await;
    free.unwrap();
    assert_eq!(aborted.status, StatusCode::NO_CONTENT);
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    begun.expect(StatusCode::CREATED);
    let (available, held, escrow) = client.balances().await;
    let used = used(&pool).await;
    assert_eq!(available + held + escrow + used, CREDITS);
}
