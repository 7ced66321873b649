//! What an operator sees of a status: whether all is well, in the first line; room, earnings, proofs, uptime, what went
//! through the line; and, below the table, what to do next. It fits a terminal of 80 columns and 24 lines.

use std::time::Duration;

use api::nodes::Node;
use blobstore::Tally;
use bytesize::ByteSize;
use jiff::Timestamp;
use kit::output::{Table, ago, counted, duration, plain_table};

use super::super::{doctor, drain};
use super::Report;
use crate::admin::{Activity, NodeStatus};
use crate::membership::CoordinatorStatus;

/// Below this share of what the node may take it is nearly full.
const NEARLY_FULL: u64 = 20;

pub(super) struct Screen {
    pub table: Table,
    /// What to do next, a sentence.
    pub next: String,
}

impl Screen {
    pub(super) fn of(report: &Report, now: Timestamp) -> Self {
        let mut screen = Self {
            table: plain_table(),
            next: next_step(report),
        };
        screen.row("state", state(report, now));
        screen.of_node(report);
        screen.of_network(report, now);
        screen.of_room(report);
        screen.of_work(report, now);
        screen.of_ledger(report);
        screen
    }

    fn row(&mut self, name: &str, value: impl Into<String>) {
        self.table.add_row([name.to_owned(), value.into()]);
    }

    fn of_node(&mut self, report: &Report) {
        if let Some(node) = &report.node {
            self.row("node", format!("{} ({})", node.name, node.node_id));
        }
        self.row("data", report.data_dir.clone());
    }

    fn of_network(&mut self, report: &Report, now: Timestamp) {
        for (peer, status) in report.node.iter().flat_map(|node| &node.coordinators) {
            let relation = relation(status, now);
            self.row("coordinator", format!("{}: {relation}", short_peer(peer)));
        }
        let Some(standing) = report.standing.as_ref().map(|standing| &standing.node) else {
            // What the node was told with its last heartbeat.
            let mut told = report
                .node
                .iter()
                .flat_map(|node| node.coordinators.values());
            if let Some(status) = told.find(|status| status.accepted) {
                self.row(
                    "in the network",
                    with_reason(&status.state, &status.state_reason),
                );
            }
            return;
        };
        self.row("in the network", standing_of(standing, now));
        if standing.on_hold {
            let why = standing.hold_reason.as_deref();
            self.row("on hold", why.unwrap_or("nothing new for some hours"));
        }
        if let Some(uptime) = standing.uptime_ppm {
            let percent = f64::from(uptime) / 10_000.0;
            self.row(
                "uptime",
                format!("{percent:.2} % of the last day that was settled"),
            );
        }
        if let Some(progress) = &report.drain {
            let since = ago(now, progress.started_at);
            self.row(
                "drain",
                format!("{}; begun {since}", drain::moved(progress)),
            );
        }
    }

    fn of_room(&mut self, report: &Report) {
        let used = ByteSize(report.used_bytes);
        let free = ByteSize(report.disk_free_bytes);
        self.row(
            "space",
            match report.capacity_bytes {
                Some(capacity) => {
                    format!("{used} of {}; the disk has {free} free", ByteSize(capacity))
                }
                None => format!("{used}; the disk has {free} free"),
            },
        );
        let counts = &report.catalogue;
        let mut blobs = tally(counts.live);
        if counts.trashed.blobs > 0 {
            blobs += &format!(", {} in the trash", tally(counts.trashed));
        }
        self.row("blobs", blobs);
        let bad = counts.corrupt.blobs + counts.lost.blobs;
        if bad > 0 {
            let (corrupt, lost) = (counts.corrupt.blobs, counts.lost.blobs);
            self.row(
                "damaged",
                format!("{} corrupt, {lost} gone", counted(corrupt, "blob")),
            );
        }
        if report.agree == Some(false) {
            let on_disk = report.on_disk.map_or(String::new(), tally);
            self.row("on disk", format!("{on_disk}: not what the catalogue says"));
        }
        if let Some(until) = doctor::first_until(report.deferred) {
            let held = tally(report.deferred.held);
            self.row(
                "put off",
                format!(
                    "{held}: more was to be deleted than in a day; the first goes at {until:.0}"
                ),
            );
        }
    }

    fn of_work(&mut self, report: &Report, now: Timestamp) {
        let Some(node) = &report.node else {
            return;
        };
        let earned = node
            .coordinators
            .values()
            .map(|status| status.earned_microcredits);
        let earned = proto::MicroCredits::new(earned.max().unwrap_or(0));
        self.row("earned", format!("{earned} credits"));
        let served = &node.served;
        self.row(
            "proofs",
            match served.last_challenge_at {
                None => "not challenged since the start".to_owned(),
                Some(at) => format!(
                    "{} given, {} not, {} put off; the last challenge {}",
                    served.proven,
                    served.not_proven,
                    served.put_off,
                    ago(now, at)
                ),
            },
        );
        let (stored, read) = (ByteSize(served.stored_bytes), ByteSize(served.read_bytes));
        self.row(
            "since the start",
            format!(
                "{} ({stored}) came, {} ({read}) were read",
                counted(served.stored_blobs, "blob"),
                counted(served.read_blobs, "blob")
            ),
        );
    }

    fn of_ledger(&mut self, report: &Report) {
        if let Some(contradiction) = report.ledger.contradictions.first() {
            self.row("ledger", format!("REWRITTEN: {contradiction}"));
        } else if let Some(last) = &report.ledger.last_day {
            let days = counted(report.ledger.days_kept as u64, "day");
            self.row(
                "ledger",
                format!("heads of {days} kept, the last one of {last}"),
            );
        }
    }
}

fn state(report: &Report, now: Timestamp) -> String {
    let Some(node) = &report.node else {
        return "not running".to_owned();
    };
    let up = now.duration_since(node.started_at).as_secs();
    let up = duration(Duration::from_secs(u64::try_from(up).unwrap_or(0)));
    match (&node.fault, problem(report)) {
        (Some(fault), _) => format!("NOT WELL: the disk refuses writes: {fault}"),
        (None, Some(problem)) => format!("NOT WELL: {problem}"),
        (None, None) if node.activity == Activity::Draining => {
            format!("all is well: leaving the network; up for {up}")
        }
        (None, None) => format!("all is well; up for {up}"),
    }
}

/// What is wrong with a node that runs.
fn problem(report: &Report) -> Option<&'static str> {
    let node = report.node.as_ref()?;
    let counts = &report.catalogue;
    let accepted = node.coordinators.values().any(|status| status.accepted);
    if !report.ledger.contradictions.is_empty() {
        return Some("the network's ledger was rewritten");
    }
    if !accepted {
        return Some("no coordinator has accepted the node");
    }
    if report.agree == Some(false) {
        return Some("catalogue and disk do not agree");
    }
    (counts.corrupt.blobs + counts.lost.blobs > 0).then_some("blobs were damaged or lost")
}

fn next_step(report: &Report) -> String {
    let Some(node) = &report.node else {
        return "Next: storage-node start".to_owned();
    };
    let step = if node.fault.is_some() {
        "mend the disk; the node goes on by itself when it can write again."
    } else if report.agree == Some(false) {
        "storage-node chunks verify"
    } else if problem(report).is_some() {
        "storage-node doctor says what to do."
    } else if report.drain.is_some() {
        "keep the node running until it has drained: storage-node drain --wait"
    } else if let Some(standing) = network_step(report) {
        standing
    } else if nearly_full(node) {
        "the node is nearly full: raise node.capacity, or leave it as it is."
    } else {
        "nothing. Keep the node running."
    };
    format!("Next: {step}")
}

fn network_step(report: &Report) -> Option<&'static str> {
    let standing = &report.standing.as_ref()?.node;
    match standing.state.as_str() {
        "suspended" => Some("find out why proofs fail: storage-node doctor"),
        "disqualified" => Some("this node is out of the network for good; begin as a new one."),
        "drained" => Some("the node may be stopped for good."),
        "probation" => Some("keep it running: a new node gets more when it has proven itself."),
        _ => None,
    }
}

fn nearly_full(node: &NodeStatus) -> bool {
    node.quota.free_bytes < node.quota.capacity_bytes / NEARLY_FULL
}

fn standing_of(node: &Node, now: Timestamp) -> String {
    let state = with_reason(&node.state, &node.state_reason);
    let score = f64::from(node.score_ppm) / 10_000.0;
    format!(
        "{state}, since {}; score {score:.2} %",
        ago(now, node.state_since)
    )
}

fn with_reason(state: &str, reason: &str) -> String {
    match reason.is_empty() {
        true => state.to_owned(),
        false => format!("{state} ({reason})"),
    }
}

fn relation(status: &CoordinatorStatus, now: Timestamp) -> String {
    match (status.connected, &status.rejection) {
        (false, _) => "not connected".to_owned(),
        (true, Some(reason)) => format!("does not accept the node: {reason}"),
        (true, None) => match status.last_heartbeat_at {
            Some(at) => format!("connected, heard of {}", ago(now, at)),
            None => "connected".to_owned(),
        },
    }
}

/// Enough of a peer id to tell it from others: they all begin alike.
fn short_peer(peer: &str) -> String {
    let count = peer.chars().count();
    match count > 12 {
        true => format!("…{}", peer.chars().skip(count - 8).collect::<String>()),
        false => peer.to_owned(),
    }
}

fn tally(tally: Tally) -> String {
    format!(
        "{} ({})",
        counted(tally.blobs, "blob"),
        ByteSize(tally.bytes)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use blobstore::{Counts, Deferred, ScrubStatus, Space};
    use kit::output::fitted;
    use proto::NodeId;

    use super::*;
    use crate::membership::LedgerEvidence;
    use crate::served::ServedStatus;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn report() -> Report {
        let live = Tally {
            blobs: 1203,
            bytes: 315_000_000,
            disk_bytes: 320_000_000,
        };
        let accepted = CoordinatorStatus {
            connected: true,
            accepted: true,
            state: "active".to_owned(),
            earned_microcredits: 12_500_000,
            last_heartbeat_at: Some(at(-3)),
            ..CoordinatorStatus::default()
        };
        let coordinator = "12D3KooWGRUfmpJhXUXFEkCu4pWH4p3xwGVN9TbCrjUEuLAnZpwk";
        Report {
            running: true,
            data_dir: "/var/lib/fsn-node".to_owned(),
            capacity_bytes: Some(500_000_000_000),
            used_bytes: 320_000_000,
            disk_free_bytes: 600_000_000_000,
            catalogue: Counts {
                live,
                trashed: Tally {
                    blobs: 1,
                    bytes: 262_172,
                    disk_bytes: 266_240,
                },
                ..Counts::default()
            },
            deferred: Deferred::default(),
            on_disk: None,
            agree: None,
            ledger: LedgerEvidence::default(),
            node: Some(NodeStatus {
                name: "Node in the cellar".to_owned(),
                node_id: NodeId::from_bytes([7; 16]),
                peer_id: String::new(),
                network_id: String::new(),
                software: String::new(),
                started_at: at(-273_600),
                activity: Activity::Running,
                fault: None,
                quota: Space {
                    capacity_bytes: 500_000_000_000,
                    used_bytes: 320_000_000,
                    reserved_bytes: 0,
                    free_bytes: 499_000_000_000,
                    disk_free_bytes: 600_000_000_000,
                    disk_total_bytes: 1_000_000_000_000,
                },
                catalogue: Counts::default(),
                deferred: Deferred::default(),
                scrub: ScrubStatus::default(),
                served: ServedStatus {
                    stored_blobs: 1,
                    stored_bytes: 262_172,
                    read_blobs: 20,
                    read_bytes: 5_243_440,
                    challenges: 12,
                    proven: 190,
                    not_proven: 0,
                    put_off: 2,
                    last_challenge_at: Some(at(-754)),
                },
                coordinators: BTreeMap::from([(coordinator.to_owned(), accepted)]),
                ledger: LedgerEvidence::default(),
                handshakes: BTreeMap::new(),
            }),
            standing: None,
            drain: None,
        }
    }

    fn shown(report: &Report) -> String {
        let screen = Screen::of(report, at(0));
        format!("{}\n\n{}", fitted(screen.table, Some(80)), screen.next)
    }

    #[test]
    fn a_node_that_is_well_is_told_on_one_screen() {
        let screen = shown(&report());
        let lines: Vec<&str> = screen.lines().map(str::trim_start).collect();
        let should = [
            "state           all is well; up for 3d 4h",
            "node            Node in the cellar (07070707-0707-0707-0707-070707070707)",
            "data            /var/lib/fsn-node",
            "coordinator     …uLAnZpwk: connected, heard of 3s ago",
            "in the network  active",
            "space           305.2 MiB of 465.7 GiB; the disk has 558.8 GiB free",
            "blobs           1203 blobs (300.4 MiB), 1 blob (256.0 KiB) in the trash",
            "earned          12.5 credits",
            "proofs          190 given, 0 not, 2 put off; the last challenge 12m 34s ago",
            "since the start 1 blob (256.0 KiB) came, 20 blobs (5.0 MiB) were read",
            "",
            "Next: nothing. Keep the node running.",
        ];
        let squeezed: Vec<String> = lines.iter().map(|line| squeeze(line)).collect();
        let should: Vec<String> = should.iter().map(|line| squeeze(line)).collect();
        assert_eq!(squeezed, should, "{screen}");
        assert!(
            screen.lines().all(|line| line.chars().count() <= 80),
            "{screen}"
        );
        assert!(screen.lines().count() <= 24, "{screen}");
    }

    fn squeeze(line: &str) -> String {
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_wrong_comes_first_and_says_what_to_do() {
        let mut unaccepted = report();
        if let Some(node) = &mut unaccepted.node {
            node.coordinators.clear();
        }
        let screen = shown(&unaccepted);
        assert!(
            screen.contains("NOT WELL: no coordinator has accepted the node"),
            "{screen}"
        );
        assert!(
            screen.ends_with("Next: storage-node doctor says what to do."),
            "{screen}"
        );

        let mut faulty = report();
        if let Some(node) = &mut faulty.node {
            node.fault = Some("No space left on device ".repeat(9));
        }
        let screen = shown(&faulty);
        assert!(
            screen.contains("NOT WELL: the disk refuses writes"),
            "{screen}"
        );
        assert!(
            screen.lines().all(|line| line.chars().count() <= 80),
            "{screen}"
        );

        let mut stopped = report();
        stopped.node = None;
        let screen = shown(&stopped);
        assert!(screen.contains("not running"), "{screen}");
        assert!(screen.ends_with("Next: storage-node start"), "{screen}");
    }
}
