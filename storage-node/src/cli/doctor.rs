//! `storage-node doctor`: what is wrong with the node, and what to do about it.

use std::process::ExitCode;

use anyhow::Result;
use blobstore::{Deferred, disk_space};
use bytesize::ByteSize;
use jiff::Timestamp;
use serde::Serialize;

use super::{Output, SettingsArgs, block_on, print_json, running};
use crate::admin::NodeStatus;
use crate::config::Config;
use crate::membership::{CoordinatorStatus, LedgerEvidence};
use crate::peers::{PeerEntry, PeersReport, Reachability};
use crate::volume::Volume;

/// Tokens and signatures allow a minute; a clock that is off by more than this will get there.
const CLOCK_TOLERANCE_MS: u64 = 5_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// Nothing to worry about, but good to know.
    Note,
    Bad,
}

#[derive(Debug, Serialize)]
struct Finding {
    about: String,
    verdict: Verdict,
    text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, about: &str, verdict: Verdict, text: String, fix: Option<&str>) {
        self.0.push(Finding {
            about: about.to_owned(),
            verdict,
            text,
            fix: fix.map(str::to_owned),
        });
    }

    fn good(&mut self, about: &str, text: String) {
        self.add(about, Verdict::Good, text, None);
    }

    fn bad(&mut self, about: &str, text: String, fix: &str) {
        self.add(about, Verdict::Bad, text, Some(fix));
    }
}

/// Exit code 1 when anything is bad.
pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    let (status, peers) = block_on(async {
        let status = running::ask::<NodeStatus>(&volume, "/status");
        let peers = running::ask::<PeersReport>(&volume, "/peers");
        Ok(tokio::join!(status, peers))
    })?;
    let mut findings = Findings::default();
    let usable = examine_data(&mut findings, &config, &volume);
    examine_ledger(&mut findings, LedgerEvidence::read(volume.root()));
    match (&status, &peers) {
        (Some(status), Some(peers)) => {
            examine_disk(&mut findings, status);
            examine_deletions(&mut findings, status.deferred);
            examine_coordinators(&mut findings, status, peers);
            examine_reachability(&mut findings, peers, config.p2p.upnp);
        }
        _ if usable => examine_silence(&mut findings, &volume),
        _ => {} // it could not start, and why has been said
    }
    match args.output {
        Output::Json => print_json(&findings)?,
        Output::Table => print_table(&findings),
    }
    let sick = findings
        .0
        .iter()
        .any(|finding| finding.verdict == Verdict::Bad);
    Ok(ExitCode::from(u8::from(sick)))
}

/// Whether a node could start with them.
fn examine_data(findings: &mut Findings, config: &Config, volume: &Volume) -> bool {
    if let Err(error) = volume.open(config.store.layout) {
        findings.bad(
            "data",
            format!("{error:#}"),
            "storage-node init, or node.data_dir in the configuration",
        );
        return false;
    }
    match disk_space(volume.root()) {
        Ok((free, _)) => {
            let (root, free) = (volume.root().display(), ByteSize(free));
            findings.good("data", format!("{root}, {free} free"));
        }
        Err(error) => findings.bad(
            "data",
            format!("its disk cannot be measured: {error}"),
            "check that the disk is mounted and readable",
        ),
    }
    true
}

/// Heads of days prove by themselves that the ledger was rewritten: the node need not run.
fn examine_ledger(findings: &mut Findings, kept: Result<LedgerEvidence>) {
    let about = "ledger";
    let kept = match kept {
        Ok(kept) => kept,
        Err(error) => {
            return findings.bad(
                about,
                format!("what was kept of it cannot be read: {error:#}"),
                "let this account read the data directory; what is damaged can be moved away, the node \
                 begins anew",
            );
        }
    };
    match (kept.contradictions.first(), &kept.last_day) {
        (Some(first), _) => findings.bad(
            about,
            format!("the network's ledger was rewritten: {first}"),
            "keep ledger-contradictions.json and ledger-days.json, they prove it to everybody; ask the \
             network's operator for an export, and check it: coordinator verify-ledger EXPORT \
             ledger-days.json. If its database was restored from a backup and you believe that, move both \
             away and start the node again",
        ),
        (None, Some(last)) => findings.good(
            about,
            format!(
                "heads of {} days kept, the last one of {last}; none contradicts another",
                kept.days_kept
            ),
        ),
        (None, None) => {}
    }
}

/// What to do about a node that does not answer: `start` refuses one that is not registered.
fn examine_silence(findings: &mut Findings, volume: &Volume) {
    match volume.is_registered() {
        Ok(true) => findings.bad(
            "node",
            "it does not run, or its admin API does not answer".to_owned(),
            "storage-node start",
        ),
        Ok(false) => findings.bad(
            "node",
            "it is not registered with a network, and cannot start".to_owned(),
            "storage-node init",
        ),
        Err(error) => findings.bad(
            "node",
            format!("{error:#}"),
            "let this account read the data directory",
        ),
    }
}

fn examine_disk(findings: &mut Findings, status: &NodeStatus) {
    if let Some(fault) = &status.fault {
        findings.bad(
            "disk",
            format!("it refuses writes: {fault}"),
            "free space on it or replace it; the node goes on by itself when writes succeed",
        );
        return;
    }
    let (used, capacity) = (status.quota.used_bytes, status.quota.capacity_bytes);
    let text = format!("{} of {} used", ByteSize(used), ByteSize(capacity));
    if status.quota.free_bytes == 0 {
        findings.add(
            "disk",
            Verdict::Note,
            format!("{text}: full, no new blobs come"),
            Some("raise node.capacity, or free space if the disk is what is full"),
        );
    } else {
        findings.good("disk", text);
    }
}

fn examine_deletions(findings: &mut Findings, deferred: Deferred) {
    let Some(until) = first_until(deferred) else {
        return findings.good("deletions", "none was put off".to_owned());
    };
    let (blobs, bytes) = (deferred.held.blobs, ByteSize(deferred.held.bytes));
    findings.bad(
        "deletions",
        format!(
            "coordinators ordered more to be deleted than this node removes in a day: {blobs} blobs ({bytes}) \
             were put into the trash instead, the first of which are gone for good at {until:.0}"
        ),
        "ask the network's administrator whether that was meant; if not, `coordinator admin purges undo` \
         brings it back, and the coordinators' keys may be in other hands",
    );
}

/// Until when the first of what was put off can be brought back; `None` when nothing was.
pub(super) fn first_until(deferred: Deferred) -> Option<Timestamp> {
    let until = i64::try_from(deferred.first_until_ms?).ok()?;
    Timestamp::from_millisecond(until).ok()
}

fn examine_coordinators(findings: &mut Findings, status: &NodeStatus, peers: &PeersReport) {
    if status.coordinators.is_empty() {
        findings.bad(
            "coordinator",
            "the network document names none".to_owned(),
            "storage-node init",
        );
    }
    for (peer_id, coordinator) in &status.coordinators {
        let peer = peers.peers.iter().find(|peer| peer.peer_id == *peer_id);
        examine_coordinator(findings, coordinator, peer);
        examine_clock(findings, coordinator);
    }
}

fn examine_coordinator(
    findings: &mut Findings,
    coordinator: &CoordinatorStatus,
    peer: Option<&PeerEntry>,
) {
    let about = "coordinator";
    let addr = peer.and_then(|peer| peer.addr.clone()).unwrap_or_default();
    if !coordinator.connected {
        let error = peer.and_then(|peer| peer.last_error.clone());
        let error = error.unwrap_or_else(|| "no reason is known".to_owned());
        findings.bad(
            about,
            format!("not connected ({error}) {addr}"),
            "check that this machine is online and that a firewall lets it connect outwards; a node \
             that is not registered is hung up on: storage-node init",
        );
    } else if let Some(reason) = &coordinator.rejection {
        let text = format!("connected, does not accept the node: {reason}");
        findings.bad(about, text, "do what the coordinator says");
    } else if peer.is_some_and(|peer| !peer.responsive) {
        findings.bad(
            about,
            format!("connected and silent {addr}"),
            "wait: the connection is made anew if it does not speak soon",
        );
    } else {
        let rtt = peer.and_then(|peer| peer.rtt_smoothed_ms);
        let rtt = rtt.map_or(String::new(), |rtt| format!(", round trip {rtt:.1} ms"));
        findings.good(
            about,
            format!("connected, {}{rtt} {addr}", coordinator.state),
        );
    }
}

fn examine_clock(findings: &mut Findings, coordinator: &CoordinatorStatus) {
    let Some(difference) = coordinator.clock_difference_ms else {
        return;
    };
    let text = format!(
        "{:+.1} s from the coordinator's",
        difference as f64 / 1000.0
    );
    if difference.unsigned_abs() > CLOCK_TOLERANCE_MS {
        findings.bad(
            "clock",
            text,
            "let this machine's clock follow NTP (timedatectl set-ntp true)",
        );
    } else {
        findings.good("clock", text);
    }
}

fn examine_reachability(findings: &mut Findings, peers: &PeersReport, asks_router: bool) {
    let about = "reachability";
    let report = &peers.reachability;
    match report.outcome {
        Reachability::Public => {
            let addrs = report.external_addrs.join(", ");
            findings.good(about, format!("others reach this node at {addrs}"));
        }
        Reachability::Private => findings.add(
            about,
            Verdict::Note,
            "others cannot open connections to this node, which does not need them".to_owned(),
            Some(
                "to help others find the network: p2p.upnp = true, or forward a port and name it in \
                 p2p.external_addrs",
            ),
        ),
        Reachability::Unknown => findings.add(
            about,
            Verdict::Note,
            "nobody has tested yet whether others can reach this node, which does not need it"
                .to_owned(),
            None,
        ),
    }
    if asks_router {
        let helped = report.outcome == Reachability::Public;
        findings.add(
            "UPnP",
            if helped { Verdict::Good } else { Verdict::Note },
            report.upnp.clone(),
            (!helped).then_some(
                "let the router allow UPnP, or forward a port by hand and name it in \
                 p2p.external_addrs",
            ),
        );
    }
    let connected = peers.peers.iter().filter(|peer| peer.state == "connected");
    let text = format!(
        "{} connected, {} known",
        connected.count(),
        peers.peers.len()
    );
    findings.good("peers", text);
}

fn print_table(findings: &Findings) {
    for finding in &findings.0 {
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Note => "note",
            Verdict::Bad => "BAD ",
        };
        println!("{mark} {:<13} {}", finding.about, finding.text);
        if let Some(fix) = &finding.fix {
            println!("     {:<13} -> {fix}", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Contradiction;
    use crate::peers::ReachabilityReport;

    fn found(outcome: Reachability, asks_router: bool) -> Option<(Verdict, String)> {
        let report = PeersReport {
            peer_id: String::new(),
            listen_addrs: Vec::new(),
            reachability: ReachabilityReport {
                outcome,
                external_addrs: Vec::new(),
                unreachable: Vec::new(),
                upnp: "what the router said".to_owned(),
            },
            kademlia_peers: None,
            kademlia_serves: false,
            peers: Vec::new(),
            learnt: Vec::new(),
        };
        let mut findings = Findings::default();
        examine_reachability(&mut findings, &report, asks_router);
        let mut findings = findings.0.into_iter();
        let finding = findings.find(|finding| finding.about == "UPnP")?;
        assert_eq!(finding.fix.is_some(), finding.verdict == Verdict::Note);
        Some((finding.verdict, finding.text))
    }

    #[test]
    fn a_ledger_that_was_rewritten_is_bad_whatever_else_is_good() {
        let head = |hash| proto::LedgerDay {
            day: "2026-11-21".to_owned(),
            block_number: 7,
            block_hash: [hash; 32],
            signature: proto::Signature::from_bytes([0; 64]),
        };
        let mut evidence = LedgerEvidence {
            days_kept: 1,
            last_day: Some("2026-11-21".to_owned()),
            contradictions: Vec::new(),
        };
        let found = |evidence: &LedgerEvidence| {
            let mut findings = Findings::default();
            examine_ledger(&mut findings, Ok(evidence.clone()));
            findings.0.pop().map(|finding| finding.verdict)
        };
        assert_eq!(found(&LedgerEvidence::default()), None);
        assert_eq!(found(&evidence), Some(Verdict::Good));
        evidence.contradictions.push(Contradiction {
            noticed_at: jiff::Timestamp::UNIX_EPOCH,
            kept: head(1),
            told: head(2),
        });
        assert_eq!(found(&evidence), Some(Verdict::Bad));
    }

    #[test]
    fn what_the_router_said_is_told_to_who_lets_it_be_asked() {
        assert_eq!(found(Reachability::Private, false), None);
        for (outcome, verdict) in [
            (Reachability::Public, Verdict::Good),
            (Reachability::Private, Verdict::Note),
            (Reachability::Unknown, Verdict::Note),
        ] {
            let text = "what the router said".to_owned();
            assert_eq!(found(outcome, true), Some((verdict, text)));
        }
    }
}
