//! `local-cluster down`.

use anyhow::Result;
use clap::Args;
use local_cluster::{Cluster, DirLock};

use super::{DirArg, narrate};

#[derive(Debug, Args)]
pub(super) struct Down {
    /// Also remove the cluster's directory, with all data
    #[arg(long)]
    wipe: bool,
    #[command(flatten)]
    dir: DirArg,
}

impl Down {
    pub(super) async fn run(self) -> Result<()> {
        let dir = self.dir.path()?;
        Cluster::open(&dir)?;
        let _lock = DirLock::acquire(&dir, &narrate)?;
        let cluster = Cluster::open(&dir)?;
        cluster.down(&narrate).await?;
        if self.wipe {
            cluster.wipe()?;
            println!("The network is down and {} is removed.", dir.display());
        } else {
            println!(
                "The network is down. Its data stay in {}; `up` starts it again.",
                dir.display()
            );
        }
        Ok(())
    }
}
