//! The TOML files that the programs of a cluster are started with.
//!
//! They are written anew at every start from the cluster's record and the user's overrides, so a
//! change by hand does not last; each file says so.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::files;
use crate::record::{CoordinatorRecord, NodeRecord};

/// `--config FILE`: settings that win over what the cluster would choose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    #[serde(default)]
    pub coordinator: Table,
    #[serde(default)]
    pub node: Table,
}

impl Overrides {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        text.parse()
            .with_context(|| format!("{} cannot be used", path.display()))
    }

    /// How many copies the coordinator makes, 3 unless overridden.
    pub fn replicas(&self) -> usize {
        let replicas = || {
            let value = self.coordinator.get("placement")?.get("replicas")?;
            usize::try_from(value.as_integer()?).ok()
        };
        replicas().unwrap_or(3)
    }
}

impl std::str::FromStr for Overrides {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        toml::from_str(text).context("it may hold the tables [coordinator] and [node], no others")
    }
}

pub fn coordinator(
    dir: &Path,
    record: &CoordinatorRecord,
    database_url: &str,
    overrides: &Overrides,
) -> Result<Table> {
    let mut table = toml::toml! {
        [placement]
        // All nodes of a local cluster stand in one place.
        distinct_domains = false
        [repair]
        // Whoever takes a node away wants to see what comes of it.
        grace = "30s"
        interval = "2s"
    };
    set(
        &mut table,
        "http.listen",
        format!("127.0.0.1:{}", record.http_port),
    );
    if let Some(metrics) = record.metrics {
        set(&mut table, "metrics.listen", metrics.to_string());
    }
    set(&mut table, "database.url", database_url);
    set(&mut table, "p2p.listen", record.p2p.clone());
    set(&mut table, "keys.dir", utf8(&dir.join("keys"))?);
    merge(&mut table, &overrides.coordinator);
    Ok(table)
}

pub fn node(
    dir: &Path,
    record: &NodeRecord,
    coordinator_url: &str,
    overrides: &Overrides,
) -> Result<Table> {
    let mut table = toml::toml! {
        [node]
        capacity = "10GB"
        [p2p]
        listen = ["/ip4/127.0.0.1/tcp/0"]
        [admin]
        listen = "127.0.0.1:0"
        // The pauses of a real network would make every experiment a wait.
        [reconnect]
        initial = "200ms"
        max = "2s"
        spread = "500ms"
    };
    set(&mut table, "node.name", record.name.as_str());
    set(&mut table, "node.data_dir", utf8(&dir.join("data"))?);
    set(&mut table, "node.coordinator_url", coordinator_url);
    merge(&mut table, &overrides.node);
    merge(&mut table, &record.overrides);
    Ok(table)
}

pub fn write(path: &Path, table: &Table) -> Result<()> {
    let text = format!(
        "# Written by local-cluster at every start. To change settings, pass a file with the tables\n\
         # [coordinator] and [node] to `local-cluster up --config FILE`.\n\n{table}"
    );
    files::write_private(path, text.as_bytes())
}

/// Sets `table.key`, the only depth that settings have.
fn set(table: &mut Table, name: &str, value: impl Into<Value>) {
    let (outer, inner) = name.split_once('.').unwrap_or(("", name));
    let entry = table
        .entry(outer)
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(entry) = entry {
        entry.insert(inner.to_owned(), value.into());
    }
}

/// Tables are merged key by key, anything else is replaced.
fn merge(base: &mut Table, overrides: &Table) {
    for (key, value) in overrides {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(overrides)) => merge(base, overrides),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn utf8(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(text) => Ok(text),
        None => bail!(
            "the path {} is not UTF-8, which TOML needs; choose another with --dir",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_key_by_key() {
        let overrides: Overrides = "[node.node]\ncapacity = \"1MB\"\n[node.scrub]\nperiod = \"1d\""
            .parse()
            .unwrap();
        let mut record = NodeRecord::new(1);
        record.overrides = toml::toml! {
            [node]
            region = "attic"
        };
        let table = node(Path::new("/d"), &record, "http://c", &overrides).unwrap();
        assert_eq!(table["node"]["region"].as_str(), Some("attic"));
        assert_eq!(table["node"]["capacity"].as_str(), Some("1MB"));
        assert_eq!(table["node"]["name"].as_str(), Some("node-1"));
        assert_eq!(table["scrub"]["period"].as_str(), Some("1d"));
    }

    #[test]
    fn a_table_that_belongs_to_no_program_is_refused() {
        let error = "[nodes]\nx = 1".parse::<Overrides>().unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `nodes`"));
    }
}
