//! The orders to delete that coordinators have signed: why the node no longer has a blob.
//!
//! An order is kept before it is obeyed, and shown when one of its blobs is asked for later: without it the node
//! could only sign that the blob is missing, against itself. A database of its own, since the catalogue is made
//! anew from the blobs when it is gone and these are of blobs that are not there. Only orders that took something
//! away are kept, so nobody fills it with orders of blobs that were never here.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kit::unix_ms;
use proto::{BlobId, DeleteOrder, Signature, SignedOrder};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::task::spawn_blocking;

/// Longer than anybody can ask for the money of a day.
const KEPT_FOR: Duration = Duration::from_secs(100 * 24 * 3600);
/// What is too old is looked for when an order comes, but not more often than this.
const FORGET_EVERY_MS: u64 = 24 * 3600 * 1000;

const VERSION: u32 = 1;
const SCHEMA: &str = "
    CREATE TABLE orders (
      number    INTEGER NOT NULL PRIMARY KEY,
      kept_at   INTEGER NOT NULL, -- Unix ms, this machine's clock
      statement BLOB    NOT NULL, -- the bytes that the coordinator signed
      signature BLOB    NOT NULL CHECK (length(signature) = 64)
    ) STRICT;
    CREATE TABLE ordered (
      blob_id BLOB    NOT NULL CHECK (length(blob_id) = 32),
      number  INTEGER NOT NULL,
      PRIMARY KEY (blob_id, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE swept (at INTEGER NOT NULL) STRICT; -- Unix ms; one row
    INSERT INTO swept VALUES (0);";

/// Clones share the one connection.
#[derive(Debug, Clone)]
pub(crate) struct Orders(Arc<Mutex<Connection>>);

impl Orders {
    /// Opens or creates them. Blocks.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> Result<Connection> {
            let mut connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "full")?;
            let version: u32 =
                connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            ensure!(
                version <= VERSION,
                "it has schema version {version} and this program knows versions up to {VERSION}: use the \
                 newer storage-node"
            );
            if version == 0 {
                let transaction = connection.transaction()?;
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
            }
            Ok(connection)
        };
        let connection = open().with_context(|| {
            format!(
                "the orders to delete in {} cannot be opened; without them this node cannot show why it lacks \
                 blobs. If the file is damaged, move it away: a new one is made",
                path.display()
            )
        })?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Keeps an order that takes these blobs away, durably.
    pub(crate) async fn keep(
        &self,
        signed: SignedOrder,
        blobs: Vec<BlobId>,
        now: Timestamp,
    ) -> Result<()> {
        let orders = self.clone();
        spawn_blocking(move || orders.insert(&signed, &blobs, unix_ms(now))).await?
    }

    fn insert(&self, signed: &SignedOrder, blobs: &[BlobId], now_ms: u64) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let swept: i64 = transaction.query_row("SELECT at FROM swept", [], |row| row.get(0))?;
        if now_ms.saturating_sub(swept as u64) >= FORGET_EVERY_MS {
            let before = now_ms.saturating_sub(KEPT_FOR.as_millis() as u64) as i64;
            transaction.execute(
                "DELETE FROM ordered WHERE number IN (SELECT number FROM orders WHERE kept_at < ?1)",
                [before],
            )?;
            transaction.execute("DELETE FROM orders WHERE kept_at < ?1", [before])?;
            transaction.execute("UPDATE swept SET at = ?1", [now_ms as i64])?;
        }
        transaction.execute(
            "INSERT INTO orders (kept_at, statement, signature) VALUES (?1, ?2, ?3)",
            params![
                now_ms as i64,
                signed.order.signed_bytes(),
                &signed.signature.as_bytes()[..]
            ],
        )?;
        let number = transaction.last_insert_rowid();
        {
            let sql = "INSERT OR IGNORE INTO ordered (blob_id, number) VALUES (?1, ?2)";
            let mut statement = transaction.prepare_cached(sql)?;
            for blob in blobs {
                statement.execute(params![blob.as_bytes(), number])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The newest order that took this blob away. Blocks.
    pub(crate) fn find(&self, blob: &BlobId) -> Result<Option<SignedOrder>> {
        let connection = self.lock();
        let sql = "SELECT statement, signature FROM orders
            WHERE number = (SELECT max(number) FROM ordered WHERE blob_id = ?1)";
        let mut statement = connection.prepare_cached(sql)?;
        let found = statement.query_row([blob.as_bytes()], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        let Some((order, signature)) = found.optional()? else {
            return Ok(None);
        };
        Ok(Some(SignedOrder {
            order: DeleteOrder::from_signed_bytes(&order)?,
            signature: Signature::try_from(&signature[..])?,
        }))
    }

    /// As [`Self::find`] of each of these, each order once; what cannot be read is left out and logged.
    pub(crate) async fn of(&self, blobs: Vec<BlobId>) -> Vec<SignedOrder> {
        if blobs.is_empty() {
            return Vec::new();
        }
        let orders = self.clone();
        let find = move || {
            let mut found: Vec<SignedOrder> = Vec::new();
            for blob in &blobs {
                if found.iter().any(|signed| signed.order.takes_away(blob)) {
                    continue;
                }
                match orders.find(blob) {
                    Ok(order) => found.extend(order),
                    Err(error) => {
                        tracing::error!(id = %blob, error = format!("{error:#}"), "the orders to delete cannot be read");
                    }
                }
            }
            found
        };
        spawn_blocking(find).await.unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use proto::{Deletion, DeletionMode, NetworkId, Parties};

    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;
    const NOW_MS: u64 = 1_800_000_000_000;

    fn order(blobs: &[BlobId], at_ms: u64) -> SignedOrder {
        let coordinator = Keypair::generate_ed25519();
        let parties = Parties {
            network_id: NetworkId::from_bytes([1; 32]),
            coordinator: coordinator.public().to_peer_id(),
            node: Keypair::generate_ed25519().public().to_peer_id(),
        };
        let deletions = blobs.iter().map(|blob_id| Deletion {
            blob_id: *blob_id,
            mode: DeletionMode::Purge,
        });
        let order = DeleteOrder::new(parties, at_ms, deletions.collect()).unwrap();
        order.sign(&coordinator).unwrap()
    }

    fn blobs() -> [BlobId; 3] {
        [b"a", b"b", b"c"].map(|bytes| BlobId::of(bytes))
    }

    #[tokio::test]
    async fn an_order_is_shown_for_the_blobs_that_it_took_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.db");
        let [a, b, c] = blobs();
        let signed = order(&blobs(), NOW_MS);
        let orders = Orders::open(&path).unwrap();
        orders.insert(&signed, &[a, b], NOW_MS).unwrap();
        drop(orders);
        let orders = Orders::open(&path).unwrap();
        assert_eq!(orders.find(&a).unwrap(), Some(signed.clone()));
        assert_eq!(orders.find(&c).unwrap(), None, "it was not here");
        assert_eq!(orders.of(vec![a, c, b]).await, [signed]);
    }

    #[test]
    fn of_two_orders_for_a_blob_the_newer_one_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::open(&dir.path().join("orders.db")).unwrap();
        let [a, b, _] = blobs();
        let (older, newer) = (order(&[a], NOW_MS), order(&[a, b], NOW_MS + 1));
        orders.insert(&older, &[a], NOW_MS).unwrap();
        orders.insert(&newer, &[a], NOW_MS + 1).unwrap();
        assert_eq!(orders.find(&a).unwrap(), Some(newer));
    }

    #[test]
    fn orders_are_kept_for_a_hundred_days() {
        let dir = tempfile::tempdir().unwrap();
        let orders = Orders::open(&dir.path().join("orders.db")).unwrap();
        let [a, b, c] = blobs();
        orders.insert(&order(&[a], NOW_MS), &[a], NOW_MS).unwrap();
        let later = NOW_MS + 99 * DAY_MS;
        orders.insert(&order(&[b], later), &[b], later).unwrap();
        assert!(orders.find(&a).unwrap().is_some());
        let much_later = NOW_MS + 101 * DAY_MS;
        orders
            .insert(&order(&[c], much_later), &[c], much_later)
            .unwrap();
        assert!(orders.find(&a).unwrap().is_none());
        assert!(orders.find(&b).unwrap().is_some());
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            orders.lock().query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((count("orders"), count("ordered")), (2, 2));
    }
}
