use std::process::ExitCode;

use anyhow::Result;
use bytesize::ByteSize;
use toml::Value;

use super::SettingsArgs;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Args {
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
        print!("{}", Config::template(&[]));
        return Ok(ExitCode::SUCCESS);
    }
    let config = settings.load()?;
    println!("# {}\n", settings.file()?.display());
    print!("{}", Config::template(&effective(&config)?));
    Ok(ExitCode::SUCCESS)
}

/// Every setting that has a value.
fn effective(config: &Config) -> Result<Vec<(&'static str, Value)>> {
    let text = |value: &dyn ToString| Value::String(value.to_string());
    let time = |value| Value::String(humantime::format_duration(value).to_string());
    let size = |value: ByteSize| Value::String(format!("{} B", value.0));
    let listen: Vec<Value> = config.p2p.listen.iter().map(|addr| text(addr)).collect();
    let mut settings = vec![
        ("node.data_dir", text(&config.data_dir()?.display())),
        ("p2p.listen", Value::Array(listen)),
        ("admin.listen", text(&config.admin.listen)),
        ("admin.allow_remote", config.admin.allow_remote.into()),
        ("reconnect.initial", time(config.reconnect.initial)),
        ("reconnect.max", time(config.reconnect.max)),
        ("reconnect.factor", config.reconnect.factor.into()),
        (
            "reconnect.attempts",
            i64::from(config.reconnect.attempts).into(),
        ),
        ("reconnect.rest", time(config.reconnect.rest)),
        ("reconnect.spread", time(config.reconnect.spread)),
        ("ping.interval", time(config.ping.interval)),
        ("ping.timeout", time(config.ping.timeout)),
        ("ping.failures", i64::from(config.ping.failures).into()),
        ("scrub.period", time(config.scrub.period)),
        ("trash.retention", time(config.trash.retention)),
        ("log.filter", text(&config.log.filter)),
        ("log.format", Value::try_from(config.log.format)?),
    ];
    let node = &config.node;
    let optional = [
        ("node.name", node.name.as_ref().map(|name| text(name))),
        (
            "node.coordinator_url",
            node.coordinator_url.as_ref().map(|url| text(url)),
        ),
        ("node.capacity", node.capacity.map(size)),
        ("node.peer_id", node.peer_id.as_ref().map(|id| text(id))),
        (
            "store.layout",
            config.store.layout.as_ref().map(|layout| text(layout)),
        ),
        (
            "node.region",
            node.region.as_ref().map(|region| text(region)),
        ),
    ];
    settings.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Ok(settings)
}
