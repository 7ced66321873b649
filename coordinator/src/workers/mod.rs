//! Background work. Each worker is one bounded, idempotent step without input; the runner owns pace,
//! stop and status. The same path runs after a crash.

mod keys;
mod liveness;
mod purge;
mod settlement;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::upload::end;
use crate::app::{App, adopt, audit, drain, files, reconcile, repair};
use crate::clock;
use crate::db;

/// Rows that one step of a clean-up touches.
const CLEANUP_BATCH: i64 = 1000;

/// Transfers in one block.
const BLOCK_LIMIT: i64 = 10_000;

/// Whether a step left something for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    More,
}

pub fn spawn_all(app: &Arc<App>, tasks: &TaskTracker, stop: &CancellationToken) {
    let seconds = Duration::from_secs;
    let never = Arc::new(Notify::new());
    let settling = (app.config.money.settlement_interval / 10).min(seconds(5));
    let reconciling = (app.config.reconcile.interval / 2).min(seconds(10));
    let spawn = |worker: Worker| {
        let (app, stop) = (Arc::clone(app), stop.clone());
        tasks.spawn(async move { worker.run(app, stop).await });
    };
    for (name, every, step) in [
        ("ledger-sealer", seconds(1), Kind::SealLedger),
        ("liveness", seconds(5), Kind::RecordLiveness),
        ("connections", seconds(1), Kind::RecordConnections),
        ("purge", seconds(2), Kind::Purge),
        ("forget", seconds(10), Kind::Forget),
        ("expiry", seconds(15), Kind::ExpireUploads),
        ("file-charges", seconds(5), Kind::ChargeFiles),
        ("settlement", settling, Kind::SettleDays),
        ("payouts", seconds(5), Kind::PayOut),
        ("audit", seconds(1), Kind::Audit),
        ("fleet-guard", seconds(10), Kind::WatchFleet),
        ("demotion", seconds(5), Kind::Demote),
        ("drain", seconds(5), Kind::FinishDrains),
        ("repair-scan", app.config.repair.interval, Kind::RepairScan),
        ("repair", app.config.repair.interval, Kind::Repair),
        ("reconcile", reconciling, Kind::Reconcile),
        ("adopt", seconds(2), Kind::Adopt),
        ("clean-up", seconds(60), Kind::CleanUp),
        ("network-document", seconds(10), Kind::RefreshDocument),
        ("keys", seconds(5), Kind::KeepKeys),
    ] {
        spawn(Worker {
            name,
            every,
            kind: step,
            idle: Arc::clone(&never),
        });
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    SealLedger,
    RecordLiveness,
    RecordConnections,
    Purge,
    Forget,
    ExpireUploads,
    ChargeFiles,
    SettleDays,
    PayOut,
    Audit,
    WatchFleet,
    Demote,
    FinishDrains,
    RepairScan,
    Repair,
    Reconcile,
    Adopt,
    CleanUp,
    RefreshDocument,
    KeepKeys,
}

impl Kind {
    /// Takes blobs, replicas, standing or money away from somebody, and does so by what the database says
    /// of the nodes: not while that is being found out.
    const fn waits_for_adoption(self) -> bool {
        match self {
            Self::Purge
            | Self::ChargeFiles
            | Self::SettleDays
            | Self::PayOut
            | Self::Audit
            | Self::Demote
            | Self::FinishDrains
            | Self::RepairScan
            | Self::Repair
            | Self::Reconcile => true,
            Self::SealLedger
            | Self::RecordLiveness
            | Self::RecordConnections
            | Self::Forget
            | Self::ExpireUploads
            | Self::WatchFleet
            | Self::Adopt
            | Self::CleanUp
            | Self::RefreshDocument
            | Self::KeepKeys => false,
        }
    }
}

struct Worker {
    name: &'static str,
    every: Duration,
    kind: Kind,
    /// For workers that nobody nudges.
    idle: Arc<Notify>,
}

impl Worker {
    async fn run(self, app: Arc<App>, stop: CancellationToken) {
        let mut pause = self.every;
        loop {
            let nudge = match self.kind {
                Kind::RecordConnections => app.connections_nudge.notified(),
                Kind::Purge => app.purge_nudge.notified(),
                Kind::Forget => app.forget_nudge.notified(),
                Kind::RepairScan => app.repair.scan_nudge.notified(),
                Kind::Repair => app.repair.nudge.notified(),
                _ => self.idle.notified(),
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = nudge => {}
                () = tokio::time::sleep(pause) => {}
            }
            let outcome = match self.kind {
                // They take long, and what they leave unfinished costs nothing.
                Kind::Reconcile | Kind::Adopt => {
                    match stop.run_until_cancelled(self.step(&app)).await {
                        Some(outcome) => outcome,
                        None => return,
                    }
                }
                _ => self.step(&app).await,
            };
            pause = match outcome {
                Ok(Step::More) => Duration::ZERO,
                Ok(Step::Idle) => self.every,
                Err(error) => {
                    app.metrics.worker_failures.inc();
                    tracing::warn!(
                        worker = self.name,
                        error = format!("{error:#}"),
                        "a step failed; it is tried again"
                    );
                    self.every.max(Duration::from_secs(1))
                }
            };
        }
    }

    async fn step(&self, app: &Arc<App>) -> anyhow::Result<Step> {
        if self.kind.waits_for_adoption() && adopt::stands(&app.db).await? {
            return Ok(Step::Idle);
        }
        match self.kind {
            Kind::SealLedger => seal_ledger(app).await,
            Kind::RecordLiveness => liveness::step(app).await,
            Kind::RecordConnections => liveness::connections(app).await,
            Kind::Purge => purge::step(app).await,
            Kind::Forget => forget(app).await,
            Kind::ExpireUploads => expire_uploads(app).await,
            Kind::ChargeFiles => settlement::charge_files(app).await,
            Kind::SettleDays => settlement::settle_days(app).await,
            Kind::PayOut => settlement::pay_out(app).await,
            Kind::Audit => audit_nodes(app).await,
            Kind::WatchFleet => {
                audit::watch_fleet(app, clock::now()).await?;
                Ok(Step::Idle)
            }
            Kind::Demote => demote(app).await,
            Kind::FinishDrains => finish_drains(app).await,
            Kind::RepairScan => more(repair::scan(app).await),
            Kind::Repair => {
                let worked = more(repair::step(app).await);
                repair::show_queue(app).await?;
                worked
            }
            Kind::Reconcile => more(reconcile::step(app).await),
            Kind::Adopt => more(adopt::step(app).await),
            Kind::CleanUp => clean_up(app).await,
            Kind::RefreshDocument => {
                app.document.refresh(&app.db).await?;
                Ok(Step::Idle)
            }
            Kind::KeepKeys => keys::step(app).await,
        }
    }
}

/// Appends a block with the transfers that were committed since the last one.
async fn seal_ledger(app: &App) -> anyhow::Result<Step> {
    let mut transaction = app.db.begin().await?;
    let sealed = db::ledger::seal_block(&mut transaction, BLOCK_LIMIT).await?;
    transaction.commit().await?;
    let Some(sealed) = sealed else {
        return Ok(Step::Idle);
    };
    app.metrics.blocks_sealed.inc();
    tracing::debug!(
        block = sealed.block_number,
        transfers = sealed.transfers,
        "sealed a block"
    );
    let full = sealed.transfers as i64 == BLOCK_LIMIT;
    Ok(if full { Step::More } else { Step::Idle })
}

async fn forget(app: &App) -> anyhow::Result<Step> {
    let more = files::forget_some(app).await?;
    Ok(if more { Step::More } else { Step::Idle })
}

async fn expire_uploads(app: &App) -> anyhow::Result<Step> {
    let expired = end::expire_one(app).await?;
    Ok(if expired { Step::More } else { Step::Idle })
}

async fn audit_nodes(app: &App) -> anyhow::Result<Step> {
    let more = audit::step(app, &clock::now).await?;
    Ok(if more { Step::More } else { Step::Idle })
}

/// Nodes that have been away for too long are out; what nodes that are out hold counts no longer.
async fn demote(app: &App) -> anyhow::Result<Step> {
    let now = clock::now();
    let gone = app.lookout.has_settled() && audit::disqualify_gone(app, now).await?;
    more(audit::demote_some(app, now).await.map(|more| more | gone))
}

async fn finish_drains(app: &App) -> anyhow::Result<Step> {
    more(drain::finish_some(app, clock::now()).await)
}

fn more(outcome: anyhow::Result<bool>) -> anyhow::Result<Step> {
    outcome.map(|more| if more { Step::More } else { Step::Idle })
}

/// Forgets what nobody can use any more.
async fn clean_up(app: &App) -> anyhow::Result<Step> {
    let mut connection = app.db.acquire().await?;
    let tokens = db::refresh_tokens::delete_expired(&mut connection, CLEANUP_BATCH).await?;
    let nonces = db::nodes::delete_expired_nonces(&mut connection, CLEANUP_BATCH).await?;
    let uploads = db::uploads::delete_old_completed(&mut connection, CLEANUP_BATCH).await?;
    db::keys::forget_dead(&mut connection).await?;
    let windows = db::uptime::delete_settled(&mut connection, CLEANUP_BATCH).await?;
    let old = db::users::delete_old_registrations(&mut connection, CLEANUP_BATCH).await?;
    let full = tokens.max(nonces).max(uploads).max(windows).max(old) as i64 == CLEANUP_BATCH;
    Ok(if full { Step::More } else { Step::Idle })
}
