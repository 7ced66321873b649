//! Every benchmark still runs: each once, with as little as it takes. What they measure says nothing
//! here.
//!
//! `bench network` is left out: that silence is noticed after its full time is what it measures.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;

use serde_json::Value;

fn bench(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(args)
        .output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "bench {args:?}\n{said}\n{complained}"
    );
    said
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    serde_json::from_str(&bench(args)).unwrap()
}

/// Every figure there is, whatever it is called: a number, and none below zero.
#[track_caller]
fn assert_measured(report: &Value) {
    match report {
        Value::Object(fields) => fields.values().for_each(assert_measured),
        Value::Array(items) => items.iter().for_each(assert_measured),
        Value::Number(figure) => assert!(figure.as_f64().unwrap() >= 0.0, "{report}"),
        // What is not a number is written as null.
        Value::Null => panic!("something was not measured"),
        Value::String(_) | Value::Bool(_) => {}
    }
}

#[test]
fn it_says_its_own_name() {
    let version = bench(&["--version"]);
    assert_eq!(
        version.trim_end(),
        concat!("bench ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn transfer_runs_beside_its_limit() {
    let args = "transfer --pair --runs 1 --sizes 1MiB --nodes 3 --output json";
    let report = json(&args.split(' ').collect::<Vec<_>>());
    assert_measured(&report);
    assert!(report["ratio_to_limit"]["1048576"].as_f64().unwrap() > 0.0);
}

#[test]
fn small_files_run() {
    let args = "small --runs 1 --sizes 4KiB --files 10 --at-once 4,1 --nodes 3 --output json";
    let report = json(&args.split(' ').collect::<Vec<_>>());
    assert_measured(&report);
    assert_eq!(report["measurements"].as_array().unwrap().len(), 4);
}

#[test]
fn the_limit_runs_alone() {
    let args = "limit --runs 1 --sizes 1MiB --nodes 3 --output json";
    assert_measured(&json(&args.split(' ').collect::<Vec<_>>()));
}

#[test]
fn proofs_run() {
    assert_measured(&json(&["proofs", "--count", "3", "--output", "json"]));
}

#[test]
fn the_store_runs_full_beside_empty() {
    let figures = json(&["store", "--blobs", "500", "--runs", "1", "--json"]);
    assert_measured(&figures);
    assert!(figures.as_array().unwrap().len() > 5);
}

#[test]
fn audits_run_and_so_does_their_schedule() {
    let args = "audits --size 1MiB --seconds 2 --nodes 3 --schedule 900 --output json";
    let report = json(&args.split(' ').collect::<Vec<_>>());
    assert!(report["throughput"]["passed"].as_u64().unwrap() > 0);
    assert_measured(&report["schedules"]);
}

#[test]
fn a_store_that_is_killed_keeps_what_it_acknowledged() {
    for layout in ["segments", "files"] {
        let args = "crash --rounds 3 --stores 60 --fill 200 --output json --layout";
        let mut args: Vec<&str> = args.split(' ').collect();
        args.push(layout);
        let report = json(&args);
        assert_measured(&report);
        assert!(report["held"].as_u64().unwrap() >= 200, "{report}");
    }
}

#[test]
fn a_node_is_compared_with_the_database() {
    let args = "reconcile --blobs 3000 --differences 2 --output json";
    let report = json(&args.split(' ').collect::<Vec<_>>());
    assert_measured(&report);
    assert_eq!(report["held"], 3000);
}

#[test]
fn a_full_node_is_compared_with_an_empty_one() {
    let args = "node --blobs 500 --runs 1 --output json";
    let report = json(&args.split(' ').collect::<Vec<_>>());
    assert_measured(&report);
    assert_eq!(report["figures"].as_array().unwrap().len(), 6);
}

/// For a short time and with the attacks of one floor only; `scripts/bench siege` runs all of them.
#[test]
fn an_honest_user_notices_nothing_of_a_short_siege() {
    let attacks = "starved-uploads,preface-byte,stalled-downloads";
    // How quick it is, an optimised build tells; here nothing may fail.
    let args = "siege --seconds 6 --nodes 3 --p99 60000 --output json --attacks";
    let args: Vec<&str> = args.split(' ').chain([attacks]).collect();
    let report = json(&args);
    assert_measured(&report["honest"]);
    assert_eq!(report["broken"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(report["attacks"].as_object().unwrap().len(), 3);
}
