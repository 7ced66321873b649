//! `fsn doctor`: what is right, what is not, and what to do about it.

use std::time::Duration;

use anyhow::Result;
use api::health::Health;
use api::paths;
use clap::Args;
use client::rest::{Endpoint, Session};
use jiff::Timestamp;
use kit::Clock;
use reqwest::{Method, header};
use serde_json::json;

use super::Global;
use crate::exit;
use crate::profile::{self, Profile};
use crate::show::Show;

/// Signatures and expiries bear more than this; certificates and people do not.
const MOST_APART: i64 = 120;

#[derive(Debug, Args)]
pub(super) struct Doctor {}

struct Findings<'a> {
    show: &'a Show,
    bad: usize,
}

impl Findings<'_> {
    fn tell(&mut self, what: &str, found: Result<String, String>) -> Result<()> {
        let (mark, said) = match &found {
            Ok(said) => ("ok  ", said),
            Err(said) => ("BAD ", said),
        };
        self.bad += usize::from(found.is_err());
        let value = json!({"check": what, "ok": found.is_ok(), "said": said});
        self.show
            .result(&format!("{mark} {what:12} {said}"), &value)
    }
}

impl Doctor {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let show = global.show();
        let mut findings = Findings {
            show: &show,
            bad: 0,
        };
        let path = Profile::path(global.profile.as_deref())?;
        let profile = global.profile();
        let said = profile.as_ref().map(|_| path.display().to_string());
        findings.tell("profile", said.map_err(|error| format!("{error:#}")))?;
        let urls = match (&profile, global.url.is_empty()) {
            (Ok(profile), true) => profile.urls.clone(),
            _ => global.url.clone(),
        };
        for url in &urls {
            coordinator(&mut findings, url).await?;
        }
        if let Ok(connected) = global.connect() {
            let me = |session: Session| async move { Ok(session.me().await?) };
            let me = connected.client.ask(me).await;
            let said = me.map(|me| {
                format!(
                    "{}, {} credits available",
                    me.email, me.available_microcredits
                )
            });
            findings.tell("sign-in", said.map_err(|error| error.to_string()))?;
        }
        let transfers = std::fs::read_dir(profile::transfers_dir()?);
        let open = transfers.map_or(0, |entries| {
            let entries = entries.flatten();
            entries
                .filter(|entry| entry.path().extension().is_some_and(|end| end == "json"))
                .count()
        });
        let said = match open {
            0 => "none is interrupted".to_owned(),
            count => format!("{count} were interrupted: the same `fsn put` goes on with them"),
        };
        findings.tell("uploads", Ok(said))?;
        match findings.bad {
            0 => Ok(()),
            count => Err(exit::ended(
                exit::OTHER,
                format!("{count} things are not as they should be"),
            )),
        }
    }
}

async fn coordinator(findings: &mut Findings<'_>, url: &str) -> Result<()> {
    let base = url.trim_end_matches('/');
    let base = base.strip_suffix("/api/v1").unwrap_or(base);
    let endpoint = Endpoint::new(base)?;
    let ask = endpoint
        .request(Method::GET, paths::HEALTH)
        .timeout(Duration::from_secs(10));
    let answer = match ask.send().await {
        Ok(answer) => answer,
        Err(error) => {
            return findings.tell(
                "coordinator",
                Err(format!("{base} does not answer: {error}")),
            );
        }
    };
    let date = answer
        .headers()
        .get(header::DATE)
        .and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let health: Option<Health> = answer.json().await.ok();
    let said = match health {
        Some(health) if health.status == "ok" => Ok(format!(
            "{base}, {}, {} nodes online",
            health.version, health.nodes_online
        )),
        Some(health) => Err(format!("{base} is {}", health.status)),
        None => Err(format!("{base} is no coordinator")),
    };
    findings.tell("coordinator", said)?;
    let Some(date) = date else { return Ok(()) };
    let apart = clock_apart(date.timestamp(), Clock::system().now());
    let said = match apart.abs() <= MOST_APART {
        true => Ok(format!("{apart} s apart from the coordinator's")),
        false => Err(format!(
            "{apart} s apart from the coordinator's: set this machine's clock"
        )),
    };
    findings.tell("clock", said)
}

fn clock_apart(theirs: Timestamp, ours: Timestamp) -> i64 {
    ours.as_second() - theirs.as_second()
}
