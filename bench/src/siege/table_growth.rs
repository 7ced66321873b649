//! Rows without end, of every kind that one account can make: logins, tokens for nodes, sessions of empty uploads,
//! purchases.

use std::time::Duration;

use anyhow::Result;
use api::paths;
use local_cluster::client::Session;
use reqwest::Method;

use super::ATTACKERS_USD;
use super::outsider::Outsider;
use super::tally::Tally;

const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let session = outsider.account("growing").await?;
    session.purchase(ATTACKERS_USD).await?;
    let logins = forever(async || {
        let login = outsider.log_in("growing").await;
        tally.note_outcome("login", &login);
    });
    let tokens = forever(async || {
        let token = post(&session, paths::NODE_TOKENS).await;
        tally.note(format!("node token {token}"));
    });
    let sessions = forever(async || {
        let begun = session.initiate("empty", 0).await;
        tally.note_outcome("session", &begun);
    });
    let purchases = forever(async || {
        let bought = session.purchase(1).await;
        tally.note_outcome("purchase", &bought);
    });
    tokio::join!(logins, tokens, sessions, purchases);
    Ok(())
}

async fn forever(mut one: impl AsyncFnMut()) {
    loop {
        one().await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The status, or that there was none.
async fn post(session: &Session, path: &str) -> String {
    let Ok(request) = session.request(Method::POST, path).await else {
        return "unknown".to_owned();
    };
    match request.json(&serde_json::json!({})).send().await {
        Ok(answer) => answer.status().as_u16().to_string(),
        Err(_) => "unknown".to_owned(),
    }
}
