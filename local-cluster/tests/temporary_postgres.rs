//! `local-cluster with-postgres`, and the promise that nothing outlives the process that asked.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use local_cluster::process::ProcessId;
use local_cluster::wait::wait_blocking;

const LOCAL_CLUSTER: &str = env!("CARGO_BIN_EXE_local-cluster");
const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_command_finds_a_database_and_its_exit_code_comes_back() {
    let output = Command::new(LOCAL_CLUSTER)
        .args(["with-postgres", "--", "sh", "-c"])
        .arg("echo $DATABASE_URL; exit 7")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7));
    let url = String::from_utf8(output.stdout).unwrap();
    assert!(url.starts_with("postgres://fsn:"), "{url}");
    let address = url.split(['@', '/']).nth(3).unwrap();
    std::net::TcpStream::connect(address).expect_err("the server is gone with the command");
}

#[test]
fn a_killed_parent_leaves_neither_processes_nor_files() {
    // The shell tells what runs, then waits for its parent to die.
    let mut parent = Command::new(LOCAL_CLUSTER)
        .args(["with-postgres", "--", "sh", "-c"])
        .arg("echo $PPID; cat >/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let server = postgres_of(parent.id());
    let family = server.0.with_descendants();
    assert!(family.len() > 1, "Postgres runs with its children");

    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(
        wait_blocking(LONG, || family.iter().all(|p| !p.is_alive())),
        "Postgres and its children are gone"
    );
    assert!(
        wait_blocking(LONG, || !server.1.exists()),
        "so are the files"
    );
}

/// The server that a `local-cluster with-postgres` has started, and the cluster's directory: the
/// launcher's parent is the process itself, and the data directory stands in the arguments.
fn postgres_of(parent: u32) -> (ProcessId, PathBuf) {
    let family = ProcessId::of(parent).unwrap().with_descendants();
    let mut found = family.into_iter().filter_map(|process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
        let args: Vec<&str> = line
            .split(|byte| *byte == 0)
            .map(|arg| std::str::from_utf8(arg).unwrap())
            .collect();
        let data = args.iter().position(|arg| *arg == "-D")?;
        args[0].ends_with("/postgres").then(|| {
            let data = PathBuf::from(args[data + 1]);
            (process, data.ancestors().nth(2).unwrap().to_owned())
        })
    });
    found.next().expect("a Postgres is running")
}
