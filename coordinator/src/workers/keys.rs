//! Says that this coordinator runs and which keys it holds, takes rotated keys over, and wraps anew what
//! a retired master key wraps.

use super::Step;
use crate::app::{App, key_rotation};
use crate::clock;

pub(super) async fn step(app: &App) -> anyhow::Result<Step> {
    let refreshed = app.keys.refresh(&app.db).await;
    app.say_running().await?;
    refreshed?;
    let rng = &mut clock::sendable_rng();
    let rewrapped = key_rotation::rewrap_some(&app.db, &app.keys, rng).await?;
    if rewrapped == 0 {
        return Ok(Step::Idle);
    }
    tracing::info!(
        data_keys = rewrapped,
        "wrapped anew with the master key in use"
    );
    Ok(Step::More)
}
