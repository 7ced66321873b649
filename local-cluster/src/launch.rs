//! Starting a program so that a crash of whoever starts it never leaves it behind unknown.
//!
//! The program is started by `local-cluster launch`, which waits for one word on its standard input.
//! Meanwhile its pid, which `exec` keeps, is written down; only then is the word sent. If the parent
//! dies before, the launcher reads the end of the pipe and ends. Rejected: writing the pid down after
//! the program has been started, which leaves a moment in which nobody knows about it; and
//! `PR_SET_PDEATHSIG`, which a cluster that outlives `up` cannot use.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

use crate::account::Account;
use crate::files;
use crate::process::ProcessId;
use crate::registry::Registry;

const GO: &[u8] = b"go\n";

/// A program to be run in the background, detached from the terminal.
pub(crate) struct Launch<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<OsString>,
    /// Another account than the caller's.
    pub account: Option<Account>,
    pub log: &'a Path,
}

/// A program that was started, and where to read what it said since.
#[derive(Debug)]
pub(crate) struct Launched {
    pub name: String,
    pub process: ProcessId,
    log: PathBuf,
    log_start: u64,
    /// Someone has to collect the exit status, or the process would stay as a zombie for as long as
    /// this one lives.
    exit: JoinHandle<std::io::Result<ExitStatus>>,
}

impl Launched {
    /// Waits for a program that does one thing and ends.
    pub(crate) async fn finish(self) -> Result<()> {
        let Self {
            name,
            log,
            log_start,
            exit,
            ..
        } = self;
        let exit = tokio::task::spawn_blocking(move || exit.join()).await?;
        match exit {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(_)) => bail!("{name} has failed; {}", last_words(&log, log_start)),
            Ok(Err(error)) => Err(error).with_context(|| format!("cannot wait for {name}")),
            Err(_) => bail!("cannot wait for {name}"),
        }
    }

    /// What to tell when the program has failed.
    pub(crate) fn last_words(&self) -> String {
        last_words(&self.log, self.log_start)
    }
}

fn last_words(log: &Path, from: u64) -> String {
    let said = files::tail(log, from, 12);
    let log = log.display();
    if said.is_empty() {
        format!("it wrote nothing to {log}")
    } else {
        format!("its last lines, from {log}:\n{said}")
    }
}

impl Launch<'_> {
    /// Starts the program through `launcher`, the `local-cluster` executable.
    pub(crate) fn start(self, launcher: &Path, registry: &Registry) -> Result<Launched> {
        let log = files::open_log(self.log)?;
        let log_start = log.metadata()?.len();
        let mut command = Command::new(launcher);
        command.arg("launch");
        if let Some(account) = &self.account {
            command.arg(format!("--uid={}", account.uid));
            command.arg(format!("--gid={}", account.gid));
        }
        command.arg("--").arg(self.program).args(&self.args);
        let mut child = clean_environment(&mut command)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", launcher.display()))?;
        let process = ProcessId::of(child.id())?;
        registry.record(self.name, process)?;
        let Some(mut pipe) = child.stdin.take() else {
            bail!("the launcher has no standard input");
        };
        pipe.write_all(GO)
            .with_context(|| format!("the launcher of {} has ended early", self.name))?;
        Ok(Launched {
            name: self.name.to_owned(),
            process,
            log: self.log.to_owned(),
            log_start,
            exit: std::thread::spawn(move || child.wait()),
        })
    }
}

/// The launcher itself: waits for the word, then becomes the program.
pub fn run_launcher(program: &Path, args: &[OsString], account: Option<(u32, u32)>) -> Result<()> {
    let mut word = Vec::new();
    std::io::stdin().take(16).read_to_end(&mut word)?;
    if word != GO {
        bail!("whoever started the launcher has ended");
    }
    rustix::process::setsid().context("cannot leave the terminal's session")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

/// Settings in the caller's environment would win over the files that the cluster writes.
pub(crate) fn clean_environment(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("FSN_") || text.starts_with("PG") {
            command.env_remove(&name);
        }
    }
    command
}
