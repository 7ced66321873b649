//! `fsn account` and `fsn credits`.

use anyhow::Result;
use api::credits::Transaction;
use api::page::{Page, PageParams};
use api::paths;
use clap::{Args, Subcommand};
use client::rest::{Endpoint, Session};
use proto::MicroCredits;

use super::Connected;
use super::terminal;

#[derive(Debug, Args)]
pub(super) struct Account {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Who you are here, and what you have
    Show,
    /// Keys with which programs sign in as you; it asks for your password
    AccessKeys,
}

#[derive(Debug, Args)]
pub(super) struct Credits {
    /// Lines of what moved them
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: u16,
}

fn credits(amount: MicroCredits) -> String {
    format!("{amount} credits")
}

impl Account {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        match self.what {
            What::Show => show(connected).await,
            What::AccessKeys => keys(connected).await,
        }
    }
}

async fn show(connected: &Connected) -> Result<()> {
    let me = connected
        .client
        .ask(|session: Session| async move { Ok(session.me().await?) })
        .await?;
    let lines = [
        format!("account    {}", me.email),
        format!("available  {}", credits(me.available_microcredits)),
        format!("held       {}", credits(me.held_microcredits)),
        format!("escrow     {}", credits(me.escrow_microcredits)),
    ];
    connected.show.lines(&lines, &me)
}

/// Only who has logged in sees them.
async fn keys(connected: &Connected) -> Result<()> {
    let me = connected
        .client
        .ask(|session: Session| async move { Ok(session.me().await?) })
        .await?;
    let password = terminal::password(&format!("Password of {}", me.email))?;
    let endpoint: &Endpoint = connected.client.session().endpoint();
    let session = endpoint.login(&me.email, &password).await?;
    for key in session.access_keys().await? {
        let used = key
            .last_used_at
            .map_or("never used".to_owned(), |at| format!("used {at}"));
        let line = format!(
            "{}  {}  {}  {used}",
            key.access_key_id,
            key.scopes.join(","),
            key.name
        );
        connected.show.result(&line, &key)?;
    }
    Ok(())
}

impl Credits {
    pub(super) async fn run(self, connected: &Connected) -> Result<()> {
        let me = connected
            .client
            .ask(|session: Session| async move { Ok(session.me().await?) })
            .await?;
        let line = format!(
            "{} available, {} held for uploads, {} in escrow for what is stored",
            credits(me.available_microcredits),
            credits(me.held_microcredits),
            credits(me.escrow_microcredits)
        );
        connected.show.result(&line, &me)?;
        let params = PageParams {
            limit: Some(self.lines.clamp(1, 1000)),
            cursor: None,
        };
        let params = &params;
        let ask = |session: Session| async move {
            Ok(session.get_with(paths::TRANSACTIONS, params).await?)
        };
        let page: Page<Transaction> = connected.client.ask(ask).await?;
        for moved in page.items {
            let amount = credits(moved.amount_microcredits);
            let line = format!("{}  {:20}  {amount}", moved.at, moved.kind);
            connected.show.result(&line, &moved)?;
        }
        Ok(())
    }
}
