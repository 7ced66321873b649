//! Crates use those below them, and none has most of the code.

use std::collections::BTreeMap;
use std::fs;

use crate::source::{root, rust_files};

/// Each crate with those of the workspace that it may depend on. Tests may use what they like.
const MAY_USE: [(&str, &[&str]); 29] = [
    ("proto", &[]),
    ("coding", &["proto"]),
    ("futures-timer", &[]),
    ("hostile", &[]),
    ("kit", &["proto"]),
    ("sealing", &["proto"]),
    ("credentials", &["proto"]),
    (
        "evidence-check",
        &["proto", "coding", "kit", "sealing", "api"],
    ),
    ("api", &["proto"]),
    ("ledger", &["proto"]),
    ("model", &["proto"]),
    ("rules", &["proto", "sealing", "model"]),
    ("limits", &["model", "rules"]),
    ("mail", &["kit"]),
    ("look", &["proto"]),
    ("site", &["proto", "api", "look"]),
    ("passkeys", &[]),
    ("keyfiles", &[]),
    (
        "settings",
        &["proto", "kit", "model", "network", "mail", "payments"],
    ),
    ("payments", &["model"]),
    ("gateway", &["api", "model", "rules"]),
    ("network", &["proto", "kit"]),
    ("blobstore", &["proto", "kit"]),
    (
        "coordinator",
        &[
            "proto",
            "coding",
            "kit",
            "sealing",
            "credentials",
            "evidence-check",
            "api",
            "ledger",
            "model",
            "rules",
            "limits",
            "mail",
            "passkeys",
            "keyfiles",
            "payments",
            "settings",
            "site",
            "gateway",
            "network",
        ],
    ),
    (
        "storage-node",
        &["proto", "kit", "api", "look", "network", "blobstore"],
    ),
    ("client", &["proto", "kit", "sealing", "api"]),
    (
        "fsn",
        &["proto", "kit", "sealing", "api", "client", "evidence-check"],
    ),
    (
        "local-cluster",
        &["proto", "kit", "sealing", "api", "client", "network"],
    ),
    (
        "bench",
        &[
            "proto",
            "kit",
            "sealing",
            "api",
            "ledger",
            "model",
            "rules",
            "network",
            "blobstore",
            "coordinator",
            "storage-node",
            "local-cluster",
        ],
    ),
];

fn manifest(name: &str) -> toml::Table {
    let path = root().join(name).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn crates_use_those_below_them() {
    let workspace: toml::Table = manifest(".");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let members: Vec<&str> = members.iter().map(|name| name.as_str().unwrap()).collect();
    let mut placed: Vec<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    placed.sort_unstable();
    let mut sorted = members.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, placed, "each crate has its place in MAY_USE");
    for (name, may_use) in MAY_USE {
        let manifest = manifest(name);
        let uses = manifest.get("dependencies").and_then(toml::Value::as_table);
        for used in uses.into_iter().flat_map(toml::Table::keys) {
            let used = used.strip_prefix("fsn-").unwrap_or(used);
            let allowed = !members.contains(&used) || may_use.contains(&used);
            assert!(allowed, "{name} may not depend on {used}");
        }
    }
}

#[test]
fn no_crate_has_more_than_two_fifths_of_the_source_lines() {
    let lines = |name: &str| -> usize {
        let files = rust_files(&root().join(name).join("src"));
        let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
        texts.map(|text| text.lines().count()).sum()
    };
    let all: BTreeMap<&str, usize> = MAY_USE
        .iter()
        .map(|(name, _)| (*name, lines(name)))
        .collect();
    let total: usize = all.values().sum();
    for (name, lines) in all {
        assert!(
            5 * lines <= 2 * total,
            "{name} has {lines} of {total} lines"
        );
    }
}
