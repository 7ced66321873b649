//! The signed page that tells nodes where the coordinators are.

use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use proto::{CoordinatorEntry, NetworkDocument};
use sqlx::PgConnection;

use crate::database::Pool;

use crate::keys::tables;
use jiff::Timestamp;

use crate::keys::KeyRing;

/// The newest document, as the background refresh last saw it.
#[derive(Debug, Clone)]
pub struct CurrentDocument(Arc<ArcSwap<NetworkDocument>>);

impl CurrentDocument {
    pub fn get(&self) -> Arc<NetworkDocument> {
        self.0.load_full()
    }

    /// Another coordinator may have joined.
    pub async fn refresh(&self, pool: &Pool) -> sqlx::Result<()> {
        let mut connection = pool.acquire().await?;
        if let Some(document) = tables::network::document(&mut connection).await?
            && document.serial > self.0.load().serial
        {
            self.0.store(Arc::new(document));
        }
        Ok(())
    }
}

/// Puts this coordinator's addresses into the network document; a new serial is signed only when
/// that changes something.
pub async fn publish(
    pool: &Pool,
    keys: &KeyRing,
    addrs: Vec<String>,
    now: Timestamp,
) -> anyhow::Result<CurrentDocument> {
    let own = CoordinatorEntry {
        peer_id: keys.identity.public().to_peer_id().to_string(),
        addrs,
    };
    let mut transaction = pool.begin().await?;
    tables::network::lock(&mut transaction).await?;
    tables::network::upsert_coordinator(&mut transaction, &own).await?;
    let document = refreshed(&mut transaction, keys, now).await?;
    transaction.commit().await?;
    Ok(CurrentDocument(Arc::new(ArcSwap::from_pointee(document))))
}

/// Takes a coordinator that is gone for good out of the network document: nodes no longer dial it
/// nor obey it. One that runs puts itself back at its next start.
pub async fn remove(
    pool: &Pool,
    keys: &KeyRing,
    peer_id: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    let mut transaction = pool.begin().await?;
    tables::network::lock(&mut transaction).await?;
    if !tables::network::remove_coordinator(&mut transaction, peer_id).await? {
        bail!(
            "the network document names no coordinator {peer_id}; \
             `coordinator admin coordinators list` shows those it names"
        );
    }
    refreshed(&mut transaction, keys, now).await?;
    transaction.commit().await?;
    Ok(())
}

/// The document that names the coordinators of the table: the one that stands, or the next serial.
async fn refreshed(
    connection: &mut PgConnection,
    keys: &KeyRing,
    now: Timestamp,
) -> anyhow::Result<NetworkDocument> {
    let coordinators = tables::network::coordinators(connection).await?;
    let before = tables::network::document(connection).await?;
    match before {
        Some(document)
            if document.coordinators == coordinators && document.network_id == keys.network_id =>
        {
            Ok(document)
        }
        before => {
            let serial = before.map_or(1, |document| document.serial + 1);
            let document = NetworkDocument::sign(&keys.network, serial, coordinators, now)?;
            document
                .verify()
                .context("p2p.external_addrs make a network document that nodes would refuse")?;
            tables::network::store_document(connection, &document).await?;
            Ok(document)
        }
    }
}
