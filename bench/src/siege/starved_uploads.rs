//! One account without credits announces chunks and sends nothing of them, so that the memory for uploads is taken.

use anyhow::Result;

use super::outsider::Outsider;
use super::tally::Tally;

/// Four times what the memory of a coordinator holds of chunks with their copies.
const UPLOADS: usize = 250;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let session = outsider.account("starving").await?;
    let token = session.access_token().await?;
    let head = format!(
        "PUT /api/v1/files?filename=z HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 262144\r\n\r\n"
    );
    let (to, said) = (outsider.http, head.as_bytes());
    outsider.occupy(to, UPLOADS, said, tally).await;
    Ok(())
}
