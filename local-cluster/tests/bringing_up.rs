//! `local-cluster up` when things go wrong, with stand-ins for the programs that go wrong.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use local_cluster::process::ProcessId;
use local_cluster::wait::wait_blocking;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// `local-cluster` in a directory where the other programs are shell scripts.
struct Stage {
    /// Open to Postgres' account.
    root: TempDir,
}

impl Stage {
    fn new(coordinator: &str) -> Self {
        let root = TempDir::new().unwrap();
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(), open.clone()).unwrap();
        let stage = Self { root };
        fs::create_dir(stage.programs()).unwrap();
        fs::copy(
            env!("CARGO_BIN_EXE_local-cluster"),
            stage.programs().join("local-cluster"),
        )
        .unwrap();
        for (name, script) in [("coordinator", coordinator), ("storage-node", "exit 1")] {
            let path = stage.programs().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, open.clone()).unwrap();
        }
        stage
    }

    fn programs(&self) -> PathBuf {
        self.root.path().join("programs")
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("cluster")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.programs().join("local-cluster"));
        command.args(args).arg("--dir").arg(self.dir());
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Whatever was started here and lives.
    fn alive(&self) -> Vec<ProcessId> {
        let Ok(text) = fs::read_to_string(self.dir().join("processes.json")) else {
            return Vec::new();
        };
        let entries: serde_json::Value = serde_json::from_str(&text).unwrap();
        let processes = entries["processes"].as_object().unwrap().values();
        processes
            .map(|process| serde_json::from_value(process.clone()).unwrap())
            .filter(|process: &ProcessId| process.is_alive())
            .collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--wipe"]).output();
    }
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_coordinator_that_dies_is_quoted_and_nothing_stays_behind() {
    let stage = Stage::new("echo 'the keys are wrong: copy them from the old machine' >&2; exit 3");
    let text = refusal(&stage.run(&["up", "--http-port", "0"]));
    assert!(
        text.contains("coordinator has ended while starting"),
        "{text}"
    );
    assert!(text.contains("the keys are wrong: copy them"), "{text}");
    let log = stage.dir().join("logs/coordinator.log");
    assert!(text.contains(log.to_str().unwrap()), "{text}");
    assert_eq!(stage.alive(), [], "Postgres went, too");
}

#[test]
fn killing_up_ends_what_it_had_started() {
    let stage = Stage::new("exec sleep 1000");
    let mut up: Child = stage
        .command(&["up", "--http-port", "0"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(
        wait_blocking(LONG, || stage.alive().len() == 2),
        "Postgres and a coordinator that never becomes ready are running"
    );
    let started = stage.alive();
    up.kill().unwrap();
    up.wait().unwrap();
    assert!(wait_blocking(LONG, || started
        .iter()
        .all(|p| !p.is_alive())));
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let stage = Stage::new("exit 1");
    let text = refusal(&stage.run(&["up", "--http-port", &port]));
    assert!(text.contains(&format!("port {port}")), "{text}");
    assert!(text.contains("--http-port"), "{text}");
    assert_eq!(stage.alive(), []);
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let stage = Stage::new("exit 1");
    fs::create_dir(stage.dir()).unwrap();
    fs::write(stage.dir().join("thesis.txt"), "years").unwrap();
    let text = refusal(&stage.run(&["up"]));
    assert!(text.contains("thesis.txt"), "{text}");
    assert!(text.contains("--dir"), "{text}");
    let text = refusal(&stage.run(&["down", "--wipe"]));
    assert!(text.contains("there is no local cluster in"), "{text}");
    assert_eq!(
        fs::read_to_string(stage.dir().join("thesis.txt")).unwrap(),
        "years"
    );
}

#[test]
fn a_program_that_was_not_built_is_named() {
    let stage = Stage::new("exit 1");
    fs::remove_file(stage.programs().join("storage-node")).unwrap();
    let text = refusal(&stage.run(&["up"]));
    assert!(text.contains("programs/storage-node is missing"), "{text}");
    assert!(text.contains("cargo build"), "{text}");
}

#[test]
fn a_settings_file_with_a_wrong_table_is_refused_before_anything_starts() {
    let stage = Stage::new("exit 1");
    let config = stage.root.path().join("settings.toml");
    fs::write(&config, "[nodes]\ncapacity = 1\n").unwrap();
    let text = refusal(&stage.run(&["up", "--config", config.to_str().unwrap()]));
    assert!(text.contains("settings.toml"), "{text}");
    assert!(text.contains("nodes"), "{text}");
    assert!(!stage.dir().exists());
}

#[test]
fn without_a_directory_the_state_directory_is_meant() {
    let home = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_local-cluster"))
        .arg("status")
        .env("XDG_STATE_HOME", home.path())
        .output()
        .unwrap();
    let expected = home.path().join("federated-storage/local-cluster");
    let text = refusal(&output);
    assert!(text.contains(expected.to_str().unwrap()), "{text}");
    assert!(text.contains("local-cluster up"), "{text}");
    assert!(!Path::exists(&expected));
}
