//! The signed page that tells nodes where the coordinators are.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use proto::{CoordinatorEntry, NetworkDocument};
use sqlx::PgPool;

use crate::clock;
use crate::db;
use crate::keys::KeyRing;

/// The newest document, as the background refresh last saw it.
#[derive(Debug, Clone)]
pub struct CurrentDocument(Arc<ArcSwap<NetworkDocument>>);

impl CurrentDocument {
    pub fn get(&self) -> Arc<NetworkDocument> {
        self.0.load_full()
    }

    /// Another coordinator may have joined.
    pub async fn refresh(&self, pool: &PgPool) -> sqlx::Result<()> {
        let mut connection = pool.acquire().await?;
        if let Some(document) = db::network::document(&mut connection).await?
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
    pool: &PgPool,
    keys: &KeyRing,
    addrs: Vec<String>,
) -> anyhow::Result<CurrentDocument> {
    let own = CoordinatorEntry {
        peer_id: keys.identity.public().to_peer_id().to_string(),
        addrs,
    };
    let mut transaction = pool.begin().await?;
    db::network::lock(&mut transaction).await?;
    db::network::upsert_coordinator(&mut transaction, &own).await?;
    let coordinators = db::network::coordinators(&mut transaction).await?;
    let before = db::network::document(&mut transaction).await?;
    let document = match before {
        Some(document)
            if document.coordinators == coordinators && document.network_id == keys.network_id =>
        {
            document
        }
        before => {
            let serial = before.map_or(1, |document| document.serial + 1);
            let document =
                NetworkDocument::sign(&keys.network, serial, coordinators, clock::now())?;
            document
                .verify()
                .context("p2p.external_addrs make a network document that nodes would refuse")?;
            db::network::store_document(&mut transaction, &document).await?;
            document
        }
    };
    transaction.commit().await?;
    Ok(CurrentDocument(Arc::new(ArcSwap::from_pointee(document))))
}
