//! Making shares, changing and ending them, by the owner of what they lead to.

use std::net::IpAddr;

use credentials::password::Policy;
use credentials::share::ShareId;
use jiff::Timestamp;
use model::ids::{UserId, VersionId};
use model::sharing::{ShareChange, ShareTarget};
use proto::FileId;
use rand::RngExt;
use sealing::SecretPlace;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use super::tables::shares::{self as table, NewRow};
use super::{Share, ShareError, Shares};
use crate::accounts::tables::refresh_tokens::lock_family;
use crate::keys::secrets::SHARE;
use crate::security::{self, Event, EventKind};

/// Shares of one account.
pub const MOST_SHARES: u64 = 1000;

/// Of each share an address may try five a minute, and all addresses together a thousand an hour: those that would be tried
/// first are not taken, or they would be found in the end.
const PASSWORDS: Policy = Policy {
    least_characters: 6,
    refuse_common: true,
};

/// What somebody wants to share.
#[derive(Debug)]
pub enum WantedTarget {
    File(FileId),
    Object {
        bucket: String,
        key: String,
        version: Option<VersionId>,
    },
}

/// A share as somebody wants it.
pub struct Wanted {
    /// Chosen by whoever asks, who may then ask again.
    pub id: Option<ShareId>,
    pub target: WantedTarget,
    pub name: Option<String>,
    pub password: Option<Zeroizing<String>>,
    pub envelope: Option<Vec<u8>>,
    pub evidence: bool,
    pub expires_at: Option<Timestamp>,
    pub max_downloads: Option<u32>,
    /// Of all of this but the password, of which no quick hash is kept.
    pub request_hash: [u8; 32],
}

/// The share and its id. Asked again with the same id it is the same share.
pub async fn create(
    shares: &Shares,
    user: UserId,
    wanted: Wanted,
    from: IpAddr,
) -> Result<(Share, ShareId), ShareError> {
    let id = wanted
        .id
        .unwrap_or_else(|| ShareId::new(shares.entropy.rng().random()));
    let mut connection = shares.db.acquire().await?;
    let before = table::one(&mut connection, id.hash()).await?;
    drop(connection);
    if let Some(before) = before {
        let share = again(shares, before, user, wanted, from).await?;
        return Ok((share, id));
    }
    let password_hash = hash_password(shares, wanted.password.clone(), from).await?;
    let target = located(shares, user, &wanted.target).await?;
    let mut transaction = shares.db.begin().await?;
    // Shares of one account wait for each other.
    lock_family(&mut transaction, user.as_uuid()).await?;
    let name = hold(&mut transaction, user, &target).await?;
    let name = wanted.name.unwrap_or(match wanted.envelope {
        Some(_) => "sealed".to_owned(), // what it is called stands in the envelope
        None => name,
    });
    if table::count(&mut transaction, user).await? >= MOST_SHARES {
        return Err(ShareError::TooMany { limit: MOST_SHARES });
    }
    let row = NewRow {
        hash: id.hash(),
        user,
        target: &target,
        name: &name,
        password_hash: password_hash.as_deref(),
        envelope: wanted.envelope.as_deref(),
        evidence: wanted.evidence,
        request_hash: wanted.request_hash,
        expires_at: wanted.expires_at,
        max_downloads: wanted.max_downloads,
    };
    match table::insert(&mut transaction, &row).await {
        Ok(true) => {}
        Ok(false) => return Err(ShareError::IdTaken),
        Err(error) if is_gone(&error) => return Err(ShareError::NoTarget),
        Err(error) => return Err(error.into()),
    }
    let subject = id.hash().to_string();
    let place = place(&subject);
    let keys = &shares.accounts.keys;
    keys.keep_secret(
        &mut transaction,
        place,
        id.as_bytes(),
        &mut shares.entropy.rng(),
    )
    .await?;
    let event = Event::done(EventKind::ShareMade, user).of(&name);
    security::record(&mut transaction, event).await?;
    let share = table::one(&mut transaction, id.hash()).await?;
    transaction.commit().await?;
    Ok((share.ok_or(ShareError::NotFound)?, id))
}

fn is_gone(error: &sqlx::Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation)
}

fn place(subject: &str) -> SecretPlace<'_> {
    SecretPlace {
        purpose: SHARE,
        subject,
    }
}

/// The one that was made before under this id, if it was asked for the same.
async fn again(
    shares: &Shares,
    before: Share,
    user: UserId,
    wanted: Wanted,
    from: IpAddr,
) -> Result<Share, ShareError> {
    if before.owner != user || before.request_hash != wanted.request_hash {
        return Err(ShareError::IdTaken);
    }
    let same = match (wanted.password, before.password_hash.clone()) {
        (None, None) => true,
        (Some(password), hash) => {
            let passwords = &shares.accounts.passwords;
            passwords.verify(password, hash, from).await?
        }
        (None, Some(_)) => false,
    };
    same.then_some(before).ok_or(ShareError::IdTaken)
}

/// Of a password that is to be asked for.
pub async fn hash_password(
    shares: &Shares,
    password: Option<Zeroizing<String>>,
    from: IpAddr,
) -> Result<Option<String>, ShareError> {
    let Some(password) = password else {
        return Ok(None);
    };
    let passwords = &shares.accounts.passwords;
    let hash = passwords.hash_new(password, PASSWORDS, Vec::new(), from);
    Ok(Some(hash.await?))
}

async fn located(
    shares: &Shares,
    user: UserId,
    wanted: &WantedTarget,
) -> Result<ShareTarget, ShareError> {
    Ok(match wanted {
        WantedTarget::File(file) => ShareTarget::File(*file),
        WantedTarget::Object {
            bucket,
            key,
            version,
        } => ShareTarget::Object {
            bucket: shares.objects.bucket(user, bucket).await?.id,
            key: key.clone(),
            version: *version,
        },
    })
}

/// Keeps it from going; what it is called.
async fn hold(
    connection: &mut PgConnection,
    user: UserId,
    target: &ShareTarget,
) -> Result<String, ShareError> {
    match target {
        ShareTarget::File(file) => {
            let name = table::hold_file(connection, user, *file).await?;
            name.map(|name| shortened(&name))
                .ok_or(ShareError::NoTarget)
        }
        ShareTarget::Object {
            bucket,
            key,
            version,
        } => {
            if !table::hold_object(connection, *bucket, key, *version).await? {
                return Err(ShareError::NoTarget);
            }
            let last = key.rsplit('/').find(|part| !part.is_empty());
            Ok(shortened(last.unwrap_or(key)))
        }
    }
}

/// Files of older releases may have longer names than shares.
fn shortened(name: &str) -> String {
    const MOST_BYTES: usize = 1024;
    name[..name.floor_char_boundary(MOST_BYTES)].to_owned()
}

/// All of an account, the newest first, each with its id, unless the key that wraps it is not here.
pub async fn list(
    shares: &Shares,
    user: UserId,
) -> Result<Vec<(Share, Option<ShareId>)>, ShareError> {
    let mut connection = shares.db.acquire().await?;
    let all = table::of_user(&mut connection, user).await?;
    drop(connection);
    let mut listed = Vec::with_capacity(all.len());
    for share in all {
        let id = id_of(shares, &share).await;
        listed.push((share, id));
    }
    Ok(listed)
}

async fn id_of(shares: &Shares, share: &Share) -> Option<ShareId> {
    let subject = share.hash.to_string();
    let keys = &shares.accounts.keys;
    let opened = keys.open_secret(place(&subject), share.id.as_ref()?, &shares.db);
    match opened.await {
        Ok(bytes) => ShareId::try_from(&bytes[..]).ok(),
        Err(error) => {
            tracing::warn!("the id of a share cannot be shown to its owner: {error:#}");
            None
        }
    }
}

/// The share as it is from then on.
pub async fn change(
    shares: &Shares,
    user: UserId,
    id: &ShareId,
    change: &ShareChange,
) -> Result<Share, ShareError> {
    let mut connection = shares.db.acquire().await?;
    if !table::change(&mut connection, user, id.hash(), change).await? {
        return Err(ShareError::NotFound);
    }
    let share = table::one(&mut connection, id.hash()).await?;
    share.ok_or(ShareError::NotFound)
}

/// Ends a share; what is being sent for it is cut, elsewhere within a second.
pub async fn end(shares: &Shares, user: UserId, id: &ShareId) -> Result<(), ShareError> {
    let mut transaction = shares.db.begin().await?;
    let share = table::one(&mut transaction, id.hash()).await?;
    let share = share.filter(|share| share.owner == user);
    let share = share.ok_or(ShareError::NotFound)?;
    if !table::delete(&mut transaction, user, id.hash()).await? {
        return Err(ShareError::NotFound); // at this very moment
    }
    let event = Event::done(EventKind::ShareEnded, user).of(&share.name);
    security::record(&mut transaction, event).await?;
    transaction.commit().await?;
    shares.running.cut(share.hash);
    Ok(())
}
