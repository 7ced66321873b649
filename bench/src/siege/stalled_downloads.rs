//! Downloads that nobody reads, so that what is fetched ahead for them fills the memory.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use local_cluster::client::Session;
use proto::FileId;

use super::ATTACKERS_USD;
use super::outsider::Outsider;
use super::tally::Tally;

const DOWNLOADS: usize = 100;
/// More than the sockets of a connection hold.
const FILE_BYTES: usize = 24 * 1024 * 1024;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let session = outsider.account("dozing").await?;
    session.purchase(ATTACKERS_USD).await?;
    let body = vec![7_u8; FILE_BYTES];
    let file = session.upload("unread", Some(FILE_BYTES as u64), body);
    let file = file.await.context("a file to be left unread")?.file_id;
    join_all((0..DOWNLOADS).map(|_| stall(&session, file, tally))).await;
    Ok(())
}

/// Begins a download, and begins it anew when it was refused; reads no more than its head.
async fn stall(session: &Session, file: FileId, tally: &Tally) {
    loop {
        let begun = session.open(file).await;
        tally.note_outcome("download", &begun);
        if let Ok(_unread) = begun {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
