//! Which processes this cluster has started: `processes.json` in the cluster's directory.
//!
//! A process is written down before it runs its program (see [`crate::launch`]), so whoever finds
//! the file can end everything, also after a `kill -9` of the command that started it. The entries
//! are hints about the past: each is compared with what runs now before it is believed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kit::private_file;
use serde::{Deserialize, Serialize};

use crate::process::ProcessId;

pub(crate) const POSTGRES: &str = "postgres";
pub(crate) const COORDINATOR: &str = "coordinator";

#[derive(Debug, Clone)]
pub(crate) struct Registry {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Entries {
    /// Pids and start times say nothing after a reboot.
    boot_id: String,
    processes: BTreeMap<String, ProcessId>,
}

impl Registry {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self {
            path: dir.join("processes.json"),
        }
    }

    /// All processes that were started here and still live, by name.
    pub(crate) fn alive(&self) -> Result<BTreeMap<String, ProcessId>> {
        let mut processes = self.read()?.processes;
        processes.retain(|_, process| process.is_alive());
        Ok(processes)
    }

    pub(crate) fn find(&self, name: &str) -> Result<Option<ProcessId>> {
        Ok(self.alive()?.remove(name))
    }

    /// Callers hold the directory's lock.
    pub(crate) fn record(&self, name: &str, process: ProcessId) -> Result<()> {
        let mut entries = self.read()?;
        entries.processes.insert(name.to_owned(), process);
        private_file::write_json(&self.path, &entries)
    }

    fn read(&self) -> Result<Entries> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("cannot read the machine's boot id")?;
        let entries: Option<Entries> = private_file::read_json(&self.path)?;
        Ok(entries
            .filter(|entries| entries.boot_id == boot_id)
            .unwrap_or_else(|| Entries {
                boot_id,
                ..Entries::default()
            }))
    }
}
