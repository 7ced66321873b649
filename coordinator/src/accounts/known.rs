//! What this coordinator knows of credentials for a moment (`credentials::known`), and how it hears that they change.
//!
//! Triggers tell of every change when it is committed. While this coordinator does not hear them, it knows nothing, and asks
//! the database at each request.

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use credentials::access_key::AccessKeyId;
use credentials::known::{Asked, Known};
use jiff::Timestamp;
use model::ids::{SessionId, UserId};
use sqlx::postgres::PgListener;

use crate::accounts::session::SessionState;
use crate::accounts::stored_key::StoredKey;
use crate::database::Pool;

/// The channel on which triggers tell of changes, with the user's id (migration 0032).
const CHANNEL: &str = "credentials_changed";

/// Keys, and sessions, that are known at one time.
const MOST: usize = 10_000;

#[derive(Default)]
pub struct KnownCredentials {
    pub keys: Shared<AccessKeyId, StoredKey>,
    pub sessions: Shared<SessionId, SessionState>,
}

/// Known to all requests.
pub struct Shared<K, V>(Mutex<Known<K, UserId, Arc<V>>>);

impl<K: Eq + Hash, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Known::new(MOST)))
    }
}

impl<K: Eq + Hash, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Known<K, UserId, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, id: K, now: Timestamp) -> Option<Arc<V>> {
        self.lock().get(&id, now)
    }

    /// To be called before the database is asked.
    pub(super) fn asks(&self) -> Asked {
        self.lock().asks()
    }

    pub(super) fn learn(&self, asked: Asked, id: K, of: UserId, value: Arc<V>, now: Timestamp) {
        self.lock().learn(asked, id, of, value, now);
    }
}

impl KnownCredentials {
    /// Something of this account has changed.
    pub fn changed(&self, user: UserId) {
        self.keys.lock().changed(&user);
        self.sessions.lock().changed(&user);
    }

    fn listens(&self, listening: bool) {
        self.keys.lock().listens(listening);
        self.sessions.lock().listens(listening);
    }

    /// Hears of changes until the connection is lost.
    pub(super) async fn hear(&self, db: &Pool) -> sqlx::Result<()> {
        let _deaf = Deaf(self);
        let mut listener = PgListener::connect_with(db.connections()).await?;
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
