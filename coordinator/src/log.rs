//! Logs go to standard error: text on a terminal, JSON lines otherwise.

use std::io::IsTerminal;

use tracing_subscriber::fmt;

use crate::config::{LogConfig, LogFormat};

pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = config.env_filter()?;
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    outcome.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
