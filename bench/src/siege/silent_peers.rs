//! Connections to the port for nodes that never begin their handshake, so that nodes find no place for theirs.

use anyhow::Result;

use super::outsider::Outsider;
use super::tally::Tally;

/// As many as a coordinator shakes hands with at one time.
const CONNECTIONS: usize = 256;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    outsider
        .occupy(outsider.peers, CONNECTIONS, b"", tally)
        .await;
    Ok(())
}
