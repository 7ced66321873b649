//! The coordinator is sorted by concern, each on a floor. A floor uses those below it and none above; what happens
//! below is told upwards by facts. SQL stands in a concern's tables.

use crate::source::{modules, root};

/// From the ground up. A name that is not here is a concern that nobody has put in its place yet.
const FLOORS: [&str; 24] = [
    "config",
    "database",
    "facts",
    "metrics",
    "local_request",
    "security",
    "keys",
    "bookkeeping",
    "accounts",
    "fleet",
    "blobs",
    "billing",
    "files",
    "objects",
    "shares",
    "closing",
    "proofs",
    "durability",
    "measuring",
    "compose",
    "http",
    "p2p",
    "serve",
    "cli",
];

/// What starts the program stands above all floors.
const ABOVE: [&str; 2] = ["main", ""];

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

#[test]
fn no_concern_uses_one_above_it() {
    let modules = modules(&root().join("coordinator/src"));
    let mut wrong = Vec::new();
    for (module, source) in &modules {
        let Some(own) = module.first().filter(|own| !ABOVE.contains(&own.as_str())) else {
            continue;
        };
        let Some(height) = floor(own) else {
            wrong.push(format!("{own} stands on no floor: add it to FLOORS"));
            continue;
        };
        for named in &source.named {
            let other = &named[0];
            if floor(other).is_none_or(|other| other > height) {
                wrong.push(format!(
                    "{}: {own} uses {other}, which stands above it ({})",
                    source.file.display(),
                    named.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Queries are in `tables`, in `database` (the schema itself) and nowhere else.
#[test]
fn sql_stands_in_tables_only() {
    let mut wrong = Vec::new();
    for dir in ["coordinator/src", "ledger/src"] {
        for (module, source) in modules(&root().join(dir)) {
            let allowed = module
                .iter()
                .any(|part| part == "tables" || part == "database");
            let asks = source.macros.iter().any(|name| {
                let last = name.rsplit("::").next().unwrap_or_default();
                last.starts_with("query")
            });
            if asks && !allowed {
                wrong.push(source.file.display().to_string());
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "SQL outside of tables:\n{}",
        wrong.join("\n")
    );
}

/// Faces come to tables through the concerns' use-cases.
#[test]
fn no_face_reaches_into_tables() {
    let modules = modules(&root().join("coordinator/src"));
    let mut wrong = Vec::new();
    for (module, source) in &modules {
        if !matches!(module.first().map(String::as_str), Some("http" | "p2p")) {
            continue;
        }
        let tables = source
            .named
            .iter()
            .filter(|named| named.iter().any(|part| part == "tables"));
        wrong
            .extend(tables.map(|named| format!("{}: {}", source.file.display(), named.join("::"))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
