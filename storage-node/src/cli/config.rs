//! `storage-node config`: the settings as they hold now, or a template.

use std::process::ExitCode;

use anyhow::Result;
use toml::Table;

use super::SettingsArgs;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print a commented template with all settings and their defaults
    #[arg(long)]
    template: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the settings as they hold now, from all sources (the default)
    Show,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    if args.template && args.command.is_none() {
        print!("{}", Config::template(&Table::new()));
        return Ok(ExitCode::SUCCESS);
    }
    let shown = settings.show()?;
    println!("# {}\n", settings.file()?.display());
    print!("{shown}");
    Ok(ExitCode::SUCCESS)
}
