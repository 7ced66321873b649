//! An access key as this coordinator knows it.

use std::sync::{Mutex, PoisonError};

use credentials::access_key::{AccessKeyId, AllowedAddresses, SecretHash};
use credentials::scope::Scopes;
use jiff::{SignedDuration, Timestamp};
use proto::MicroCredits;

use crate::keys::secrets::WrappedSecret;
use model::ids::UserId;
use model::user::Role;

/// A key as it is kept, and what is to be known of its owner.
#[derive(Debug)]
pub struct StoredKey {
    pub id: AccessKeyId,
    pub user_id: UserId,
    pub role: Role,
    /// Why its owner may do nothing.
    pub suspended: Option<String>,
    pub name: String,
    pub scopes: Scopes,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    pub allowed: AllowedAddresses,
    pub bytes_per_day: Option<u64>,
    pub spend_per_day: Option<MicroCredits>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked: bool,
    pub last_use: LastUse,
    pub last_used_address: Option<String>,
    /// The secret of one that signs requests.
    pub wrapped: Option<WrappedSecret>,
    pub secret_hash: SecretHash,
    pub(super) salt: Option<[u8; 16]>,
    pub(super) request_hash: [u8; 32],
}

/// When a key was used last, as far as that was noted.
#[derive(Debug)]
pub struct LastUse(Mutex<Option<Timestamp>>);

impl LastUse {
    pub(super) const fn new(at: Option<Timestamp>) -> Self {
        Self(Mutex::new(at))
    }

    pub fn at(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `true` for one caller in each such time.
    pub(super) fn begin_to_note(&self, now: Timestamp, every: SignedDuration) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_some_and(|at| now.duration_since(at).abs() < every) {
            return false;
        }
        *noted = Some(now);
        true
    }
}
