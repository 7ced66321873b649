//! Becoming a node of a network: data directory, identity, network document, registration.
//!
//! Every step can be repeated, so whatever went wrong, doing it again is the answer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::nodes::RegisteredNode;
use kit::{Clock, Entropy};
use libp2p_identity::Keypair;
use proto::{NetworkDocument, NetworkId};

use super::coordinator_api::{ApiError, Applicant, CoordinatorApi};
use crate::config::Config;
use crate::volume::{Credentials, Volume, VolumeLock, capacity, identity};

/// What goes into a registration beside the settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// An admission token, for networks that ask for one.
    pub token: Option<String>,
    /// The network that is meant; any if `None`.
    pub network_id: Option<NetworkId>,
}

/// A node that has its directory and its identity, and may register.
pub(crate) struct Candidate {
    pub volume: Volume,
    pub keypair: Keypair,
    /// The identity was made just now.
    pub is_new: bool,
    pub applicant: Applicant,
    pub coordinator_url: String,
    api: CoordinatorApi,
    wanted: Option<NetworkId>,
    _lock: VolumeLock,
}

impl Candidate {
    pub(crate) fn prepare(config: &Config, terms: Terms) -> Result<Self> {
        let Some(name) = config.node.name.clone() else {
            bail!("the node needs a name: --name \"My Node\", or the setting node.name");
        };
        let Some(coordinator_url) = config.node.coordinator_url.clone() else {
            bail!(
                "where is the coordinator? --coordinator-url http://localhost:8080, or the setting \
                 node.coordinator_url"
            );
        };
        let api = CoordinatorApi::new(&coordinator_url)?;
        let volume = Volume::at(config.data_dir()?);
        volume.prepare()?;
        let lock = volume.lock()?;
        volume.expect_identity(config.node.peer_id.as_ref())?;
        let (keypair, is_new) = identity_of(&volume)?;
        volume.bind(
            keypair.public().to_peer_id(),
            config.store.layout.unwrap_or_default(),
            Clock::system().now(),
        )?;
        let applicant = Applicant {
            name,
            capacity_bytes: capacity(config.node.capacity, volume.root())?,
            region: config.node.region.clone(),
            token: terms.token,
        };
        Ok(Self {
            volume,
            keypair,
            is_new,
            applicant,
            coordinator_url,
            api,
            wanted: terms.network_id,
            _lock: lock,
        })
    }

    /// Enters the node into the network, and keeps what that gives.
    pub(crate) async fn register(&mut self) -> Result<RegisteredNode> {
        let settled = self.api.settled().await?;
        if settled.base_url() != self.api.base_url() {
            settled.base_url().clone_into(&mut self.coordinator_url);
            self.api = settled;
        }
        let document = self.join().await?;
        let registered = self
            .api
            .register(document.network_id, &self.keypair, &self.applicant)
            .await?;
        self.volume.save_credentials(&Credentials {
            node_id: registered.node_id,
            api_key: registered.api_key.clone(),
            coordinator_url: self.coordinator_url.clone(),
        })?;
        Ok(registered)
    }

    /// Fetches the network document and pins it; a node belongs to one network for good.
    async fn join(&self) -> Result<NetworkDocument> {
        let document = self.api.network_document().await?;
        if let Some(wanted) = self.wanted {
            ensure!(
                document.network_id == wanted,
                "the coordinator serves network {}, not {wanted}",
                document.network_id
            );
        }
        if let Some(pinned) = self.volume.network_document()? {
            ensure!(
                document.network_id == pinned.network_id,
                "this node belongs to network {} and the coordinator serves {}; choose another \
                 --data-dir to join that one with a new node",
                pinned.network_id,
                document.network_id
            );
            if document.serial <= pinned.serial {
                return Ok(pinned);
            }
        }
        self.volume.save_network_document(&document)?;
        Ok(document)
    }
}

/// Registers a node that never was; does nothing for one that is. A coordinator that cannot be reached
/// or has to be asked later is asked again, with growing pauses, for as long as it takes.
pub(crate) async fn register_once(
    config: &Config,
    terms: impl FnOnce() -> Result<Terms>,
) -> Result<()> {
    let volume = Volume::at(config.data_dir()?);
    if volume.is_registered()? {
        return Ok(());
    }
    let mut candidate = Candidate::prepare(config, terms()?)?;
    let reconnect = &config.reconnect;
    let mut pause = reconnect.initial;
    loop {
        match candidate.register().await {
            Ok(registered) => {
                tracing::info!(
                    node_id = %registered.node_id,
                    network_id = %registered.network_id,
                    peer_id = %candidate.keypair.public().to_peer_id(),
                    "registered"
                );
                return Ok(());
            }
            Err(error) if may_pass(&error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    ?pause,
                    "not registered yet: trying again"
                );
                tokio::time::sleep(pause).await;
                pause = longer(pause, reconnect.factor).min(reconnect.max);
            }
            Err(error) => return Err(error),
        }
    }
}

fn may_pass(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(ApiError::may_pass)
}

fn longer(pause: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

fn identity_of(volume: &Volume) -> Result<(Keypair, bool)> {
    let path = volume.identity_path();
    if let Some(keypair) = identity::load(&path)? {
        return Ok((keypair, false));
    }
    if let Some(marker) = volume.marker()? {
        bail!(
            "{} belongs to node {} and its identity.key is gone: restore it with \
             `storage-node identity import`",
            volume.root().display(),
            marker.peer_id
        );
    }
    let keypair = identity::generate(&mut Entropy::system().rng())?;
    identity::save(&path, &keypair).context("a new identity cannot be kept")?;
    Ok((keypair, true))
}
