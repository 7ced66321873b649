//! The process that cleans up after a crash.
//!
//! It reads from a pipe that the watched process holds. "Done" ends it; the end of the pipe without
//! that word means that the watched process has ended in some other way, be it `kill -9`, and
//! everything that was started since is ended too. Tests never say "done": their clusters end with
//! them. Rejected: signal handlers and destructors alone, which SIGKILL skips.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::account::Account;
use crate::process::ProcessId;
use crate::registry::{POSTGRES, Registry};
use crate::wait::wait_blocking;

const DONE: &[u8] = b"done";
const READY: &[u8] = b"ready";

/// The watched side. Dropping it without [`Reaper::release`] ends what was started.
#[derive(Debug)]
pub struct Reaper {
    child: Child,
}

/// What the reaper does besides ending processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    KeepFiles,
    RemoveFiles,
}

impl Reaper {
    /// Watches over what will be started in `dir` from now on. `dir` exists.
    pub fn start(launcher: &Path, dir: &Path, afterwards: Afterwards) -> Result<Self> {
        let mut command = Command::new(launcher);
        command.arg("reaper").arg("--dir").arg(dir);
        if afterwards == Afterwards::RemoveFiles {
            command.arg("--remove");
        }
        let mut child = command
            // Ctrl-C reaches everyone in the terminal's foreground group, but not the reaper.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match afterwards {
                Afterwards::KeepFiles => Stdio::inherit(),
                // It outlives a test by a moment and must not hold the test's output open.
                Afterwards::RemoveFiles => Stdio::null(),
            })
            .spawn()
            .with_context(|| format!("cannot run {}", launcher.display()))?;
        await_ready(&mut child)?;
        Ok(Self { child })
    }

    /// Everything went well: what was started may go on without this process.
    pub fn release(mut self) -> Result<()> {
        if let Some(mut pipe) = self.child.stdin.take() {
            pipe.write_all(DONE)
                .context("the reaper process has ended")?;
        }
        Ok(())
    }
}

/// Starts a reaper that this process does not hold: see [`run_reaper_until`].
pub(crate) fn start_reaper_until(launcher: &Path, dir: &Path, ends: ProcessId) -> Result<()> {
    let mut child = Command::new(launcher)
        .arg("reaper")
        .arg("--dir")
        .arg(dir)
        .arg(format!("--until-pid={}", ends.pid))
        .arg(format!("--started={}", ends.started))
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", launcher.display()))?;
    await_ready(&mut child)
}

/// What runs already when the reaper looks is not its business: waits until it has looked.
fn await_ready(child: &mut Child) -> Result<()> {
    let mut word = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(READY.len() as u64).read_to_end(&mut word)?;
    }
    ensure!(word == READY, "the reaper process has ended early");
    Ok(())
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Nothing may be left when this process goes on; an error has nobody to go to.
        let _ = self.child.wait();
    }
}

/// The reaper itself.
pub fn run_reaper(dir: &Path, afterwards: Afterwards) -> Result<()> {
    let registry = Registry::in_dir(dir);
    let before = registry.alive()?;
    let mut stdout = std::io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;

    let mut word = Vec::new();
    std::io::stdin().take(16).read_to_end(&mut word)?;
    if word == DONE {
        return Ok(());
    }
    let mut started = registry.alive()?;
    started.retain(|name, process| before.get(name) != Some(process));
    end_at_once(started.into_iter());
    if afterwards == Afterwards::RemoveFiles {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

/// A reaper without a pipe: waits for a process to end, then ends everything and removes the files.
pub fn run_reaper_until(dir: &Path, ends: ProcessId) -> Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(READY)?;
    stdout.flush()?;
    while !wait_blocking(Duration::from_secs(3600), || !ends.is_alive()) {}
    end_at_once(Registry::in_dir(dir).alive()?.into_iter());
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Ends processes without giving them time, all at once.
///
/// Only Postgres gets a chance to remove its shared memory, which would otherwise outlive it.
fn end_at_once(processes: impl Iterator<Item = (String, ProcessId)>) {
    let (postgres, others): (Vec<_>, Vec<_>) = processes.partition(|(name, _)| name == POSTGRES);
    for (_, process) in &others {
        let _ = process.signal(Signal::KILL);
    }
    for (_, process) in &postgres {
        let _ = process.signal(Signal::QUIT);
        let _ = process.signal(Signal::CONT);
    }
    let gone = |processes: &[(String, ProcessId)]| processes.iter().all(|(_, p)| !p.is_alive());
    if !wait_blocking(Duration::from_secs(5), || gone(&postgres)) {
        for (_, process) in &postgres {
            let _ = process.signal(Signal::KILL);
        }
    }
    wait_blocking(Duration::from_secs(10), || gone(&others) && gone(&postgres));
}

/// A directory that goes away, with all processes that were started in it, when this process ends,
/// however it ends.
#[derive(Debug)]
pub struct TemporaryDir {
    path: PathBuf,
    _reaper: Reaper,
}

impl TemporaryDir {
    pub fn new(launcher: &Path) -> Result<Self> {
        let parent = temporary_parent()?;
        let dir = tempfile::Builder::new()
            .prefix("fsn-local-cluster-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot create a directory in {}", parent.display()))?;
        let reaper = Reaper::start(launcher, dir.path(), Afterwards::RemoveFiles)?;
        // From here on the reaper removes it.
        Ok(Self {
            path: dir.keep(),
            _reaper: reaper,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where temporary directories go that Postgres' account has to reach.
pub(crate) fn temporary_parent() -> Result<PathBuf> {
    let account = Account::for_postgres()?;
    let parents = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    parents
        .into_iter()
        .find(|parent| account.is_none_or(|account| account.can_reach(parent)))
        .context("Postgres' account can reach no temporary directory")
}
