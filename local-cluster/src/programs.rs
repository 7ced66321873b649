//! Where the programs of the network are: beside the one that runs, in the same target directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

#[derive(Debug, Clone)]
pub struct Programs {
    pub local_cluster: PathBuf,
    pub coordinator: PathBuf,
    pub storage_node: PathBuf,
    /// No network needs it: it may be missing.
    pub fsn: PathBuf,
}

impl Programs {
    /// Beside the running executable; for a test, one directory above it.
    pub fn beside_this_one() -> Result<Self> {
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        let dir = this.parent().unwrap_or(Path::new("/"));
        let dir = match dir.file_name() {
            Some(name) if name == "deps" => dir.parent().unwrap_or(dir),
            _ => dir,
        };
        Ok(Self::in_dir(dir))
    }

    pub fn in_dir(dir: &Path) -> Self {
        Self {
            local_cluster: dir.join("local-cluster"),
            coordinator: dir.join("coordinator"),
            storage_node: dir.join("storage-node"),
            fsn: dir.join("fsn"),
        }
    }

    pub fn dir(&self) -> &Path {
        self.local_cluster.parent().unwrap_or(Path::new("/"))
    }

    /// Says which program has not been built.
    pub fn check(&self) -> Result<()> {
        for program in [&self.local_cluster, &self.coordinator, &self.storage_node] {
            if !program.is_file() {
                bail!(
                    "{} is missing; build all programs first: `cargo build --workspace --bins` \
                     (with `--release` for the release profile)",
                    program.display()
                );
            }
        }
        Ok(())
    }
}
