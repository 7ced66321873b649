//! What an operator gets wrong: one clear line with what to do, and an exit code that is not 0.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Output;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors};

/// Logs are off: what remains is what is said to the operator.
async fn start(operator: &Operator, settings: &[&str]) -> Output {
    let mut args = vec!["start", "--set", "log.filter=off"];
    let chosen = operator.settings.iter().map(String::as_str);
    for setting in chosen.chain(settings.iter().copied()) {
        args.extend(["--set", setting]);
    }
    operator.run(&args).await
}

fn assert_one_line(output: &Output, expected: &str) {
    let said = errors(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("storage-node: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(expected), "{said}");
}

#[tokio::test]
async fn a_missing_an_empty_and_an_unregistered_directory() {
    let operator = Operator::new();
    assert_one_line(&start(&operator, &[]).await, "run `storage-node init`");
    fs::create_dir_all(operator.data_dir()).unwrap();
    assert_one_line(
        &start(&operator, &[]).await,
        "if its disk is not mounted, mount it",
    );
    // Registration fails, what comes before it is done.
    let url = "http://127.0.0.1:1";
    let init = operator
        .run(&["init", "--name", "x", "--coordinator-url", url])
        .await;
    assert_one_line(&init, "cannot be reached");
    assert_one_line(&start(&operator, &[]).await, "is not registered");
}

#[tokio::test]
async fn a_directory_of_another_node_and_one_with_other_things() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let other = Operator::registered(&coordinator).await;
    let marker = operator.data_dir().join("volume.json");
    fs::copy(other.data_dir().join("volume.json"), &marker).unwrap();
    assert_one_line(
        &start(&operator, &[]).await,
        "data directory of another node",
    );
    fs::remove_file(operator.data_dir().join("identity.key")).unwrap();
    assert_one_line(&start(&operator, &[]).await, "identity.key is gone");

    let home = operator.home.path().to_str().unwrap();
    let init = operator.init(&coordinator, &["--data-dir", home]).await;
    assert_one_line(&init, "is not a storage node's data directory");
}

#[tokio::test]
async fn secrets_that_others_can_read() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    for secret in ["identity.key", "credentials.json"] {
        let path = operator.data_dir().join(secret);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_one_line(&start(&operator, &[]).await, "run `chmod 600` on it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_one_line(
        &start(&operator, &["node.token=hunter2"]).await,
        "to everybody on this machine",
    );
}

#[tokio::test]
async fn another_nodes_complete_disk_is_noticed_by_start_and_by_init() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let other = Operator::registered(&coordinator).await;
    let dirs = [operator.data_dir(), other.data_dir()];
    let away = operator.home.path().join("away");
    fs::rename(&dirs[0], &away).unwrap();
    fs::rename(&dirs[1], &dirs[0]).unwrap();
    let expected = "is the data directory of node";
    assert_one_line(&start(&operator, &[]).await, expected);
    assert_one_line(&operator.init(&coordinator, &[]).await, expected);
    // And a disk that is empty is no new node while the settings name an old one.
    fs::rename(&dirs[0], &dirs[1]).unwrap();
    let init = operator.init(&coordinator, &[]).await;
    assert_one_line(&init, "holds no identity");
    fs::remove_dir_all(&dirs[0]).unwrap();
    fs::rename(&away, &dirs[0]).unwrap();
    let init = operator.init(&coordinator, &[]).await;
    assert!(init.status.success(), "{}", errors(&init));
}

#[tokio::test]
async fn a_directory_without_the_right_to_open_it() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let mut command = operator.command(&["start"]);
    if rustix::process::getuid().is_root() {
        // Rights do not bind root: another account is to try it, which may read all but the data.
        for dir in [
            ".",
            ".config",
            ".config/federated-storage",
            ".local",
            ".local/share",
        ] {
            let dir = operator.home.path().join(dir);
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let parent = operator.data_dir();
        let parent = parent.parent().unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
        chown(operator.config_file(), Some(65534), Some(65534)).unwrap();
        command.uid(65534).gid(65534);
    } else {
        fs::set_permissions(operator.data_dir(), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let output = command.output().unwrap();
    assert_one_line(&output, "Permission denied");
    assert_one_line(&output, "cannot open the data directory");
    fs::set_permissions(operator.data_dir(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_port_that_is_in_use() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let admin = format!("admin.listen={address}");
    assert_one_line(
        &start(&operator, &[&admin]).await,
        "choose another address with admin.listen",
    );
    let p2p = format!("p2p.listen=[\"/ip4/127.0.0.1/tcp/{}\"]", address.port());
    assert_one_line(&start(&operator, &[&p2p]).await, "p2p.listen");
}

#[tokio::test]
async fn a_data_directory_that_a_node_has_open() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    assert_one_line(
        &start(&operator, &[]).await,
        "in use by a running storage-node",
    );
    let rebuild = operator.run(&["chunks", "verify", "--rebuild"]).await;
    assert_one_line(&rebuild, "in use by a running storage-node");
    assert_one_line(
        &operator.init(&coordinator, &[]).await,
        "in use by a running",
    );
    node.stop().await;
}

#[tokio::test]
async fn settings_that_cannot_be_used() {
    let operator = Operator::new();
    for (setting, expected) in [
        ("node.nmae=x", "unknown field `nmae`"),
        ("nonsense", "is not of the form table.key=value"),
        ("admin.listen=0.0.0.0:9090", "admin.allow_remote"),
        ("node.capacity=1kB", "it must be 1 MB to 1 PB"),
        ("node.name=\"\"", "1 to 64"),
        ("reconnect.factor=0.5", "at least 1"),
        ("ping.failures=0", "must be 1 to 1000"),
        ("ping.interval=1ms", "must be 100ms to 10m"),
        ("reconnect.max=1ms", "reconnect.max"),
        ("reconnect.rest=2d", "at most 24h"),
        ("p2p.max_connections=1", "must be 8 to 65536"),
        ("p2p.auth_mode=never", "never"),
        ("p2p.allowed_peers=[\"nobody\"]", "nobody"),
    ] {
        assert_one_line(&operator.run(&["start", "--set", setting]).await, expected);
    }
    let file = operator.home.path().join("bad.toml");
    fs::write(&file, "[node]\n\ncapacity = \"lots\"\n").unwrap();
    let file = file.to_str().unwrap();
    assert_one_line(
        &operator.run(&["start", "--config", file]).await,
        "bad.toml, line 3",
    );
    // The parser has several lines to say about these.
    for broken in [
        "[node",
        "[node]\nname = \"a\nb\"",
        "[ping]\nfailures = { a = 1,\n",
    ] {
        fs::write(file, broken).unwrap();
        let said = operator.run(&["start", "--config", file]).await;
        assert_one_line(&said, "bad.toml, line");
    }
    let missing = operator.run(&["start", "--config", "/nowhere.toml"]).await;
    assert_one_line(&missing, "/nowhere.toml");
    let mut command = operator.command(&["start"]);
    let output = command.env("FSN_SCRUB_PERIOD", "soon").output().unwrap();
    assert_one_line(&output, "FSN_SCRUB_PERIOD");
}
