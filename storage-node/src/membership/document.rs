//! Keeps the pinned network document up to date: who the coordinators are, and where.
//!
//! Fetched again when a coordinator tells of a newer one, and now and then while none can be
//! reached: they may have moved. Only newer documents by the pinned key are taken.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use libp2p_identity::PeerId;
use network::{Multiaddr, Target};
use proto::NetworkDocument;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::coordinator_api::CoordinatorApi;
use super::coordinators::Coordinators;
use crate::peers::Guests;
use crate::volume::Volume;

const LONELY_AFTER: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub(crate) struct DocumentFollower {
    pub coordinators: Arc<Coordinators>,
    pub volume: Volume,
    pub api: CoordinatorApi,
    pub document: NetworkDocument,
    pub targets: watch::Sender<Vec<Target>>,
    pub guests: Arc<Guests>,
    pub newest_serial: watch::Receiver<u64>,
}

impl DocumentFollower {
    /// Serves and dials the coordinators of the document.
    pub(crate) fn apply(&self) -> Result<()> {
        let mut targets = Vec::new();
        for entry in &self.document.coordinators {
            targets.push(Target {
                peer_id: entry.peer_id()?,
                addrs: entry.addrs.iter().filter_map(|addr| parse(addr)).collect(),
                answers_only: true,
            });
        }
        let peers: Vec<PeerId> = targets.iter().map(|target| target.peer_id).collect();
        self.coordinators.replace(&peers);
        // Whoever is dialled is invited before.
        let targets = self.guests.invite(targets);
        self.targets.send_replace(targets);
        Ok(())
    }

    /// Until it is cancelled.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        loop {
            let behind = *self.newest_serial.borrow_and_update() > self.document.serial;
            if behind || !self.coordinators.has_connection() {
                if let Err(error) = self.refresh().await {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the network document was not updated"
                    );
                }
                if *self.newest_serial.borrow() > self.document.serial {
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            tokio::select! {
                changed = self.newest_serial.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(LONELY_AFTER) => {}
            }
        }
    }

    async fn refresh(&mut self) -> Result<()> {
        let document = self.api.network_document().await?;
        ensure!(
            document.network_id == self.document.network_id,
            "the coordinator now serves network {}, this node belongs to {}",
            document.network_id,
            self.document.network_id
        );
        if document.serial <= self.document.serial {
            return Ok(());
        }
        self.volume.save_network_document(&document)?;
        tracing::info!(serial = document.serial, "took a newer network document");
        self.document = document;
        self.apply()
    }
}

/// Addresses of a kind that this program does not know are left out: others may do.
fn parse(addr: &str) -> Option<Multiaddr> {
    addr.parse()
        .inspect_err(|error| tracing::warn!(addr, %error, "left out a coordinator's address"))
        .ok()
}
