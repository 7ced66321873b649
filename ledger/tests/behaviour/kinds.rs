//! Kinds of accounts are rows: a new one needs no constraint to be changed, and what none of them allows the
//! database refuses.

use ledger::{Account, AccountKind, PostError};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::{OUTSIDE, available, balance, is_check_violation, open, post, seal, user};

async fn add_kind(pool: &PgPool, kind: AccountKind, may_be: &str) {
    let added =
        sqlx::query("INSERT INTO account_kinds (owner_kind, account, may_be) VALUES ($1, $2, $3)");
    let added = added.bind(kind.owner_kind()).bind(kind.name()).bind(may_be);
    added.execute(pool).await.unwrap();
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn an_account_of_a_kind_that_is_no_row_is_refused(pool: PgPool) {
    let owner = Uuid::from_u128(7);
    for (owner_kind, account) in [
        ("user", "savings"),
        ("node", "escrow"),
        ("platform", "available"),
        ("stranger", "available"),
    ] {
        let kind = AccountKind::new(owner_kind, account);
        let refused = open(&pool, owner, &[kind]).await.unwrap_err();
        let refused = refused.as_database_error().unwrap();
        assert!(refused.is_foreign_key_violation(), "{refused}");
    }
    // Nor does one that is there become another.
    let user = user(&pool).await;
    let renamed = sqlx::query("UPDATE accounts SET owner_kind = 'node' WHERE account = 'escrow'");
    assert!(renamed.execute(&pool).await.is_err());
    assert_eq!(balance(&pool, available(user)).await, 0);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_kind_that_is_inserted_works_at_once(pool: PgPool) {
    let (sponsor, debt) = (
        AccountKind::new("user", "sponsor"),
        AccountKind::new("peer", "debt"),
    );
    add_kind(&pool, sponsor, "non_negative").await;
    add_kind(&pool, debt, "any").await;
    let (user, peer) = (user(&pool).await, Uuid::from_u128(8));
    open(&pool, user, &[sponsor]).await.unwrap();
    open(&pool, peer, &[debt]).await.unwrap();
    let (sponsor, debt) = (Account::new(user, sponsor), Account::new(peer, debt));

    // Whoever may owe does so when it is posted, and not when it is sealed: that is the platform's way alone.
    let entries = [(debt, -30), (sponsor, 30)];
    post(&pool, "lent", &entries).await.unwrap();
    assert_eq!(balance(&pool, debt).await, -30);
    assert_eq!(balance(&pool, sponsor).await, 30);

    // Whoever may not is refused, as one that was always there.
    let spent = post(&pool, "spent", &[(sponsor, -31), (debt, 31)]).await;
    let refused = spent.unwrap_err();
    let PostError::Insufficient {
        account, available, ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((account, available.get()), (sponsor, 30));

    while seal(&pool, 10).await.is_some() {}
    let mut transaction = ledger::snapshot(&pool).await.unwrap();
    let report = ledger::verify(&mut transaction, |_, _| {}).await.unwrap();
    assert_eq!(report.findings.told(), [""; 0]);
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn a_balance_that_may_not_be_negative_cannot_be_written(pool: PgPool) {
    let user = user(&pool).await;
    post(&pool, "fund", &[(OUTSIDE, -5), (available(user), 5)])
        .await
        .unwrap();
    for change in [
        "UPDATE accounts SET balance_microcredits = balance_microcredits - 6 WHERE account = 'available'",
        "INSERT INTO accounts (owner_id, account, owner_kind, balance_microcredits)
         VALUES ('00000000-0000-0000-0000-0000000000ff', 'held', 'node', -1)",
    ] {
        let refused = sqlx::query(change).execute(&pool).await.unwrap_err();
        assert!(is_check_violation(&refused), "{change}: {refused}");
    }
    let owing = "UPDATE accounts SET balance_microcredits = -1 WHERE account = 'penalties'";
    sqlx::query(owing).execute(&pool).await.unwrap();
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn what_a_kind_may_be_stays(pool: PgPool) {
    for change in [
        "UPDATE account_kinds SET may_be = 'any' WHERE owner_kind = 'user'",
        "DELETE FROM account_kinds WHERE account = 'held'",
    ] {
        let refused = sqlx::query(AssertSqlSafe(change)).execute(&pool).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("append-only"), "{change}: {refused}");
    }
    let other = "INSERT INTO account_kinds VALUES ('user', 'joker', 'maybe')";
    let refused = sqlx::query(other).execute(&pool).await.unwrap_err();
    assert!(is_check_violation(&refused), "{refused}");
}
