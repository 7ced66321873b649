//! Connections that send the first byte of HTTP/2's preface, so that nobody knows yet what is spoken on them.

use anyhow::Result;

use super::outsider::Outsider;
use super::tally::Tally;

/// As many as a coordinator serves at one time.
const CONNECTIONS: usize = 1024;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    outsider
        .occupy(outsider.http, CONNECTIONS, b"P", tally)
        .await;
    Ok(())
}
