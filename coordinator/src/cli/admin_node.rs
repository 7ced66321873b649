//! `coordinator admin node`: look at nodes, suspend and restore them.

use crate::database::Pool;
use anyhow::{Context, Result};
use clap::Subcommand;
use comfy_table::CellAlignment;
use kit::output::{plain_table, print_table, ruled_table};
use proto::NodeId;

use crate::compose::FACTS;
use crate::fleet;
use crate::fleet::node_status::NodeStates;
use crate::fleet::removal::{self, Removed};
use kit::{Clock, Entropy};
use model::node::Node;
use rules::reputation::hold;

use model::node_state::NodeState;

/// Changes of state that are shown.
const HISTORY: i64 = 50;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// List the nodes, all or those in one state.
    List {
        /// probation, active, suspended, draining, drained or disqualified
        #[arg(long)]
        state: Option<NodeState>,
    },
    /// Show one node with its history.
    Show { node_id: NodeId },
    /// Give a node nothing new.
    Suspend {
        node_id: NodeId,
        /// The operator sees it.
        #[arg(long)]
        reason: String,
    },
    /// Put a node out for good. One that registered and never came is forgotten altogether; any other is disqualified: its
    /// copies are made anew on other nodes, and what is held back of its pay is forfeited. To let a node leave in order,
    /// drain it.
    Remove {
        node_id: NodeId,
        /// The operator sees it.
        #[arg(long)]
        reason: String,
        /// Also if it holds copies that count
        #[arg(long)]
        lose_copies: bool,
    },
    /// Let a suspended or disqualified node begin anew, on probation.
    Restore {
        node_id: NodeId,
        /// The operator sees it.
        #[arg(long)]
        reason: String,
    },
}

impl NodeCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::List { state } => list(pool, state).await,
            Self::Show { node_id } => show(pool, node_id).await,
            Self::Suspend { node_id, reason } => {
                let reason = checked(&reason)?;
                let before = node_states()
                    .suspend(pool, node_id, reason, Clock::system().now())
                    .await?;
                println!("{node_id} was {before} and is now suspended.");
                Ok(())
            }
            Self::Remove {
                node_id,
                reason,
                lose_copies,
            } => {
                let reason = checked(&reason)?;
                let (states, now) = (node_states(), Clock::system().now());
                let removed =
                    removal::remove(&states, pool, node_id, reason, lose_copies, now).await?;
                match removed {
                    Removed::Forgotten => {
                        println!("{node_id} had never been seen, and is forgotten.");
                    }
                    Removed::Disqualified(before) => {
                        println!("{node_id} was {before} and is now disqualified.");
                    }
                }
                Ok(())
            }
            Self::Restore { node_id, reason } => {
                let reason = checked(&reason)?;
                let before = node_states()
                    .restore(pool, node_id, reason, Clock::system().now())
                    .await?;
                println!("{node_id} was {before} and is now on probation.");
                Ok(())
            }
        }
    }
}

fn checked(reason: &str) -> Result<&str> {
    let reason = reason.trim();
    anyhow::ensure!(
        (1..=500).contains(&reason.len()),
        "--reason has 1 to 500 bytes: the operator is to understand what happened"
    );
    Ok(reason)
}

async fn show(pool: &Pool, node_id: NodeId) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let node = fleet::tables::nodes::by_id(&mut connection, node_id)
        .await?
        .with_context(|| format!("no node has the id {node_id}: coordinator admin node list"))?;
    let history = fleet::tables::node_status::history(&mut connection, node_id, HISTORY).await?;
    let mut table = plain_table();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("node", format!("{} ({})", node.name, node.id));
    row("peer id", node.peer_id.to_string());
    let since = node.state_since;
    row("state", format!("{} since {since:.0}", node.state));
    if !node.state_reason.is_empty() {
        row("reason", node.state_reason.clone());
    }
    if let Some(hold) = hold(&node.holds, Clock::system().now()) {
        row("on hold", hold.reason().to_owned());
    }
    row("score", format!("{} of 1000000", node.score_ppm));
    row("blobs", node.blob_count.to_string());
    row("used", used(&node));
    row("presence", presence(&node));
    row(
        "region",
        node.region.clone().unwrap_or_else(|| "-".to_owned()),
    );
    let operator = node.operator.map(|operator| operator.to_string());
    row("operator", operator.unwrap_or_else(|| "-".to_owned()));
    print_table(table);
    if !history.is_empty() {
        let mut table = ruled_table(["at", "from", "to", "by", "reason"]);
        for change in history {
            table.add_row([
                format!("{:.0}", change.at),
                change.from,
                change.to,
                change.cause,
                change.reason,
            ]);
        }
        println!();
        print_table(table);
    }
    Ok(())
}

fn used(node: &Node) -> String {
    let size = bytesize::ByteSize;
    format!("{} of {}", size(node.used_bytes), size(node.capacity_bytes))
}

/// Whether it is there, as coordinators have agreed, and when it last was.
fn presence(node: &Node) -> String {
    let Some(seen) = node.last_seen_at else {
        return "never seen".to_owned();
    };
    if node.awaits_adoption_since.is_some() {
        return format!("kept out (`coordinator restore`); seen {seen:.0}");
    }
    match (node.away_since, node.offline_since) {
        (Some(_), _) => format!("away, its replicas are replaced; seen {seen:.0}"),
        (None, Some(_)) => format!("offline; seen {seen:.0}"),
        (None, None) => format!("seen {seen:.0}"),
    }
}

async fn list(pool: &Pool, state: Option<NodeState>) -> Result<()> {
    const PAGE: i64 = 1000;
    let mut table = ruled_table([
        "name", "node id", "state", "score", "used", "blobs", "presence",
    ]);
    for column in 3..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut after = None;
    loop {
        let mut connection = pool
            .acquire()
            .await
            .context("the database does not answer")?;
        let nodes = fleet::tables::nodes::list(&mut connection, after, PAGE).await?;
        let Some(last) = nodes.last() else { break };
        after = Some(last.id);
        let wanted = nodes
            .into_iter()
            .filter(|node| state.is_none_or(|state| node.state == state));
        for node in wanted {
            table.add_row([
                node.name.clone(),
                node.id.to_string(),
                node.state.to_string(),
                node.score_ppm.to_string(),
                used(&node),
                node.blob_count.to_string(),
                presence(&node),
            ]);
        }
    }
    match (after, state) {
        (None, _) => println!("No node has registered yet."),
        (Some(_), Some(state)) if table.row_count() == 0 => println!("No node is {state}."),
        (Some(_), _) => print_table(table),
    }
    Ok(())
}

fn node_states() -> NodeStates {
    NodeStates {
        facts: FACTS,
        entropy: Entropy::system(),
    }
}
