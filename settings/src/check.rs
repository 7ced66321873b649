//! What the settings have to be like for a coordinator to work with them, table by table.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytesize::ByteSize;
use network::Multiaddr;
use proto::PeerId;
use sqlx::postgres::PgConnectOptions;

use super::{
    Admission, AuthConfig, Config, DatabaseConfig, DownloadsConfig, EvidenceConfig, HttpConfig,
    MoneyConfig, NodesConfig, P2pConfig, PingConfig, PlacementConfig, ProofsConfig,
    ReconcileConfig, RepairConfig, S3Config, StripeConfig, UploadsConfig,
};
use model::day::DAY;
use payments::ProviderName;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Config {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.http.check()?;
        self.s3.check()?;
        self.database.check()?;
        self.p2p.check()?;
        self.ping.check()?;
        self.auth.check()?;
        if !self.keys.period.is_zero() {
            time(
                "keys.period",
                self.keys.period,
                HOUR..=3650 * DAY,
                "0s, or 1h to 3650d",
            )?;
        }
        self.mail.check(self.http.public_url.as_deref())?;
        ensure!(
            !self.auth.require_verified_address || self.mail.server.is_some(),
            "auth.require_verified_address is set and mail.server is not: nobody could show that his address is his"
        );
        self.nodes.check()?;
        self.placement.check()?;
        self.uploads.check(self.placement.replicas)?;
        self.downloads
            .check(self.uploads.chunk_size, self.placement.replicas)?;
        let most = self.objects.max_buckets_per_user;
        number("objects.max_buckets_per_user", most, 1..=100_000)?;
        self.proofs.check()?;
        self.evidence.check()?;
        self.repair.check()?;
        self.reconcile.check()?;
        self.money.check()?;
        self.stripe.check(self.money.provider)?;
        self.log.check()?;
        Ok(())
    }
}

/// `words` is the range as people write it.
fn time(
    name: &str,
    value: Duration,
    range: RangeInclusive<Duration>,
    words: &str,
) -> anyhow::Result<()> {
    ensure!(
        range.contains(&value),
        "{name} is {value:?}, it must be {words}"
    );
    Ok(())
}

fn number<T: PartialOrd + Display>(
    name: &str,
    value: T,
    range: RangeInclusive<T>,
) -> anyhow::Result<()> {
    ensure!(
        range.contains(&value),
        "{name} is {value}, it must be {} to {}",
        range.start(),
        range.end()
    );
    Ok(())
}

/// Scheme, name and port: what browsers call an origin.
fn origin(url: &str) -> anyhow::Result<()> {
    let parsed = url.parse::<http::Uri>().ok();
    let host = parsed
        .as_ref()
        .and_then(http::Uri::host)
        .unwrap_or_default();
    let is_name = host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[');
    let is_origin = parsed.as_ref().is_some_and(|uri| {
        let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
        is_web && uri.path() == "/" && uri.query().is_none() && !url.contains('@')
    });
    ensure!(
        is_origin && is_name && !host.is_empty(),
        "http.public_url is `{url}`, it must be like \"https://storage.example.com\": a name and no address, without a path"
    );
    Ok(())
}

impl HttpConfig {
    fn check(&self) -> anyhow::Result<()> {
        if let Some(url) = &self.public_url {
            origin(url)?;
        }
        for (name, limit) in [
            ("http.max_connections", self.max_connections),
            (
                "http.max_connections_per_address",
                self.max_connections_per_address,
            ),
        ] {
            number(name, limit, 1..=1_000_000)?;
        }
        for (name, value) in [
            ("http.request_timeout", self.request_timeout),
            ("http.idle_timeout", self.idle_timeout),
        ] {
            time(name, value, MILLISECOND * 10..=DAY, "10ms to 1d")?;
        }
        time(
            "http.shutdown_timeout",
            self.shutdown_timeout,
            Duration::ZERO..=DAY,
            "0s to 1d",
        )
    }
}

impl S3Config {
    fn check(&self) -> anyhow::Result<()> {
        let is_region = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        ensure!(
            (1..=32).contains(&self.region.len()) && self.region.bytes().all(is_region),
            "s3.region is `{}`, it must be 1 to 32 lower-case letters, digits and `-`, like eu-home-1",
            self.region
        );
        if let Some(domain) = &self.domain {
            let is_label = |label: &str| {
                !label.is_empty() && label.bytes().all(is_region) && !label.starts_with('-')
            };
            let is_address = domain.parse::<std::net::IpAddr>().is_ok();
            ensure!(
                !is_address && domain.len() <= 180 && domain.split('.').all(is_label),
                "s3.domain is `{domain}`, it must be a domain like s3.example.com, without a port"
            );
        }
        Ok(())
    }
}

impl DatabaseConfig {
    fn check(&self) -> anyhow::Result<()> {
        const FORM: &str =
            "database.url is not of the form postgres://user:password@host:port/database";
        if let Some(url) = &self.url {
            let is_postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
            ensure!(is_postgres, FORM);
            url.parse::<PgConnectOptions>().context(FORM)?;
        }
        number("database.max_connections", self.max_connections, 1..=10_000)?;
        time(
            "database.acquire_timeout",
            self.acquire_timeout,
            MILLISECOND * 10..=HOUR,
            "10ms to 1h",
        )
    }
}

impl P2pConfig {
    fn check(&self) -> anyhow::Result<()> {
        self.listen()?;
        self.external_addrs()?;
        for (name, limit) in [
            ("p2p.max_connections", self.max_connections),
            (
                "p2p.max_connections_per_address",
                self.max_connections_per_address,
            ),
            ("p2p.max_pending", self.max_pending),
        ] {
            number(name, limit, 1..=1_000_000)?;
        }
        if let Some(memory) = self.max_memory {
            ensure!(
                memory >= ByteSize::mib(64),
                "p2p.max_memory is {memory}, it must be at least 64 MiB"
            );
        }
        Ok(())
    }

    pub fn listen(&self) -> anyhow::Result<Vec<Multiaddr>> {
        multiaddrs("p2p.listen", &self.listen)
    }

    pub fn external_addrs(&self) -> anyhow::Result<Vec<Multiaddr>> {
        multiaddrs("p2p.external_addrs", &self.external_addrs)
    }
}

fn multiaddrs(name: &str, texts: &[String]) -> anyhow::Result<Vec<Multiaddr>> {
    texts
        .iter()
        .map(|text| {
            text.parse().with_context(|| {
                format!("{name}: `{text}` is not a multiaddress like /ip4/0.0.0.0/tcp/4001")
            })
        })
        .collect()
}

impl PingConfig {
    fn check(&self) -> anyhow::Result<()> {
        for (name, value) in [
            ("ping.interval", self.interval),
            ("ping.timeout", self.timeout),
        ] {
            let range = MILLISECOND * 100..=MINUTE * 10;
            time(name, value, range, "100ms to 10m")?;
        }
        number("ping.failures", self.failures, 1..=1000)
    }
}

impl AuthConfig {
    fn check(&self) -> anyhow::Result<()> {
        time(
            "auth.access_token_ttl",
            self.access_token_ttl,
            SECOND..=DAY * 30,
            "1s to 30d",
        )?;
        time(
            "auth.refresh_token_ttl",
            self.refresh_token_ttl,
            SECOND..=DAY * 3650,
            "1s to 3650d",
        )?;
        time(
            "auth.session_ttl",
            self.session_ttl,
            MINUTE..=DAY * 3650,
            "1m to 3650d",
        )?;
        ensure!(
            self.requests_per_address > 0
                && self.requests_per_account > 0
                && self.accounts_per_network > 0,
            "auth.requests_per_address, auth.requests_per_account and auth.accounts_per_network must be at least 1"
        );
        number("auth.password_min_length", self.password_min_length, 7..=64)?;
        number(
            "auth.logins_per_account",
            self.logins_per_account,
            1..=10_000,
        )?;
        number(
            "auth.access_keys_per_account",
            self.access_keys_per_account,
            1..=10_000,
        )
    }
}

impl NodesConfig {
    fn check(&self) -> anyhow::Result<()> {
        for peer in &self.allowed_peers {
            ensure!(
                peer.parse::<PeerId>().is_ok(),
                "nodes.allowed_peers: `{peer}` is not a peer id, like the one that \
                 `storage-node identity show` prints"
            );
        }
        if self.admission == Admission::Allowlist && self.allowed_peers.is_empty() {
            bail!(
                "nodes.admission is \"allowlist\" and nodes.allowed_peers is empty: no node could \
                 join. List their peer ids (`storage-node identity show`)"
            );
        }
        ensure!(
            self.bootstrap_token.is_none() || self.bootstrap_token_file.is_none(),
            "nodes.bootstrap_token and nodes.bootstrap_token_file are both set: leave one out"
        );
        let range = Duration::ZERO..=DAY * 365;
        time("nodes.vetting_time", self.vetting_time, range, "0s to 365d")?;
        ensure!(
            self.forget_unseen_after >= HOUR,
            "nodes.forget_unseen_after is {:?}, it must be at least 1h: who registers needs a moment to start",
            self.forget_unseen_after
        );
        ensure!(
            self.gone_after >= MINUTE,
            "nodes.gone_after is {:?}, it must be at least 1m: a restart is no departure",
            self.gone_after
        );
        Ok(())
    }
}

impl PlacementConfig {
    fn check(&self) -> anyhow::Result<()> {
        number("placement.replicas", self.replicas, 1..=16)
    }
}

impl UploadsConfig {
    fn check(&self, replicas: u32) -> anyhow::Result<()> {
        let chunk_size = self.chunk_size;
        ensure!(
            (ByteSize::kib(4)..=ByteSize::mib(4)).contains(&chunk_size),
            "uploads.chunk_size is {chunk_size}, it must be 4 KiB to 4 MiB"
        );
        transfers(
            "uploads",
            self.memory,
            self.window,
            one_chunk(chunk_size, replicas),
        )?;
        time(
            "uploads.session_ttl",
            self.session_ttl,
            MINUTE..=DAY * 365,
            "1m to 365d",
        )?;
        ensure!(
            self.max_file_size >= ByteSize(1) && self.max_files_per_user >= 1,
            "uploads.max_file_size and uploads.max_files_per_user must be at least 1: nobody could \
             store anything"
        );
        ensure!(
            self.sessions_per_minute >= 1,
            "uploads.sessions_per_minute must be at least 1: no upload in steps could begin"
        );
        number(
            "uploads.max_open_per_user",
            self.max_open_per_user,
            1..=1_000_000,
        )
    }
}

impl DownloadsConfig {
    fn check(&self, chunk_size: ByteSize, replicas: u32) -> anyhow::Result<()> {
        let needed = one_chunk(chunk_size, replicas);
        transfers("downloads", self.memory, self.window, needed)
    }
}

/// One chunk with all its sealed copies has to fit, or no upload could ever begin.
fn one_chunk(chunk_size: ByteSize, replicas: u32) -> ByteSize {
    ByteSize(chunk_size.0 * u64::from(replicas + 2))
}

fn transfers(table: &str, memory: ByteSize, window: usize, needed: ByteSize) -> anyhow::Result<()> {
    ensure!(
        (needed..=ByteSize::gib(64)).contains(&memory),
        "{table}.memory is {memory}, it must be {needed} (one chunk with its copies) to 64 GiB"
    );
    number(&format!("{table}.window"), window, 1..=256)
}

impl ProofsConfig {
    fn check(&self) -> anyhow::Result<()> {
        let range = SECOND..=DAY * 30;
        time("proofs.interval", self.interval, range, "1s to 30d")?;
        number("proofs.difficulty", self.difficulty, 1..=256)?;
        let range = MILLISECOND..=SECOND * 9;
        let words = "1ms to 9s: an exchange ends after 10";
        time("proofs.deadline", self.deadline, range, words)?;
        ensure!(
            self.per_node_limit >= 2 && self.retry_after <= DAY * 30,
            "proofs.per_node_limit must be at least 2 and proofs.retry_after at most 30d"
        );
        Ok(())
    }
}

impl EvidenceConfig {
    fn check(&self) -> anyhow::Result<()> {
        number("evidence.open_share", self.open_share, 0.0..=1.0)
    }
}

impl RepairConfig {
    fn check(&self) -> anyhow::Result<()> {
        let range = MILLISECOND * 100..=HOUR;
        time("repair.interval", self.interval, range, "100ms to 1h")?;
        if let Some(budget) = self.bytes_per_second {
            ensure!(
                budget >= ByteSize::kib(64),
                "repair.bytes_per_second is {budget}, it must be at least 64 KiB"
            );
        }
        Ok(())
    }
}

impl ReconcileConfig {
    fn check(&self) -> anyhow::Result<()> {
        let range = SECOND..=DAY * 30;
        time("reconcile.interval", self.interval, range, "1s to 30d")
    }
}

impl MoneyConfig {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.pay_per_gb_month <= self.price_per_gb_month,
            "money.pay_per_gb_month is more than money.price_per_gb_month: every stored byte would be \
             a loss, and storing for oneself a profit"
        );
        time(
            "money.settlement_interval",
            self.settlement_interval,
            SECOND * 5..=DAY,
            "5s to 24h",
        )?;
        ensure!(
            self.renewal_before <= DAY * 30,
            "money.renewal_before must be at most 30d, the time that a renewal buys"
        );
        ensure!(
            self.purchases_per_day >= 1,
            "money.purchases_per_day must be at least 1: nobody could buy"
        );
        let most = 1..=1_000_000;
        number("money.purchase_max_usd", self.purchase_max_usd, most)?;
        number("money.open_purchases", self.open_purchases, 1..=10_000)?;
        let range = MINUTE * 10..=DAY * 30;
        time("money.purchase_ttl", self.purchase_ttl, range, "10m to 30d")?;
        number("money.credits_per_usd", self.credits_per_usd, 1..=1_000_000)
    }
}

impl StripeConfig {
    /// Whether the files hold what they should is found out at the start.
    fn check(&self, provider: Option<ProviderName>) -> anyhow::Result<()> {
        if provider != Some(ProviderName::Stripe) {
            return Ok(());
        }
        ensure!(
            self.secret_key_file.is_some() && self.webhook_secret_file.is_some(),
            "money.provider is \"stripe\", and needs stripe.secret_key_file and stripe.webhook_secret_file: the API's \
             secret key, and the signing secret of the webhook endpoint"
        );
        if let Some(url) = &self.return_url {
            ensure!(
                url.starts_with("https://") || url.starts_with("http://localhost"),
                "stripe.return_url is {url}, it must begin with https://"
            );
        }
        Ok(())
    }
}
