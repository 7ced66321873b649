//! Accounts that ask for proofs without a pause, so that nobody else gets any.

use std::time::Duration;

use anyhow::{Context, Result};
use api::evidence::ProofRequest;
use api::paths;
use futures::future::{join_all, try_join_all};
use local_cluster::client::Session;
use proto::FileId;
use reqwest::Method;

use super::ATTACKERS_USD;
use super::outsider::Outsider;
use super::tally::Tally;

const ACCOUNTS: usize = 8;
const AT_ONCE: usize = 4;
const FILE_BYTES: usize = 2 * 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let owners = (0..ACCOUNTS).map(|number| async move {
        let session = outsider.account(&format!("doubting-{number}")).await?;
        session.purchase(ATTACKERS_USD).await?;
        let body = vec![number as u8; FILE_BYTES];
        let file = session.upload("doubted", Some(FILE_BYTES as u64), body);
        let file = file.await.context("a file to be doubted")?;
        anyhow::Ok((session, file.file_id))
    });
    let owners = try_join_all(owners).await?;
    let asking = owners.iter().flat_map(|(session, file)| {
        (0..AT_ONCE).map(move |_| async move {
            loop {
                tally.note(ask(session, *file).await);
                tokio::time::sleep(PAUSE).await;
            }
        })
    });
    join_all(asking).await;
    Ok(())
}

/// The status, or that there was none.
pub(super) async fn ask(session: &Session, file: FileId) -> String {
    let wanted = ProofRequest {
        seed: None,
        first_index: None,
        count: Some(8),
    };
    let Ok(request) = session
        .request(Method::POST, &paths::file_proof(file))
        .await
    else {
        return "no answer".to_owned();
    };
    match request.json(&wanted).send().await {
        Ok(answer) => answer.status().as_u16().to_string(),
        Err(_) => "no answer".to_owned(),
    }
}
