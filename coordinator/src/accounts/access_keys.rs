//! Access keys: made, listed, revoked.
//!
//! Invariants: of a key that signs no requests nothing is kept that its secret could be made of, but for the hour in which
//! the answer can be given again, and then only together with a key from `keys.dir`. A key that was revoked is refused by
//! all coordinators at once.

use std::time::Duration;

use credentials::access_key::{AccessKey, AccessKeyId, Secret, seed};
use credentials::wanted::Wanted;
use rand::RngExt;
use sealing::SecretPlace;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use crate::accounts::stored_key::StoredKey;
use crate::accounts::tables::access_keys::Row;
use crate::accounts::{Accounts, tables};
use crate::keys::secrets::ACCESS_KEY;
use crate::keys::tables::secrets as wrapped_secrets;
use crate::security;
use crate::security::{Event, EventKind};
use model::ids::UserId;

/// How long the answer that made a key can be had again.
pub const SHOWN_AGAIN_FOR: Duration = Duration::from_secs(3600);

/// How long it is known of a key that it was revoked.
pub const REVOKED_KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum AccessKeyError {
    #[error("this account has {limit} access keys, as many as it may")]
    TooMany { limit: u32 },
    #[error("the Idempotency-Key was used for another access key")]
    OtherRequest,
    #[error(
        "the access key {0} was made with this Idempotency-Key, and its secret is not shown any more"
    )]
    NotShownAgain(AccessKeyId),
    #[error("there is no such access key")]
    NotFound,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// The key and its secret, this once; under the same `idempotency` for an hour again.
pub async fn create(
    accounts: &Accounts,
    user: UserId,
    wanted: &Wanted,
    idempotency: Option<&str>,
) -> Result<(StoredKey, Secret), AccessKeyError> {
    let mut transaction = accounts.db.begin().await?;
    // Keys of one account wait for each other.
    tables::refresh_tokens::lock_family(&mut transaction, user.as_uuid()).await?;
    let named = idempotency.map(|name| blake3::derive_key("fsn idempotency v1", name.as_bytes()));
    if let (Some(name), Some(named)) = (idempotency, &named) {
        let before = tables::access_keys::by_idempotency(&mut transaction, user, named).await?;
        if let Some(before) = before {
            return again(accounts, before, name, wanted);
        }
    }
    let limit = accounts.config.access_keys_per_account;
    if tables::access_keys::count(&mut transaction, user).await? >= u64::from(limit) {
        return Err(AccessKeyError::TooMany { limit });
    }
    let mut rng = accounts.entropy.rng();
    let salt: Option<[u8; 16]> = idempotency.map(|_| rng.random());
    let seed = match &salt {
        Some(salt) => seed(&accounts.keys.token().1, user.as_uuid(), idempotency, salt),
        None => Zeroizing::new(rng.random()),
    };
    let key = AccessKey::from_seed(&seed);
    let row = Row {
        key: &key,
        user,
        wanted,
        salt,
        idempotency: named,
    };
    tables::access_keys::insert(&mut transaction, &row).await?;
    if wanted.s3 {
        let place = place(&key.id);
        let secret = key.secret.expose().as_bytes();
        let keys = &accounts.keys;
        keys.keep_secret(&mut transaction, place, secret, &mut rng)
            .await?;
    }
    let stored = tables::access_keys::find(&mut transaction, key.id).await?;
    let event = Event::done(EventKind::AccessKeyMade, user).of(key.id.as_str());
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    let stored = stored.ok_or(AccessKeyError::NotFound)?;
    tracing::info!(user_id = %user, access_key = %key.id, scopes = ?wanted.scopes.names(), "an access key was made");
    Ok((stored, key.secret))
}

/// Where the secret of a key that signs requests is kept.
pub(super) fn place(id: &AccessKeyId) -> SecretPlace<'_> {
    SecretPlace {
        purpose: ACCESS_KEY,
        subject: id.as_str(),
    }
}

/// What was answered before, if it was asked for the same, and lately. The token key may have been rotated since.
fn again(
    accounts: &Accounts,
    before: StoredKey,
    idempotency: &str,
    wanted: &Wanted,
) -> Result<(StoredKey, Secret), AccessKeyError> {
    if before.request_hash != wanted.request_hash {
        return Err(AccessKeyError::OtherRequest);
    }
    let age = accounts.clock.now().duration_since(before.created_at);
    let shown = before.salt.filter(|_| {
        !before.revoked && Duration::try_from(age).unwrap_or_default() <= SHOWN_AGAIN_FOR
    });
    for key in accounts.keys.token_keys() {
        let Some(salt) = &shown else { break };
        let user = before.user_id.as_uuid();
        let made = AccessKey::from_seed(&seed(&key, user, Some(idempotency), salt));
        if made.id == before.id && before.secret_hash.matches(&made.secret) {
            return Ok((before, made.secret));
        }
    }
    Err(AccessKeyError::NotShownAgain(before.id))
}

/// All of an account that are not revoked, the newest first. Their number is bounded.
pub async fn list(accounts: &Accounts, user: UserId) -> sqlx::Result<Vec<StoredKey>> {
    let mut connection = accounts.db.acquire().await?;
    tables::access_keys::of_user(&mut connection, user).await
}

/// Ends a key. Repeated within a day, it is as good.
pub async fn revoke(
    accounts: &Accounts,
    user: UserId,
    id: AccessKeyId,
) -> Result<(), AccessKeyError> {
    let mut transaction = accounts.db.begin().await?;
    if !tables::access_keys::revoke(&mut transaction, user, id).await? {
        return Err(AccessKeyError::NotFound);
    }
    wrapped_secrets::delete(&mut transaction, place(&id)).await?;
    let event = Event::done(EventKind::AccessKeyRevoked, user).of(id.as_str());
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    accounts.known.changed(user);
    tracing::info!(user_id = %user, access_key = %id, "an access key was revoked");
    Ok(())
}

/// Wipes what nobody is shown again, and forgets keys that were revoked, and what was used on days that are over.
pub(super) async fn sweep(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let wiped = tables::access_keys::wipe_salts(connection, SHOWN_AGAIN_FOR, limit).await?;
    let forgotten =
        tables::access_keys::forget_revoked(connection, REVOKED_KNOWN_FOR, limit).await?;
    let days = tables::access_keys::forget_days(connection, limit).await?;
    Ok(wiped.max(forgotten).max(days))
}
