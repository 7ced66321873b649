//! Signing in with an access key, and what it may use in a day.

use std::net::IpAddr;
use std::sync::Arc;

use credentials::access_key::{AccessKeyId, Presented, Secret};
use jiff::{SignedDuration, Timestamp};
use proto::MicroCredits;
use zeroize::Zeroizing;

use crate::accounts::access_keys::place;
use crate::accounts::principal::{KeyRights, Principal, Rights};
use crate::accounts::stored_key::StoredKey;
use crate::accounts::tables::access_keys::Used;
use crate::accounts::{Accounts, tables};

/// The last use of a key is written this often at most.
const NOTED_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Why a key does not let anybody in.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// Says the same whether there is such a key or not.
    #[error("the access key is not known, was revoked, or its secret is another")]
    Unknown,
    #[error("the access key has expired")]
    Expired,
    #[error("the access key may not be used from {0}")]
    NotFromHere(IpAddr),
    #[error("the access key was made without `s3`, and signs nothing")]
    SignsNothing,
    #[error("the account is suspended: {0}")]
    Suspended(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// What a key has used of a day, or would use.
#[derive(Debug, thiserror::Error)]
pub enum ChargeRefused {
    #[error("the access key has used the bytes that it may send and fetch on one day")]
    Bytes,
    #[error("the access key has spent the credits that it may on one day")]
    Credits,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Whom a key speaks for that was shown with its secret.
pub async fn sign_in(
    accounts: &Accounts,
    shown: &Presented,
    from: IpAddr,
) -> Result<Principal, KeyRefused> {
    let key = find(accounts, shown.id).await?;
    let key = key.filter(|key| key.secret_hash.matches(&shown.secret));
    let key = key.ok_or(KeyRefused::Unknown)?;
    admit(accounts, &key, from).await
}

/// What a signature with a key is checked with, and what it stands for where it is good.
#[derive(Debug)]
pub struct SigningKey {
    /// Whose it is, and its scopes.
    pub principal: Principal,
    /// Only in this bucket, and what begins with this.
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub secret: Secret,
}

/// The key that a request says it was signed with. Nobody is let in before the signature was checked.
pub async fn signing_key(
    accounts: &Accounts,
    id: &str,
    from: IpAddr,
) -> Result<SigningKey, KeyRefused> {
    let id: AccessKeyId = id.parse().map_err(|_| KeyRefused::Unknown)?;
    let key = find(accounts, id).await?.ok_or(KeyRefused::Unknown)?;
    let wrapped = key.wrapped.as_ref().ok_or(KeyRefused::SignsNothing)?;
    let principal = admit(accounts, &key, from).await?;
    let opened = accounts.keys.open_secret(place(&id), wrapped, &accounts.db);
    let opened = opened.await?;
    let text = std::str::from_utf8(&opened).map_err(anyhow::Error::from)?;
    Ok(SigningKey {
        principal,
        bucket: key.bucket.clone(),
        prefix: key.prefix.clone(),
        secret: Secret::new(Zeroizing::new(text.to_owned())),
    })
}

/// The only bucket that somebody may do anything in, and what keys begin with there.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub bucket: Option<String>,
    pub prefix: Option<String>,
}

/// Whoever has logged in is bound to no place.
pub async fn place_of(accounts: &Accounts, principal: &Principal) -> sqlx::Result<Place> {
    let Rights::Key(KeyRights {
        id,
        in_bucket: true,
        ..
    }) = principal.rights
    else {
        return Ok(Place::default());
    };
    let key = find(accounts, id).await?.ok_or(sqlx::Error::RowNotFound)?; // revoked at this moment
    Ok(Place {
        bucket: key.bucket.clone(),
        prefix: key.prefix.clone(),
    })
}

async fn find(accounts: &Accounts, id: AccessKeyId) -> sqlx::Result<Option<Arc<StoredKey>>> {
    let known = &accounts.known.keys;
    if let Some(key) = known.get(id, accounts.clock.now()) {
        return Ok(Some(key));
    }
    let asked = known.asks();
    let key = {
        let mut connection = accounts.db.acquire().await?;
        tables::access_keys::find(&mut connection, id).await?
    };
    let Some(key) = key.filter(|key| !key.revoked).map(Arc::new) else {
        return Ok(None);
    };
    let now = accounts.clock.now();
    known.learn(asked, id, key.user_id, Arc::clone(&key), now);
    Ok(Some(key))
}

async fn admit(
    accounts: &Accounts,
    key: &StoredKey,
    from: IpAddr,
) -> Result<Principal, KeyRefused> {
    let now = accounts.clock.now();
    if key.expires_at.is_some_and(|expires| expires <= now) {
        return Err(KeyRefused::Expired);
    }
    if !key.allowed.allow(from) {
        return Err(KeyRefused::NotFromHere(from));
    }
    if let Some(reason) = &key.suspended {
        return Err(KeyRefused::Suspended(reason.clone()));
    }
    note_use(accounts, key, from, now).await;
    Ok(Principal {
        user_id: key.user_id,
        role: key.role,
        rights: Rights::Key(KeyRights {
            id: key.id,
            scopes: key.scopes,
            in_bucket: key.bucket.is_some(),
            capped: key.bytes_per_day.is_some() || key.spend_per_day.is_some(),
        }),
    })
}

/// Once a minute for each key. Nobody is refused because it could not be written.
async fn note_use(accounts: &Accounts, key: &StoredKey, from: IpAddr, now: Timestamp) {
    if !key.last_use.begin_to_note(now, NOTED_EVERY) {
        return;
    }
    let noted = async {
        let mut connection = accounts.db.acquire().await?;
        tables::access_keys::note_use(&mut connection, key.id, from).await
    };
    if let Err(error) = noted.await {
        tracing::debug!(%error, access_key = %key.id, "the use of an access key was not noted");
    }
}

/// Counts what is going to be sent, fetched or spent with a key, before it is. What is asked for counts, also where it
/// breaks off. Whoever has logged in has no such end.
pub async fn charge(
    accounts: &Accounts,
    principal: &Principal,
    bytes: u64,
    cost: MicroCredits,
) -> Result<(), ChargeRefused> {
    let Rights::Key(KeyRights {
        id, capped: true, ..
    }) = principal.rights
    else {
        return Ok(());
    };
    let mut transaction = accounts.db.begin().await?;
    match tables::access_keys::charge(&mut transaction, id, bytes, cost).await? {
        Used::Within => transaction.commit().await.map_err(Into::into),
        Used::TooManyBytes => Err(ChargeRefused::Bytes),
        Used::TooMuchSpent => Err(ChargeRefused::Credits),
    }
}

/// Seconds until the next day (UTC).
pub fn until_tomorrow(now: Timestamp) -> u64 {
    const DAY: i64 = 86_400;
    (DAY - now.as_second().rem_euclid(DAY)).unsigned_abs()
}
