//! Logs go to standard error: text where a person looks, JSON lines where a program does.

use std::io::IsTerminal;

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

pub fn init(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("log.filter: `{}` is not a filter", config.filter))?;
    let text = match config.format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match text {
        true => logs.with_ansi(std::io::stderr().is_terminal()).try_init(),
        false => logs.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow!("logging cannot be started: {error}"))
}
