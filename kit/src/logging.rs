//! Logs go to standard error: text where a person looks, JSON lines where a program does.

use std::io::IsTerminal;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// Logs, on standard error.
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct LogConfig {
    /// What is logged: a level, or a filter like "info,network=debug".
    #[config(default = "info", env = "FSN_LOG_FILTER")]
    pub filter: String,

    /// "text", "json", or "auto": text on a terminal, JSON lines otherwise.
    #[config(default = "auto", env = "FSN_LOG_FORMAT")]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}

impl LogConfig {
    /// For those who check all settings before anything starts.
    pub fn check(&self) -> Result<()> {
        self.env_filter().map(|_| ())
    }

    fn env_filter(&self) -> Result<EnvFilter> {
        EnvFilter::try_new(&self.filter).with_context(|| {
            format!(
                "log.filter `{}` cannot be read: it is a level, or a filter like \"info,network=debug\"",
                self.filter
            )
        })
    }
}

/// Once in a process, as early as its settings are known.
pub fn init(config: &LogConfig) -> Result<()> {
    let filter = config.env_filter()?;
    let is_terminal = std::io::stderr().is_terminal();
    let text = match config.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if text {
        logs.with_ansi(is_terminal).with_target(false).try_init()
    } else {
        logs.json().flatten_event(true).try_init()
    };
    started.map_err(|error| anyhow!("logging cannot be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_an_example() {
        let config = LogConfig {
            filter: "a=b=c".to_owned(),
            format: LogFormat::Auto,
        };
        let error = format!("{:#}", config.check().unwrap_err());
        assert!(error.contains("log.filter `a=b=c`"), "{error}");
    }
}
