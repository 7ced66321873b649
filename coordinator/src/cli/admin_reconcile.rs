//! `coordinator admin reconcile`: how nodes and database compare, and what to do when they do not.

use crate::database::Pool;
use anyhow::{Result, ensure};
use clap::Subcommand;
use kit::output::{print_table, ruled_table};
use proto::NodeId;

use crate::durability;
use crate::durability::tables::reconcile::Status;

#[derive(Debug, Subcommand)]
pub(super) enum ReconcileCommand {
    /// Show what the last comparison of each node came to; those that were held back come first.
    Status,
    /// Compare a node now.
    Run {
        node_id: NodeId,
        /// Put right whatever is found, however much it is. Look at `status` first: after a restore of
        /// the database this would throw away what the backup does not know.
        #[arg(long)]
        force: bool,
    },
}

impl ReconcileCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::Status => status(pool).await,
            Self::Run { node_id, force } => {
                let mut connection = pool.acquire().await?;
                let made = durability::tables::reconcile::make_due(&mut connection, node_id, force)
                    .await?;
                ensure!(
                    made,
                    "{node_id} has never been compared: it is when it has been online for a while"
                );
                let how = if force {
                    ", and what is found is put right"
                } else {
                    ""
                };
                println!("{node_id} is compared as soon as it is online{how}.");
                Ok(())
            }
        }
    }
}

async fn status(pool: &Pool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let nodes = durability::tables::reconcile::list(&mut connection).await?;
    if nodes.is_empty() {
        println!("No node has been online yet.");
        return Ok(());
    }
    let mut table = ruled_table([
        "name",
        "node id",
        "last run",
        "came to",
        "held",
        "named",
        "unknown",
        "missing",
        "unreadable",
        "next run",
    ]);
    for node in &nodes {
        table.add_row(row(node));
    }
    print_table(table);
    for node in &nodes {
        if let Some((_, ended)) = &node.last
            && !ended.detail.is_empty()
        {
            println!("{}: {}", node.name, ended.detail);
        }
    }
    Ok(())
}

fn row(node: &Status) -> [String; 10] {
    let next = match node.is_running {
        true => "under way".to_owned(),
        false => format!("{:.0}", node.due_at),
    };
    let (at, outcome, counts) = match &node.last {
        None => ("never".to_owned(), String::new(), Default::default()),
        Some((at, ended)) => {
            let found = &ended.findings;
            let counts = [
                found.held,
                found.named,
                found.unknown,
                found.missing,
                found.foreign,
            ];
            (
                format!("{at:.0}"),
                ended.outcome.name().replace('_', " "),
                counts.map(|count| count.to_string()),
            )
        }
    };
    let [held, named, unknown, missing, unreadable] = counts;
    let (name, id) = (node.name.clone(), node.node_id.to_string());
    [
        name, id, at, outcome, held, named, unknown, missing, unreadable, next,
    ]
}
