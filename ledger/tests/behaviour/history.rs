//! Whatever was posted, everything can be recomputed from what the tables hold: every hash, every
//! link of the chain, every balance.

use std::collections::HashMap;

use jiff_sqlx::Timestamp;
use ledger::{Account, Hash, TransferId, block_hash, transfer_hash};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proto::MicroCredits;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::support::{INCOME, OUTSIDE, available, count, escrow, post, seal, upload_hold, user};

/// One thing that happens to a ledger.
#[derive(Debug, Clone)]
enum Happening {
    Purchase { user: usize, amount: i64 },
    Hold { user: usize, amount: i64 },
    Charge { user: usize, amount: i64 },
    Gift { from: usize, to: usize, amount: i64 },
    Repeat { nth: usize },
    Seal { limit: i64 },
}

const USERS: usize = 3;

fn happening() -> impl Strategy<Value = Happening> {
    let (user, amount) = (0..USERS, 1i64..1000);
    prop_oneof![
        3 => (user.clone(), amount.clone())
            .prop_map(|(user, amount)| Happening::Purchase { user, amount }),
        3 => (user.clone(), amount.clone())
            .prop_map(|(user, amount)| Happening::Hold { user, amount }),
        2 => (user.clone(), amount.clone())
            .prop_map(|(user, amount)| Happening::Charge { user, amount }),
        2 => (user.clone(), user, amount)
            .prop_filter("to somebody else", |(from, to, _)| from != to)
            .prop_map(|(from, to, amount)| Happening::Gift { from, to, amount }),
        1 => (0usize..100).prop_map(|nth| Happening::Repeat { nth }),
        2 => (1i64..6).prop_map(|limit| Happening::Seal { limit }),
    ]
}

type Entries = Vec<(Account, i64)>;

fn entries(happening: &Happening, users: &[Uuid]) -> Option<Entries> {
    let moves = match *happening {
        Happening::Purchase { user, amount } => {
            vec![(OUTSIDE, -amount), (available(users[user]), amount)]
        }
        Happening::Hold { user, amount } => vec![
            (available(users[user]), -amount),
            (upload_hold(users[user]), amount),
        ],
        // What was held goes to escrow, to the platform and back, in odd parts.
        Happening::Charge { user, amount } => vec![
            (upload_hold(users[user]), -amount),
            (escrow(users[user]), amount / 2),
            (INCOME, amount / 3),
            (available(users[user]), amount - amount / 2 - amount / 3),
        ],
        Happening::Gift { from, to, amount } => vec![
            (available(users[to]), amount),
            (available(users[from]), -amount),
        ],
        Happening::Repeat { .. } | Happening::Seal { .. } => return None,
    };
    Some(moves)
}

#[sqlx::test(migrator = "crate::support::MIGRATIONS")]
async fn every_history_can_be_recomputed_from_its_first_transfer(pool: PgPool) {
    let history = prop::collection::vec(happening(), 150);
    let history = history.new_tree(&mut TestRunner::default()).unwrap();
    let history = history.current();
    let users = [user(&pool).await, user(&pool).await, user(&pool).await];
    // What the balances have to be, kept by the simplest of rules.
    let mut expected: HashMap<Account, i64> = HashMap::new();
    let mut posted: Vec<(String, Entries)> = Vec::new();
    for (n, happening) in history.iter().enumerate() {
        match happening {
            Happening::Seal { limit } => {
                seal(&pool, *limit).await;
            }
            Happening::Repeat { nth } => {
                if let Some((key, entries)) = posted.get(*nth) {
                    post(&pool, key, entries).await.unwrap();
                }
            }
            happening => {
                let entries = entries(happening, &users).unwrap();
                let affordable = entries.iter().all(|(account, amount)| {
                    let before = expected.get(account).copied().unwrap_or(0);
                    account.is_platform() || before + amount >= 0
                });
                let key = format!("happening {n}");
                let outcome = post(&pool, &key, &entries).await;
                assert_eq!(outcome.is_ok(), affordable, "{happening:?} in {history:?}");
                if affordable {
                    for (account, amount) in &entries {
                        *expected.entry(*account).or_default() += amount;
                    }
                    posted.push((key, entries));
                }
            }
        }
    }
    check_verification(&pool).await;
    while seal(&pool, 50).await.is_some() {}
    check_verification(&pool).await;
    check_transfers(&pool).await;
    check_chain(&pool).await;
    check_balances(&pool, &expected).await;
}

/// The crate's own verification finds nothing, and has seen everything.
async fn check_verification(pool: &PgPool) {
    let mut transaction = ledger::snapshot(pool).await.unwrap();
    let mut seen = 0;
    let report = ledger::verify(&mut transaction, |_, _| seen += 1)
        .await
        .unwrap();
    assert_eq!(report.findings.told(), [""; 0]);
    assert_eq!(report.transfers, seen);
    let written = count(pool, "SELECT count(*) FROM transfers").await;
    assert_eq!(report.transfers as i64, written);
    let unsealed = count(pool, "SELECT count(*) FROM transfers WHERE block IS NULL").await;
    assert_eq!(report.unsealed as i64, unsealed);
    let blocks = count(pool, "SELECT count(*) FROM blocks").await;
    assert_eq!(report.blocks as i64, blocks);
}

/// Every transfer sums to zero and has the hash of its own content.
async fn check_transfers(pool: &PgPool) {
    let rows = sqlx::query(
        "SELECT transfer_id, kind, idempotency_key, at, cause::text AS cause, hash FROM transfers",
    );
    for row in rows.fetch_all(pool).await.unwrap() {
        let id: Uuid = row.get("transfer_id");
        let entries: Vec<(Uuid, String, i64)> = sqlx::query_as(
            "SELECT owner_id, account, amount_microcredits FROM entries
             WHERE transfer_id = $1 ORDER BY owner_id, account COLLATE \"C\"",
        )
        .bind(id)
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(entries.len() >= 2);
        assert_eq!(entries.iter().map(|(_, _, amount)| amount).sum::<i64>(), 0);
        let hash = transfer_hash(
            TransferId::from_uuid(id),
            row.get("kind"),
            row.get("idempotency_key"),
            row.get::<Timestamp, _>("at").to_jiff(),
            row.get("cause"),
            entries
                .iter()
                .map(|(owner, account, amount)| (*owner, &**account, MicroCredits::new(*amount))),
        );
        assert_eq!(row.get::<Vec<u8>, _>("hash"), hash);
    }
}

/// Every block has the hash of its predecessor and of its transfers, and none is left out.
async fn check_chain(pool: &PgPool) {
    let unsealed = "SELECT count(*) FROM transfers WHERE block IS NULL";
    assert_eq!(count(pool, unsealed).await, 0);
    let blocks: Vec<(i64, Vec<u8>, Vec<u8>, i32)> = sqlx::query_as(
        "SELECT block_number, previous_hash, hash, transfer_count FROM blocks ORDER BY block_number",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(!blocks.is_empty());
    let mut previous: Hash = [0; 32];
    for (n, (number, previous_hash, hash, transfers)) in blocks.into_iter().enumerate() {
        assert_eq!(number, n as i64 + 1);
        assert_eq!(previous_hash, previous);
        let hashes: Vec<Vec<u8>> =
            sqlx::query_scalar("SELECT hash FROM transfers WHERE block = $1 ORDER BY transfer_id")
                .bind(number)
                .fetch_all(pool)
                .await
                .unwrap();
        assert_eq!(hashes.len(), transfers as usize);
        let hashes = hashes.iter().map(|hash| hash[..].try_into().unwrap());
        previous = block_hash(&previous, number as u64, hashes);
        assert_eq!(hash, previous);
    }
}

/// Balances are what was expected and what the entries sum to; all together are zero.
async fn check_balances(pool: &PgPool, expected: &HashMap<Account, i64>) {
    let rows: Vec<(Uuid, String, i64, i64)> = sqlx::query_as(
        "SELECT owner_id, account, balance_microcredits,
                coalesce(sum(amount_microcredits), 0)::bigint
         FROM accounts LEFT JOIN entries USING (owner_id, account)
         GROUP BY owner_id, account, balance_microcredits",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    for (owner, name, balance, entries) in &rows {
        assert_eq!(balance, entries, "{owner}/{name}");
        let account = expected
            .iter()
            .find(|(account, _)| account.owner == *owner && account.kind.name() == name);
        assert_eq!(*balance, account.map_or(0, |(_, amount)| *amount));
    }
    assert_eq!(
        rows.iter().map(|(_, _, balance, _)| balance).sum::<i64>(),
        0
    );
}
