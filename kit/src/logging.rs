//! Logs go to standard error: text where a person looks, JSON lines where a program does. A line that cannot be written,
//! because the disk is full for instance, is lost, and nothing else is.

use std::io::IsTerminal;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
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

/// This crate logs whatever is refused to a client as an error of its own. Who answers logs what is one.
const SILENT: &str = "s3s";

impl LogConfig {
    /// For those who check all settings before anything starts.
    pub fn check(&self) -> Result<()> {
        self.env_filter().map(|_| ())
    }

    fn env_filter(&self) -> Result<EnvFilter> {
        let filter = match self.filter.contains(SILENT) {
            true => self.filter.clone(),
            false => format!("{},{SILENT}=off", self.filter),
        };
        EnvFilter::try_new(filter).with_context(|| {
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
    // By default a line that cannot be written is reported there as well, which panics.
    let logs = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let (started, set) = if text {
        let logs = logs.with_ansi(is_terminal).with_target(false);
        let logs = logs.with_filter_reloading();
        let handle = logs.reload_handle();
        let set: SetFilter = Box::new(move |filter| handle.reload(filter).is_ok());
        (logs.try_init(), set)
    } else {
        let logs = logs.json().flatten_event(true).with_filter_reloading();
        let handle = logs.reload_handle();
        let set: SetFilter = Box::new(move |filter| handle.reload(filter).is_ok());
        (logs.try_init(), set)
    };
    started.map_err(|error| anyhow!("logging cannot be started: {error}"))?;
    let _ = SET_FILTER.set(set);
    Ok(())
}

type SetFilter = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// What changes the filter of the logs that [`init`] has started.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// From now on logs are filtered like this. The format stays.
pub fn set_filter(config: &LogConfig) -> Result<()> {
    let filter = config.env_filter()?;
    let set = SET_FILTER.get().is_some_and(|set| set(filter));
    ensure!(set, "log.filter cannot be changed: no logs were started");
    Ok(())
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
