//! What a process does with signals, with a second one of its kind, and with an output that takes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};
use support::{LONG, cluster, shared};

const FIRST: Member = Member::Coordinator(1);

fn programs() -> Programs {
    Programs::beside_this_one().unwrap()
}

/// A second coordinator with the settings of the first, but for its ports.
async fn second(cluster: &Cluster, settings: &[String]) -> Output {
    let mut command = Command::new(programs().coordinator);
    command
        .arg("serve")
        .arg("--config")
        .arg(cluster.config_file(FIRST));
    for setting in [
        "http.listen=127.0.0.1:0",
        "metrics.listen=127.0.0.1:0",
        "p2p.listen=[\"/ip4/127.0.0.1/tcp/0\"]",
        "s3.listen=127.0.0.1:0",
    ] {
        command.args(["--set", setting]);
    }
    for setting in settings {
        command.args(["--set", setting]);
    }
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_second_coordinator_with_the_same_keys_is_refused_while_the_first_lives() {
    let cluster = cluster(3, "").await;
    let url = cluster.status().unwrap().postgres.url;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let mut document = async || -> String {
        let query = sqlx::query_scalar("SELECT document::text FROM network_document");
        query.fetch_one(&mut database).await.unwrap()
    };
    let before = document().await;

    let refused = second(&cluster, &[]).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("another `coordinator serve` runs"), "{said}");

    // On another machine there is no lock.
    let keys = cluster.config_file(FIRST).parent().unwrap().join("keys");
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&keys).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "key") {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let setting = format!("keys.dir={}", copy.path().display());
    let refused = second(&cluster, &[setting]).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("another process serves as coordinator"),
        "{said}"
    );
    assert_eq!(document().await, before);
}

#[tokio::test]
async fn a_coordinator_that_was_killed_starts_again_at_once() {
    let mut cluster = cluster(3, "").await;
    cluster.kill(FIRST).await.unwrap();
    let begun = std::time::Instant::now();
    cluster.start(FIRST).await.unwrap();
    assert!(begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    cluster.session().await.unwrap();
}

async fn log_says(log: &Path, what: &str) {
    let said = wait_for(what, LONG, async || {
        fs::read_to_string(log)
            .ok()
            .filter(|text| text.contains(what))
            .map(|_| ())
    });
    said.await.unwrap();
}

#[tokio::test]
async fn a_hangup_makes_both_programs_read_their_settings_anew_and_ends_neither() {
    let cluster = cluster(3, "").await;
    for member in [FIRST, Member::Node(1)] {
        let process = cluster.process(member).unwrap().unwrap();
        let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        let (file, log) = (cluster.config_file(member), cluster.log(member));
        let settings = fs::read_to_string(&file).unwrap();
        let add = |text: &str| fs::write(&file, format!("{settings}\n{text}\n")).unwrap();

        add("[log]\nfilter = \"a=b=c\"");
        kill_process(pid, Signal::HUP).unwrap();
        log_says(&log, "the settings are wrong, and stay as they were").await;
        add("[log]\nfilter = \"debug\"\n[ping]\nfailures = 7");
        kill_process(pid, Signal::HUP).unwrap();
        log_says(&log, "ping.failures").await;
        log_says(&log, "DEBUG").await;
        assert_eq!(
            cluster.process(member).unwrap(),
            Some(process),
            "{member:?}"
        );
    }
    cluster.session().await.unwrap();
}

#[tokio::test]
async fn an_output_that_takes_nothing_is_an_error_in_every_program() {
    let cluster = shared().await;
    let (coordinator, node) = (
        cluster.config_file(FIRST),
        cluster.config_file(Member::Node(1)),
    );
    let (coordinator, node) = (coordinator.to_str().unwrap(), node.to_str().unwrap());
    let (dir, programs) = (cluster.dir().to_str().unwrap(), programs());
    let commands: [(&Path, &[&str]); 9] = [
        (
            &programs.coordinator,
            &["admin", "node", "list", "--config", coordinator],
        ),
        (
            &programs.coordinator,
            &["ledger", "export", "--config", coordinator],
        ),
        (
            &programs.coordinator,
            &["keys", "list", "--config", coordinator],
        ),
        (&programs.coordinator, &["config"]),
        (&programs.coordinator, &["--help"]),
        (&programs.storage_node, &["status", "--config", node]),
        (&programs.storage_node, &["config", "--template"]),
        (&programs.storage_node, &["--version"]),
        (&programs.local_cluster, &["status", "--dir", dir]),
    ];
    for (program, arguments) in commands {
        let full: File = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.contains("No space left on device"),
            "{arguments:?}: {said}"
        );
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}
