//! A secret as the database has it.

use anyhow::Context;
use sealing::{MasterKey, SecretPlace};
use zeroize::Zeroizing;

/// A secret under a master key.
#[derive(Debug, Clone)]
pub struct WrappedSecret {
    pub master_key_id: String,
    pub bytes: Vec<u8>,
}

impl WrappedSecret {
    /// With the master key that it names.
    pub fn open(
        &self,
        place: SecretPlace<'_>,
        master: &MasterKey,
    ) -> anyhow::Result<Zeroizing<Vec<u8>>> {
        let opened = master.unwrap_secret(place, &self.bytes);
        opened.with_context(|| {
            let SecretPlace { purpose, subject } = place;
            format!("the secret of {purpose} {subject}, under {}", master.id())
        })
    }
}
