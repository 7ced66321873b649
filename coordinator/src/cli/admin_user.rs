//! `coordinator admin user`: what accounts may do beside storing files.

use crate::database::Pool;
use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use comfy_table::Table;
use comfy_table::presets::NOTHING;

use crate::accounts::tables::users;
use crate::config::Config;
use crate::fleet;
use crate::fleet::node_tokens;

/// More nodes than any fleet of one account has.
const MOST_NODES: u32 = 1_000_000;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Show what an account may do, and what it has of nodes.
    Show { email: String },
    /// Let an account have so many nodes, for which it makes its own tokens (`POST /api/v1/nodes/tokens`). 0 takes the
    /// right away; nodes that are there stay.
    AllowNodes { email: String, count: u32 },
}

impl UserCommand {
    pub(super) async fn run(self, config: &Config, pool: &Pool) -> Result<()> {
        let mut connection = pool.acquire().await?;
        match self {
            Self::Show { email } => {
                let right = users::node_right_of(&mut connection, &email).await?;
                let right = right.with_context(|| nobody(&email))?;
                let operator = right.user_id;
                let has =
                    fleet::tables::nodes::count_of_operator(&mut connection, operator).await?;
                let quota = node_tokens::quota(right, config.nodes.admission);
                let mut table = Table::new();
                table.load_style(NOTHING);
                let mut row = |name: &str, value: String| {
                    table.add_row([name.to_owned(), value]);
                };
                row("account", format!("{email} ({})", right.user_id));
                row("role", right.role.name().to_owned());
                row(
                    "may have",
                    quota.map_or_else(
                        || "any number of nodes".to_owned(),
                        |n| format!("{n} nodes"),
                    ),
                );
                row(
                    "has",
                    format!("{has} (nodes, and tokens that wait for theirs)"),
                );
                println!("{table}");
                Ok(())
            }
            Self::AllowNodes { email, count } => {
                ensure!(
                    count <= MOST_NODES,
                    "an account may have at most {MOST_NODES} nodes"
                );
                if !users::set_node_quota(&mut connection, &email, count).await? {
                    bail!(nobody(&email));
                }
                match count {
                    0 => println!("{email} may add no more nodes; those that are there stay."),
                    count => println!("{email} may have {count} nodes."),
                }
                Ok(())
            }
        }
    }
}

fn nobody(email: &str) -> String {
    format!("nobody is registered as {email}")
}
