//! `coordinator ledger verify`: replays everything from the first transfer. What it believes is the
//! events, the files, the penalties, and the uptime of days whose windows are no longer kept; every
//! amount, balance and hash is worked out anew and compared with what the tables say.

use std::collections::HashMap;
use std::io::Write;

use futures::TryStreamExt;
use jiff::Timestamp;
use ledger::{ExportError, Findings, Format, KeptHead, Provenance, TableError, TransferRow};
use proto::{MicroCredits, NetworkId, NodeId, VerifyingKey};
use serde::Deserialize;
use sqlx::PgConnection;

use crate::database::Pool;

use crate::billing::tables::ledger_history;
use crate::billing::tables::ledger_history::{DayRow, NodeDayRow};
use crate::bookkeeping::chart;
use crate::bookkeeping::chart::transfer_kind;
use crate::fleet;
use model::ids::UserId;
use model::money::{AmountTooLarge, Carry, PricePerGbMonth};
use model::scheme::Scheme;
use rules::file_meter::FileMeter;
use rules::node_pay::{assess, earned};
use rules::uptime::Stretch;

/// Days and rows that are read at a time.
const PAGE: i64 = 1000;

/// What a verification has gone through, and what it has found.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    pub transfers: u64,
    pub unsealed: u64,
    pub blocks: u64,
    pub days: u64,
    pub node_days: u64,
    /// Node-days whose uptime was worked out anew; of older ones the windows are gone.
    pub uptimes: u64,
    pub files: u64,
    /// Where the ledger is not what it has to be.
    pub findings: Findings,
}

impl Verification {
    pub fn is_sound(&self) -> bool {
        self.findings.count() == 0
    }
}

/// Reads one moment of the database, however long it takes. Heads of days, those in the database and those that
/// somebody kept, are checked against the network's key where one is given.
pub async fn verify(
    pool: &Pool,
    network: Option<(NetworkId, VerifyingKey)>,
    kept: &[KeptHead],
) -> Result<Verification, TableError> {
    let mut transaction = ledger::snapshot(pool.connections()).await?;
    let mut report = replay(&mut transaction, network.clone()).await?;
    if !kept.is_empty() {
        let in_database = ledger_history::heads(&mut transaction).await?;
        let in_database = in_database.into_iter().map(|head| KeptHead {
            source: "the database".to_owned(),
            head,
        });
        let all: Vec<KeptHead> = kept.iter().cloned().chain(in_database).collect();
        let findings = &mut report.findings;
        ledger::verify_heads(&mut transaction, &all, network.as_ref(), findings).await?;
    }
    Ok(report)
}

/// Writes the ledger out, with what was signed of it. Returns how many transfers that were.
pub async fn export(
    pool: &Pool,
    network: Option<(NetworkId, String)>,
    format: Format,
    out: &mut (impl Write + Send),
) -> Result<u64, ExportError> {
    let mut transaction = ledger::snapshot(pool.connections())
        .await
        .map_err(TableError::from)?;
    let heads = ledger_history::heads(&mut transaction).await;
    let provenance = Provenance {
        network,
        heads: heads.map_err(TableError::from)?,
    };
    ledger::export(&mut transaction, format, &provenance, out).await
}

/// Verifies what this transaction sees.
pub async fn replay(
    connection: &mut PgConnection,
    network: Option<(NetworkId, VerifyingKey)>,
) -> Result<Verification, TableError> {
    let ledger = ledger::verify(connection, check_refund).await?;
    let mut report = Verification {
        transfers: ledger.transfers,
        unsealed: ledger.unsealed,
        blocks: ledger.blocks,
        findings: ledger.findings,
        ..Verification::default()
    };
    escrows(connection, &mut report).await?;
    for file in ledger_history::unended_files(connection, PAGE).await? {
        report.findings.find(format!(
            "file {file}: it is gone, and nodes still earn for it"
        ));
    }
    for finding in ledger_history::odd_money(connection).await? {
        report.findings.find(finding);
    }
    days(connection, &mut report, network).await?;
    Ok(report)
}

/// What a file's end returned of its escrow is what its use had left.
fn check_refund(transfer: &TransferRow, findings: &mut Findings) {
    let ends = [transfer_kind::DELETE, transfer_kind::EXPIRE];
    if !ends.iter().any(|kind| kind.name() == transfer.kind) {
        return;
    }
    let id = transfer.id;
    match final_refund(&transfer.cause) {
        Some(Ok(refund)) => {
            let given = transfer
                .entries
                .iter()
                .find(|(_, account, _)| account == chart::USER_AVAILABLE.name());
            let given = given.map_or(0, |(_, _, amount)| amount.get());
            findings.check(given == refund.get(), || {
                format!(
                    "transfer {id}: it returns {given} of a file's escrow instead of {refund:?}"
                )
            });
        }
        _ => findings.find(format!(
            "transfer {id}: its cause does not say how the file was used"
        )),
    }
}

/// What the end of a file has to return, from what the transfer says of the file.
fn final_refund(cause: &str) -> Option<Result<MicroCredits, AmountTooLarge>> {
    #[derive(Deserialize)]
    struct Cause {
        since: Timestamp,
        until: Timestamp,
        size_bytes: u64,
        /// Of files that were sold before names were billed it is the size.
        billed_bytes: Option<u64>,
        replicas: u32,
        /// Of coded files.
        #[serde(default = "of_copies")]
        data_pieces: u32,
        price_microcredits: u64,
        paid_microcredits: MicroCredits,
        #[serde(default)]
        trial_microcredits: MicroCredits,
    }
    let cause: Cause = serde_json::from_str(cause).ok()?;
    let meter = FileMeter {
        billed_bytes: cause.billed_bytes.unwrap_or(cause.size_bytes),
        scheme: Scheme::of_row(
            cause.data_pieces.cast_signed(),
            cause.replicas.cast_signed(),
        ),
        price: PricePerGbMonth::from_microcredits(cause.price_microcredits),
        since: cause.since,
        paid: cause.paid_microcredits,
        trial: cause.trial_microcredits,
    };
    Some(meter.end(cause.since, cause.until).map(|end| end.refund))
}

const fn of_copies() -> u32 {
    1
}

/// What a user has in escrow is what was paid in for the stored files, less what days have taken out.
async fn escrows(connection: &mut PgConnection, report: &mut Verification) -> sqlx::Result<()> {
    let mut rows = std::pin::pin!(ledger_history::escrows(connection));
    let mut open: Option<(UserId, MicroCredits, i128)> = None;
    let compare = |report: &mut Verification, open: Option<(UserId, MicroCredits, i128)>| {
        if let Some((user, escrow, expected)) = open {
            report
                .findings
                .check(i128::from(escrow.get()) == expected, || {
                    format!(
                        "user {user}: escrow is {} and stored files say {expected}",
                        escrow.get()
                    )
                });
        }
    };
    while let Some(row) = rows.try_next().await? {
        if open.is_none_or(|(user, ..)| user != row.user_id) {
            compare(report, open);
            open = Some((row.user_id, row.escrow, 0));
        }
        let Some(meter) = row.meter else { continue };
        report.files += 1;
        match (meter.charged(row.charged_until), &mut open) {
            (Ok(charged), Some((_, _, expected))) => {
                *expected += i128::from(meter.paid.get()) - i128::from(charged.get());
            }
            _ => report.findings.find(format!(
                "user {}: a file's use is beyond all amounts",
                row.user_id
            )),
        }
    }
    compare(report, open);
    Ok(())
}

/// Days follow each other, and what nodes were paid for them follows from the events.
async fn days(
    connection: &mut PgConnection,
    report: &mut Verification,
    network: Option<(NetworkId, VerifyingKey)>,
) -> sqlx::Result<()> {
    let mut nodes: HashMap<NodeId, (i128, Carry)> = HashMap::new();
    let (mut from, mut end): (i64, Option<Timestamp>) = (0, None);
    let windows_since = fleet::tables::uptime::kept_since(connection).await?;
    loop {
        let page = ledger_history::days(connection, from, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        from = last.number + 1;
        for day in page {
            report.days += 1;
            report
                .findings
                .check(end.is_none_or(|end| end == day.starts_at), || {
                    format!(
                        "day {}: it does not begin where the one before ended",
                        day.label
                    )
                });
            end = Some(day.ends_at);
            check_head(report, &day, network.as_ref());
            if day.number > 0 && day.counted {
                check_day(connection, report, &day, &mut nodes).await?;
                if day.starts_at >= windows_since {
                    check_uptimes(connection, report, &day).await?;
                }
            }
        }
    }
}

fn check_head(
    report: &mut Verification,
    day: &DayRow,
    network: Option<&(NetworkId, VerifyingKey)>,
) {
    let Some((head, block_hash)) = &day.head else {
        return;
    };
    report.findings.check(head.block_hash == *block_hash, || {
        format!(
            "day {}: its head is not the hash of block {}",
            day.label, head.block_number
        )
    });
    if let Some((network_id, key)) = network {
        report
            .findings
            .check(head.verify(*network_id, key).is_ok(), || {
                format!(
                    "day {}: its head is not signed by the network's key",
                    day.label
                )
            });
    }
}

async fn check_day(
    connection: &mut PgConnection,
    report: &mut Verification,
    day: &DayRow,
    nodes: &mut HashMap<NodeId, (i128, Carry)>,
) -> sqlx::Result<()> {
    let mut moved: HashMap<NodeId, (i128, i128)> = HashMap::new();
    for (node, bytes, byte_ms) in
        ledger_history::moved(connection, day.starts_at, day.ends_at).await?
    {
        moved.insert(node, (bytes, byte_ms));
    }
    let day_ms = i128::from(day.ends_at.as_millisecond() - day.starts_at.as_millisecond());
    for row in ledger_history::node_days(connection, day.number).await? {
        report.node_days += 1;
        let (bytes, carry) = nodes.entry(row.node_id).or_default();
        let (gained, gained_ms) = moved.remove(&row.node_id).unwrap_or_default();
        let byte_ms = *bytes * day_ms + gained_ms;
        let place = || format!("node {} on day {}", row.node_id, day.label);
        report
            .findings
            .check(i128::from(row.bytes_at_start) == *bytes, || {
                format!(
                    "{}: it began with {} bytes, events say {bytes}",
                    place(),
                    row.bytes_at_start
                )
            });
        report
            .findings
            .check(u128::try_from(byte_ms) == Ok(row.byte_ms), || {
                format!(
                    "{}: {} byte-milliseconds, events say {byte_ms}",
                    place(),
                    row.byte_ms
                )
            });
        *bytes += gained;
        check_pay(report, day, &row, carry, &place);
    }
    for (node, (bytes, _)) in moved {
        report.findings.check(bytes == 0, || {
            format!("node {node} on day {}: it was not counted", day.label)
        });
    }
    for (node, charge, amount) in ledger_history::settled_charges(connection, day.number).await? {
        let expected = assess(&[charge], day.pay).ok();
        let expected = expected.and_then(|list| list.penalties.first().map(|(_, cost)| *cost));
        report.findings.check(expected == Some(amount), || {
            format!(
                "node {node} on day {}: a penalty of {} is not what it costs",
                day.label,
                amount.get()
            )
        });
    }
    Ok(())
}

/// Recorded uptime follows from the windows in which the node was seen.
async fn check_uptimes(
    connection: &mut PgConnection,
    report: &mut Verification,
    day: &DayRow,
) -> sqlx::Result<()> {
    for row in ledger_history::node_days(connection, day.number).await? {
        let Some(settled) = &row.settled else {
            continue;
        };
        report.uptimes += 1;
        let stretch = Stretch::new(day.starts_at.max(row.registered_at), day.ends_at);
        let Some(rule) = settled.uptime_rule else {
            report.findings.check(false, || {
                format!(
                    "node {} on day {}: its uptime was worked out by a rule that this release does not know; \
                     verify with the newest one",
                    row.node_id, day.label
                )
            });
            continue;
        };
        let seen =
            fleet::tables::uptime::uptime_ppm(connection, row.node_id, stretch, rule).await?;
        report.findings.check(settled.uptime_ppm == seen, || {
            format!(
                "node {} on day {}: an uptime of {} ppm was settled, its windows say {seen}",
                row.node_id, day.label, settled.uptime_ppm
            )
        });
    }
    Ok(())
}

fn check_pay(
    report: &mut Verification,
    day: &DayRow,
    row: &NodeDayRow,
    carry: &mut Carry,
    place: &impl Fn() -> String,
) {
    let Some(settled) = &row.settled else { return };
    let metered = day.pay.meter(row.byte_ms, settled.carry_before);
    report.findings.check(settled.carry_before == *carry, || {
        format!(
            "{}: the fraction of the day before was not carried over",
            place()
        )
    });
    report
        .findings
        .check(metered == Ok((settled.gross, settled.carry_after)), || {
            format!(
                "{}: gross {} is not byte-seconds times pay",
                place(),
                settled.gross.get()
            )
        });
    *carry = settled.carry_after;
    let full = earned(settled.gross, settled.uptime_ppm);
    // A node that was disqualified forfeits what was not settled yet.
    report.findings.check(
        settled.earned == full || settled.earned == MicroCredits::ZERO,
        || {
            format!(
                "{}: it earned {} instead of {}",
                place(),
                settled.earned.get(),
                full.get()
            )
        },
    );
    let expected = (
        -settled.earned.get(),
        settled.held.get(),
        settled.available.get(),
    );
    report.findings.check(settled.moved == expected, || {
        format!(
            "{}: its transfer moved {:?} instead of {expected:?}",
            place(),
            settled.moved
        )
    });
    let expected = (settled.penalties.get(), settled.given_back.get());
    report.findings.check(settled.single == expected, || {
        format!(
            "{}: single penalties come to {:?}, not {expected:?}",
            place(),
            settled.single
        )
    });
}
