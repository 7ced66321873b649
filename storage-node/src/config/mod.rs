//! Settings: flag > environment > file > default, checked once, at the start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use kit::config::{Reloader, Sources};
use kit::logging::LogConfig;
use network::ReconnectPolicy;
use toml::Table;

mod tables;

use tables::{
    AdminConfig, NodeConfig, P2pConfig, PingConfig, ProofsConfig, ReconnectConfig, ScrubConfig,
    StoreConfig, TrashConfig,
};

/// Settings of a storage node of a federated storage network.
///
/// Each can also be given as an environment variable, `FSN_<TABLE>_<KEY>`, or on the command line,
/// `--set table.key=value`. Durations are written like "15m", sizes like "10GB".
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct Config {
    #[config(nested)]
    pub node: NodeConfig,
    #[config(nested)]
    pub p2p: P2pConfig,
    #[config(nested)]
    pub admin: AdminConfig,
    #[config(nested)]
    pub reconnect: ReconnectConfig,
    #[config(nested)]
    pub ping: PingConfig,
    #[config(nested)]
    pub store: StoreConfig,
    #[config(nested)]
    pub scrub: ScrubConfig,
    #[config(nested)]
    pub trash: TrashConfig,
    #[config(nested)]
    pub proofs: ProofsConfig,
    #[config(nested)]
    pub log: LogConfig,
}

/// Tables that coordinators have, too, with settings of their own.
const SHARED_TABLES: [&str; 4] = ["p2p", "ping", "proofs", "log"];

impl Config {
    /// Reads all sources and checks the outcome. `overrides` are a table of tables; a file that is
    /// not there counts as empty only when it is not `required`.
    pub(crate) fn load(file: &Path, required: bool, overrides: Table) -> Result<Self> {
        checked(&sources(file, required, overrides)?)
    }

    /// What reads the same sources again while the node runs.
    pub(crate) fn reloader(file: PathBuf, required: bool, overrides: Table) -> Result<Reloader> {
        Reloader::new(
            move || sources(&file, required, overrides.clone()),
            |config: Self| {
                config.check()?;
                Ok(config.log)
            },
        )
    }

    /// Variables of this process that look like settings and are none. `others` are known to somebody else.
    pub(crate) fn unknown_variables(others: &[&str]) -> Vec<String> {
        let mut unknown = kit::config::unknown_variables::<Self>(&SHARED_TABLES);
        unknown.retain(|name| !others.contains(&name.as_str()));
        unknown
    }

    /// A table of Markdown for each table of settings.
    #[cfg(test)]
    pub(crate) fn reference() -> String {
        kit::config::reference::<Self>()
    }

    /// The template with every setting that `load` takes from the same sources.
    pub(crate) fn show(file: &Path, required: bool, overrides: Table) -> Result<String> {
        let sources = sources(file, required, overrides)?;
        let data_dir = checked(&sources)?.data_dir()?.display().to_string();
        let mut settings = sources.settings::<Self>()?;
        kit::config::set(&mut settings, "node.data_dir", data_dir.into());
        Ok(Self::template(&settings))
    }

    /// The commented template, with these settings filled in.
    pub(crate) fn template(settings: &Table) -> String {
        kit::config::template::<Self>(settings)
    }

    pub(crate) fn data_dir(&self) -> Result<PathBuf> {
        let dir = match &self.node.data_dir {
            Some(dir) => dir.clone(),
            None => user_dirs()?.data_dir().join("storage-node"),
        };
        std::path::absolute(&dir).with_context(|| format!("{} is no path", dir.display()))
    }

    pub(crate) fn reconnect_policy(&self) -> ReconnectPolicy {
        let ReconnectConfig {
            initial,
            max,
            factor,
            attempts,
            rest,
            spread,
        } = self.reconnect;
        ReconnectPolicy {
            initial,
            max,
            factor,
            attempts,
            rest,
            spread,
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(name) = &self.node.name {
            ensure!(
                (1..=64).contains(&name.chars().count()) && !name.contains(char::is_control),
                "node.name must have 1 to 64 printable characters"
            );
        }
        if let Some(capacity) = self.node.capacity {
            let range = ByteSize::mb(1)..=ByteSize::pb(1);
            ensure!(
                range.contains(&capacity),
                "node.capacity is {capacity}, it must be 1 MB to 1 PB"
            );
        }
        ensure!(
            self.admin.allow_remote || self.admin.listen.ip().is_loopback(),
            "admin.listen is {}, which other machines can reach; choose an address like \
             127.0.0.1:9090, or set admin.allow_remote = true if that is what you want",
            self.admin.listen
        );
        ensure!(
            self.reconnect.factor >= 1.0 && self.reconnect.factor.is_finite(),
            "reconnect.factor is {}, it must be at least 1",
            self.reconnect.factor
        );
        let disk_share = self.proofs.disk_share;
        ensure!(
            disk_share > 0.0 && disk_share <= 1.0,
            "proofs.disk_share is {disk_share}, it must be above 0 and at most 1"
        );
        let reconnect = &self.reconnect;
        ensure!(
            !reconnect.initial.is_zero() && reconnect.attempts > 0,
            "reconnect.initial and reconnect.attempts must not be 0"
        );
        ensure!(
            reconnect.max >= reconnect.initial && reconnect.attempts <= 1_000_000,
            "reconnect.max must not be less than reconnect.initial, and reconnect.attempts at most \
             1000000"
        );
        let a_day = Duration::from_secs(24 * 3600);
        ensure!(
            [reconnect.max, reconnect.rest, reconnect.spread]
                .iter()
                .all(|time| *time <= a_day),
            "reconnect.max, reconnect.rest and reconnect.spread must be at most 24h: a node that \
             waits longer is lost to its network"
        );
        ensure!(
            (1..=1000).contains(&self.ping.failures),
            "ping.failures is {}, it must be 1 to 1000",
            self.ping.failures
        );
        for (name, time) in [
            ("ping.interval", self.ping.interval),
            ("ping.timeout", self.ping.timeout),
        ] {
            let range = Duration::from_millis(100)..=Duration::from_secs(600);
            ensure!(
                range.contains(&time),
                "{name} is {time:?}, it must be 100ms to 10m"
            );
        }
        ensure!(!self.scrub.period.is_zero(), "scrub.period must not be 0");
        for (name, limit, least) in [
            ("p2p.max_connections", self.p2p.max_connections, 8),
            (
                "p2p.max_connections_per_address",
                self.p2p.max_connections_per_address,
                1,
            ),
        ] {
            ensure!(
                (least..=65536).contains(&limit),
                "{name} is {limit}, it must be {least} to 65536"
            );
        }
        self.log.check()
    }
}

/// `storage-node.toml` in the user's configuration directory.
pub(crate) fn default_file() -> Result<PathBuf> {
    Ok(user_dirs()?.config_dir().join("storage-node.toml"))
}

fn user_dirs() -> Result<directories::ProjectDirs> {
    directories::ProjectDirs::from("", "", "federated-storage").context(
        "this account has no home directory: say where things are with --config FILE and \
         --set node.data_dir=DIR",
    )
}

fn sources(file: &Path, required: bool, overrides: Table) -> Result<Sources> {
    let sources = Sources::new(overrides);
    if required {
        sources.with_file(file)
    } else {
        sources.with_file_if_there(file)
    }
}

fn checked(sources: &Sources) -> Result<Config> {
    let config: Config = sources.load()?;
    config.check()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_of_settings_is_what_there_is() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        kit::reference::holds(&page, "node", &Config::reference()).unwrap();
    }
}
