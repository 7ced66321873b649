//! A private Postgres: its own data, its own password, loopback only, a free port.
//!
//! Rejected: the machine's own server, which may be absent, of any version and full of somebody
//! else's data; and Unix sockets, whose paths may not be longer than 107 bytes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::{Entropy, private_file};
use serde::{Deserialize, Serialize};

use crate::account::{Account, home_for_postgres};
use crate::launch::{Launch, Launched};
use crate::programs::Programs;
use crate::registry::{POSTGRES, Registry};
use crate::wait::wait_for;
use crate::{files, ports};

const USER: &str = "fsn";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The choice of a port and Postgres' use of it are two steps; somebody may come between.
const PORT_ATTEMPTS: usize = 5;

/// What has to be remembered to start the same server again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresRecord {
    /// Holds `data/`; belongs to Postgres' account.
    pub home: PathBuf,
    pub password: String,
    /// 0 before the first start.
    pub port: u16,
    /// Off only for tests, whose data nobody needs after a power cut.
    pub fsync: bool,
}

impl PostgresRecord {
    pub fn new(dir: &Path, password: String, fsync: bool) -> Result<Self> {
        let account = Account::for_postgres()?;
        Ok(Self {
            home: home_for_postgres(dir, account)?,
            password,
            port: 0,
            fsync,
        })
    }

    pub fn url(&self) -> String {
        format!(
            "postgres://{USER}:{}@127.0.0.1:{}/postgres",
            self.password, self.port
        )
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }
}

/// Starts the server, which must not be running, on its old port if `keep_port` says so or if it is
/// free. Returns when the server accepts connections; the port is then in `record`.
pub(crate) async fn start(
    record: &mut PostgresRecord,
    keep_port: bool,
    dir: &Path,
    programs: &Programs,
) -> Result<()> {
    let tools = Tools::find()?;
    let registry = Registry::in_dir(dir);
    let log = dir.join("logs").join("postgres.log");
    let account = Account::for_postgres()?;
    if !record.data().exists() {
        initialise(record, account, &tools, dir, programs).await?;
    }
    let mut attempt = 1;
    loop {
        let old = record.port;
        if old == 0 || (!keep_port && !ports::is_free(old)) {
            record.port = ports::free_port(&mut Entropy::system().rng())?;
        }
        let launched = Launch {
            name: POSTGRES,
            program: &tools.postgres,
            args: arguments(record),
            account,
            log: &log,
        }
        .start(&programs.local_cluster, &registry)?;
        if until_ready(record, &launched).await? {
            return Ok(());
        }
        if attempt == PORT_ATTEMPTS || keep_port || ports::is_free(record.port) {
            bail!(
                "Postgres has ended while starting; {}",
                launched.last_words()
            );
        }
        attempt += 1;
    }
}

/// Runs `initdb`, whole or not at all: the data get their name when they are complete.
async fn initialise(
    record: &PostgresRecord,
    account: Option<Account>,
    tools: &Tools,
    dir: &Path,
    programs: &Programs,
) -> Result<()> {
    files::create_dir(&record.home)?;
    let unfinished = record.home.join("data.new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let password_file = record.home.join("password");
    private_file::write(&password_file, record.password.as_bytes())?;
    if let Some(account) = account {
        account.own(&record.home)?;
        account.own(&password_file)?;
    }
    let mut pwfile = OsString::from("--pwfile=");
    pwfile.push(&password_file);
    let mut args: Vec<OsString> = vec!["-D".into(), unfinished.clone().into(), pwfile];
    args.extend(
        [
            "--username=fsn",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        .map(OsString::from),
    );
    if !record.fsync {
        args.push("--no-sync".into());
    }
    let log = dir.join("logs").join("initdb.log");
    Launch {
        name: "initdb",
        program: &tools.initdb,
        args,
        account,
        log: &log,
    }
    .start(&programs.local_cluster, &Registry::in_dir(dir))?
    .finish()
    .await?;
    fs::remove_file(&password_file)?;
    fs::rename(&unfinished, record.data()).context("cannot finish Postgres' data directory")
}

fn arguments(record: &PostgresRecord) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["-D".into(), record.data().into()];
    let on_off = if record.fsync { "on" } else { "off" };
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", record.port.to_string()),
        ("unix_socket_directories", String::new()),
        ("fsync", on_off.to_owned()),
        ("full_page_writes", on_off.to_owned()),
        ("shared_buffers", "32MB".to_owned()),
        ("max_connections", "100".to_owned()),
        ("max_wal_size", "512MB".to_owned()),
        ("jit", "off".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("log_checkpoints", "off".to_owned()),
    ];
    for (name, value) in settings {
        args.push("-c".into());
        args.push(format!("{name}={value}").into());
    }
    args
}

/// Whether the server has become ready, `false` if it has ended instead.
async fn until_ready(record: &PostgresRecord, launched: &Launched) -> Result<bool> {
    let status_file = record.data().join("postmaster.pid");
    let pid = launched.process.pid.to_string();
    let started = wait_for("Postgres to accept connections", READY_WITHIN, async || {
        // The server's own account of itself, as `pg_ctl` reads it: the pid in line 1, the state in
        // line 8. A file with another pid is left over from an earlier run.
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() == Some(&pid) && lines.nth(6).is_some_and(|l| l.trim() == "ready") {
            return Some(true);
        }
        (!launched.process.is_alive()).then_some(false)
    })
    .await;
    started.with_context(|| launched.last_words())
}

/// The directory of the server's programs, `psql` among them.
pub fn programs_dir() -> Result<PathBuf> {
    let tools = Tools::find()?;
    Ok(tools
        .postgres
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default())
}

struct Tools {
    initdb: PathBuf,
    postgres: PathBuf,
}

impl Tools {
    /// From PATH, or the newest of what Debian and Fedora keep outside of it.
    fn find() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let mut packaged: Vec<(u32, PathBuf)> = Vec::new();
        for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
            let Ok(entries) = fs::read_dir(parent) else {
                continue;
            };
            packaged.extend(entries.flatten().filter_map(|entry| {
                let name = entry.file_name();
                let version = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            }));
        }
        packaged.sort();
        places.extend(packaged.into_iter().rev().map(|(_, bin)| bin));
        let found = places
            .into_iter()
            .map(|bin| Self {
                initdb: bin.join("initdb"),
                postgres: bin.join("postgres"),
            })
            .find(|tools| tools.initdb.is_file() && tools.postgres.is_file());
        found.context(
            "Postgres is needed, and neither PATH nor /usr/lib/postgresql has its `initdb`; \
             install it, for example with `apt-get install postgresql`",
        )
    }
}

/// Removes the database for good. Postgres' account owns it, so this is the one place that does.
pub(crate) fn remove(record: &PostgresRecord) -> Result<()> {
    match fs::remove_dir_all(&record.home) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", record.home.display()))
        }
        _ => Ok(()),
    }
}
