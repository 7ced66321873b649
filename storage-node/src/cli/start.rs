//! `storage-node start`: runs the node until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use kit::{Signals, logging};

use super::join::{JoinArgs, VARIABLES};
use super::{SettingsArgs, block_on};
use crate::config::Config;
use crate::membership::register_once;
use crate::node;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Register first if this node never was, once the coordinator answers. For containers, whose data
    /// directory is always there: with this option an unmounted disk would be taken for a new node
    #[arg(long)]
    init: bool,
    #[command(flatten)]
    join: JoinArgs,
    /// Write a JSON file with the node's addresses once it is ready; it is removed when it stops
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(settings: &SettingsArgs, args: Args) -> Result<ExitCode> {
    let config = settings.load()?;
    logging::init(&config.log)?;
    for name in Config::unknown_variables(&VARIABLES) {
        tracing::warn!("the environment variable {name} is no setting and has no effect");
    }
    let reloader = settings.reloader()?;
    block_on(async {
        let mut signals = Signals::install()?;
        if args.init {
            tokio::select! {
                registered = register_once(&config, || args.join.terms()) => registered?,
                signal = signals.received() => {
                    tracing::info!("{signal}: stopped before it was registered");
                    return Ok(());
                }
            }
        }
        node::run(config, reloader, args.ready_file, signals).await
    })?;
    Ok(ExitCode::SUCCESS)
}
