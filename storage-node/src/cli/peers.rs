//! `storage-node peers`: who is connected, how it is, and who will be dialled when.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use kit::output::{duration, print_table, ruled_table};

use super::{Output, SettingsArgs, block_on, print_json, running};
use crate::peers::{PeerEntry, PeersReport};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let volume = settings.volume()?;
    let report: Option<PeersReport> =
        block_on(async { Ok(running::ask(&volume, "/peers").await) })?;
    let Some(report) = report else {
        bail!("the node does not run, and nobody else knows its peers: storage-node start");
    };
    match args.output {
        Output::Json => print_json(&report)?,
        Output::Table => print_peers(&report),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_peers(report: &PeersReport) {
    println!("peer id    {}", report.peer_id);
    println!("listens on {}", report.listen_addrs.join(", "));
    let mut table = ruled_table([
        "peer",
        "what",
        "state",
        "RTT ms",
        "last seen",
        "next dial",
        "address",
    ]);
    for peer in &report.peers {
        table.add_row([
            peer.peer_id.clone(),
            role(peer).to_owned(),
            state(peer),
            peer.rtt_smoothed_ms
                .map_or(String::new(), |rtt| format!("{rtt:.1}")),
            peer.last_seen_ms
                .map_or("never".to_owned(), |ms| format!("{} ago", seconds(ms))),
            peer.next_dial_ms
                .map_or(String::new(), |ms| format!("in {}", seconds(ms))),
            peer.addr.clone().unwrap_or_default(),
        ]);
    }
    print_table(table);
    if !report.learnt.is_empty() {
        println!("came in and are not allowed (p2p.allowed_peers):");
    }
    for peer in &report.learnt {
        println!("  {} from {}", peer.peer_id, peer.from);
    }
}

fn role(peer: &PeerEntry) -> &'static str {
    match (peer.coordinator, peer.wanted, peer.allowed) {
        (true, ..) => "coordinator",
        (false, true, _) => "bootstrap",
        (false, false, true) => "allowed",
        (false, false, false) => "not listed",
    }
}

fn state(peer: &PeerEntry) -> String {
    let failures = peer.dial_failures;
    match (&peer.last_error, peer.state == "connected", peer.responsive) {
        (_, true, false) => format!("unresponsive, {} pings missed", peer.missed_pings),
        (_, true, true) => peer.state.clone(),
        (Some(error), false, _) if failures > 0 => {
            format!("{}, {failures} dials failed: {error}", peer.state)
        }
        (_, false, _) => peer.state.clone(),
    }
}

fn seconds(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}
