//! Keeps keys and the network document of this coordinator up to date.

use std::sync::Arc;

use kit::{Job, Step};

use crate::keys::{Keys, periods, rotation, tables};

/// Says that this coordinator runs and which keys it holds, takes rotated keys over, ends periods of keys, and wraps anew
/// what a retired master key wraps.
pub struct KeepKeys(pub Arc<Keys>);

impl Job for KeepKeys {
    const NAME: &'static str = "keys";

    async fn step(&self) -> anyhow::Result<Step> {
        let keys = &self.0;
        let refreshed = keys.ring.refresh(&keys.db).await;
        keys.say_running().await?;
        refreshed?;
        if !keys.period.is_zero() {
            periods::turn(&keys.db, &keys.ring, keys.period).await?;
        }
        let rng = &mut keys.entropy.rng();
        let rewrapped = rotation::rewrap_some(&keys.db, &keys.ring, rng).await?;
        if rewrapped == 0 {
            return Ok(Step::Idle);
        }
        tracing::info!(keys = rewrapped, "wrapped anew with the master key in use");
        Ok(Step::More)
    }
}

/// Takes over a newer network document: another coordinator may have joined.
pub struct RefreshDocument(pub Arc<Keys>);

impl Job for RefreshDocument {
    const NAME: &'static str = "network-document";

    async fn step(&self) -> anyhow::Result<Step> {
        self.0.document.refresh(&self.0.db).await?;
        Ok(Step::Idle)
    }
}

/// Forgets coordinators that run no more: a rotation need not wait for them.
pub struct ForgetDead(pub Arc<Keys>);

impl Job for ForgetDead {
    const NAME: &'static str = "coordinator-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        tables::keys::forget_dead(&mut connection).await?;
        Ok(Step::Idle)
    }
}
