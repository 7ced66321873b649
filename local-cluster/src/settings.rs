//! The TOML files that the programs of a cluster are started with.
//!
//! They are written anew at every start from the cluster's record and the user's overrides, so a
//! change by hand does not last; each file says so.

use std::path::Path;

use anyhow::{Result, bail};
use kit::private_file;
use toml::{Table, Value};

use crate::overrides::Overrides;
use crate::record::{CoordinatorRecord, NodeRecord};

pub(crate) fn coordinator(
    dir: &Path,
    record: &CoordinatorRecord,
    database_url: &str,
    overrides: &Overrides,
) -> Result<Table> {
    let mut table = toml::toml! {
        [http]
        // Everybody here has one address.
        max_connections_per_address = 1024
        [placement]
        // All nodes of a local cluster stand in one place.
        distinct_domains = false
        // Everybody here comes from one address, and scripts are quick.
        [auth]
        // What is tried out here is no secret.
        password_min_length = 7
        refuse_common_passwords = false
        requests_per_address = 100000
        requests_per_account = 100000
        [uploads]
        max_open_per_user = 100000
        sessions_per_minute = 1000000
        [money]
        // Nobody pays to try something out.
        provider = "mock"
        purchase_max_usd = 1000000
        open_purchases = 10000
        purchases_per_day = 100000
        [nodes]
        // Nobody who tries something out waits for three days.
        vetting_time = "0s"
        [p2p]
        private_addresses = true
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
    if let Some(s3) = record.s3 {
        set(&mut table, "s3.listen", s3.to_string());
    }
    set(&mut table, "database.url", database_url);
    set(&mut table, "p2p.listen", record.p2p.clone());
    set(&mut table, "keys.dir", utf8(&dir.join("keys"))?);
    merge(&mut table, &overrides.coordinator);
    Ok(table)
}

/// What clients of S3 sign for, by default or by the user's settings.
pub(crate) fn region(overrides: &Overrides) -> String {
    let set = overrides
        .coordinator
        .get("s3")
        .and_then(|s3| s3.get("region"));
    set.and_then(Value::as_str).unwrap_or("fsn").to_owned()
}

pub(crate) fn node(
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
        private_addresses = true
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

pub(crate) fn write(path: &Path, table: &Table) -> Result<()> {
    let text = format!(
        "# Written by local-cluster at every start. To change settings, pass a file with the tables\n\
         # [coordinator] and [node] to `local-cluster up --config FILE`.\n\n{table}"
    );
    private_file::write(path, text.as_bytes())
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
}
