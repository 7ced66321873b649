//! What the operator types. One file for each command.

mod chunks;
mod config;
mod doctor;
mod drain;
mod earnings;
mod identity;
mod init;
mod join;
mod payout;
mod peers;
mod running;
mod start;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use kit::config::Reloader;
use kit::output::print_json;
use toml::Table;

use crate::config::{Config, default_file};
use crate::volume::Volume;

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it failed, or something that was checked is not as it should be; 2 the \
                          command line is wrong; 141 nobody read the output";

const EXAMPLES: &str = "Examples:
  storage-node init --name \"Node in the cellar\" --coordinator-url https://storage.example.org
  storage-node start
  storage-node status
  storage-node status --output json --no-count
  storage-node earnings --days 7
  storage-node drain --dry-run

Exit codes:
  0    all is well
  1    it failed, or something that was checked is not as it should be
  2    the command line is wrong
  141  nobody read the output

Where JSON is asked for (--output json), an error is a JSON document on standard error, too.";

/// Gives disk space to a federated storage network.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXIT_CODES, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from.
#[derive(Debug, clap::Args)]
struct SettingsArgs {
    /// The configuration file [default: storage-node.toml in the user's configuration directory]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting that goes before environment and file; may be repeated
    #[arg(long, global = true, value_name = "TABLE.KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an identity, register with a network and write the configuration file
    Init(init::Args),
    /// Run the node until it is told to stop
    Start(start::Args),
    /// How the node is, how full, and how it stands with its coordinators
    Status(status::Args),
    /// What the node has earned, day by day
    Earnings(earnings::Args),
    /// Have what the node has earned paid out, or see what was
    Payout(payout::Args),
    /// Leave the network in order: show what it means, ask for it, see how far it is, or call it off
    Drain(drain::Args),
    /// Who is connected, how it is, and who will be dialled when
    Peers(peers::Args),
    /// What is wrong with the node, and what to do about it; exits with 1 when anything is
    Doctor(doctor::Args),
    /// List or check the blobs that the node holds
    #[command(subcommand)]
    Chunks(chunks::Command),
    /// Print the configuration
    Config(config::Args),
    /// Show, back up or restore the key that the node is known by
    #[command(subcommand)]
    Identity(identity::Command),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages of all commands into a directory
    Man {
        /// Such as /usr/local/share/man/man1
        dir: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

pub fn run(cli: Cli) -> Result<ExitCode> {
    let settings = cli.settings;
    match cli.command {
        Command::Init(args) => init::run(&settings, args),
        Command::Start(args) => start::run(&settings, args),
        Command::Status(args) => status::run(&settings, &args),
        Command::Earnings(args) => earnings::run(&settings, &args),
        Command::Payout(args) => payout::run(&settings, &args),
        Command::Drain(args) => drain::run(&settings, &args),
        Command::Peers(args) => peers::run(&settings, &args),
        Command::Doctor(args) => doctor::run(&settings, &args),
        Command::Chunks(command) => chunks::run(&settings, command),
        Command::Config(args) => config::run(&settings, &args),
        Command::Identity(command) => identity::run(&settings, command),
        Command::Man { dir } => {
            clap_mangen::generate_to(Cli::command(), &dir)
                .with_context(|| format!("cannot write to {}", dir.display()))?;
            println!("The manual pages are in {}.", dir.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let mut script: Vec<u8> = Vec::new();
            clap_complete::generate(shell, &mut command, "storage-node", &mut script);
            print!("{}", String::from_utf8(script)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl SettingsArgs {
    fn file(&self) -> Result<PathBuf> {
        match &self.config {
            Some(path) => {
                std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
            }
            None => default_file(),
        }
    }

    fn overrides(&self) -> Result<Table> {
        kit::config::refuse_secrets(&self.set)?;
        kit::config::overrides(&self.set)
    }

    /// A file that was named has to be there; the default one may be missing.
    fn load(&self) -> Result<Config> {
        Config::load(&self.file()?, self.config.is_some(), self.overrides()?)
    }

    /// What reads the same sources again while the node runs.
    fn reloader(&self) -> Result<Reloader> {
        Config::reloader(self.file()?, self.config.is_some(), self.overrides()?)
    }

    /// What `load` takes from the same sources, as a file.
    fn show(&self) -> Result<String> {
        Config::show(&self.file()?, self.config.is_some(), self.overrides()?)
    }

    fn volume(&self) -> Result<Volume> {
        Ok(Volume::at(self.load()?.data_dir()?))
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?
        .block_on(work)
}
