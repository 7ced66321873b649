//! `coordinator admin purges`: which nodes have put deletions off, and the undo of deletions.

use crate::database::Pool;
use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use kit::output::{print_table, ruled_table};
use proto::NodeId;

use crate::blobs;
use crate::durability::{self, purge_undo};
use kit::Clock;

/// Nodes keep trash for a week, and what they put off for three days.
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug, Subcommand)]
pub(super) enum PurgesCommand {
    /// Nodes that were ordered to delete more than they remove in a day, and how far an undo is.
    List {
        /// For programs: one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Have nodes bring back what went to their trash since a time, and take back what they were not told yet.
    ///
    /// What no file needs any more goes to the trash again with the next comparisons, a little at a time.
    Undo {
        /// A time ("2026-11-30T14:00Z") or how long ago ("3h", "2d").
        #[arg(long, value_name = "TIME")]
        since: String,
        /// Only this node.
        #[arg(long)]
        node: Option<NodeId>,
    },
}

impl PurgesCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::List { json } => list(pool, json).await,
            Self::Undo { since, node } => undo(pool, &since, node).await,
        }
    }
}

async fn undo(pool: &Pool, since: &str, node: Option<NodeId>) -> Result<()> {
    let since = parse_since(since, Clock::system().now())?;
    let begun = purge_undo::begin(pool, since, node).await?;
    ensure!(
        begun.nodes > 0,
        "{}",
        match node {
            Some(node) => format!(
                "no node that may hold blobs has the id {node}: coordinator admin node list"
            ),
            None => "no node has registered yet".to_owned(),
        }
    );
    println!(
        "{} nodes are to bring back what went to their trash since {since:.0}, each as soon as it is connected: \
         coordinator admin purges list",
        begun.nodes
    );
    if begun.taken_back > 0 {
        println!(
            "{} deletions of which nodes had not been told yet are taken back.",
            begun.taken_back
        );
    }
    println!(
        "If nobody here ordered the deletions, a coordinator's key is in other hands: take that coordinator out \
         (coordinator admin coordinators remove) before anything else."
    );
    Ok(())
}

/// A time, or how long ago.
fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp> {
    let since = match text.parse::<Timestamp>() {
        Ok(since) => since,
        Err(_) => {
            let ago = humantime::parse_duration(text).with_context(|| {
                format!(
                    "--since: `{text}` is neither a time (2026-11-30T14:00Z) nor how long ago (3h)"
                )
            })?;
            let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
            now.saturating_sub(ago).unwrap_or(Timestamp::MIN)
        }
    };
    ensure!(since <= now, "--since: {since:.0} is yet to come");
    ensure!(
        now.duration_since(since) <= LONGEST,
        "--since: {since:.0} is more than 30 days ago, and nodes keep nothing in the trash for so long"
    );
    Ok(since)
}

async fn list(pool: &Pool, json: bool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let braked = blobs::tables::brakes::list(&mut connection).await?;
    let undos = durability::tables::purge_undos::list(&mut connection).await?;
    if json {
        let braked = braked.iter().map(|node| {
            serde_json::json!({
                "node_id": node.node_id, "name": node.name, "blobs": node.blobs,
                "until": node.until, "since": node.since,
            })
        });
        let undos = undos.iter().map(|undo| {
            serde_json::json!({
                "node_id": undo.node_id, "name": undo.name, "since": undo.since,
                "requested_at": undo.requested_at, "restored": undo.restored, "done_at": undo.done_at,
            })
        });
        let document = serde_json::json!({
            "braked_nodes": braked.collect::<Vec<_>>(),
            "undos": undos.collect::<Vec<_>>(),
        });
        println!("{document:#}");
        return Ok(());
    }
    if braked.is_empty() {
        println!("No node has put deletions off.");
    } else {
        let mut table = ruled_table([
            "node",
            "node id",
            "blobs put off",
            "since",
            "gone for good from",
        ]);
        for node in braked {
            let until = node
                .until
                .map_or("-".to_owned(), |until| format!("{until:.0}"));
            table.add_row([
                node.name,
                node.node_id.to_string(),
                node.blobs.to_string(),
                format!("{:.0}", node.since),
                until,
            ]);
        }
        print_table(table);
        println!("\nUntil then: coordinator admin purges undo --since <time>");
    }
    if !undos.is_empty() {
        let mut table = ruled_table(["node", "node id", "undo since", "blobs back", "state"]);
        for undo in undos {
            let state = match undo.done_at {
                Some(at) => format!("done {at:.0}"),
                None => format!("asked for {:.0}", undo.requested_at),
            };
            table.add_row([
                undo.name,
                undo.node_id.to_string(),
                format!("{:.0}", undo.since),
                undo.restored.to_string(),
                state,
            ]);
        }
        println!();
        print_table(table);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago_and_neither_to_come_nor_long_gone() {
        let now: Timestamp = "2026-11-30T14:00:00Z".parse().unwrap();
        let parse = |text| parse_since(text, now);
        assert_eq!(parse("3h").unwrap().to_string(), "2026-11-30T11:00:00Z");
        assert_eq!(
            parse("2026-11-29T00:00Z").unwrap().to_string(),
            "2026-11-29T00:00:00Z"
        );
        for wrong in [
            "yesterday",
            "",
            "-3h",
            "2026-12-01T00:00Z",
            "40d",
            "2026-01-01T00:00Z",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
