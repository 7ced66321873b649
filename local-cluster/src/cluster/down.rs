//! Ending a cluster, in the order in which its members need each other.

use std::fs;

use anyhow::{Context, Result};
use futures::future::join_all;

use super::{Cluster, Member, Progress};
use crate::postgres;

impl Cluster {
    /// Stops everything; what does not stop in time is killed.
    pub async fn down(&self, progress: Progress<'_>) -> Result<()> {
        let (nodes, mut rest): (Vec<_>, Vec<_>) = self
            .members()
            .into_iter()
            .partition(|member| matches!(member, Member::Node(_)));
        rest.reverse();
        let ends = nodes.into_iter().map(|node| self.end(node, progress));
        join_all(ends).await.into_iter().collect::<Result<()>>()?;
        for member in rest {
            self.end(member, progress).await?;
        }
        Ok(())
    }

    async fn end(&self, member: Member, progress: Progress<'_>) -> Result<()> {
        if self.process(member)?.is_none() {
            return Ok(());
        }
        match self.stop(member).await {
            Ok(()) => progress(&format!("{member} has stopped.")),
            Err(error) => {
                progress(&format!("{error:#}; killing it."));
                if self.process(member)?.is_some() {
                    self.kill(member).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes everything that belongs to the cluster, which is down.
    pub fn wipe(self) -> Result<()> {
        postgres::remove(&self.record.postgres)?;
        fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}
