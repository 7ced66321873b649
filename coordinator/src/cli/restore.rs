//! `coordinator restore`: after a restore of the database, find again what was moved since the backup.

use crate::database::Pool;
use anyhow::Result;
use clap::Subcommand;
use kit::output::{print_table, ruled_table};

use crate::durability;
use crate::durability::restore;
use kit::{Clock, Entropy};

use crate::durability::tables::restore::nodes::NodeStatus;

#[derive(Debug, Subcommand)]
pub(super) enum RestoreCommand {
    /// Begin restore mode, best before the first coordinator is started again: the rows of replicas are rebuilt
    /// from what nodes hold. Until it ends nothing is trashed, repaired, audited, charged or paid.
    Begin,
    /// Show how far each node is, and what has been found on it.
    Status,
    /// End restore mode. Coordinators do so by themselves when every node has been gone through.
    Finish {
        /// Do not wait for nodes that have not been gone through: what the database names on them is replaced
        /// from the other nodes. One that does come back is kept out until restore mode is begun again.
        #[arg(long)]
        without_missing_nodes: bool,
    },
}

impl RestoreCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::Begin => begin(pool).await,
            Self::Status => status(pool).await,
            Self::Finish {
                without_missing_nodes,
            } => {
                if !restore::stands(pool).await? {
                    println!("Restore mode is off: there is nothing to finish.");
                    return Ok(());
                }
                restore::finish(pool, without_missing_nodes, Clock::system().now()).await?;
                status(pool).await
            }
        }
    }
}

async fn begin(pool: &Pool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let id = Entropy::system().uuid_v7(Clock::system().now());
    let begun = restore::begin(&mut connection, id).await?;
    println!(
        "{}",
        if begun {
            "Restore mode is on. Coordinators of this database go through every node that is there, and finish \
             by themselves when that is done. `coordinator restore status` shows how far they are."
        } else {
            "Restore mode is on already: see `coordinator restore status`."
        }
    );
    Ok(())
}

async fn status(pool: &Pool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let Some(restore_mode) = durability::tables::restore::last(&mut connection).await? else {
        println!(
            "Restore mode has never been on. `coordinator restore begin` begins it after a restore."
        );
        return Ok(());
    };
    let nodes = durability::tables::restore::nodes::list(&mut connection, restore_mode.id).await?;
    let done = nodes
        .iter()
        .filter(|node| node.adopted_at.is_some())
        .count();
    let (began_at, all) = (restore_mode.began_at, nodes.len());
    match restore_mode.ended_at {
        Some(at) => {
            println!("Restore mode was on from {began_at:.0} to {at:.0}: {done} of {all} nodes.");
        }
        None if restore_mode.is_finishing => println!(
            "Restore mode is on since {began_at:.0}, and finishing: {} replicas are left to settle.",
            restore_mode.findings
        ),
        None => println!(
            "Restore mode is on since {began_at:.0}: {done} of {all} nodes have been gone through."
        ),
    }
    if restore_mode.lost_chunks > 0 {
        println!(
            "Chunks without a copy on any node that was gone through: {}. They belong to files that \
             were deleted after the backup, or their nodes are missing.",
            restore_mode.lost_chunks
        );
    }
    let kept_out = nodes.iter().filter(|node| node.awaits_adoption).count();
    if restore_mode.ended_at.is_some() && kept_out > 0 {
        println!(
            "Nodes that it ended without, and that are kept out: {kept_out}. When they are there again, \
             `coordinator restore begin` goes through them and lets them in."
        );
    }
    if nodes.is_empty() {
        return Ok(());
    }
    let mut table = ruled_table([
        "name",
        "node id",
        "gone through",
        "blobs",
        "known",
        "adopted",
        "from trash",
        "unknown file",
        "unreadable",
        "refused",
        "rows without blob",
    ]);
    for node in &nodes {
        table.add_row(row(node, restore_mode.ended_at.is_some()));
    }
    print_table(table);
    for node in nodes.iter().filter(|node| !node.detail.is_empty()) {
        println!("{}: {}", node.name, node.detail);
    }
    Ok(())
}

fn row(node: &NodeStatus, has_ended: bool) -> [String; 11] {
    let when = match (node.adopted_at, node.last_seen_at) {
        (Some(at), _) => format!("{at:.0}"),
        _ if has_ended && node.awaits_adoption => "kept out".to_owned(),
        _ if has_ended => "joined later".to_owned(),
        _ if node.is_running => "under way".to_owned(),
        (None, Some(seen)) => format!("waits; last seen {seen:.0}"),
        (None, None) => "waits; never seen".to_owned(),
    };
    let found = &node.found;
    let counts = [
        found.held,
        found.known,
        found.adopted,
        found.restored,
        found.unknown,
        found.unreadable,
        found.refused,
        found.missing,
    ];
    let [
        held,
        known,
        adopted,
        restored,
        unknown,
        unreadable,
        refused,
        missing,
    ] = counts.map(|count| count.to_string());
    let (name, id) = (node.name.clone(), node.node_id.to_string());
    [
        name, id, when, held, known, adopted, restored, unknown, unreadable, refused, missing,
    ]
}
