//! A cluster that an older build has filled goes on under this build, with everything in its place.
//!
//! `fixtures/cluster-0.1` holds what the older build left when it was stopped: dump, keys, data directories of nodes,
//! its cluster record and settings, and what it had told its user. Rejected: running the older programs here, which
//! would have to be compiled or kept; and filling the old tables by hand, which tests what we think that we wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use api::files::File;
use bytes::Bytes;
use local_cluster::client::Session;
use local_cluster::wait::wait_for;
use local_cluster::{
    Cluster, Member, Programs, TemporaryCluster, UpOptions, postgres_programs_dir,
};
use proto::{FileId, UploadId};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{LONG, refused};
use tokio::process::Command;

/// What the older build had told its user (`stored.json`).
#[derive(Deserialize)]
struct Stored {
    network_id: String,
    nodes: Vec<String>,
    files: Vec<StoredFile>,
    deleted: StoredFile,
    begun: BegunUpload,
    listing: Vec<File>,
    balance: Value,
    transactions: Vec<Value>,
    refresh_token: String,
    /// Of the proofs in `evidence.json`.
    seed: String,
    stopped_at: String,
}

#[derive(Deserialize)]
struct StoredFile {
    file_id: FileId,
    filename: String,
    size_bytes: usize,
    sha256: String,
}

#[derive(Deserialize)]
struct BegunUpload {
    upload_id: UploadId,
    missing: Vec<u32>,
    #[serde(flatten)]
    file: StoredFile,
}

impl StoredFile {
    /// As the fixture's `make` fills it: SHA-256 of "NAME 0", "NAME 1" and so on.
    fn content(&self) -> Bytes {
        let blocks = (0..=self.size_bytes / 32)
            .flat_map(|block| Sha256::digest(format!("{} {block}", self.filename)));
        let content: Bytes = blocks.take(self.size_bytes).collect();
        assert_eq!(hex::encode(Sha256::digest(&content)), self.sha256);
        content
    }
}

fn fixture(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    dir.join("tests/fixtures/cluster-0.1").join(name)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Runs a program to its end; what it says.
async fn run(program: impl AsRef<OsStr>, args: &[&OsStr]) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([postgres_programs_dir().unwrap()]);
    let output = Command::new(program)
        .args(args)
        .env("PATH", std::env::join_paths(places).unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    said
}

/// The older build's cluster in a directory of its own, nothing started: addresses are chosen anew.
async fn unpack() -> (TemporaryCluster, Cluster) {
    let options = UpOptions {
        nodes: Some(4),
        without_fsync: true,
        ..UpOptions::default()
    };
    let temporary = TemporaryCluster::prepare(options).unwrap();
    let dir = temporary.dir().to_owned();
    for member in ["coordinator", "node-1", "node-2", "node-3", "node-4"] {
        let archive = fixture(&format!("{member}.tar.gz"));
        let args = ["--extract", "--no-same-owner", "--gzip", "--file"].map(OsStr::new);
        let args = [&args[..], &[archive.as_ref(), "-C".as_ref(), dir.as_ref()]].concat();
        run("tar", &args).await;
    }
    let record_file = dir.join("cluster.json");
    let (fresh, mut record) = (read_json(&record_file), read_json(&fixture("cluster.json")));
    for of_this_machine in ["programs", "postgres", "coordinators"] {
        record[of_this_machine] = fresh[of_this_machine].clone();
    }
    // A directory keeps its layout, whatever the settings say.
    record["overrides"]["node"] = json!({});
    fs::write(&record_file, record.to_string()).unwrap();
    let cluster = Cluster::open(&dir).unwrap();
    (temporary, cluster)
}

/// Fills the new database, and lets money and whatever runs out go on as if the older build had been stopped a moment
/// ago and not when the fixture was made.
async fn restore(cluster: &Cluster, stopped_at: &str) {
    let url = cluster.status().unwrap().postgres.url;
    let psql = async |how: &str, what: &OsStr| {
        let options = ["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", how].map(OsStr::new);
        run("psql", &[&options[..], &[what, url.as_ref()]].concat()).await
    };
    let dump = cluster.dir().join("dump.sql");
    let archive = fixture("dump.sql.gz");
    let args = ["--decompress", "--stdout"].map(OsStr::new);
    let text = run("gzip", &[&args[..], &[archive.as_ref()]].concat()).await;
    fs::write(&dump, text).unwrap();
    psql("--file", dump.as_ref()).await;
    let go_on = format!(
        "DO $do$ DECLARE
             age interval := clock_timestamp() - timestamptz '{stopped_at}';
         BEGIN
             EXECUTE format('CREATE OR REPLACE FUNCTION public.database_clock() RETURNS timestamptz
                 LANGUAGE sql VOLATILE AS %L', format('SELECT clock_timestamp() - interval %L', age));
             UPDATE public.uploads SET expires_at = expires_at + age;
             UPDATE public.refresh_tokens SET expires_at = expires_at + age;
         END $do$"
    );
    psql("--command", go_on.as_ref()).await;
}

/// Returns when every copy of these files has been proven after a moment.
async fn until_proven(user: &Session, files: &[StoredFile], after: &str) {
    let second = |at: &str| at[.."2000-01-01T00:00:00".len()].to_owned();
    for file in files {
        let path = format!("{}?limit=1000", api::paths::file_durability(file.file_id));
        wait_for("audits to pass", LONG, async || {
            let durability: Value = user.get(&path).await.ok()?;
            let chunks = durability["chunks"].as_array()?.iter();
            let copies: Vec<&Value> = chunks
                .filter_map(|chunk| chunk["replicas"].as_array())
                .flatten()
                .collect();
            let is_proven = |copy: &&Value| {
                let proof = &copy["last_proof"];
                let at = proof["at"].as_str().unwrap_or(after);
                copy["state"] == "stored"
                    && proof["outcome"] == "passed"
                    && second(at) > second(after)
            };
            copies.iter().all(is_proven).then_some(())
        })
        .await
        .unwrap();
    }
}

/// Newer builds say more of what they say: none of it otherwise.
fn says_at_least(now: &Value, before: &Value) -> bool {
    let mut members = before.as_object().unwrap().iter();
    members.all(|(name, value)| now[name] == *value)
}

async fn transactions(user: &Session) -> Vec<Value> {
    let path = format!("{}?limit=1000", api::paths::TRANSACTIONS);
    let page: Value = user.get(&path).await.unwrap();
    page["items"].as_array().unwrap().clone()
}

async fn coordinator(args: &[&OsStr]) -> String {
    run(Programs::beside_this_one().unwrap().coordinator, args).await
}

#[tokio::test]
async fn a_cluster_of_an_older_build_goes_on_with_everything_in_its_place() {
    let stored: Stored = serde_json::from_value(read_json(&fixture("stored.json"))).unwrap();
    let (_until_the_end, mut cluster) = unpack().await;
    cluster.start(Member::Postgres).await.unwrap();
    restore(&cluster, &stored.stopped_at).await;
    for member in cluster.members().into_iter().skip(1) {
        cluster.start(member).await.unwrap();
    }
    cluster.until_online().await.unwrap();

    let client = cluster.client().unwrap();
    let network: Value = client.get("/api/v1/network").await.unwrap();
    assert_eq!(network["network_id"], stored.network_id);
    for (node, node_id) in cluster.status().unwrap().nodes.iter().zip(&stored.nodes) {
        assert_eq!(node.node_id.as_ref(), Some(node_id), "{}", node.name);
    }

    let refresh = client.request(Method::POST, "/api/v1/auth/refresh");
    let refresh = refresh.json(&json!({"refresh_token": stored.refresh_token}));
    assert_eq!(refresh.send().await.unwrap().status(), 200);
    let user = cluster.session().await.unwrap();
    let me: Value = user.get(api::paths::ME).await.unwrap();
    for (name, amount) in stored.balance.as_object().unwrap() {
        assert_eq!(me[name], *amount, "{name}");
    }

    let mut listing = user.all_files().await.unwrap();
    for file in &mut listing {
        assert!(file.completed_at.take() >= Some(file.created_at)); // older builds did not tell it
    }
    assert_eq!(listing, stored.listing);
    for file in &stored.files {
        let content = user.download(file.file_id).await.unwrap();
        assert!(content == file.content(), "{}", file.filename);
    }
    let deleted = stored.deleted.file_id;
    assert_eq!(refused(user.download(deleted).await), 404);

    let begun = &stored.begun;
    let status = user.upload_status(begun.upload_id).await.unwrap();
    assert_eq!(status.missing, begun.missing);
    let content = begun.file.content();
    let chunk_size = stored.listing[0].chunk_size_bytes as usize;
    for index in &begun.missing {
        let start = *index as usize * chunk_size;
        let chunk = content.slice(start..content.len().min(start + chunk_size));
        let receipt = user.send_chunk(begun.upload_id, *index, chunk).await;
        assert_eq!(receipt.unwrap().replicas, 3);
    }
    let file = user.complete(begun.upload_id).await.unwrap();
    assert_eq!(file.file_id, begun.file.file_id);
    assert!(user.download(file.file_id).await.unwrap() == content);

    let new = support::random_bytes(2 * chunk_size + 1);
    let size = Some(new.len() as u64);
    let file = user.upload("new", size, new.clone()).await.unwrap();
    assert!(user.download(file.file_id).await.unwrap() == new);
    let old = stored.files.last().unwrap().file_id;
    user.delete(old).await.unwrap();
    assert_eq!(refused(user.download(old).await), 404);

    let (_, kept) = stored.files.split_last().unwrap();
    until_proven(&user, kept, &stored.stopped_at).await;
    let known =
        |all: &[Value], one: &Value| all.iter().any(|t| t["transfer_id"] == one["transfer_id"]);
    let is_new_use = |t: &&Value| t["kind"] == "use" && !known(&stored.transactions, t);
    let all = wait_for("days to be settled", LONG, async || {
        let all = transactions(&user).await;
        all.iter().any(|t| is_new_use(&t)).then_some(all)
    });
    let all = all.await.unwrap();
    for transaction in &stored.transactions {
        let told = all.iter().any(|now| says_at_least(now, transaction));
        assert!(told, "{transaction}");
    }
    for node in client.nodes().await.unwrap() {
        assert_eq!(node.score_ppm, 1_000_000, "{}", node.name);
    }
    let config = cluster.config_file(Member::Coordinator(1));
    let args = ["ledger", "verify", "--config"].map(OsStr::new);
    coordinator(&[&args[..], &[config.as_ref()]].concat()).await;

    cluster.down(&|_| ()).await.unwrap();
    for number in 1..=cluster.node_count() {
        let config = cluster.config_file(Member::Node(number));
        let args = [
            "--config".as_ref(),
            config.as_ref(),
            "chunks".as_ref(),
            "verify".as_ref(),
        ];
        run(Programs::beside_this_one().unwrap().storage_node, &args).await;
    }
}

#[tokio::test]
async fn evidence_that_an_older_build_gave_can_still_be_checked() {
    let stored: Stored = serde_json::from_value(read_json(&fixture("stored.json"))).unwrap();
    let evidence = fixture("evidence.json");
    // That build did not sign whose the receipts are.
    let args = ["verify-evidence", "--allow-unbound", "--seed", &stored.seed].map(OsStr::new);
    let said = coordinator(&[&args[..], &[evidence.as_ref()]].concat()).await;
    assert!(said.contains("3 of 3 copies of 1 chunks"), "{said}");
}

#[tokio::test]
async fn settings_of_an_older_build_are_still_understood() {
    let settings = fixture("coordinator.toml");
    coordinator(&["config".as_ref(), "--check".as_ref(), settings.as_ref()]).await;
    let settings = fixture("storage-node.toml");
    let args = [
        "--config".as_ref(),
        settings.as_ref(),
        "config".as_ref(),
        "show".as_ref(),
    ];
    run(Programs::beside_this_one().unwrap().storage_node, &args).await;
}
