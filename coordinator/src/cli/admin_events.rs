//! `coordinator admin events`: the security log.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use comfy_table::Table;
use jiff::{SignedDuration, Timestamp};
use kit::output::{print_table, ruled_table};
use serde_json::json;

use crate::accounts::tables::users;
use crate::database::Pool;
use crate::security::SecurityEvent;
use crate::security::tables::events::{Wanted, list};
use kit::Clock;

/// Events that are shown at one time.
const MOST: u32 = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum EventsCommand {
    /// List what was done and tried in the last 400 days, the newest first.
    List {
        /// Of the account with this address.
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        /// login, role-changed, file-deleted, admin-command, …
        #[arg(long)]
        kind: Option<String>,
        /// done or refused
        #[arg(long)]
        outcome: Option<String>,
        /// From this address; of failures, its network (IPv6 /64).
        #[arg(long)]
        address: Option<IpAddr>,
        /// A time ("2026-11-30T14:00Z") or how long ago ("3h", "2d").
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Output {
    Table,
    /// For programs: one JSON document.
    Json,
}

impl EventsCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        let Self::List {
            user,
            kind,
            outcome,
            address,
            since,
            limit,
            output,
        } = self;
        ensure!(limit <= MOST, "--limit is at most {MOST}");
        let mut connection = pool.acquire().await?;
        let user = match user {
            None => None,
            Some(email) => {
                let found = users::node_right_of(&mut connection, &email).await?;
                let found = found.with_context(|| format!("nobody is registered as {email}"))?;
                Some(found.user_id)
            }
        };
        let wanted = Wanted {
            user,
            kind: kind.as_deref(),
            outcome: outcome.as_deref(),
            address,
            since: since.map(|since| parse_since(&since)).transpose()?,
            before: None,
        };
        let events = list(&mut connection, &wanted, limit.into()).await?;
        match output {
            Output::Json => {
                let items: Vec<_> = events.iter().map(as_json).collect();
                println!(
                    "{}",
                    serde_json::to_string_pretty(&json!({"items": items}))?
                );
            }
            Output::Table => print_table(table(&events)),
        }
        Ok(())
    }
}

fn parse_since(text: &str) -> Result<Timestamp> {
    if let Ok(since) = text.parse() {
        return Ok(since);
    }
    let ago = humantime::parse_duration(text).with_context(|| {
        format!("--since: `{text}` is neither a time (2026-11-30T14:00Z) nor how long ago (3h)")
    })?;
    let since = Clock::system()
        .now()
        .saturating_sub(SignedDuration::try_from(ago)?);
    Ok(since?)
}

fn as_json(event: &SecurityEvent) -> serde_json::Value {
    json!({
        "event_id": event.id, "at": event.at, "kind": event.kind, "outcome": event.outcome,
        "user_id": event.user, "actor": event.actor, "address": event.address, "subject": event.subject,
        "request_id": event.request_id, "count": event.count,
    })
}

fn table(events: &[SecurityEvent]) -> Table {
    let mut table = ruled_table([
        "at", "what", "outcome", "times", "account", "by", "from", "of",
    ]);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for event in events {
        table.add_row([
            format!("{:.0}", event.at),
            event.kind.clone(),
            event.outcome.clone(),
            event.count.to_string(),
            or_none(event.user.map(|user| user.to_string())),
            or_none(event.actor.clone()),
            or_none(event.address.map(|address| address.to_string())),
            or_none(event.subject.clone()),
        ]);
    }
    table
}
