//! Files of one piece are acknowledged in batches: one task takes what is waiting, decides in one
//! transaction who can pay, writes everything and answers all. The first to wait is never delayed on
//! purpose; the batch is what gathered while the one before was written.

use std::collections::HashMap;
use std::time::Duration;

use backon::Retryable;
use jiff::Timestamp;
use proto::{BlobId, FileId, MicroCredits, NodeId};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};

use super::commit::UNKNOWN_OUTCOME_DELAY;
use super::session::UploadRequest;
use super::whole::refused;
use super::{InVain, UploadError};
use crate::app::ledger::{self, Movement};
use crate::app::persist::{Leftovers, is_passing, patience};
use crate::config::Config;
use crate::db;
use crate::db::chunks::StoredChunk;
use crate::db::files::File;
use crate::db::uploads::UploadState;
use crate::db::whole_files::{self, Limits};
use crate::domain::allowance::Allowance;
use crate::domain::chunking::ChunkLayout;
use crate::domain::file_meter::FileMeter;
use crate::domain::ids::{UploadId, UserId};
use crate::domain::ledger::{Account, Transfer, TransferKind};
use crate::domain::money::PricePerGbMonth;

const QUEUE: usize = 1024;
const BATCH: usize = 64;

/// A file whose bytes are safe on nodes.
#[derive(Debug)]
pub struct WholeFile {
    pub id: FileId,
    /// Of the session that its `Idempotency-Key`, if any, is remembered with.
    pub upload_id: UploadId,
    pub request: UploadRequest,
    pub size_bytes: u64,
    pub chunk_size: u32,
    pub replication: u32,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
    pub cost: MicroCredits,
    /// `None` for an empty file.
    pub chunk: Option<StoredChunk>,
    pub in_vain: InVain,
}

impl WholeFile {
    fn layout(&self) -> ChunkLayout {
        ChunkLayout::new(self.size_bytes, self.chunk_size)
    }

    /// What is on nodes for it.
    fn blobs(&self) -> impl Iterator<Item = (NodeId, BlobId)> {
        self.chunk.iter().flat_map(StoredChunk::blobs)
    }
}

struct Job {
    file: WholeFile,
    reply: oneshot::Sender<Result<File, UploadError>>,
}

/// What all batches go by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub price: PricePerGbMonth,
    /// How long before a file is used up its renewal is tried.
    pub renewal_before: Duration,
    pub limits: Limits,
    /// How long an `Idempotency-Key` is remembered.
    pub key_ttl: Duration,
}

impl Rules {
    pub fn new(config: &Config) -> Self {
        Self {
            price: config.money.price_per_gb_month,
            renewal_before: config.money.renewal_before,
            limits: Limits {
                files: config.uploads.max_files_per_user,
                trial: MicroCredits::new(i64::from(config.money.trial_microcredits)),
            },
            key_ttl: config.uploads.session_ttl,
        }
    }
}

#[derive(Debug, Clone)]
pub struct WholeFiles {
    jobs: mpsc::Sender<Job>,
    rules: Rules,
}

impl WholeFiles {
    /// Starts the task that writes; it ends when the last handle is gone.
    pub fn spawn(pool: PgPool, rules: Rules) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, rules, queue));
        Self { jobs, rules }
    }

    /// Returns when the task that writes is no more: it has panicked.
    pub async fn ended(&self) {
        self.jobs.closed().await;
    }

    pub fn limits(&self) -> Limits {
        self.rules.limits
    }

    /// Returns when the file is durably there and paid for, or is not and its blobs will be purged.
    pub async fn commit(&self, file: WholeFile) -> Result<File, UploadError> {
        let (reply, outcome) = oneshot::channel();
        let job = Job { file, reply };
        self.jobs
            .send(job)
            .await
            .map_err(|_| UploadError::Stopping)?;
        outcome.await.map_err(|_| UploadError::Stopping)?
    }
}

async fn run(pool: PgPool, rules: Rules, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(BATCH);
    let mut leftovers = Leftovers::default();
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        let (files, replies): (Vec<_>, Vec<_>) =
            jobs.drain(..).map(|job| (job.file, job.reply)).unzip();
        let mut attempts = 0;
        let written = (|| {
            attempts += 1;
            write(&pool, &rules, &files, leftovers.blobs(), attempts > 1)
        })
        .retry(patience())
        .when(is_passing)
        .notify(|error, pause| {
            tracing::warn!(%error, ?pause, files = files.len(), "files are written again");
        })
        .await;
        let outcomes = match written {
            Ok(outcomes) => {
                leftovers.clear();
                outcomes
            }
            Err(error) => {
                for file in &files {
                    leftovers.add(file.blobs().chain(file.in_vain.iter().copied()));
                }
                let text = error.to_string();
                let failed = || Err(unwritten(&text));
                files.iter().map(|_| failed()).collect()
            }
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome);
        }
    }
}

fn unwritten(text: &str) -> UploadError {
    UploadError::Database(sqlx::Error::Io(std::io::Error::other(text.to_owned())))
}

type Outcomes = Vec<Result<File, UploadError>>;

/// Lock the users, read what they have, decide in order of arrival, write all, commit.
async fn write(
    pool: &PgPool,
    rules: &Rules,
    files: &[WholeFile],
    leftovers: &[(NodeId, BlobId)],
    again: bool,
) -> sqlx::Result<Outcomes> {
    let mut transaction = pool.begin().await?;
    let at = db::earnings::ledger_now(&mut transaction).await?;
    let mut users: Vec<UserId> = files.iter().map(|file| file.request.user_id).collect();
    users.sort_unstable();
    users.dedup();
    let mut batch = Batch {
        rules,
        at,
        allowances: whole_files::lock_allowances(&mut transaction, &users, &rules.limits).await?,
        accepted: Vec::new(),
        transfers: Vec::new(),
        trials: Vec::new(),
        unused: Vec::new(),
    };
    let mut outcomes: Outcomes = Vec::with_capacity(files.len());
    for file in files {
        let known = match twin(file, files, &outcomes) {
            Some(outcome) => Some(outcome),
            None => known(&mut transaction, file, again).await?,
        };
        outcomes.push(match known {
            Some(outcome) => {
                batch.unused.extend(file.blobs()); // a row that stands keeps its blobs
                outcome
            }
            None => batch.decide(file)?,
        });
    }
    batch.store(&mut transaction).await?;
    let in_vain = files.iter().flat_map(|file| &file.in_vain);
    let in_vain: Vec<_> = in_vain.chain(leftovers).copied().collect();
    db::purges::enqueue(&mut transaction, &in_vain, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(outcomes)
}

/// The outcome of a file whose `Idempotency-Key` came earlier in this batch: no row tells of it yet.
fn twin(
    file: &WholeFile,
    batch: &[WholeFile],
    outcomes: &Outcomes,
) -> Option<Result<File, UploadError>> {
    let request = &file.request;
    let key = request.idempotency_key.as_ref()?;
    let (twin, stored) = batch.iter().zip(outcomes).find_map(|(twin, outcome)| {
        let earlier = &twin.request;
        let same =
            earlier.user_id == request.user_id && earlier.idempotency_key.as_ref() == Some(key);
        let stored = outcome.as_ref().ok().filter(|_| same)?;
        Some((twin, stored))
    })?;
    Some(if twin.request.digest() == request.digest() {
        Ok(stored.clone())
    } else {
        Err(UploadError::KeyReused)
    })
}

/// The outcome of a file that was written before: by this very batch, when the answer to its commit
/// was lost, or by an earlier request with its `Idempotency-Key`.
async fn known(
    connection: &mut PgConnection,
    file: &WholeFile,
    again: bool,
) -> sqlx::Result<Option<Result<File, UploadError>>> {
    let user = file.request.user_id;
    if again && let Some(stored) = db::files::by_id(connection, file.id, user).await? {
        return Ok(Some(Ok(stored)));
    }
    let Some(key) = &file.request.idempotency_key else {
        return Ok(None);
    };
    let Some(upload) = db::uploads::by_idempotency_key(connection, user, key).await? else {
        return Ok(None);
    };
    if upload.request_digest != file.request.digest() {
        return Ok(Some(Err(UploadError::KeyReused)));
    }
    if upload.state != UploadState::Completed {
        return Ok(Some(Err(UploadError::InProgress)));
    }
    let stored = db::files::by_id(connection, upload.file_id, user).await?;
    Ok(Some(stored.ok_or(UploadError::NotFound)))
}

/// What has been decided and is to be written.
struct Batch<'a> {
    rules: &'a Rules,
    at: Timestamp,
    allowances: HashMap<UserId, Allowance>,
    accepted: Vec<(&'a WholeFile, FileMeter)>,
    transfers: Vec<Transfer>,
    trials: Vec<(UserId, MicroCredits)>,
    /// Blobs of files that were refused.
    unused: Vec<(NodeId, BlobId)>,
}

impl<'a> Batch<'a> {
    fn decide(&mut self, file: &'a WholeFile) -> sqlx::Result<Result<File, UploadError>> {
        let user = file.request.user_id;
        let Some(allowance) = self.allowances.get_mut(&user) else {
            self.unused.extend(file.blobs());
            return Ok(Err(UploadError::NotFound)); // the account is gone
        };
        let trial = match allowance.spend(file.cost) {
            Ok(trial) => trial,
            Err(refusal) => {
                self.unused.extend(file.blobs());
                let limit = self.rules.limits.files;
                return Ok(Err(refused(refusal, file.cost, limit)));
            }
        };
        let cause = json!({"file_id": file.id});
        if trial.is_positive() {
            self.trials.push((user, trial));
            self.move_credits(Movement {
                kind: TransferKind::Trial,
                key: format!("trial:{}", file.id),
                cause: &cause,
                entries: &[(Account::INCOME, -trial), (Account::available(user), trial)],
            })?;
        }
        self.move_credits(Movement {
            kind: TransferKind::Charge,
            key: format!("charge:{}", file.id),
            cause: &cause,
            entries: &[
                (Account::available(user), -file.cost),
                (Account::escrow(user), file.cost),
            ],
        })?;
        let layout = file.layout();
        let meter = FileMeter {
            size_bytes: file.size_bytes,
            replicas: file.replication,
            price: self.rules.price,
            since: self.at,
            paid: file.cost,
        };
        self.accepted.push((file, meter));
        Ok(Ok(File {
            id: file.id,
            user_id: user,
            filename: file.request.filename.as_str().to_owned(),
            content_type: file.request.content_type.as_str().to_owned(),
            layout,
            replication: file.replication,
            created_at: self.at,
            completed_at: self.at,
            paid_until: meter.paid_until(),
            paid: file.cost,
            price: self.rules.price,
            grace_since: None,
        }))
    }

    fn move_credits(&mut self, movement: Movement<'_>) -> sqlx::Result<()> {
        self.transfers.extend(ledger::transfer(movement, self.at)?);
        Ok(())
    }

    async fn store(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if !self.accepted.is_empty() {
            let rows: Vec<_> = self
                .accepted
                .iter()
                .map(|(file, meter)| whole_files::Row {
                    file,
                    meter,
                    renew_at: meter.renew_at(self.rules.renewal_before),
                })
                .collect();
            whole_files::insert(connection, &rows, self.rules.key_ttl).await?;
            let chunks = self
                .accepted
                .iter()
                .filter_map(|(file, _)| file.chunk.as_ref());
            let chunks: Vec<_> = chunks.collect();
            db::chunks::insert(connection, &chunks).await?;
            whole_files::record_earnings(connection, &chunks, self.at).await?;
            let users = self.accepted.iter().map(|(file, _)| file.request.user_id);
            whole_files::count_files(connection, users, &self.trials).await?;
            db::ledger::post_new(connection, &self.transfers).await?;
        }
        db::purges::enqueue(connection, &self.unused, Duration::ZERO).await
    }
}
