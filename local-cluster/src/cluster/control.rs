//! Breaking and mending: kill, stop, pause, resume.

use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::{Cluster, Member};
use crate::process::ProcessId;
use crate::wait::wait_for;

/// The programs finish within 30 s what they are doing.
const STOPPED_WITHIN: Duration = Duration::from_secs(35);
const DEAD_WITHIN: Duration = Duration::from_secs(10);

impl Cluster {
    /// SIGKILL; returns when the process is gone.
    pub async fn kill(&self, member: Member) -> Result<()> {
        let process = self.running(member)?;
        let family = process.with_descendants();
        process.signal(Signal::KILL)?;
        // Postgres' children notice by themselves that their parent has died.
        wait_for(format!("{member} to die"), DEAD_WITHIN, async || {
            family.iter().all(|p| !p.is_alive()).then_some(())
        })
        .await?;
        Ok(())
    }

    /// SIGTERM; returns when the process has ended in its own way.
    ///
    /// Postgres gets SIGINT: at SIGTERM it waits until every client has gone by itself.
    pub async fn stop(&self, member: Member) -> Result<()> {
        let process = self.running(member)?;
        process.signal(match member {
            Member::Postgres => Signal::INT,
            Member::Coordinator(_) | Member::Node(_) => Signal::TERM,
        })?;
        self.signal_family(process, Signal::CONT)?;
        wait_for(format!("{member} to stop"), STOPPED_WITHIN, async || {
            (!process.is_alive()).then_some(())
        })
        .await?;
        Ok(())
    }

    /// SIGSTOP.
    pub fn pause(&self, member: Member) -> Result<()> {
        self.signal_family(self.running(member)?, Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self, member: Member) -> Result<()> {
        self.signal_family(self.running(member)?, Signal::CONT)
    }

    fn signal_family(&self, process: ProcessId, signal: Signal) -> Result<()> {
        for process in process.with_descendants() {
            process.signal(signal)?;
        }
        Ok(())
    }

    fn running(&self, member: Member) -> Result<ProcessId> {
        match self.process(member)? {
            Some(process) => Ok(process),
            None => bail!("{member} is not running; `local-cluster start {member}` starts it"),
        }
    }
}
