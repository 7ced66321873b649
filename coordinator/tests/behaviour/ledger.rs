//! The accounts of users and nodes, as the ledger has them.

use coordinator::bookkeeping::{balances, chart};
use model::ids::UserId;
use proto::{MicroCredits, NodeId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{post, user};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_account_of_the_chart_is_of_a_kind_that_the_database_knows(pool: PgPool) {
    let (user, node) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut connection = pool.acquire().await.unwrap();
    for (owner, kinds) in [(user, &chart::OF_USERS[..]), (node, &chart::OF_NODES)] {
        for _ in 0..2 {
            let opened = ledger::open_accounts(&mut connection, owner, kinds).await;
            opened.unwrap(); // registering again must not fail here
        }
    }
    let (user, node) = (UserId::from_uuid(user), NodeId::from_uuid(node));
    for account in [
        chart::available(user),
        chart::upload_hold(user),
        chart::escrow(user),
        chart::node_held(node),
        chart::node_available(node),
        chart::INCOME,
        chart::PENALTIES,
        chart::ROUNDING,
        chart::OUTSIDE,
    ] {
        let balance = ledger::balance(&mut connection, account).await;
        assert_eq!(balance.unwrap(), MicroCredits::ZERO, "{account}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_users_balance_says_what_is_on_which_account(pool: PgPool) {
    let user = user(&pool).await;
    let entries = [
        (chart::OUTSIDE, -6),
        (chart::available(user), 1),
        (chart::upload_hold(user), 2),
        (chart::escrow(user), 3),
    ];
    post(&pool, "key", &entries).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let balance = balances::of_user(&mut connection, user).await.unwrap();
    let amounts = [balance.available, balance.upload_hold, balance.escrow];
    assert_eq!(amounts.map(MicroCredits::get), [1, 2, 3]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_is_not_known_has_no_balance(pool: PgPool) {
    let (known, unknown) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut connection = pool.acquire().await.unwrap();
    let opened = ledger::open_accounts(&mut connection, known, &chart::OF_NODES).await;
    opened.unwrap();
    let asked = [NodeId::from_uuid(known), NodeId::from_uuid(unknown)];
    let balances = balances::of_nodes(&mut connection, &asked).await;
    let nodes: Vec<_> = balances
        .unwrap()
        .iter()
        .map(|found| found.node_id)
        .collect();
    assert_eq!(nodes, asked[..1]);
}
