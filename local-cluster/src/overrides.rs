//! Settings of the user's own, which win over what a cluster would choose.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use toml::Table;

/// `--config FILE`: settings that win over what the cluster would choose.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    #[serde(default)]
    pub coordinator: Table,
    #[serde(default)]
    pub node: Table,
}

impl Overrides {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        text.parse()
            .with_context(|| format!("{} cannot be used", path.display()))
    }

    /// How many copies the coordinator makes, 3 unless overridden.
    pub fn replicas(&self) -> usize {
        let replicas = || {
            let value = self.coordinator.get("placement")?.get("replicas")?;
            usize::try_from(value.as_integer()?).ok()
        };
        replicas().unwrap_or(3)
    }
}

impl std::str::FromStr for Overrides {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        toml::from_str(text).context("it may hold the tables [coordinator] and [node], no others")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_belongs_to_no_program_is_refused() {
        let error = "[nodes]\nx = 1".parse::<Overrides>().unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `nodes`"));
    }
}
