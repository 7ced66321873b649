//! One cluster for all tests of a run that do not hurt it.
//!
//! nextest gives every test a process of its own, so a static cannot be shared. Its runner, the
//! parent of them all, lives as long as the run: the first test starts a cluster in a directory named
//! after the runner, the others find it there, and a reaper ends it with the runner.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, DirLock, UpOptions};
use crate::files;
use crate::process::ProcessId;
use crate::programs::Programs;
use crate::reaper::{start_reaper_until, temporary_parent};

/// Starts the run's cluster, or finds it ready. All callers ask for the same `options`.
pub async fn shared_cluster(options: UpOptions) -> Result<Cluster> {
    let programs = Programs::beside_this_one()?;
    programs.check()?;
    let run = runner()?;
    let dir = temporary_parent()?.join(format!("fsn-shared-cluster-{}-{}", run.pid, run.started));
    files::create_dir(&dir)?;
    let owner = fs::metadata(&dir)?.uid();
    ensure!(
        owner == rustix::process::geteuid().as_raw(),
        "{} belongs to somebody else",
        dir.display()
    );
    let _lock = DirLock::acquire(&dir, &|_| ())?;
    if let Ok(cluster) = Cluster::open(&dir)
        && cluster.record().user.ready
    {
        return Ok(cluster);
    }
    start_reaper_until(&programs.local_cluster, &dir, run)?;
    let options = UpOptions {
        http_port: Some(0),
        ..options
    };
    let random = &mut kit::Entropy::system().rng();
    let mut cluster = Cluster::prepare(&dir, programs, options, random, &|_| ())?;
    cluster.bring_up(&|_| ()).await?;
    Ok(cluster)
}

/// The process that lives as long as the test run: nextest, or the test program itself.
fn runner() -> Result<ProcessId> {
    let pid = if std::env::var_os("NEXTEST").is_some() {
        std::os::unix::process::parent_id()
    } else {
        std::process::id()
    };
    ProcessId::of(pid).context("cannot read /proc")
}
