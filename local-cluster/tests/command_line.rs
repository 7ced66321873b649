//! The whole way of a newcomer, through the program itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use local_cluster::Status;
use local_cluster::process::ProcessId;
use tempfile::TempDir;

struct Newcomer {
    root: TempDir,
}

impl Newcomer {
    fn dir(&self) -> PathBuf {
        self.root.path().join("cluster")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_local-cluster"));
        command.args(args).arg("--dir").arg(self.dir());
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn status(&self) -> Status {
        serde_json::from_str(&self.succeed(&["status", "--output", "json"])).unwrap()
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let _ = self.run(&["down", "--wipe"]);
    }
}

#[test]
fn up_demo_break_mend_down() {
    let newcomer = Newcomer {
        root: TempDir::new().unwrap(),
    };
    let text = newcomer.succeed(&["up", "--nodes", "4", "--http-port", "0"]);
    let status = newcomer.status();
    assert!(text.contains(&format!("{}/api/v1/auth/register", status.base_url)));
    // What is there to be pasted is what a shell takes, remarks included.
    let pasted = text.split_once("And then:").unwrap().1;
    let checked = Command::new("sh").args(["-n", "-c", pasted]).status();
    assert!(checked.unwrap().success(), "{pasted}");
    assert_eq!(status.nodes.len(), 4);
    let names: Vec<_> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3", "node-4"]);
    for node in &status.nodes {
        assert!(node.pid.is_some() && node.node_id.is_some() && node.admin_url.is_some());
        assert!(node.peer_id.as_ref().unwrap().starts_with("12D3"));
        assert!(!node.listen_addrs.is_empty());
        assert!(node.data_dir.is_dir());
    }

    // Whoever pipes into `head` is no failure.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = newcomer.command(&["status"]).stdout(writer).output();
    let unread = unread.unwrap();
    assert_eq!(unread.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&unread.stderr), "");

    // Twice is harmless.
    newcomer.succeed(&["up"]);
    let again = newcomer.status();
    assert_eq!(again.coordinator.pid, status.coordinator.pid);
    assert_eq!(again.postgres.pid, status.postgres.pid);

    let story = newcomer.succeed(&["demo"]);
    assert!(story.contains("SIGKILL"), "{story}");
    assert!(story.contains("Restarted"), "{story}");
    assert!(story.contains("the same, byte for byte"), "{story}");
    assert!(story.contains("Caught      node-"), "{story}");
    let file = newcomer.root.path().join("a file");
    fs::write(&file, "some words\n").unwrap();
    let story = newcomer.succeed(&["demo", "--without-cheat", file.to_str().unwrap()]);
    assert!(story.contains("the same, byte for byte"), "{story}");

    newcomer.succeed(&["kill", "node-2"]);
    newcomer.succeed(&["stop", "node-3"]);
    newcomer.succeed(&["pause", "node-1"]);
    let text = newcomer.succeed(&["status"]);
    assert!(
        text.contains("paused") && text.contains("not running"),
        "{text}"
    );
    let broken = newcomer.status();
    assert_eq!((broken.nodes[1].pid, broken.nodes[2].pid), (None, None));
    let again = newcomer.run(&["kill", "node-2"]);
    assert!(!again.status.success(), "it is dead already");
    let nobody = newcomer.run(&["kill", "node-9"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("node-1 to node-4"));

    newcomer.succeed(&["resume", "node-1"]);
    newcomer.succeed(&["start", "node-2"]);
    newcomer.succeed(&["up"]);
    let mended = newcomer.status();
    assert!(mended.nodes.iter().all(|node| node.pid.is_some()));

    let pids = mended.nodes.iter().map(|node| node.pid);
    let pids = pids.chain([mended.coordinator.pid, mended.postgres.pid]);
    let processes: Vec<_> = pids
        .map(|pid| ProcessId::of(pid.unwrap()).unwrap())
        .collect();
    newcomer.succeed(&["down"]);
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert!(newcomer.dir().is_dir(), "the data stay");
    newcomer.succeed(&["down", "--wipe"]);
    assert!(!newcomer.dir().exists());
}
