//! Connections that send the first byte of HTTP/2's preface, so that nobody knows yet what is spoken on them.

use anyhow::Result;
use futures::future::join_all;

use super::outsider::Outsider;
use super::tally::Tally;

/// As many as one address may have.
const CONNECTIONS: usize = 256;
/// Together they have more than a coordinator serves at one time.
const ADDRESSES: u8 = 5;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let addresses = (0..ADDRESSES).map(|number| async move {
        let accomplice = outsider.accomplice(number);
        let to = accomplice.http;
        accomplice.occupy(to, CONNECTIONS, b"P", tally).await;
    });
    join_all(addresses).await;
    Ok(())
}
