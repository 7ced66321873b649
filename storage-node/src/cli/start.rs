use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::{SettingsArgs, block_on};
use crate::{logging, node};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a JSON file with the node's addresses once it is ready; it is removed when it stops
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(super) fn run(settings: &SettingsArgs, args: Args) -> Result<ExitCode> {
    let config = settings.load()?;
    logging::init(&config.log)?;
    block_on(async { node::run(config, args.ready_file).await })?;
    Ok(ExitCode::SUCCESS)
}
