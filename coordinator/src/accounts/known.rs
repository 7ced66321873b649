//! What this coordinator knows of credentials for a moment (`credentials::known`), and how it hears that they change.
//!
//! Triggers tell of every change when it is committed. While this coordinator does not hear them, it knows nothing, and asks
//! the database at each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use credentials::access_key::AccessKeyId;
use credentials::known::{Asked, Known};
use jiff::Timestamp;
use model::ids::UserId;
use sqlx::PgPool;
use sqlx::postgres::PgListener;

use crate::accounts::stored_key::StoredKey;

/// The channel on which migration 0032 tells of changes, with the user's id.
const CHANNEL: &str = "credentials_changed";

/// Keys that are known at one time.
const MOST_KEYS: usize = 10_000;

pub struct KnownCredentials {
    keys: Mutex<Known<AccessKeyId, UserId, Arc<StoredKey>>>,
}

impl Default for KnownCredentials {
    fn default() -> Self {
        Self {
            keys: Mutex::new(Known::new(MOST_KEYS)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KnownCredentials {
    pub(super) fn key(&self, id: AccessKeyId, now: Timestamp) -> Option<Arc<StoredKey>> {
        lock(&self.keys).get(&id, now)
    }

    /// Whether the next request with this key asks the database nothing.
    pub fn knows(&self, id: AccessKeyId, now: Timestamp) -> bool {
        self.key(id, now).is_some()
    }

    pub(super) fn asks_for_keys(&self) -> Asked {
        lock(&self.keys).asks()
    }

    pub(super) fn learn_key(&self, asked: Asked, key: Arc<StoredKey>, now: Timestamp) {
        let (id, user) = (key.id, key.user_id);
        lock(&self.keys).learn(asked, id, user, key, now);
    }

    /// Something of this account has changed.
    pub fn changed(&self, user: UserId) {
        lock(&self.keys).changed(&user);
    }

    fn listens(&self, listening: bool) {
        lock(&self.keys).listens(listening);
    }

    /// Hears of changes until the connection is lost.
    pub(super) async fn hear(&self, db: &PgPool) -> sqlx::Result<()> {
        let _deaf = Deaf(self);
        let mut listener = PgListener::connect_with(db).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        self.listens(true);
        while let Some(notification) = listener.try_recv().await? {
            match notification.payload().parse() {
                Ok(user) => self.changed(user),
                Err(_) => self.listens(true), // of somebody, whoever it is
            }
        }
        Ok(())
    }
}

/// However hearing ends, nothing is known from then on.
struct Deaf<'a>(&'a KnownCredentials);

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.0.listens(false);
    }
}
