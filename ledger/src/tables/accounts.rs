//! Opening accounts, and their balances.

use std::collections::HashMap;

use proto::MicroCredits;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::rules::{Account, AccountKind};

/// Opens accounts of one owner, all empty; those that are there stay as they are. The database refuses a kind
/// that is no row of `account_kinds`.
pub async fn open_accounts(
    connection: &mut PgConnection,
    owner: Uuid,
    kinds: &[AccountKind],
) -> sqlx::Result<()> {
    let column = |of: fn(AccountKind) -> &'static str| -> Vec<String> {
        kinds.iter().map(|kind| of(*kind).to_owned()).collect()
    };
    sqlx::query!(
        "INSERT INTO accounts (owner_id, account, owner_kind)
         SELECT $1, * FROM unnest($2::text[], $3::text[]) ON CONFLICT DO NOTHING",
        owner,
        &column(AccountKind::name),
        &column(AccountKind::owner_kind),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes the accounts of owners that nothing was ever booked for; any other stays.
pub async fn close_unused_accounts(
    connection: &mut PgConnection,
    owners: &[Uuid],
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM accounts a WHERE owner_id = ANY($1) AND owner_kind <> 'platform'
           AND NOT EXISTS (SELECT FROM entries e WHERE e.owner_id = a.owner_id)",
        owners,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The balances of some owners. The platform's are as of the last sealed block.
#[derive(Debug, Clone, Default)]
pub struct Balances(HashMap<Uuid, Vec<(String, MicroCredits)>>);

impl Balances {
    /// `None` of an account that was not opened, or not asked for.
    pub fn of(&self, account: Account) -> Option<MicroCredits> {
        let mut own = self.0.get(&account.owner)?.iter();
        own.find(|(name, _)| name == account.kind.name())
            .map(|(_, balance)| *balance)
    }
}

impl FromIterator<(Uuid, String, MicroCredits)> for Balances {
    fn from_iter<I: IntoIterator<Item = (Uuid, String, MicroCredits)>>(rows: I) -> Self {
        let mut balances = Self::default();
        for (owner, account, balance) in rows {
            balances
                .0
                .entry(owner)
                .or_default()
                .push((account, balance));
        }
        balances
    }
}

/// What these owners have on all of their accounts.
pub async fn balances(connection: &mut PgConnection, owners: &[Uuid]) -> sqlx::Result<Balances> {
    let rows = sqlx::query!(
        "SELECT owner_id, account, balance_microcredits FROM accounts WHERE owner_id = ANY($1)",
        owners
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| {
            (
                row.owner_id,
                row.account,
                MicroCredits::new(row.balance_microcredits),
            )
        })
        .collect())
}

/// What an owner has on all accounts, locked until the transaction ends.
pub async fn lock_balances(connection: &mut PgConnection, owner: Uuid) -> sqlx::Result<Balances> {
    let rows = sqlx::query!(
        "SELECT account, balance_microcredits FROM accounts
         WHERE owner_id = $1 ORDER BY owner_id, account FOR UPDATE",
        owner
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| {
            (
                owner,
                row.account,
                MicroCredits::new(row.balance_microcredits),
            )
        })
        .collect())
}

/// What is on one account, locked until the transaction ends.
pub async fn lock_balance(
    connection: &mut PgConnection,
    account: Account,
) -> sqlx::Result<MicroCredits> {
    let balance = sqlx::query_scalar!(
        "SELECT balance_microcredits FROM accounts WHERE owner_id = $1 AND account = $2 FOR UPDATE",
        account.owner,
        account.kind.name(),
    )
    .fetch_one(connection)
    .await?;
    Ok(MicroCredits::new(balance))
}

/// What is on one account; of the platform's, as of the last sealed block.
pub async fn balance(
    connection: &mut PgConnection,
    account: Account,
) -> sqlx::Result<MicroCredits> {
    let balance = sqlx::query_scalar!(
        "SELECT balance_microcredits FROM accounts WHERE owner_id = $1 AND account = $2",
        account.owner,
        account.kind.name(),
    )
    .fetch_one(connection)
    .await?;
    Ok(MicroCredits::new(balance))
}
