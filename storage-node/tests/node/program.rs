//! Running `storage-node` as a child process.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use blobstore::{Readers, catalogue_path};
use proto::PeerId;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::coordinator::{Coordinator, in_time};

/// An operator's account: its home, and settings that suit a test.
pub(crate) struct Operator {
    pub home: TempDir,
    /// Goes before the configuration file.
    pub settings: Vec<String>,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let settings = [
            "admin.listen=127.0.0.1:0",
            "p2p.listen=[\"/ip4/127.0.0.1/tcp/0\"]",
            "reconnect.initial=50ms",
            "reconnect.spread=50ms",
        ];
        Self {
            home: tempfile::tempdir().unwrap(),
            settings: settings.map(String::from).to_vec(),
        }
    }

    /// One that has registered a node with the coordinator.
    pub(crate) async fn registered(coordinator: &Coordinator) -> Self {
        let operator = Self::new();
        let output = operator.init(coordinator, &["--capacity", "100MB"]).await;
        assert!(output.status.success(), "{}", errors(&output));
        operator
    }

    pub(crate) async fn init(&self, coordinator: &Coordinator, args: &[&str]) -> Output {
        let mut all = vec!["init", "--name", "Test Node", "--coordinator-url"];
        all.push(&coordinator.url);
        all.extend(args);
        self.run(&all).await
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home
            .path()
            .join(".local/share/federated-storage/storage-node")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.home
            .path()
            .join(".config/federated-storage/storage-node.toml")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_storage-node"));
        command
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .args(args);
        command
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        in_time(tokio::task::spawn_blocking(move || command.output()))
            .await
            .unwrap()
            .unwrap()
    }

    /// Starts the node and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        self.launch(&[]).ready().await
    }

    /// Starts the node with more arguments.
    pub(crate) fn launch(&self, args: &[&str]) -> Node {
        let ready_file = self.home.path().join("ready.json");
        let log = self.home.path().join("node.log");
        let mut command = self.command(&["start", "--ready-file", ready_file.to_str().unwrap()]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.args(args);
        let stderr = fs::File::create(&log).unwrap();
        Node {
            child: command.stderr(stderr).spawn().unwrap(),
            ready_file,
            log,
            ready: Value::Null,
        }
    }
}

/// A running node; killed when it is dropped.
pub(crate) struct Node {
    child: Child,
    pub ready_file: PathBuf,
    log: PathBuf,
    pub ready: Value,
}

impl Node {
    /// Waits until it is ready.
    pub(crate) async fn ready(mut self) -> Self {
        let ready = async {
            loop {
                if let Ok(text) = fs::read(&self.ready_file) {
                    return serde_json::from_slice::<Value>(&text).unwrap();
                }
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("{status}: {}", fs::read_to_string(&self.log).unwrap());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        self.ready = in_time(ready).await;
        self
    }

    pub(crate) fn peer_id(&self) -> PeerId {
        self.ready["peer_id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.ready["admin"].as_str().unwrap())
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    pub(crate) async fn ended(mut self) -> ExitStatus {
        let status = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        in_time(status).await
    }

    pub(crate) async fn stop(self) {
        self.terminate();
        assert!(self.ended().await.success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The file in which a blob is, and where it begins there.
pub(crate) fn place_of(data_dir: &Path, id: &proto::BlobId) -> (PathBuf, u64) {
    let readers = Readers::open(&catalogue_path(data_dir)).unwrap();
    let row = readers.row(id).unwrap().unwrap();
    match row.location {
        Some(at) => {
            let segment = format!("{:010}", at.segment);
            (data_dir.join("segments").join(segment), at.position + 1024)
        }
        None => {
            let name = id.to_string();
            let dir = data_dir.join("blobs").join(&name[..1]).join(&name[1..3]);
            (dir.join(name), 0)
        }
    }
}

pub(crate) fn flip_a_bit(data_dir: &Path, id: &proto::BlobId, at: u64) {
    let (path, begin) = place_of(data_dir, id);
    let file = fs::OpenOptions::new().read(true).write(true).open(path);
    let (file, mut byte) = (file.unwrap(), [0]);
    file.read_exact_at(&mut byte, begin + at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], begin + at).unwrap();
}
