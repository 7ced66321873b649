//! What accounts may still spend, and how many files and open uploads they may have: `users` and their accounts, as the
//! decision about an upload needs them.

use std::collections::HashMap;

use proto::MicroCredits;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::UserId;
use rules::allowance::{Allowance, FileLimit};

/// What no account may exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub files: u64,
    /// What an account may use before its first purchase: credits,
    pub trial: MicroCredits,
    /// files, uploads that are not complete among them,
    pub trial_files: u64,
    /// and such uploads alone.
    pub trial_uploads: u64,
}

/// What this user may spend, as it stands; `None`: there is no such user.
pub async fn allowance(
    connection: &mut PgConnection,
    user: UserId,
    limits: &Limits,
) -> sqlx::Result<Option<Allowance>> {
    let row = sqlx::query_as!(
        AllowanceRow,
        "SELECT user_id, file_count, has_bought, has_trial, trial_used_microcredits, balance_microcredits
         FROM users JOIN accounts ON owner_id = user_id AND account = 'available'
         WHERE user_id = $1",
        user.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.allowance(limits)))
}

/// Locks the users' rows and their accounts, in order of id as everybody does, each user's before
/// the user's accounts. What each of them may spend; one who is not known is left out.
pub async fn lock_allowances(
    connection: &mut PgConnection,
    users: &[UserId],
    limits: &Limits,
) -> sqlx::Result<HashMap<UserId, Allowance>> {
    let users: Vec<Uuid> = users.iter().map(UserId::as_uuid).collect();
    let rows = sqlx::query_as!(
        AllowanceRow,
        "SELECT user_id, file_count, has_bought, has_trial, trial_used_microcredits, a.balance_microcredits
         FROM users
              JOIN accounts a ON a.owner_id = user_id AND a.account = 'available'
              JOIN accounts e ON e.owner_id = user_id AND e.account = 'escrow'
              JOIN accounts h ON h.owner_id = user_id AND h.account = 'upload_hold'
         WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE",
        &users
    )
    .fetch_all(connection)
    .await?;
    let allowances = rows.into_iter().map(|row| {
        let user = UserId::from_uuid(row.user_id);
        (user, row.allowance(limits))
    });
    Ok(allowances.collect())
}

struct AllowanceRow {
    user_id: Uuid,
    file_count: i64,
    has_bought: bool,
    has_trial: bool,
    trial_used_microcredits: i64,
    balance_microcredits: i64,
}

impl AllowanceRow {
    fn allowance(&self, limits: &Limits) -> Allowance {
        let used = MicroCredits::new(self.trial_used_microcredits);
        let trial = limits.trial.checked_sub(used).filter(|_| self.has_trial);
        // Whoever has credits of their own has come by them honestly.
        let on_trial = !self.has_bought && self.balance_microcredits <= 0;
        let files = match on_trial {
            true => limits.files.min(limits.trial_files),
            false => limits.files,
        };
        Allowance {
            available: MicroCredits::new(self.balance_microcredits),
            trial: trial.unwrap_or(MicroCredits::ZERO),
            files: files.saturating_sub(self.file_count.unsigned_abs()),
            file_limit: FileLimit { files, on_trial },
        }
    }
}

/// Counts one more file for each mention of a user, and what they took from the trial allowance.
pub async fn count_files(
    connection: &mut PgConnection,
    users: impl Iterator<Item = UserId>,
    trials: &[(UserId, MicroCredits)],
) -> sqlx::Result<()> {
    let mut added: HashMap<UserId, (i64, i64)> = HashMap::new();
    for user in users {
        added.entry(user).or_default().0 += 1;
    }
    for (user, amount) in trials {
        added.entry(*user).or_default().1 += amount.get();
    }
    let (users, added): (Vec<Uuid>, Vec<(i64, i64)>) = added
        .into_iter()
        .map(|(user, added)| (user.as_uuid(), added))
        .unzip();
    let (files, trials): (Vec<i64>, Vec<i64>) = added.into_iter().unzip();
    sqlx::query!(
        "UPDATE users SET file_count = file_count + a.files,
                trial_used_microcredits = trial_used_microcredits + a.trial
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS a (user_id, files, trial)
         WHERE users.user_id = a.user_id",
        &users,
        &files,
        &trials,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Uploads of the user that are not complete. Counted under the lock of the user's row.
pub async fn open_uploads(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM uploads WHERE user_id = $1 AND state = 'open'"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}
