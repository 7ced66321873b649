//! Rotating keys while coordinators serve, in steps that can be broken off and repeated:
//!
//! 1. *Announce*: the key gets a file and a name, and nobody uses it. Each coordinator that runs looks
//!    for the file every few seconds and says which keys it holds.
//! 2. *Put to use*, once all of them hold it: one transaction retires the old key.
//! 3. *Wrap anew* what the old master key wraps, a bounded batch at a time, until nothing names it. The
//!    coordinators do that in the background; the operator's command helps.
//! 4. *Forget*: the old key's name leaves the database, and its file is not asked for any more.
//!
//! Rejected: sending the new key to the other coordinators through the database, encrypted under the old
//! one, which is what a rotation is to get away from; and letting each coordinator fetch it when it
//! first meets the name, which fails the requests of those that were forgotten.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rand::CryptoRng;
use sealing::SecretPlace;
use sqlx::PgConnection;

use crate::database::Pool;
use crate::keys::tables::keys::RunningCoordinator;
use crate::keys::{KeyPurpose, KeyRing, KeyState, NamedKey, SEEN_WITHIN, tables};

/// Data keys that are wrapped anew in one transaction.
const BATCH: i64 = 500;

/// For transactions that began with the old key a moment before it was retired.
pub(super) const STILL_USED_FOR: Duration = Duration::from_secs(60);

/// Makes the next key of a purpose known, or finds the one that was announced before.
pub async fn announce(
    pool: &Pool,
    ring: &KeyRing,
    purpose: KeyPurpose,
    rng: &mut impl CryptoRng,
) -> anyhow::Result<NamedKey> {
    ensure!(
        purpose != KeyPurpose::Network,
        "nodes have pinned the network key: it is not rotated"
    );
    announce_next(pool, purpose, |_, id| ring.make(id, purpose, rng)).await
}

/// The same of the master key that follows from the one in use, which every coordinator makes by itself.
pub(super) async fn announce_following(pool: &Pool, ring: &KeyRing) -> anyhow::Result<NamedKey> {
    let make = |in_use: &str, id| ring.make_following(in_use, id);
    announce_next(pool, KeyPurpose::Master, make).await
}

async fn announce_next(
    pool: &Pool,
    purpose: KeyPurpose,
    make: impl FnOnce(&str, String) -> anyhow::Result<NamedKey>,
) -> anyhow::Result<NamedKey> {
    let mut transaction = pool.begin().await?;
    tables::keys::lock(&mut transaction).await?;
    let named = tables::keys::list(&mut transaction).await?;
    let of_purpose = || named.iter().filter(|key| key.purpose == purpose);
    if let Some(announced) = of_purpose().find(|key| key.state == KeyState::Announced) {
        return Ok(announced.clone());
    }
    let in_use = of_purpose().find(|key| key.state == KeyState::InUse);
    let in_use = in_use.context("the database names no key in use")?;
    let prefix = format!("{}-", purpose.name());
    let number = |key: &NamedKey| key.id.strip_prefix(&prefix)?.parse::<u32>().ok();
    let last = of_purpose().filter_map(number).max();
    let key = make(&in_use.id, format!("{prefix}{}", last.unwrap_or(0) + 1))?;
    tables::keys::announce(&mut transaction, &key).await?;
    transaction.commit().await?;
    Ok(key)
}

/// The coordinators that run.
pub async fn running(connection: &mut PgConnection) -> sqlx::Result<Vec<RunningCoordinator>> {
    tables::keys::running(connection, SEEN_WITHIN).await
}

/// The coordinators that run and do not hold this key yet.
pub async fn without(
    connection: &mut PgConnection,
    key: &NamedKey,
) -> sqlx::Result<Vec<RunningCoordinator>> {
    let mut running = running(connection).await?;
    running.retain(|coordinator| !coordinator.key_ids.contains(&key.id));
    Ok(running)
}

/// Retires the key in use in favour of an announced one. Refused while a coordinator that runs does not
/// hold it.
pub async fn put_to_use(pool: &Pool, key: &NamedKey) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    tables::keys::lock(&mut transaction).await?;
    let named = tables::keys::list(&mut transaction).await?;
    let now = named.into_iter().find(|named| named.id == key.id);
    let now = now.with_context(|| format!("{} is not announced any more", key.id))?;
    if now.state != KeyState::Announced {
        return Ok(()); // somebody else has done it
    }
    if let Some(lacking) = without(&mut transaction, key).await?.first() {
        bail!(
            "coordinator {} does not hold {} yet",
            lacking.peer_id,
            key.id
        );
    }
    tables::keys::put_to_use(&mut transaction, key).await?;
    transaction.commit().await?;
    tracing::info!(key = key.id, "a key was put to use");
    Ok(())
}

/// Wraps some data keys and secrets of retired master keys anew; returns how many. 0 means that, but for those
/// that somebody else has locked, none is left.
pub async fn rewrap_some(
    pool: &Pool,
    ring: &KeyRing,
    rng: &mut impl CryptoRng,
) -> anyhow::Result<usize> {
    let master = ring.master();
    let mut transaction = pool.begin().await?;
    let old = tables::data_keys::lock_old(&mut transaction, master.id(), BATCH).await?;
    let mut anew = Vec::with_capacity(old.len());
    for key in &old {
        let by = ring.held_master(&key.wrapped.master_key_id)?;
        let data_key = key.wrapped.open(key.file_id, &by)?;
        anew.push((
            key.file_id,
            master.wrap(key.file_id, &data_key, rng)?.to_vec(),
        ));
    }
    tables::data_keys::replace(&mut transaction, master.id(), &anew).await?;
    let secrets = rewrap_secrets(&mut transaction, ring, rng).await?;
    transaction.commit().await?;
    Ok(anew.len() + secrets)
}

async fn rewrap_secrets(
    connection: &mut PgConnection,
    ring: &KeyRing,
    rng: &mut impl CryptoRng,
) -> anyhow::Result<usize> {
    let old = tables::secrets::lock_old(connection, ring.master().id(), BATCH).await?;
    for secret in &old {
        let place = SecretPlace {
            purpose: &secret.purpose,
            subject: &secret.subject,
        };
        let by = ring.held_master(&secret.wrapped.master_key_id)?;
        let opened = secret.wrapped.open(place, &by)?;
        ring.keep_secret(connection, place, &opened, rng).await?;
    }
    Ok(old.len())
}

/// Takes the name of a retired key out of the database. Its file has to be kept with every backup that
/// is older than this.
pub async fn forget(pool: &Pool, id: &str, token_ttl: Duration) -> anyhow::Result<NamedKey> {
    let mut transaction = pool.begin().await?;
    tables::keys::lock(&mut transaction).await?;
    let named = tables::keys::list(&mut transaction).await?;
    let key = named.into_iter().find(|key| key.id == id);
    let key = key.with_context(|| format!("the database names no key {id}; see `keys list`"))?;
    ensure!(
        key.state == KeyState::Retired,
        "{id} is {}: only a retired key can be forgotten",
        key.state.name()
    );
    let still_used_for = match key.purpose {
        KeyPurpose::Token => token_ttl + STILL_USED_FOR,
        KeyPurpose::Master | KeyPurpose::Network => STILL_USED_FOR,
    };
    if !tables::keys::forget(&mut transaction, id, still_used_for).await? {
        bail!(
            "{id} is still needed: it was retired less than {} s ago, or wraps something. Try again \
             when `keys list` shows none",
            still_used_for.as_secs()
        );
    }
    transaction.commit().await?;
    Ok(key)
}
