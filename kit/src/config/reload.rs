//! Settings that are read anew while the program runs.

use std::collections::BTreeSet;

use anyhow::Result;
use confique::Config;
use toml::Table;

use super::Sources;
use crate::logging::{LogConfig, set_filter};

/// Reads the sources again, as they were put together at the start, and knows what held until now.
pub struct Reloader {
    read: Box<dyn Fn() -> Result<(Table, LogConfig)> + Send>,
    held: Table,
}

/// What can be taken over by a program that runs; everything else needs a restart.
const TAKEN_OVER: &str = "log.filter";

impl Reloader {
    /// `sources` puts them together, the file read anew; `checked` gives what [`Sources::load`] would, or says what is
    /// wrong with it.
    pub fn new<C: Config + 'static>(
        sources: impl Fn() -> Result<Sources> + Send + 'static,
        checked: impl Fn(C) -> Result<LogConfig> + Send + 'static,
    ) -> Result<Self> {
        let read = move || {
            let sources = sources()?;
            let log = checked(sources.load()?)?;
            Ok((sources.settings::<C>()?, log))
        };
        let (held, _) = read()?;
        Ok(Self {
            read: Box::new(read),
            held,
        })
    }

    /// Takes over what can be, and tells in the log what cannot. Settings that are wrong change nothing.
    pub fn reload(&mut self) {
        match self.take_over() {
            Ok(changed) if changed.is_empty() => {
                tracing::info!("SIGHUP: read the settings anew, and none has changed");
            }
            Ok(changed) => {
                let (taken, waiting): (Vec<String>, Vec<String>) =
                    changed.into_iter().partition(|name| name == TAKEN_OVER);
                let (taken, waiting) = (taken.join(", "), waiting.join(", "));
                if waiting.is_empty() {
                    tracing::info!(taken, "SIGHUP: read the settings anew");
                } else {
                    tracing::warn!(
                        taken,
                        waiting,
                        "SIGHUP: read the settings anew; those that wait need a restart"
                    );
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "SIGHUP: the settings are wrong, and stay as they were"
                );
            }
        }
    }

    fn take_over(&mut self) -> Result<BTreeSet<String>> {
        let (now, log) = (self.read)()?;
        let changed = changed(&self.held, &now);
        set_filter(&log)?;
        self.held = now;
        Ok(changed)
    }
}

/// The names of the settings in which two sets differ.
fn changed(before: &Table, after: &Table) -> BTreeSet<String> {
    let names = |one: &Table, other: &Table| -> Vec<String> {
        let tables = one
            .iter()
            .filter_map(|(name, table)| Some((name, table.as_table()?)));
        let settings = tables.flat_map(|(name, table)| {
            let other = other.get(name).and_then(|table| table.as_table());
            let differs = move |(key, value): &(&String, &toml::Value)| {
                other.and_then(|other| other.get(*key)) != Some(*value)
            };
            let keys = table.iter().filter(differs);
            keys.map(move |(key, _)| format!("{name}.{key}"))
        });
        settings.collect()
    };
    let mut changed: BTreeSet<String> = names(before, after).into_iter().collect();
    changed.extend(names(after, before));
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_taken_away_or_set_to_another_value_has_changed() {
        let before = toml::toml! {
            [log]
            filter = "info"
            [http]
            listen = "127.0.0.1:80"
            workers = 4
        };
        let after = toml::toml! {
            [log]
            filter = "debug"
            [http]
            listen = "127.0.0.1:80"
            [auth]
            ttl = "1m"
        };
        let changed: Vec<String> = changed(&before, &after).into_iter().collect();
        assert_eq!(changed, ["auth.ttl", "http.workers", "log.filter"]);
        assert!(super::changed(&before, &before).is_empty());
    }
}
