//! `coordinator admin repair`: what waits for repair, and the end of a hold.

use crate::database::Pool;
use anyhow::Result;
use clap::Subcommand;
use comfy_table::Table;
use jiff::{SignedDuration, Timestamp};
use kit::output::{duration, print_table, ruled_table};

use crate::fleet::guard;
use crate::{durability, fleet};
use kit::Clock;

use crate::durability::tables::repair::Waiting;

#[derive(Debug, Subcommand)]
pub(super) enum RepairCommand {
    /// Show the chunks that wait, by the replicas of theirs that are healthy.
    Status {
        /// For programs: one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// End the hold after a mass failure: from now on what fails is demoted and repaired again.
    Resume {
        /// Kept for those who look later.
        #[arg(long)]
        reason: String,
    },
}

impl RepairCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::Status { json } => status(pool, json).await,
            Self::Resume { reason } => {
                let ended = guard::end_alarm(pool, &reason, Clock::system().now()).await?;
                println!(
                    "{}",
                    if ended {
                        "The hold has ended."
                    } else {
                        "Nothing was on hold."
                    }
                );
                Ok(())
            }
        }
    }
}

async fn status(pool: &Pool, json: bool) -> Result<()> {
    let now = Clock::system().now();
    let mut connection = pool.acquire().await?;
    let waiting = durability::tables::repair::waiting(&mut connection).await?;
    let unreachable = fleet::tables::presence::unreachable(&mut connection).await?;
    let alarm = fleet::tables::node_status::last_alarm(&mut connection).await?;
    let hold = alarm
        .filter(|alarm| alarm.is_on(now))
        .map(|alarm| alarm.until);
    if json {
        let levels = waiting.iter().map(|level| {
            serde_json::json!({
                "healthy": level.healthy,
                "chunks": level.chunks,
                "put_off": level.put_off,
                "oldest_since": level.oldest,
            })
        });
        let document = serde_json::json!({
            "waiting": levels.collect::<Vec<_>>(),
            "nodes_offline": unreachable.offline,
            "nodes_away": unreachable.away,
            "on_hold_until": hold,
        });
        println!("{document:#}");
        return Ok(());
    }
    if let Some(until) = hold {
        println!(
            "On hold until {until:.0} after a mass failure: only chunks with one healthy replica are repaired \
             (coordinator admin repair resume).\n"
        );
    }
    println!(
        "{} nodes are offline, {} of them for longer than the grace.",
        unreachable.offline, unreachable.away
    );
    if waiting.is_empty() {
        println!("No chunk waits for repair.");
    } else {
        print_table(table(&waiting, now));
    }
    Ok(())
}

fn table(waiting: &[Waiting], now: Timestamp) -> Table {
    let mut table = ruled_table(["healthy replicas", "chunks", "in work or put off", "oldest"]);
    for level in waiting {
        let age = now.duration_since(level.oldest).max(SignedDuration::ZERO);
        let age = std::time::Duration::from_secs(age.as_secs().unsigned_abs());
        table.add_row([
            level.healthy.to_string(),
            level.chunks.to_string(),
            level.put_off.to_string(),
            duration(age),
        ]);
    }
    table
}
