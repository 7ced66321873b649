//! Master keys by period (`keys.period`): at the end of each, the next key follows from the one in use, what is wrapped is
//! wrapped anew, and the old key is destroyed on every coordinator. A backup of the database from before then opens nothing,
//! so what was deleted is gone from it, too.
//!
//! The next key is made of the one before by a hash: each coordinator makes it by itself, and nobody gets back from it.
//! Whoever has copied `keys.dir` can follow as well, until an operator rotates by hand. Rejected: a random key for each
//! period, which somebody would have to copy to every coordinator in time; and sending it from one to another, under the very
//! key that is to be destroyed.

use std::time::Duration;

use keyfiles::number;

use super::rotation::{STILL_USED_FOR, announce_following, put_to_use, without};
use super::{KeyPurpose, KeyRing, KeyState, NamedKey, tables};
use crate::database::Pool;

/// One look at where the period stands, each step of which any coordinator does, and any number of times.
pub async fn turn(pool: &Pool, ring: &KeyRing, period: Duration) -> anyhow::Result<()> {
    let (named, is_over) = {
        let mut connection = pool.acquire().await?;
        let is_over = tables::keys::master_is_older(&mut connection, period).await?;
        (tables::keys::list(&mut connection).await?, is_over)
    };
    let masters: Vec<&NamedKey> = named
        .iter()
        .filter(|key| key.purpose == KeyPurpose::Master)
        .collect();
    let announced = masters.iter().find(|key| key.state == KeyState::Announced);
    match announced {
        None if is_over => {
            let key = announce_following(pool, ring).await?;
            tracing::info!(
                key = key.id,
                "a period of keys is over: the next key is announced"
            );
        }
        None => {}
        Some(key) => {
            let mut connection = pool.acquire().await?;
            let lacking = without(&mut connection, key).await?;
            drop(connection);
            if lacking.is_empty() {
                put_to_use(pool, key).await?;
            }
        }
    }
    let retired = masters.iter().filter(|key| key.state == KeyState::Retired);
    for key in retired {
        let mut connection = pool.acquire().await?;
        if tables::keys::forget(&mut connection, &key.id, STILL_USED_FOR).await? {
            tracing::info!(
                key = key.id,
                "nothing is wrapped by a key of a period before: it is forgotten"
            );
        }
    }
    destroy(ring, &masters)
}

/// Destroys the files of keys before the one in use that the database names no more. Those with a higher number stay: a
/// restored database is behind them.
fn destroy(ring: &KeyRing, masters: &[&NamedKey]) -> anyhow::Result<()> {
    let in_use = masters.iter().find(|key| key.state == KeyState::InUse);
    let Some(last) = in_use.and_then(|key| number(&key.id)) else {
        return Ok(());
    };
    for id in ring.dir.ids(KeyPurpose::Master)? {
        let is_named = masters.iter().any(|key| key.id == id);
        if !is_named && number(&id).is_some_and(|number| number < last) {
            ring.dir.destroy(&id)?;
            tracing::info!(key = id, "the key of a period before is destroyed");
        }
    }
    Ok(())
}
