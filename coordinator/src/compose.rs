//! Puts the coordinator together: the only place that knows everybody.
//!
//! Each concern gets a struct of just what it uses, and those below it; nobody gets all. Who is told which facts,
//! and which jobs run at what pace, stands here in a line each.

use std::sync::Arc;
use std::time::Duration;

use crate::database::Pool;
use anyhow::ensure;
use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use kit::config::read_secret;
use kit::{Clock, Entropy, Gate, Pace, Runner, Statuses, Wake};
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::accounts::known::KnownCredentials;
use crate::accounts::letters::{self, Desk};
use crate::accounts::passwords::Passwords;
use crate::accounts::{Accounts, secrets};
use crate::billing::Billing;
use crate::billing::metrics::BillingMetrics;
use crate::blobs::Blobs;
use crate::blobs::brakes::WatchBrakes;
use crate::blobs::crypto_pool::CryptoPool;
use crate::blobs::forget::Purge;
use crate::blobs::metrics::BlobMetrics;
use crate::blobs::read_failures::ReadFailures;
use crate::blobs::receipts::Receipts;
use crate::blobs::tentative::{Purger, purge_dropped};
use crate::blobs::versions::Versions;
use crate::closing::Closing;
use crate::config::{Config, NodesConfig};
use crate::database::clocks::Clocks;
use crate::durability::metrics::DurabilityMetrics;
use crate::durability::repair::Repair;
use crate::durability::summary::Summaries;
use crate::durability::{Durability, restore};
use crate::facts::Facts;
use crate::files::metrics::FileMetrics;
use crate::files::upload::turns::Turns;
use crate::files::upload::{chunk_commit, single_chunk_commit};
use crate::files::{Files, UploadMemory};
use crate::fleet::metrics::FleetMetrics;
use crate::fleet::node_status::NodeStates;
use crate::fleet::peers::PeerNetwork;
use crate::fleet::uptime_sampler::UptimeSampler;
use crate::fleet::{Fleet, Nodes};
use crate::keys::network_document::CurrentDocument;
use crate::keys::{KeyRing, Keys};
use crate::measuring::Measure;
use crate::metrics::{HttpMetrics, JobMetrics, Metrics, PREFIX, ShareMetrics};
use crate::objects::Objects;
use crate::objects::pointing::KeyPointing;
use crate::proofs::evidence_slots::EvidenceSlots;
use crate::proofs::metrics::ProofMetrics;
use crate::proofs::{Proofs, read_failures};
use crate::security::SecurityLog;
use crate::shares::Shares;
use crate::{
    accounts, billing, closing, durability, files, fleet, keys, objects, proofs, security, shares,
};
use limits::memory::MemoryBudget;
use limits::running::Running;
use rules::reputation::Vetting;
use rules::uptime::SETTLING;

/// Who is told what happens below, in the same transaction.
pub const FACTS: Facts = Facts::told_to(&[proofs::on_fact, durability::on_fact]);

/// What a coordinator is made of.
pub struct Coordinator {
    pub config: Config,
    pub db: Pool,
    pub keys: Arc<Keys>,
    pub accounts: Arc<Accounts>,
    pub fleet: Arc<Fleet>,
    pub nodes: Arc<Nodes>,
    pub peers: PeerNetwork,
    pub blobs: Arc<Blobs>,
    pub billing: Arc<Billing>,
    pub files: Arc<Files>,
    pub closing: Arc<Closing>,
    pub objects: Arc<Objects>,
    pub shares: Arc<Shares>,
    pub proofs: Arc<Proofs>,
    pub durability: Arc<Durability>,
    pub job_metrics: Arc<JobMetrics>,
    pub http_metrics: Arc<HttpMetrics>,
    pub share_metrics: Arc<ShareMetrics>,
    /// All that the concerns have registered.
    pub metrics: Arc<Metrics>,
    pub clocks: Arc<Clocks>,
    database_clock_ahead_seconds: Gauge,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// What the parts are made of, and what runs already.
pub struct Parts {
    pub config: Config,
    pub db: Pool,
    pub ring: Arc<KeyRing>,
    pub document: CurrentDocument,
    pub peers: PeerNetwork,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Coordinator {
    pub async fn compose(parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            config,
            db,
            ring,
            document,
            peers,
            clock,
            entropy,
        } = parts;
        let mut metrics = Metrics::new(PREFIX, env!("CARGO_PKG_VERSION"));
        let vetting = Vetting {
            chunk_bytes: config.uploads.chunk_size.as_u64(),
            time: SignedDuration::try_from(config.nodes.vetting_time)?,
        };
        let node_states = NodeStates {
            facts: FACTS,
            entropy: entropy.clone(),
        };
        let purge_wake = Wake::new();
        let repair = Repair::new(&config.repair);
        let keys = Arc::new(Keys {
            db: db.clone(),
            ring: Arc::clone(&ring),
            document: document.clone(),
            entropy: entropy.clone(),
            period: config.keys.period,
            replaced: CancellationToken::new(),
        });
        let security = Arc::new(SecurityLog::new(db.clone(), clock.clone()));
        let mailer = config.mail.mailer()?;
        let (desk, orders) = Desk::open();
        let accounts = Arc::new(Accounts {
            site: config
                .http
                .public_url
                .as_deref()
                .and_then(|url| passkeys::Site::at(url).ok()),
            public_url: config.http.public_url.clone().unwrap_or_default(),
            desk: mailer.is_some().then_some(desk),
            security: Arc::clone(&security),
            db: db.clone(),
            keys: Arc::clone(&ring),
            passwords: Passwords::new(&entropy).await?,
            known: KnownCredentials::default(),
            config: config.auth.clone(),
            trial_accounts_per_network: config.money.trial_accounts_per_network,
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        if let Some(mailer) = mailer {
            let accounts = Arc::downgrade(&accounts);
            tokio::spawn(letters::write(accounts, orders, mailer));
        }
        let fleet = Arc::new(Fleet::new(peers.handle.clone(), ring.network_id));
        let nodes = Arc::new(Nodes {
            db: db.clone(),
            fleet: Arc::clone(&fleet),
            network_id: ring.network_id,
            document,
            admission: Arc::clone(&peers.registered),
            bootstrap_token: bootstrap_token(&config.nodes)?,
            config: config.nodes.clone(),
            ledger_day: ArcSwapOption::empty(),
            uptime_sampler: Arc::new(UptimeSampler::new(SETTLING)),
            grace: config.repair.grace,
            mass_failure_hold: config.repair.mass_failure_hold,
            started_at: clock.now(),
            facts: FACTS,
            states: node_states.clone(),
            purge_wake: purge_wake.clone(),
            connections_wake: Wake::new(),
            scan_wake: repair.scan_wake.clone(),
            metrics: FleetMetrics::new(&mut metrics),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let (purger, dropped) = Purger::channel();
        tokio::spawn(purge_dropped(db.clone(), dropped));
        let (failures, reported) = ReadFailures::channel();
        tokio::spawn(read_failures::note(db.clone(), reported, clock.clone()));
        let blobs = Arc::new(Blobs {
            db: db.clone(),
            fleet: Arc::clone(&fleet),
            keys: Arc::clone(&ring),
            crypto: CryptoPool::new()?,
            placement: config.placement.clone(),
            versions: Versions::new(clock.clone()),
            read_failures: failures,
            receipts: Receipts::default(),
            purger,
            purge_wake,
            metrics: BlobMetrics::new(&mut metrics),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let billing = Arc::new(Billing {
            db: db.clone(),
            keys: ring,
            money: config.money.clone(),
            payments: billing::provider::open(&config.money, &config.stripe)?,
            metrics: BillingMetrics::new(&mut metrics),
            terms_since: terms_since(&db).await?,
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let rules = single_chunk_commit::Rules::new(&config.money, &config.uploads);
        let pointing = Arc::new(KeyPointing {
            entropy: entropy.clone(),
        });
        let files = Arc::new(Files {
            db: db.clone(),
            blobs: Arc::clone(&blobs),
            billing: Arc::clone(&billing),
            idle_timeout: config.http.idle_timeout,
            upload_memory: UploadMemory::new(config.uploads.memory.as_u64(), blobs.copies()),
            download_memory: MemoryBudget::new(config.downloads.memory.as_u64()),
            chunk_commits: chunk_commit::spawn(db.clone()),
            file_commits: single_chunk_commit::spawn(
                db.clone(),
                rules,
                Arc::clone(&pointing) as _,
                entropy.clone(),
            ),
            rules,
            pointing,
            uploads: config.uploads.clone(),
            downloads: config.downloads.clone(),
            turns: Turns::default(),
            forget_wake: Wake::new(),
            metrics: FileMetrics::new(&mut metrics),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let objects = Arc::new(Objects {
            db: db.clone(),
            files: Arc::clone(&files),
            config: config.objects.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let shares = Arc::new(Shares {
            db: db.clone(),
            accounts: Arc::clone(&accounts),
            objects: Arc::clone(&objects),
            running: Running::default(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let closing = Arc::new(Closing {
            db: db.clone(),
            accounts: Arc::clone(&accounts),
            files: Arc::clone(&files),
            objects: Arc::clone(&objects),
            tokens_live: config.auth.access_token_ttl,
            idle_timeout: config.http.idle_timeout,
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let proofs = Arc::new(Proofs {
            db: db.clone(),
            blobs: Arc::clone(&blobs),
            config: config.proofs.clone(),
            evidence: config.evidence.clone(),
            vetting,
            partitions: proofs::audit::Partitions::default(),
            evidence_slots: EvidenceSlots::default(),
            repair_wake: repair.wake.clone(),
            facts: FACTS,
            node_states: node_states.clone(),
            metrics: ProofMetrics::new(&mut metrics),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let durability = Arc::new(Durability {
            vetting,
            db: db.clone(),
            blobs: Arc::clone(&blobs),
            config: config.repair.clone(),
            reconcile: config.reconcile.clone(),
            session_ttl: config.uploads.session_ttl,
            repair,
            facts: FACTS,
            node_states,
            metrics: DurabilityMetrics::new(&mut metrics),
            summaries: Summaries::default(),
            clock: clock.clone(),
            entropy: entropy.clone(),
        });
        let clocks = Arc::new(Clocks::new(db.clone(), clock.clone()));
        Ok(Self {
            job_metrics: Arc::new(JobMetrics::new(&mut metrics)),
            http_metrics: Arc::new(HttpMetrics::new(&mut metrics)),
            share_metrics: Arc::new(ShareMetrics::new(&mut metrics)),
            config,
            clocks,
            database_clock_ahead_seconds: metrics.gauge(
                "database_clock_ahead_seconds",
                "How far the database's clock is ahead of this coordinator's",
            ),
            db,
            keys,
            accounts,
            fleet,
            nodes,
            peers,
            blobs,
            billing,
            files,
            closing,
            objects,
            shares,
            proofs,
            durability,
            metrics: Arc::new(metrics),
            clock,
            entropy,
        })
    }

    /// Starts the background work; what it says of itself is returned.
    pub fn start_jobs(&self, tasks: &TaskTracker, stop: &CancellationToken) -> Statuses {
        let runner = Runner::new(self.clock.clone(), tasks.clone(), stop.clone());
        // Takes blobs, replicas, standing or money away from somebody, by what the database says of the nodes: not
        // while that is being found out.
        let db = self.db.clone();
        let settled = Gate::new("the end of restore mode", move || {
            let db = db.clone();
            async move { Ok(!restore::stands(&db).await?) }
        });
        // Ends, charges or concludes something by time, for good: not while nobody can say what time it is.
        let clocks = Arc::clone(&self.clocks);
        let difference = self.database_clock_ahead_seconds.clone();
        let agreed = Gate::new("database and coordinator to agree on the time", move || {
            let (clocks, difference) = (Arc::clone(&clocks), difference.clone());
            async move {
                let ahead = clocks.ahead().await?;
                difference.set(ahead.as_secs());
                Ok(rules::clocks::agree(ahead))
            }
        });
        let every = |time: Duration| Pace::every(time);
        let timed = |time: Duration| Pace::every(time).only_while(&agreed);
        let gated = |time: Duration| timed(time).only_while(&settled);
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let settling = (self.config.money.settlement_interval / 10).min(5 * second);
        let reconciling = (self.config.reconcile.interval / 2).min(10 * second);
        let repairing = self.config.repair.interval;

        let keys = &self.keys;
        runner.spawn(keys::jobs::KeepKeys(Arc::clone(keys)), every(5 * second));
        runner.spawn(
            keys::jobs::RefreshDocument(Arc::clone(keys)),
            every(10 * second),
        );
        runner.spawn(keys::jobs::ForgetDead(Arc::clone(keys)), timed(minute));
        runner.spawn(
            accounts::jobs::CleanUp(Arc::clone(&self.accounts)),
            timed(minute),
        );

        let log = &self.accounts.security;
        runner.spawn(
            security::jobs::WriteRefused(Arc::clone(log)),
            every(5 * second),
        );
        runner.spawn(security::jobs::Forget(Arc::clone(log)), timed(minute));
        runner.spawn(
            accounts::jobs::HearChanges(Arc::clone(&self.accounts)),
            every(second).cut_at_stop(),
        );
        runner.spawn(
            accounts::jobs::FormAddresses(Arc::clone(&self.accounts)),
            every(minute),
        );

        let nodes = || Arc::clone(&self.nodes);
        let lost = &self.nodes.connections_wake;
        runner.spawn(fleet::jobs::RecordLiveness(nodes()), timed(5 * second));
        runner.spawn(fleet::jobs::SampleUptime(nodes()), every(second / 10));
        runner.spawn(
            fleet::jobs::RecordConnections(nodes()),
            timed(second).or_at(lost),
        );
        runner.spawn(fleet::jobs::WatchFleet(nodes()), timed(10 * second));
        runner.spawn(fleet::jobs::DisqualifyGone(nodes()), gated(5 * second));
        runner.spawn(fleet::jobs::CleanUp(nodes()), timed(minute));

        let purge = gated(2 * second).or_at(&self.blobs.purge_wake);
        runner.spawn(Purge(Arc::clone(&self.blobs)), purge);
        runner.spawn(WatchBrakes(Arc::clone(&self.blobs)), every(5 * second));

        let billing = || Arc::clone(&self.billing);
        let head = billing::jobs::HandOutHead {
            billing: billing(),
            nodes: nodes(),
        };
        runner.spawn(billing::jobs::SealLedger(billing()), every(second));
        runner.spawn(billing::jobs::SettleDays(billing()), gated(settling));
        runner.spawn(billing::jobs::PayOut(billing()), gated(5 * second));
        runner.spawn(billing::jobs::SettlePurchases(billing()), timed(5 * second));
        runner.spawn(billing::jobs::SettleDisputes(billing()), timed(5 * second));
        runner.spawn(
            billing::jobs::LookForDisputes(billing()),
            every(60 * minute),
        );
        runner.spawn(head, every(5 * second));
        runner.spawn(billing::jobs::CleanUp(billing()), timed(minute));

        let files = || Arc::clone(&self.files);
        let forget = every(10 * second).or_at(&self.files.forget_wake);
        runner.spawn(files::jobs::Forget(files()), forget);
        runner.spawn(files::jobs::ExpireUploads(files()), timed(15 * second));
        runner.spawn(
            files::jobs::HashFiles(files()),
            every(5 * second).cut_at_stop(),
        );
        runner.spawn(files::jobs::ChargeFiles(files()), gated(5 * second));
        runner.spawn(files::jobs::CleanUp(files()), timed(minute));
        runner.spawn(
            closing::jobs::EmptyClosed(Arc::clone(&self.closing)),
            gated(minute),
        );

        let objects = || Arc::clone(&self.objects);
        runner.spawn(objects::jobs::ChargeObjects(objects()), gated(5 * second));
        runner.spawn(objects::jobs::DeleteExpired(objects()), timed(15 * second));
        runner.spawn(objects::jobs::WalkBuckets(objects()), timed(15 * second));
        runner.spawn(objects::jobs::EndLeftOvers(objects()), timed(15 * second));
        runner.spawn(objects::jobs::CleanUp(objects()), timed(minute));

        let shares = || Arc::clone(&self.shares);
        runner.spawn(shares::jobs::CutEnded(shares()), every(second));
        runner.spawn(shares::jobs::CleanUp(shares()), timed(minute));

        runner.spawn(proofs::jobs::Audit(Arc::clone(&self.proofs)), gated(second));
        runner.spawn(
            proofs::jobs::CheckReceipts(Arc::clone(&self.proofs)),
            gated(second),
        );

        let durability = || Arc::clone(&self.durability);
        let repair = &self.durability.repair;
        runner.spawn(durability::jobs::Demote(durability()), gated(5 * second));
        runner.spawn(
            durability::jobs::FinishDrains(durability()),
            gated(5 * second),
        );
        let scan = gated(repairing).or_at(&repair.scan_wake);
        runner.spawn(durability::jobs::RepairScan(durability()), scan);
        let mend = gated(repairing).or_at(&repair.wake);
        runner.spawn(durability::jobs::Repair(durability()), mend);
        let reconcile = gated(reconciling).cut_at_stop();
        runner.spawn(durability::jobs::Reconcile(durability()), reconcile);
        runner.spawn(
            durability::jobs::UndoPurges(durability()),
            every(2 * second),
        );
        let restore = every(2 * second).cut_at_stop();
        runner.spawn(durability::jobs::Restore(durability()), restore);
        let measure = Measure {
            nodes: nodes(),
            billing: billing(),
            files: files(),
            proofs: Arc::clone(&self.proofs),
        };
        runner.spawn(measure, every(15 * second));
        runner.statuses().clone()
    }
}

async fn terms_since(db: &Pool) -> sqlx::Result<Timestamp> {
    let mut connection = db.acquire().await?;
    billing::tables::terms::content_and_name_since(&mut connection).await
}

fn bootstrap_token(config: &NodesConfig) -> anyhow::Result<Option<[u8; 32]>> {
    let token = match (&config.bootstrap_token, &config.bootstrap_token_file) {
        (Some(token), _) => Zeroizing::new(token.trim().to_owned()),
        (None, Some(path)) => read_secret("nodes.bootstrap_token_file", path)?,
        (None, None) => return Ok(None),
    };
    ensure!(
        token.len() >= 16,
        "the bootstrap token has fewer than 16 characters: anybody could guess it"
    );
    Ok(Some(secrets::hash(&token)))
}
