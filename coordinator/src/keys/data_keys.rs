//! Data keys as the database has them: wrapped, and beside them how they seal.
//!
//! Whoever reads or writes chunks opens the file's key here, so that nobody passes over its version.

use crate::database::Pool;
use anyhow::Context;
use proto::{FileId, Malformed};
use rand::CryptoRng;
use sealing::{DataKey, MasterKey, SealError, Sealing};

use crate::database::corrupt;
use crate::keys::KeyRing;

/// A file's data key under a master key.
#[derive(Debug, Clone)]
pub struct WrappedKey {
    pub master_key_id: String,
    pub bytes: Vec<u8>,
    pub sealing: Sealing,
}

impl WrappedKey {
    /// What stands in `data_keys`, and in the file's row.
    pub fn of_row(master_key_id: String, bytes: Vec<u8>, sealing: i16) -> sqlx::Result<Self> {
        let version = u8::try_from(sealing).map_err(|_| Malformed("no version"));
        let sealing = version.and_then(Sealing::try_from);
        Ok(Self {
            master_key_id,
            bytes,
            sealing: sealing.map_err(|error| corrupt("files.sealing", error))?,
        })
    }

    pub fn new(
        file_id: FileId,
        key: &DataKey,
        master: &MasterKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SealError> {
        Ok(Self {
            master_key_id: master.id().to_owned(),
            bytes: master.wrap(file_id, key, rng)?.to_vec(),
            sealing: key.sealing(),
        })
    }

    /// As it stands in the file's row.
    pub fn sealing_column(&self) -> i16 {
        i16::from(self.sealing.number())
    }

    /// With the master key that it names.
    pub fn open(&self, file_id: FileId, master: &MasterKey) -> anyhow::Result<DataKey> {
        let opened = master.unwrap(file_id, self.sealing, &self.bytes);
        opened.with_context(|| format!("the key of file {file_id}, under {}", master.id()))
    }
}

impl KeyRing {
    /// The key of this file.
    pub async fn data_key(
        &self,
        file_id: FileId,
        wrapped: &WrappedKey,
        pool: &Pool,
    ) -> anyhow::Result<DataKey> {
        let master = self.master_by_id(&wrapped.master_key_id, pool).await?;
        wrapped.open(file_id, &master)
    }
}
