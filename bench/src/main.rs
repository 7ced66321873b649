//! `bench`: how fast the network is, and how fast it could be.
//!
//! `transfer` measures the whole network; `limit` the same work with nothing around it. Machines
//! differ and have their moods, so the number that counts is the ratio of the two, measured in turn
//! (`transfer --pair`). `store` looks at the store of one node alone; `chaos` and `crash` look at what
//! is left when things go wrong.

mod audits;
mod chaos_bench;
mod content;
mod crash;
mod full_node;
mod layout;
mod limit;
mod limit_node;
mod measure;
mod network;
mod peer;
mod placement;
mod proofs;
mod reconcile;
mod repair;
mod report;
mod seal;
mod siege;
mod small;
mod store;
mod store_node;
mod transfer;

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kit::printing;
use serde::Serialize;

/// Measures the network on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Files up and down through a fresh local cluster
    Transfer {
        #[command(flatten)]
        options: Options,
        /// Run `limit` in turn with it and print the ratio
        #[arg(long)]
        pair: bool,
        /// A TOML file whose tables [coordinator] and [node] override those programs' settings
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Small files up and down through a fresh local cluster: how many a second, how long each
    Small {
        #[command(flatten)]
        options: small::Options,
        /// A TOML file whose tables [coordinator] and [node] override those programs' settings
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// The bare pipeline: read, seal × 3, hash, libp2p × 3, hash, append and flush; no HTTP, no database
    Limit {
        #[command(flatten)]
        options: Options,
    },
    /// Proofs of storage: what one costs its node and its coordinator
    Proofs {
        /// How many of each; medians are shown
        #[arg(long, default_value_t = 1000, value_name = "N")]
        count: usize,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Choosing the nodes of a chunk, by the size of the fleet
    Placement {
        /// Chunks that are placed in each fleet
        #[arg(long, default_value_t = 2000, value_name = "N")]
        count: usize,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Sealing and opening chunks with the crate aes-gcm beside aws-lc, one core
    Seal {
        /// How often each is measured; medians are shown
        #[arg(long, default_value_t = 300, value_name = "N")]
        rounds: usize,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// A node's store with a million small blobs beside an empty one
    Store(store::StoreBench),
    /// A node with a million small blobs beside an empty one, as their coordinator sees them
    Node {
        #[command(flatten)]
        node: full_node::NodeBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// The audit: challenges a second through a fresh local cluster, and the cost of its schedule
    Audits {
        #[command(flatten)]
        audits: audits::AuditBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// A node that dies for good: how soon every chunk has all its replicas again
    Repair {
        #[command(flatten)]
        repair: repair::RepairBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// A node and the database that differ a little: what it costs to find that out
    Reconcile {
        #[command(flatten)]
        reconcile: reconcile::ReconcileBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// A node's store that is killed in the middle of its work, again and again
    Crash {
        #[command(flatten)]
        crash: crash::CrashBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    #[command(hide = true)]
    CrashNode(crash::CrashNode),
    #[command(hide = true)]
    StoreNode(store_node::StoreNode),
    /// Faults of all kinds under load, and a check that nothing acknowledged was lost
    Chaos {
        #[command(flatten)]
        chaos: chaos_bench::ChaosBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Attacks of all kinds at once, and what one honest user notices of them
    Siege {
        #[command(flatten)]
        siege: siege::SiegeBench,
        #[arg(long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// The peer layer: set-up, failures noticed, the fleet's return, what idle peers cost
    Network(network::NetworkBench),
    #[command(hide = true)]
    LimitNode(limit_node::LimitNode),
    #[command(hide = true)]
    NetworkPeers(network::NetworkPeers),
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// How often; medians are shown
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    #[arg(long, value_delimiter = ',', default_values = ["1GiB", "100MiB"], value_name = "SIZE,…")]
    sizes: Vec<ByteSize>,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    const PROGRAM: &str = "bench";
    printing::install(PROGRAM);
    match Cli::try_parse() {
        Ok(cli) => printing::finish(PROGRAM, run(cli).map(|()| ExitCode::SUCCESS)),
        Err(told) => printing::usage(PROGRAM, told.print(), told.exit_code()),
    }
}

fn run(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        match cli.command {
            Command::LimitNode(node) => node.run().await,
            Command::Store(bench) => bench.run().await,
            Command::StoreNode(node) => node.run().await,
            Command::CrashNode(node) => node.run().await,
            Command::Crash { crash, output } => output.print(&Box::pin(crash.run()).await?),
            Command::NetworkPeers(peers) => peers.run().await,
            Command::Network(bench) => Box::pin(bench.run()).await,
            Command::Transfer {
                options,
                pair,
                config,
            } => {
                options.check()?;
                let report = transfer::run(&options, pair, config.as_deref()).await?;
                options.output.print(&report)
            }
            Command::Small {
                options,
                config,
                output,
            } => output.print(&small::run(&options, config.as_deref()).await?),
            Command::Limit { options } => {
                options.check()?;
                let report = limit::run(&options).await?;
                options.output.print(&report)
            }
            Command::Audits { audits, output } => output.print(&audits.run().await?),
            Command::Chaos { chaos, output } => {
                let report = Box::pin(chaos.run()).await?;
                output.print(&report)?;
                ensure!(
                    report.passed(),
                    "what must never happen has happened: see above"
                );
                Ok(())
            }
            Command::Siege { siege, output } => {
                let report = Box::pin(siege.run()).await?;
                output.print(&report)?;
                ensure!(
                    report.broken.is_empty(),
                    "an honest user has noticed the siege: see above"
                );
                Ok(())
            }
            Command::Repair { repair, output } => output.print(&Box::pin(repair.run()).await?),
            Command::Node { node, output } => output.print(&Box::pin(node.run()).await?),
            Command::Reconcile { reconcile, output } => {
                output.print(&Box::pin(reconcile.run()).await?)
            }
            Command::Proofs { count, output } => {
                ensure!(count > 0, "--count must be at least 1");
                output.print(&proofs::run(count)?)
            }
            Command::Placement { count, output } => {
                ensure!(count > 0, "--count must be at least 1");
                output.print(&placement::run(count)?)
            }
            Command::Seal { rounds, output } => {
                ensure!(rounds > 0, "--rounds must be at least 1");
                output.print(&seal::run(rounds)?)
            }
        }
    })
}

impl Options {
    fn check(&self) -> Result<()> {
        ensure!(self.runs > 0, "--runs must be at least 1");
        ensure!(self.nodes >= 3, "three replicas need --nodes 3 or more");
        ensure!(
            self.sizes.iter().all(|size| size.as_u64() > 0),
            "a file of 0 bytes has no speed; --sizes must be greater"
        );
        Ok(())
    }
}

impl Output {
    fn print(self, report: &(impl Display + Serialize)) -> Result<()> {
        match self {
            Self::Text => print!("{report}"),
            Self::Json => kit::output::print_json(report)?,
        }
        Ok(())
    }
}

/// A line about what goes on, apart from the results on standard output.
fn narrate(line: &str) {
    eprintln!("{line}");
}
