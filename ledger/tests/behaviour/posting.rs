//! Posting: all of a transfer or nothing of it, whoever else posts at the same time.

use futures::future::join_all;
use ledger::{PostError, Posted};
use proto::MicroCredits;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::{
    OUTSIDE, available, balance, count, is_check_violation, post, seal, soon, total, transfer,
    upload_hold, user, waits_for_lock,
};

async fn funded(pool: &PgPool, amount: i64) -> Uuid {
    let user = user(pool).await;
    let entries = [(OUTSIDE, -amount), (available(user), amount)];
    post(pool, &format!("fund {user}"), &entries).await.unwrap();
    user
}

fn hold(user: Uuid, amount: i64) -> [(ledger::Account, i64); 2] {
    [(available(user), -amount), (upload_hold(user), amount)]
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn posting_twice_under_one_key_moves_credits_once(pool: PgPool) {
    let user = funded(&pool, 100).await;
    let Posted::New(first) = post(&pool, "key", &hold(user, 30)).await.unwrap() else {
        panic!("the first posting is new");
    };
    let second = post(&pool, "key", &hold(user, 30)).await.unwrap();
    assert_eq!(second, Posted::Before(first));
    assert_eq!(balance(&pool, available(user)).await, 70);
    assert_eq!(total(&pool, upload_hold(user)).await, 30);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn transfers_that_were_never_posted_are_written_together(pool: PgPool) {
    let (a, b) = (funded(&pool, 100).await, funded(&pool, 100).await);
    let transfers = [
        transfer("one", &hold(a, 30)),
        transfer("two", &hold(a, 20)),
        transfer("three", &[(available(b), -5), (OUTSIDE, 5)]),
    ];
    let mut transaction = pool.begin().await.unwrap();
    ledger::post_new(&mut transaction, &transfers)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(balance(&pool, available(a)).await, 50);
    assert_eq!(balance(&pool, upload_hold(a)).await, 50);
    assert_eq!(balance(&pool, available(b)).await, 95);
    assert_eq!(balance(&pool, OUTSIDE).await, 0); // the sealer's
    seal(&pool, 10).await.unwrap();
    assert_eq!(balance(&pool, OUTSIDE).await, -195);
    // A caller that was wrong about what there is does not overdraw an account.
    let mut connection = pool.acquire().await.unwrap();
    let too_much = [transfer("four", &hold(b, 96))];
    let refused = ledger::post_new(&mut connection, &too_much).await;
    assert!(is_check_violation(&refused.unwrap_err()));
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn many_postings_under_one_key_at_once_move_credits_once(pool: PgPool) {
    let user = funded(&pool, 100).await;
    let entries = hold(user, 30);
    let posts = (0..10).map(|_| post(&pool, "key", &entries));
    let posted: Vec<_> = soon(join_all(posts)).await;
    let new = |posted: &&Result<Posted, PostError>| matches!(posted, Ok(Posted::New(_)));
    assert_eq!(posted.iter().filter(new).count(), 1);
    assert!(posted.iter().all(Result::is_ok), "{posted:?}");
    assert_eq!(balance(&pool, available(user)).await, 70);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_posting_that_an_account_cannot_pay_says_so_and_leaves_nothing(pool: PgPool) {
    let user = funded(&pool, 100).await;
    let refused = post(&pool, "key", &hold(user, 101)).await.unwrap_err();
    let PostError::Insufficient {
        account,
        available: has,
        needed,
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(account, available(user));
    assert_eq!((has.get(), needed.get()), (100, 101));
    assert_eq!(balance(&pool, available(user)).await, 100);
    let left = "SELECT count(*) FROM transfers WHERE idempotency_key = 'key'";
    assert_eq!(count(&pool, left).await, 0);
    // The key was not used up by the failure.
    post(&pool, "key", &hold(user, 100)).await.unwrap();
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn postings_at_once_never_spend_more_than_there_is(pool: PgPool) {
    let user = funded(&pool, 100).await;
    let posts = (0..25).map(|n| {
        let pool = pool.clone();
        async move { post(&pool, &format!("hold {n}"), &hold(user, 10)).await }
    });
    let posted: Vec<_> = soon(join_all(posts)).await;
    assert_eq!(posted.iter().filter(|posted| posted.is_ok()).count(), 10);
    let refused = posted.iter().filter_map(|posted| posted.as_ref().err());
    for error in refused {
        assert!(matches!(error, PostError::Insufficient { .. }), "{error}");
    }
    assert_eq!(balance(&pool, available(user)).await, 0);
    assert_eq!(balance(&pool, upload_hold(user)).await, 100);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn opposite_transfers_at_once_all_succeed(pool: PgPool) {
    let (a, b) = (funded(&pool, 1000).await, funded(&pool, 1000).await);
    let posts = (0..40).map(|n| {
        let (from, to) = if n % 2 == 0 { (a, b) } else { (b, a) };
        // The order in which a caller names the accounts must not matter.
        let entries = [(available(to), 1), (available(from), -1)];
        let pool = pool.clone();
        async move { post(&pool, &format!("transfer {n}"), &entries).await }
    });
    for posted in soon(join_all(posts)).await {
        posted.unwrap();
    }
    assert_eq!(balance(&pool, available(a)).await, 1000);
    assert_eq!(balance(&pool, available(b)).await, 1000);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn the_platform_may_owe_and_nobody_else_may(pool: PgPool) {
    let user = funded(&pool, 5).await;
    assert!(seal(&pool, 10).await.is_some());
    assert_eq!(balance(&pool, OUTSIDE).await, -5);
    // Not even by hand.
    let overdraw = "UPDATE accounts SET balance_microcredits = -1
         WHERE owner_id <> '00000000-0000-0000-0000-000000000000'";
    let refused = sqlx::query(overdraw).execute(&pool).await.unwrap_err();
    assert!(is_check_violation(&refused), "{refused}");
    assert_eq!(balance(&pool, available(user)).await, 5);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn nobody_can_rewrite_the_ledger(pool: PgPool) {
    funded(&pool, 5).await;
    assert!(seal(&pool, 10).await.is_some());
    funded(&pool, 7).await; // not sealed yet
    let changes = [
        "UPDATE entries SET amount_microcredits = amount_microcredits * 2",
        "DELETE FROM entries",
        "UPDATE transfers SET cause = '{}'",
        "UPDATE transfers SET kind = 'trial'",
        "UPDATE transfers SET idempotency_key = idempotency_key || 'x'",
        "UPDATE transfers SET at = now()",
        "UPDATE transfers SET hash = sha256('x') WHERE block IS NULL",
        "UPDATE transfers SET block = NULL WHERE block IS NOT NULL",
        "DELETE FROM transfers WHERE block IS NULL",
        "UPDATE blocks SET hash = sha256('x')",
        "DELETE FROM blocks",
    ];
    for change in changes {
        let refused = sqlx::query(AssertSqlSafe(change)).execute(&pool).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{change}: {refused}");
    }
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_transfer_on_an_account_that_is_not_there_is_refused(pool: PgPool) {
    let nobody = Uuid::from_u128(7);
    let entries = [(OUTSIDE, -5), (available(nobody), 5)];
    let refused = post(&pool, "key", &entries).await.unwrap_err();
    assert!(refused.to_string().contains("does not exist"), "{refused}");
    assert_eq!(count(&pool, "SELECT count(*) FROM transfers").await, 0);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn two_sealers_at_once_append_one_block(pool: PgPool) {
    for _ in 0..3 {
        funded(&pool, 5).await;
    }
    let mut first = pool.begin().await.unwrap();
    let sealed = ledger::seal_block(&mut first, 2).await.unwrap();
    assert_eq!(sealed.map(|sealed| sealed.transfers), Some(2));
    // The other one does not wait, and does not seal the same transfers again.
    assert_eq!(soon(seal(&pool, 10)).await, None);
    first.commit().await.unwrap();
    let sealed = seal(&pool, 10).await.unwrap();
    assert_eq!((sealed.block_number, sealed.transfers), (2, 1));
    assert_eq!(seal(&pool, 10).await, None);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn the_sealer_neither_waits_for_a_posting_nor_seals_it_before_its_commit(pool: PgPool) {
    let user = funded(&pool, 100).await;
    let mut posting = pool.begin().await.unwrap();
    let lock = ledger::lock_balance(&mut posting, available(user)).await;
    assert_eq!(lock.unwrap(), MicroCredits::new(100));
    assert_eq!(soon(seal(&pool, 10)).await.unwrap().transfers, 1);

    let entries = hold(user, 10);
    let blocked = post(&pool, "blocked", &entries);
    let release = async {
        waits_for_lock(&pool).await;
        assert_eq!(soon(seal(&pool, 10)).await, None);
        posting.rollback().await.unwrap();
    };
    let (posted, ()) = soon(async { tokio::join!(blocked, release) }).await;
    posted.unwrap();
    assert_eq!(seal(&pool, 10).await.unwrap().transfers, 1);
}
