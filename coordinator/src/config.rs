//! Settings: flag > environment > file > default, checked once, at the start.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytesize::ByteSize;
use confique::toml::FormatOptions;
use confique::{Config as _, File, FileFormat, Layer as _};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::domain::day::DAY;

mod show;
mod tables;

pub use tables::{
    Admission, AuthConfig, AuthMode, DatabaseConfig, DownloadsConfig, HttpConfig, KeysConfig,
    LogConfig, LogFormat, MetricsConfig, MoneyConfig, NodesConfig, P2pConfig, PingConfig,
    PlacementConfig, ProofsConfig, ReconcileConfig, RepairConfig, UploadsConfig,
};

/// Settings of a coordinator of a federated storage network.
///
/// Each can also be given as an environment variable, `FSN_<TABLE>_<KEY>`, or on the command line,
/// `--set table.key=value`. Durations are written like "15m", sizes like "256KiB".
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct Config {
    #[config(nested)]
    pub http: HttpConfig,
    #[config(nested)]
    pub metrics: MetricsConfig,
    #[config(nested)]
    pub database: DatabaseConfig,
    #[config(nested)]
    pub p2p: P2pConfig,
    #[config(nested)]
    pub ping: PingConfig,
    #[config(nested)]
    pub keys: KeysConfig,
    #[config(nested)]
    pub auth: AuthConfig,
    #[config(nested)]
    pub nodes: NodesConfig,
    #[config(nested)]
    pub placement: PlacementConfig,
    #[config(nested)]
    pub uploads: UploadsConfig,
    #[config(nested)]
    pub downloads: DownloadsConfig,
    #[config(nested)]
    pub proofs: ProofsConfig,
    #[config(nested)]
    pub repair: RepairConfig,
    #[config(nested)]
    pub reconcile: ReconcileConfig,
    #[config(nested)]
    pub money: MoneyConfig,
    #[config(nested)]
    pub log: LogConfig,
}

type ConfigLayer = <Config as confique::Config>::Layer;

impl Config {
    /// Reads all sources and checks the outcome. `overrides` are `table.key=value`.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<Self> {
        let flags = flags_layer(overrides)?;
        let environment = ConfigLayer::from_env().context("the environment has a bad setting")?;
        let from_file = match file {
            Some(path) => File::with_format(path, FileFormat::Toml)
                .required()
                .load::<ConfigLayer>()
                .with_context(|| format!("{} cannot be used", path.display()))?,
            None => ConfigLayer::empty(),
        };
        let layer = flags
            .with_fallback(environment)
            .with_fallback(from_file)
            .with_fallback(ConfigLayer::default_values());
        let config = Self::from_layer(layer)?;
        config.check()?;
        Ok(config)
    }

    /// The commented template that `coordinator config` prints.
    pub fn template() -> String {
        confique::toml::template::<Self>(FormatOptions::default())
    }

    /// The settings that `load` takes from the same sources, and where each comes from.
    pub fn show(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<String> {
        Self::load(file, overrides)?;
        let from_file = match file {
            Some(path) => std::fs::read_to_string(path)?.parse()?,
            None => toml::Table::new(),
        };
        let sources = show::Sources {
            flags: &flags_table(overrides)?,
            environment: |name: &str| std::env::var(name).ok(),
            file: &from_file,
        };
        Ok(sources.show(Self::META.fields))
    }

    pub fn database_url(&self) -> anyhow::Result<&str> {
        self.database.url.as_deref().context(
            "no database is configured: set database.url (FSN_DATABASE_URL) to \
             postgres://user:password@host:port/database",
        )
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            (1..=16).contains(&self.placement.replicas),
            "placement.replicas is {}, it must be 1 to 16",
            self.placement.replicas
        );
        let chunk_size = self.uploads.chunk_size;
        ensure!(
            (ByteSize::kib(4)..=ByteSize::mib(4)).contains(&chunk_size),
            "uploads.chunk_size is {chunk_size}, it must be 4 KiB to 4 MiB"
        );
        // One chunk with all its sealed copies has to fit, or no upload could ever begin.
        let needed = ByteSize(chunk_size.0 * u64::from(self.placement.replicas + 2));
        for (name, memory) in [
            ("uploads.memory", self.uploads.memory),
            ("downloads.memory", self.downloads.memory),
        ] {
            ensure!(
                (needed..=ByteSize::gib(64)).contains(&memory),
                "{name} is {memory}, it must be {needed} (one chunk with its copies) to 64 GiB"
            );
        }
        for (name, window) in [
            ("uploads.window", self.uploads.window),
            ("downloads.window", self.downloads.window),
        ] {
            ensure!(
                (1..=256).contains(&window),
                "{name} is {window}, it must be 1 to 256"
            );
        }
        let proofs = &self.proofs;
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        let interval = self.reconcile.interval;
        ensure!(
            (Duration::from_secs(1)..=days(30)).contains(&interval),
            "reconcile.interval is {interval:?}, it must be 1s to 30d"
        );
        ensure!(
            (Duration::from_secs(1)..=days(30)).contains(&proofs.interval),
            "proofs.interval is {:?}, it must be 1s to 30d",
            proofs.interval
        );
        ensure!(
            (1..=256).contains(&proofs.difficulty),
            "proofs.difficulty is {}, it must be 1 to 256",
            proofs.difficulty
        );
        ensure!(
            (Duration::from_millis(1)..=Duration::from_secs(9)).contains(&proofs.deadline),
            "proofs.deadline is {:?}, it must be 1ms to 9s: an exchange ends after 10",
            proofs.deadline
        );
        ensure!(
            proofs.per_node_limit >= 2 && proofs.retry_after <= days(30),
            "proofs.per_node_limit must be at least 2 and proofs.retry_after at most 30d"
        );
        ensure!(
            self.nodes.gone_after >= Duration::from_secs(60),
            "nodes.gone_after is {:?}, it must be at least 1m: a restart is no departure",
            self.nodes.gone_after
        );
        ensure!(
            self.auth.requests_per_address > 0 && self.auth.requests_per_account > 0,
            "auth.requests_per_address and auth.requests_per_account must be at least 1"
        );
        let money = &self.money;
        ensure!(
            money.pay_per_gb_month <= money.price_per_gb_month,
            "money.pay_per_gb_month is more than money.price_per_gb_month: every stored byte would be \
             a loss, and storing for oneself a profit"
        );
        ensure!(
            (Duration::from_secs(5)..=DAY).contains(&money.settlement_interval),
            "money.settlement_interval must be 5s to 24h"
        );
        ensure!(
            money.renewal_before <= DAY * 30,
            "money.renewal_before must be at most 30d, the time that a renewal buys"
        );
        ensure!(
            (1..=1_000_000).contains(&money.credits_per_usd),
            "money.credits_per_usd must be 1 to 1000000"
        );
        let p2p = &self.p2p;
        for (name, limit) in [
            ("p2p.max_connections", p2p.max_connections),
            (
                "p2p.max_connections_per_address",
                p2p.max_connections_per_address,
            ),
            ("p2p.max_pending", p2p.max_pending),
        ] {
            ensure!(
                (1..=1_000_000).contains(&limit),
                "{name} is {limit}, it must be 1 to 1000000"
            );
        }
        if let Some(memory) = p2p.max_memory {
            ensure!(
                memory >= ByteSize::mib(64),
                "p2p.max_memory is {memory}, it must be at least 64 MiB"
            );
        }
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
        ensure!(
            (1..=1000).contains(&self.ping.failures),
            "ping.failures is {}, it must be 1 to 1000",
            self.ping.failures
        );
        let interval = self.repair.interval;
        ensure!(
            (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval),
            "repair.interval is {interval:?}, it must be 100ms to 1h"
        );
        if let Some(budget) = self.repair.bytes_per_second {
            ensure!(
                budget >= ByteSize::kib(64),
                "repair.bytes_per_second is {budget}, it must be at least 64 KiB"
            );
        }
        if self.nodes.admission == Admission::Allowlist && self.nodes.allowed_peers.is_empty() {
            bail!(
                "nodes.admission is \"allowlist\" and nodes.allowed_peers is empty: no node could \
                 join. List their peer ids (`storage-node identity show`)"
            );
        }
        Ok(())
    }
}

/// The secret in a file's first line, as Docker and Kubernetes hand secrets over.
pub fn read_secret(setting: &str, path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| {
        format!(
            "{setting}: {} cannot be read by this account",
            path.display()
        )
    })?;
    let secret = text.lines().next().unwrap_or_default().trim();
    ensure!(!secret.is_empty(), "{setting}: {} is empty", path.display());
    Ok(Zeroizing::new(secret.to_owned()))
}

/// `--set a.b=c` as a layer.
fn flags_layer(overrides: &[String]) -> anyhow::Result<ConfigLayer> {
    ConfigLayer::deserialize(flags_table(overrides)?)
        .context("a setting given with --set cannot be used")
}

/// Values are TOML, or plain text where they do not parse as such.
fn flags_table(overrides: &[String]) -> anyhow::Result<toml::Table> {
    let mut root = toml::Table::new();
    for text in overrides {
        let parts = text.split_once('=').and_then(|(name, value)| {
            let (table, key) = name.trim().split_once('.')?;
            Some((table, key, value.trim()))
        });
        let Some((table, key, value)) = parts else {
            bail!("`--set {text}` is not of the form table.key=value");
        };
        root.entry(table.to_owned())
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .with_context(|| format!("`{table}` is not a table"))?
            .insert(key.to_owned(), toml_or_text(value));
    }
    Ok(root)
}

fn toml_or_text(text: &str) -> toml::Value {
    format!("v = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::PricePerGbMonth;

    fn load(file: &str, overrides: &[&str]) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("coordinator.toml");
        std::fs::write(&path, file).unwrap();
        let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
        Config::load(Some(&path), &overrides)
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.uploads.chunk_size, ByteSize::kib(256));
        assert_eq!(config.uploads.session_ttl, Duration::from_secs(24 * 3600));
        assert_eq!(config.placement.replicas, 3);
        assert_eq!(config.proofs.interval, Duration::from_secs(4 * 3600));
        assert_eq!(config.proofs.deadline, Duration::from_secs(2));
        assert_eq!(config.nodes.gone_after, Duration::from_secs(30 * 24 * 3600));
        assert_eq!(config.repair.grace, Duration::from_secs(15 * 60));
        assert_eq!(config.repair.interval, Duration::from_secs(10));
        assert_eq!(config.repair.bytes_per_second, None);
        assert_eq!(
            config.money.price_per_gb_month,
            PricePerGbMonth::from_microcredits(1_250_000)
        );
    }

    #[test]
    fn a_flag_goes_before_the_file() {
        let file = "[placement]\nreplicas = 4\n[uploads]\nchunk_size = \"1MiB\"";
        let config = load(file, &["placement.replicas=2", "nodes.admission=token"]).unwrap();
        assert_eq!(config.placement.replicas, 2);
        assert_eq!(config.uploads.chunk_size, ByteSize::mib(1));
        assert_eq!(config.nodes.admission, Admission::Token);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = [
            ("[uploads]\nchunk_sise = \"1MiB\"", "chunk_sise"),
            ("[uploads]\nchunk_size = \"1KiB\"", "uploads.chunk_size"),
            ("[placement]\nreplicas = 0", "placement.replicas"),
            ("[p2p]\nauth_mode = \"never\"", "never"),
            ("[p2p]\nmax_connections = 0", "p2p.max_connections"),
            ("[p2p]\nmax_memory = \"1MiB\"", "p2p.max_memory"),
            ("[ping]\ninterval = \"1ms\"", "ping.interval"),
            ("[ping]\nfailures = 0", "ping.failures"),
            ("[nodes]\nadmission = \"everybody\"", "everybody"),
            ("[nodes]\nadmission = \"allowlist\"", "nodes.allowed_peers"),
            ("[http]\nlisten = \"here\"", "listen"),
            ("[proofs]\ninterval = \"0s\"", "proofs.interval"),
            ("[proofs]\ndifficulty = 257", "proofs.difficulty"),
            ("[proofs]\ndeadline = \"1m\"", "proofs.deadline"),
            ("[nodes]\ngone_after = \"1s\"", "nodes.gone_after"),
            ("[repair]\ninterval = \"1ms\"", "repair.interval"),
            ("[repair]\nbytes_per_second = 1", "repair.bytes_per_second"),
            ("not toml", "coordinator.toml"),
        ];
        for (file, named) in wrong {
            let error = format!("{:#}", load(file, &[]).unwrap_err());
            assert!(error.contains(named), "{file:?}: {error}");
        }
    }

    #[test]
    fn the_template_is_a_valid_file_that_changes_nothing() {
        let template = Config::template();
        assert!(template.contains("#price_per_gb_month = 1.25"));
        load(&template, &[]).unwrap();
    }
}
