//! The settings of a coordinator: flag > environment > file > default, checked once, at the start. A table for each of its
//! concerns; the template that it prints follows from them.
//!
//! ```
//! let set = ["placement.replicas=2".to_owned()];
//! let config = settings::Config::load(None, &set)?;
//! assert_eq!(config.placement.replicas, 2);
//! # Ok::<(), anyhow::Error>(())
//! ```

#![warn(unreachable_pub)]

use std::path::{Path, PathBuf};

use anyhow::Context;
use kit::config::{Reloader, Sources};
use kit::logging::LogConfig;
use mail::MailConfig;

mod check;
mod proxies;
mod tables;

pub use proxies::{NotANetwork, ProxyNetwork};
pub use tables::{
    Admission, AuthConfig, AuthMode, DatabaseConfig, DownloadsConfig, EvidenceConfig, HttpConfig,
    KeysConfig, MetricsConfig, MoneyConfig, NodesConfig, ObjectsConfig, P2pConfig, PingConfig,
    PlacementConfig, ProofsConfig, ReconcileConfig, RepairConfig, S3Config, StripeConfig,
    UploadsConfig,
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
    pub s3: S3Config,
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
    pub mail: MailConfig,
    #[config(nested)]
    pub nodes: NodesConfig,
    #[config(nested)]
    pub placement: PlacementConfig,
    #[config(nested)]
    pub uploads: UploadsConfig,
    #[config(nested)]
    pub downloads: DownloadsConfig,
    #[config(nested)]
    pub objects: ObjectsConfig,
    #[config(nested)]
    pub proofs: ProofsConfig,
    #[config(nested)]
    pub evidence: EvidenceConfig,
    #[config(nested)]
    pub repair: RepairConfig,
    #[config(nested)]
    pub reconcile: ReconcileConfig,
    #[config(nested)]
    pub money: MoneyConfig,
    #[config(nested)]
    pub stripe: StripeConfig,
    #[config(nested)]
    pub log: LogConfig,
}

/// Tables that storage nodes have, too, with settings of their own.
const SHARED_TABLES: [&str; 4] = ["p2p", "ping", "proofs", "log"];

impl Config {
    /// Reads all sources and checks the outcome. `overrides` are `table.key=value`.
    pub fn load(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<Self> {
        let config: Self = sources(file, overrides)?.load()?;
        config.check()?;
        Ok(config)
    }

    /// The commented template that `coordinator config` prints.
    pub fn template() -> String {
        kit::config::template::<Self>(&toml::Table::new())
    }

    /// A table of Markdown for each table of settings.
    pub fn reference() -> String {
        kit::config::reference::<Self>()
    }

    /// The settings that `load` takes from the same sources, and where each comes from.
    pub fn show(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<String> {
        Self::load(file, overrides)?;
        sources(file, overrides)?.show::<Self>()
    }

    /// What reads the same sources again while the coordinator runs.
    pub fn reloader(file: Option<PathBuf>, overrides: Vec<String>) -> anyhow::Result<Reloader> {
        Reloader::new(
            move || sources(file.as_deref(), &overrides),
            |config: Self| {
                config.check()?;
                Ok(config.log)
            },
        )
    }

    /// Variables of this process that look like settings and are none.
    pub fn unknown_variables() -> Vec<String> {
        kit::config::unknown_variables::<Self>(&SHARED_TABLES)
    }

    /// What somebody should hear who starts with these settings.
    pub fn warnings(&self) -> Vec<String> {
        let http = &self.http;
        let has_proxy =
            http.behind_proxy || http.trust_forwarded_for || !http.trusted_proxies.is_empty();
        let mut warnings = Vec::new();
        if !http.listen.ip().is_loopback() && !has_proxy {
            warnings.push(format!(
                "http.listen is {}, beyond this machine, and without TLS: passwords and tokens travel in the clear. Put a proxy that \
                 speaks TLS before it and set http.behind_proxy, or listen on 127.0.0.1",
                http.listen
            ));
        }
        if !self.keys.period.is_zero() {
            warnings.push(format!(
                "keys.period is {} s: the master key of before is destroyed after that time, and a backup of the database that is \
                 older OPENS NOTHING. Back up more often, keys.dir too",
                self.keys.period.as_secs()
            ));
        }
        warnings
    }

    pub fn database_url(&self) -> anyhow::Result<&str> {
        self.database.url.as_deref().context(
            "no database is configured: set database.url (FSN_DATABASE_URL) to \
             postgres://user:password@host:port/database",
        )
    }
}

fn sources(file: Option<&Path>, overrides: &[String]) -> anyhow::Result<Sources> {
    let sources = Sources::new(kit::config::overrides(overrides)?);
    match file {
        Some(path) => sources.with_file(path),
        None => Ok(sources),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytesize::ByteSize;

    use super::*;
    use model::money::PricePerGbMonth;

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
        assert_eq!(config.nodes.vetting_time, Duration::from_secs(72 * 3600));
        assert_eq!(config.repair.grace, Duration::from_secs(15 * 60));
        assert_eq!(config.repair.interval, Duration::from_secs(10));
        assert_eq!(config.repair.bytes_per_second, None);
        assert_eq!(
            config.money.price_per_gb_month,
            PricePerGbMonth::from_microcredits(1_250_000)
        );
    }

    #[test]
    fn keys_by_period_are_warned_of_and_are_no_shorter_than_an_hour() {
        assert!(load("", &[]).unwrap().warnings().is_empty());
        let config = load("[keys]\nperiod = \"30d\"", &[]).unwrap();
        assert!(config.warnings()[0].contains("OPENS NOTHING"));
        assert!(load("[keys]\nperiod = \"59m\"", &[]).is_err());
    }

    #[test]
    fn listening_beyond_this_machine_without_tls_is_warned_of() {
        let warned = |file: &str| !load(file, &[]).unwrap().warnings().is_empty();
        assert!(!warned(""));
        assert!(warned("[http]\nlisten = \"0.0.0.0:8080\""));
        assert!(warned("[http]\nlisten = \"192.0.2.7:8080\""));
        assert!(!warned(
            "[http]\nlisten = \"0.0.0.0:8080\"\nbehind_proxy = true"
        ));
        assert!(!warned(
            "[http]\nlisten = \"0.0.0.0:8080\"\ntrusted_proxies = [\"10.0.0.1\"]"
        ));
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
            ("[nodes]\nvetting_time = \"400d\"", "nodes.vetting_time"),
            ("[repair]\ninterval = \"1ms\"", "repair.interval"),
            ("[repair]\nbytes_per_second = 1", "repair.bytes_per_second"),
            ("[http]\nmax_connections = 0", "http.max_connections"),
            (
                "[http]\nmax_connections_per_address = 0",
                "http.max_connections_per_address",
            ),
            ("[http]\ntrusted_proxies = [\"proxy\"]", "`proxy`"),
            ("[http]\nrequest_timeout = \"0s\"", "http.request_timeout"),
            (
                "[database]\nmax_connections = 0",
                "database.max_connections",
            ),
            ("[database]\nurl = \"mysql://u@h/db\"", "database.url"),
            ("[auth]\naccess_token_ttl = \"0s\"", "auth.access_token_ttl"),
            ("[uploads]\nsession_ttl = \"0s\"", "uploads.session_ttl"),
            ("[uploads]\nmax_files_per_user = 0", "max_files_per_user"),
            ("[p2p]\nexternal_addrs = [\"foo\"]", "`foo`"),
            ("[p2p]\nlisten = [\"bar\"]", "`bar`"),
            ("[nodes]\nallowed_peers = [\"x\"]", "`x` is not a peer id"),
            (
                "[nodes]\nbootstrap_token = \"t\"\nbootstrap_token_file = \"f\"",
                "nodes.bootstrap_token_file",
            ),
            ("[s3]\nregion = \"US East\"", "s3.region"),
            ("[s3]\ndomain = \"10.0.0.1\"", "s3.domain"),
            (
                "[objects]\nmax_buckets_per_user = 0",
                "max_buckets_per_user",
            ),
            ("[log]\nfilter = \"a=b=c\"", "log.filter"),
            (
                "[auth]\npassword_min_length = 3",
                "auth.password_min_length",
            ),
            (
                "[http]\npublic_url = \"storage.example\"",
                "http.public_url",
            ),
            (
                "[http]\npublic_url = \"https://203.0.113.7\"",
                "http.public_url",
            ),
            (
                "[http]\npublic_url = \"https://storage.example/a\"",
                "http.public_url",
            ),
            ("[mail]\nserver = \"smtp.example.com\"", "mail.server"),
            (
                "[mail]\nserver = \"smtp.example.com:25\"\nsecurity = \"none\"",
                "mail.security",
            ),
            ("[mail]\nserver = \"localhost:25\"", "mail.from"),
            (
                "[mail]\nserver = \"localhost:25\"\nfrom = \"a@example.com\"",
                "http.public_url",
            ),
            ("not toml", "coordinator.toml"),
        ];
        for (file, named) in wrong {
            let error = format!("{:#}", load(file, &[]).unwrap_err());
            assert!(error.contains(named), "{file:?}: {error}");
        }
    }

    #[test]
    fn a_bad_line_is_told_once_with_its_number_and_an_example() {
        let error = load("[uploads]\n\nsession_ttl = 5", &[]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("coordinator.toml, line 3: "), "{error}");
        assert!(error.contains("a duration like \"15m\""), "{error}");
        assert!(error.contains("uploads.session_ttl"), "{error}");
        assert_eq!(error.matches("coordinator.toml").count(), 1, "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        let error = load("", &["uploads.session_ttl=soon"]).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("a duration like \"15m\""), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn the_reference_of_settings_is_what_there_is() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        kit::reference::holds(&page, "coordinator", &Config::reference()).unwrap();
    }

    #[test]
    fn the_template_is_a_valid_file_that_changes_nothing() {
        let template = Config::template();
        assert!(template.contains("#price_per_gb_month = 1.25"));
        load(&template, &[]).unwrap();
    }

    #[test]
    fn who_moves_money_is_chosen_and_nobody_is_by_default() {
        assert_eq!(load("", &[]).unwrap().money.provider, None);
        let mock = load("[money]\nprovider = \"mock\"", &[]).unwrap();
        assert_eq!(mock.money.provider, Some(payments::ProviderName::Mock));
        load("[money]\nprovider = \"paypal\"", &[]).unwrap_err();
        let without = load("[money]\nprovider = \"stripe\"", &[]).unwrap_err();
        assert!(
            format!("{without:#}").contains("stripe.secret_key_file"),
            "{without:#}"
        );
        let secrets = [
            "stripe.secret_key_file=/run/key",
            "stripe.webhook_secret_file=/run/webhooks",
        ];
        load("[money]\nprovider = \"stripe\"", &secrets).unwrap();
        let insecure = [&secrets[..], &["stripe.return_url=http://a.example"]].concat();
        load("[money]\nprovider = \"stripe\"", &insecure).unwrap_err();
    }
}
