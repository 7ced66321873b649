//! Secrets that have to be read again, as the database has them: wrapped under a master key, each for its purpose.
//!
//! A concern that keeps some has nothing to do for a rotation of the master key: what stands in `wrapped_secrets` is wrapped
//! anew with the data keys, and a key that wraps any is not forgotten.

use rand::CryptoRng;
use sealing::SecretPlace;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use crate::database::Pool;
pub use crate::keys::wrapped_secret::WrappedSecret;
use crate::keys::{KeyRing, tables};

/// Secrets of access keys that sign requests; the subject is the key's id.
pub const ACCESS_KEY: &str = "access key";

/// Ids of shares; the subject is the id's hash, in hex.
pub const SHARE: &str = "share";

impl KeyRing {
    /// Keeps a secret, in the transaction that makes what it belongs to.
    pub async fn keep_secret(
        &self,
        connection: &mut PgConnection,
        place: SecretPlace<'_>,
        secret: &[u8],
        rng: &mut impl CryptoRng,
    ) -> anyhow::Result<()> {
        let master = self.master();
        let bytes = master.wrap_secret(place, secret, rng)?;
        tables::secrets::insert(connection, place, master.id(), &bytes).await?;
        Ok(())
    }

    /// The secret that was kept there.
    pub async fn open_secret(
        &self,
        place: SecretPlace<'_>,
        wrapped: &WrappedSecret,
        pool: &Pool,
    ) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let master = self.master_by_id(&wrapped.master_key_id, pool).await?;
        wrapped.open(place, &master)
    }
}
