//! `local-cluster kill|stop|pause|resume|start NAME`.

use anyhow::Result;
use clap::Args;
use local_cluster::process::ProcessState;
use local_cluster::{Afterwards, Cluster, DirLock, Member, Reaper};

use super::{DirArg, narrate};

#[derive(Debug, Args)]
pub(super) struct Target {
    /// node-1, node-2, …, coordinator, coordinator-2, … or postgres
    name: String,
    #[command(flatten)]
    dir: DirArg,
}

impl Target {
    pub(super) async fn kill(self) -> Result<()> {
        let (cluster, member, _lock) = self.open()?;
        cluster.kill(member).await?;
        println!("{member} was killed.");
        Ok(())
    }

    pub(super) async fn stop(self) -> Result<()> {
        let (cluster, member, _lock) = self.open()?;
        cluster.stop(member).await?;
        println!("{member} has stopped.");
        Ok(())
    }

    pub(super) fn pause(self) -> Result<()> {
        let (cluster, member, _lock) = self.open()?;
        cluster.pause(member)?;
        println!("{member} is paused.");
        Ok(())
    }

    pub(super) fn resume(self) -> Result<()> {
        let (cluster, member, _lock) = self.open()?;
        cluster.resume(member)?;
        println!("{member} goes on.");
        Ok(())
    }

    pub(super) async fn start(self) -> Result<()> {
        let (mut cluster, member, _lock) = self.open()?;
        match cluster.state(member)? {
            ProcessState::Running => println!("{member} is running already."),
            ProcessState::Paused => {
                cluster.resume(member)?;
                println!("{member} was paused and goes on.");
            }
            ProcessState::Gone => {
                let reaper =
                    Reaper::start(cluster.launcher()?, cluster.dir(), Afterwards::KeepFiles)?;
                cluster.start(member).await?;
                reaper.release()?;
                println!("{member} is ready.");
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<(Cluster, Member, DirLock)> {
        let dir = self.dir.path()?;
        // Before the lock, which would create a file in a directory that is not a cluster's.
        Cluster::open(&dir)?;
        let lock = DirLock::acquire(&dir, &narrate)?;
        let cluster = Cluster::open(&dir)?;
        let member = cluster.member(&self.name)?;
        Ok((cluster, member, lock))
    }
}
