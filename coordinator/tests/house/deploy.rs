//! What is shipped beside the programs fits them: dashboards and alerts ask for metrics that there are, and each alert
//! has a place in the runbooks. The programs' own tests hold docs/metrics.md to what they register.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::source::root;

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Names of metrics of the programs, wherever they stand in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter| !is_of_name(letter));
    words
        .filter(|word| word.starts_with("fsn_coordinator_") || word.starts_with("fsn_node_"))
        .collect()
}

/// Names that queries may use.
fn known() -> BTreeSet<String> {
    let reference = read("docs/metrics.md");
    let rows = reference.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`').to_owned();
        Some((name, cells.next()?.trim().to_owned()))
    });
    let mut known = BTreeSet::new();
    for (name, kind) in rows {
        if kind == "histogram" {
            known.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
        } else {
            known.insert(name);
        }
    }
    known
}

fn shipped() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![root().join("deploy")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => files.push(path),
            }
        }
    }
    files
}

#[test]
fn queries_name_metrics_that_there_are() {
    let known = known();
    assert!(
        known.len() > 100,
        "the reference is read wrongly: {}",
        known.len()
    );
    let mut wrong = Vec::new();
    let mut asked = 0;
    for file in shipped() {
        let text = fs::read_to_string(&file).unwrap();
        for name in named(&text) {
            asked += 1;
            if !known.contains(name) {
                wrong.push(format!("{}: {name}", file.display()));
            }
        }
    }
    assert!(asked > 60, "only {asked} names were found in deploy/");
    assert!(wrong.is_empty(), "not measured:\n{}", wrong.join("\n"));
}

#[test]
fn every_alert_has_its_part_of_the_runbooks_and_a_test() {
    let (alerts, tests) = (
        read("deploy/prometheus/alerts.yml"),
        read("deploy/prometheus/alerts_test.yml"),
    );
    let runbooks = read("docs/runbooks.md");
    let names: BTreeSet<&str> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        assert!(
            runbooks.contains(&format!("\n### {name}\n")),
            "{name}: no runbook"
        );
        let link = format!("docs/runbooks.md#{}\"", name.to_lowercase());
        assert!(alerts.contains(&link), "{name}: no link to its runbook");
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name}: no test that it fires"
        );
    }
    let told = runbooks
        .lines()
        .filter_map(|line| line.strip_prefix("### Fsn"));
    for name in told {
        assert!(
            names.contains(format!("Fsn{name}").as_str()),
            "Fsn{name}: a runbook without an alert"
        );
    }
}
