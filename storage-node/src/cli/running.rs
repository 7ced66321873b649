//! Questions to the running node of a data directory.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::volume::Volume;

pub(super) const ASK_WITHIN: Duration = Duration::from_secs(5);

/// `None` when no node of this data directory answers.
pub(super) async fn ask<T: DeserializeOwned>(volume: &Volume, path: &str) -> Option<T> {
    let running = volume.running().ok()??;
    let client = reqwest::Client::builder()
        .timeout(ASK_WITHIN)
        .build()
        .ok()?;
    let url = format!("http://{}{path}", running.admin);
    let answer = client.get(url).send().await.ok()?;
    answer.json().await.ok()
}
