//! The curl flows of the plan that this network grew from, typed as they stand there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Programs};
use serde_json::Value;
use support::{LONG, shared};

/// A line of the plan, run by a shell as a person would, against this cluster's port.
#[track_caller]
fn shell(cluster: &Cluster, line: &str) -> Value {
    let line = line.replace("http://localhost:8080", &cluster.base_url());
    let output = Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let text = String::from_utf8_lossy(&output.stdout);
        panic!("{line}: {error}: {text}")
    })
}

#[track_caller]
fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    let value = answer[field].as_str();
    value.unwrap_or_else(|| panic!("there is no `{field}` in {answer}"))
}

#[tokio::test]
async fn a_user_registers_buys_stores_and_gets_back() {
    let cluster = shared().await;
    shell(&cluster, "curl http://localhost:8080/health");
    let user = shell(
        &cluster,
        r#"curl -X POST http://localhost:8080/api/v1/auth/register \
  -d '{"email":"test@example.com","password":"test123"}'"#,
    );
    assert_eq!(text(&user, "email"), "test@example.com");
    let login = shell(
        &cluster,
        r#"curl -X POST http://localhost:8080/api/v1/auth/login \
  -d '{"email":"test@example.com","password":"test123"}'"#,
    );
    let token = text(&login, "access_token");
    let bought = shell(
        &cluster,
        &r#"curl -X POST http://localhost:8080/api/v1/auth/credits/purchase \
  -H "Authorization: Bearer <token>" \
  -d '{"amount_usd":10}'"#
            .replace("<token>", token),
    );
    assert_eq!(bought["credited_microcredits"], 1_000_000_000);
    let plan = shell(
        &cluster,
        &r#"curl -X POST http://localhost:8080/api/v1/files/upload/initiate \
  -H "Authorization: Bearer <token>" \
  -d '{"filename":"test.txt","size_bytes":1024}'"#
            .replace("<token>", token),
    );
    assert_eq!(plan["chunk_count"], 1);

    let upload_id = text(&plan, "upload_id");
    shell(
        &cluster,
        &format!(
            "head -c 1024 /dev/zero | curl -X POST --data-binary @- -H 'Authorization: Bearer {token}' \
             'http://localhost:8080/api/v1/files/upload/{upload_id}/chunk?index=0'"
        ),
    );
    let file = shell(
        &cluster,
        &format!(
            "curl -X POST -H 'Authorization: Bearer {token}' \
             http://localhost:8080/api/v1/files/upload/{upload_id}/complete"
        ),
    );
    let download = r#"test "$(curl http://localhost:8080/api/v1/files/<file_id>/download \
  -H "Authorization: Bearer <token>" | sha256sum)" = "$(head -c 1024 /dev/zero | sha256sum)" && echo true"#
        .replace("<token>", token)
        .replace("<file_id>", text(&file, "file_id"));
    assert_eq!(shell(&cluster, &download), true);

    // In one request, as curl uploads a file and as a form does.
    for upload in [
        "curl -T - 'http://localhost:8080/api/v1/files?filename=piped'",
        "curl -F 'file=@-;filename=form' http://localhost:8080/api/v1/files",
    ] {
        let line = format!("printf hello | {upload} -H 'Authorization: Bearer {token}'");
        let file = shell(&cluster, &line);
        assert_eq!(file["size_bytes"], 5, "{upload}");
    }
}

/// A node that is started by the plan's own lines, with a home of its own.
struct Node {
    child: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_node_joins_with_the_two_lines_of_the_plan() {
    // Not the shared one, whose other tests count on its nodes.
    let cluster = support::cluster(1, "").await;
    let program = Programs::beside_this_one().unwrap().storage_node;
    let home = tempfile::TempDir::new().unwrap();
    let base = cluster.base_url();
    let output = storage_node(&program, home.path())
        .args(["init", "--name", "Test Node", "--coordinator-url", &base])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let mut child = storage_node(&program, home.path())
        .arg("start")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    // Its log has to be read, or it would wait for room in the pipe.
    std::thread::spawn(move || log.lines().for_each(drop));
    let _node = Node { child };

    let joined = wait_for("the node to be online", LONG, async || {
        let nodes = shell(&cluster, "curl http://localhost:8080/api/v1/nodes");
        let nodes = nodes["items"].as_array()?.clone();
        let node = nodes.into_iter().find(|node| node["name"] == "Test Node")?;
        (node["online"] == true).then_some(node)
    });
    joined.await.unwrap();

    let key = find_key(home.path()).expect("the node's API key is in its credentials");
    let balance = shell(
        &cluster,
        &r#"curl http://localhost:8080/api/v1/balance \
  -H "X-API-Key: <node_api_key>""#
            .replace("<node_api_key>", &key),
    );
    assert_eq!(text(&balance, "owner"), "node");
}

fn storage_node(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    // Ports of its own, since others may run here; everything else is the default.
    command.env("FSN_ADMIN_LISTEN", "127.0.0.1:0");
    command.env("FSN_P2P_LISTEN", "/ip4/127.0.0.1/tcp/0");
    command.env("HOME", home);
    for dir in ["CONFIG", "DATA", "STATE", "CACHE"] {
        command.env(format!("XDG_{dir}_HOME"), home.join(dir));
    }
    command
}

fn find_key(dir: &Path) -> Option<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    for path in entries {
        if path.is_dir() {
            if let Some(key) = find_key(&path) {
                return Some(key);
            }
        } else if path.ends_with("credentials.json") {
            let text = std::fs::read(path).unwrap();
            let credentials: Value = serde_json::from_slice(&text).unwrap();
            return credentials["api_key"].as_str().map(str::to_owned);
        }
    }
    None
}
