//! Files of a single chunk are acknowledged in batches: one task takes what waits, decides in one transaction who can
//! pay, writes everything and answers all. A batch that the database refuses for good is written in parts, so that only
//! the file that is to blame is refused.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::tables::days;
use crate::bookkeeping::{chart, posting};
use ledger::{InvalidTransfer, Movement, Transfer};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use jiff::Timestamp;
use kit::{BatchWriter, Batcher, Entropy, Outcome, Parts};
use proto::{BlobId, FileId, MicroCredits, NodeId};
use serde_json::json;
use sqlx::PgConnection;

use crate::database::Pool;

use crate::blobs;
use crate::blobs::tentative::UNKNOWN_OUTCOME_DELAY;
use crate::config::{MoneyConfig, UploadsConfig};
use crate::database::commit_retry::{is_passing, may_be_of_one_item, pauses};
use crate::files::tables;
use crate::files::upload::UploadError;
use crate::files::upload::allowance::refused;
use crate::files::upload::chunk_commit::SentChunk;
use crate::files::upload::content_hash::Content;
use crate::files::upload::file_commit::FileCommit;
use crate::files::upload::pointing::{Pointed, Pointing, as_database_error};
use crate::keys::data_keys::WrappedKey;
use model::upload::UploadRequest;

use crate::files::tables::allowances::Limits;
use crate::files::tables::{allowances, single_chunk};
use model::chunk::StoredChunk;
use model::chunking::ChunkLayout;
use model::file::File;
use model::ids::{UploadId, UserId};
use model::objects::{Target, TargetRefusal};
use model::upload::UploadState;
use rules::allowance::{Allowance, Funds};
use rules::file_meter::{FileMeter, Priced, renew_at};

/// A file whose bytes are safe on nodes.
#[derive(Debug)]
pub struct SingleChunkFile {
    pub id: FileId,
    /// Of the session that its `Idempotency-Key`, if any, is remembered with.
    pub upload_id: UploadId,
    pub request: UploadRequest,
    /// What it was offered for before it was stored.
    pub priced: Priced,
    pub sha256: [u8; 32],
    pub chunk_size: u32,
    pub key: WrappedKey,
    /// `None` for an empty file.
    pub chunk: Option<SentChunk>,
}

impl SingleChunkFile {
    fn layout(&self) -> ChunkLayout {
        ChunkLayout::new(self.priced.size_bytes, self.chunk_size)
    }

    fn target(&self) -> Option<&Target> {
        self.request.target.as_deref()
    }

    fn row(&self) -> Option<&StoredChunk> {
        self.chunk.as_ref().map(|sent| &sent.chunk)
    }

    /// What is on nodes for it.
    fn blobs(&self) -> impl Iterator<Item = (NodeId, BlobId)> {
        self.row().into_iter().flat_map(StoredChunk::blobs)
    }
}

/// What all batches go by.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How long before a file is used up its renewal is tried.
    pub renewal_before: Duration,
    pub limits: Limits,
    /// How long an `Idempotency-Key` is remembered.
    pub key_ttl: Duration,
}

impl Rules {
    pub fn new(money: &MoneyConfig, uploads: &UploadsConfig) -> Self {
        Self {
            renewal_before: money.renewal_before,
            limits: Limits {
                files: uploads.max_files_per_user,
                trial: MicroCredits::new(i64::from(money.trial_microcredits)),
                trial_files: money.trial_files,
                trial_uploads: money.trial_uploads,
            },
            key_ttl: uploads.session_ttl,
        }
    }
}

/// Returns when the file is durably there and paid for, or is not and its blobs will be purged.
pub type FileCommits = Batcher<SingleChunkFile, Result<File, UploadError>>;

/// Starts the task that writes; it ends when the last handle is gone.
pub fn spawn(
    pool: Pool,
    rules: Rules,
    pointing: Arc<dyn Pointing>,
    entropy: Entropy,
) -> FileCommits {
    let writer = Writer {
        pool,
        rules,
        pointing,
        entropy,
    };
    Batcher::spawn(kit::Limits::default(), writer)
}

struct Writer {
    pool: Pool,
    rules: Rules,
    pointing: Arc<dyn Pointing>,
    entropy: Entropy,
}

impl BatchWriter for Writer {
    type Item = SingleChunkFile;
    type Output = Result<File, UploadError>;

    async fn write(
        &mut self,
        files: Vec<SingleChunkFile>,
    ) -> Vec<Outcome<SingleChunkFile, Self::Output>> {
        let mut attempts = 0;
        let mut parts = Parts::of(files.len());
        let mut files = files.into_iter();
        let mut outcomes = Vec::with_capacity(files.len());
        while let Some(part) = parts.take() {
            // Parts come in order, and each is written or refused before the next one begins.
            let batch = &files.as_slice()[..part.len()];
            let written = (|| {
                attempts += 1;
                write(self, batch, attempts > 1)
            })
            .retry(pauses())
            .when(is_passing)
            .notify(|error, pause| {
                tracing::warn!(%error, ?pause, files = part.len(), "files are written again");
            })
            .await;
            match written {
                Ok(written) => {
                    let sent = files.by_ref().take(part.len());
                    for sent in sent.filter_map(|file| file.chunk) {
                        sent.blobs.settled();
                    }
                    outcomes.extend(written.into_iter().map(Outcome::Done));
                }
                Err(error) if may_be_of_one_item(&error) && parts.split(part.clone()) => {
                    tracing::warn!(%error, files = part.len(), "files are written in parts");
                }
                Err(error) => {
                    let error = Arc::new(error);
                    let failed = files.by_ref().take(part.len());
                    outcomes.extend(
                        failed.map(|_| {
                            Outcome::Done(Err(UploadError::NotWritten(Arc::clone(&error))))
                        }),
                    );
                }
            }
        }
        outcomes
    }
}

type Outcomes = Vec<Result<File, UploadError>>;

/// Lock the names and the users, read what they have, decide in order of arrival, write all, have names point to it,
/// commit.
async fn write(writer: &Writer, files: &[SingleChunkFile], again: bool) -> sqlx::Result<Outcomes> {
    let (rules, entropy) = (&writer.rules, &writer.entropy);
    let mut transaction = writer.pool.begin().await?;
    let refusals = refusals(writer, &mut transaction, files).await?;
    let at = days::ledger_now(&mut transaction).await?;
    let mut users: Vec<UserId> = files.iter().map(|file| file.request.user_id).collect();
    users.sort_unstable();
    users.dedup();
    let mut batch = Batch {
        rules,
        entropy,
        at,
        allowances: allowances::lock_allowances(&mut transaction, &users, &rules.limits).await?,
        accepted: Vec::new(),
        transfers: Vec::new(),
        trials: Vec::new(),
        unused: Vec::new(),
    };
    let mut outcomes: Outcomes = Vec::with_capacity(files.len());
    for (file, refusal) in files.iter().zip(refusals) {
        let known = match twin(file, files, &outcomes) {
            Some(outcome) => Some(outcome),
            None => known(&mut transaction, file, again).await?,
        };
        // What was written before has its name already.
        let settled = known.or(refusal.map(|refusal| Err(refusal.into())));
        outcomes.push(match settled {
            Some(outcome) => {
                batch.unused.extend(file.blobs()); // a row that stands keeps its blobs
                outcome
            }
            None => batch.decide(file),
        });
    }
    batch.store(&mut transaction).await?;
    let pointed = batch.pointed();
    if !pointed.is_empty() {
        let pointing = writer.pointing.point(&mut transaction, pointed).await;
        pointing.map_err(as_database_error)?;
    }
    let sent = files.iter().filter_map(|file| file.chunk.as_ref());
    let unknown: Vec<_> = sent
        .flat_map(|sent| sent.blobs.unknown())
        .copied()
        .collect();
    blobs::tables::purges::enqueue(&mut transaction, &unknown, UNKNOWN_OUTCOME_DELAY).await?;
    transaction.commit().await?;
    Ok(outcomes)
}

/// Locks what is to point to the files. Why something cannot, file by file.
async fn refusals(
    writer: &Writer,
    connection: &mut PgConnection,
    files: &[SingleChunkFile],
) -> sqlx::Result<Vec<Option<TargetRefusal>>> {
    let targets: Vec<_> = files.iter().filter_map(SingleChunkFile::target).collect();
    let mut locked = match targets.is_empty() {
        true => Vec::new(),
        false => writer.pointing.lock(connection, targets).await?,
    }
    .into_iter();
    let refusal = |file: &SingleChunkFile| {
        file.target()?;
        locked.next()?.err()
    };
    Ok(files.iter().map(refusal).collect())
}

/// The outcome of a file whose `Idempotency-Key` came earlier in this batch: no row tells of it yet.
fn twin(
    file: &SingleChunkFile,
    batch: &[SingleChunkFile],
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
    let same_content =
        twin.priced.size_bytes == file.priced.size_bytes && twin.sha256 == file.sha256;
    Some(
        if same_content && twin.request.digest() == request.digest() {
            Ok(stored.clone())
        } else {
            Err(UploadError::KeyReused)
        },
    )
}

/// The outcome of a file that was written before: by this very batch, when the answer to its commit
/// was lost, or by an earlier request with its `Idempotency-Key`.
async fn known(
    connection: &mut PgConnection,
    file: &SingleChunkFile,
    again: bool,
) -> sqlx::Result<Option<Result<File, UploadError>>> {
    let user = file.request.user_id;
    if again && let Some(stored) = tables::files::by_id(connection, file.id, user).await? {
        return Ok(Some(Ok(stored)));
    }
    let Some(key) = &file.request.idempotency_key else {
        return Ok(None);
    };
    let Some(upload) = tables::uploads::by_idempotency_key(connection, user, key).await? else {
        return Ok(None);
    };
    if upload.request_digest != file.request.digest() {
        return Ok(Some(Err(UploadError::KeyReused)));
    }
    if upload.state != UploadState::Completed {
        return Ok(Some(Err(UploadError::InProgress)));
    }
    let stored = tables::files::by_id(connection, upload.file_id, user).await?;
    let stored = stored.ok_or(UploadError::NotFound);
    let content = Content {
        size_bytes: file.priced.size_bytes,
        sha256: file.sha256,
    };
    Ok(Some(stored.and_then(|stored| content.repeats(stored))))
}

/// What has been decided and is to be written.
struct Batch<'a> {
    rules: &'a Rules,
    entropy: &'a Entropy,
    at: Timestamp,
    allowances: HashMap<UserId, Allowance>,
    accepted: Vec<(&'a SingleChunkFile, FileMeter)>,
    transfers: Vec<Transfer>,
    trials: Vec<(UserId, MicroCredits)>,
    /// Blobs of files that were refused.
    unused: Vec<(NodeId, BlobId)>,
}

impl<'a> Batch<'a> {
    fn decide(&mut self, file: &'a SingleChunkFile) -> Result<File, UploadError> {
        let user = file.request.user_id;
        let Some(allowance) = self.allowances.get_mut(&user) else {
            self.unused.extend(file.blobs());
            return Err(UploadError::NotFound); // the account is gone
        };
        let sold = match sell(self.entropy, allowance, file, self.at) {
            Ok(sold) => sold,
            Err(error) => {
                self.unused.extend(file.blobs());
                return Err(error);
            }
        };
        self.transfers.extend(sold.transfers.into_iter().flatten());
        let meter = sold.meter;
        if meter.trial.is_positive() {
            self.trials.push((user, meter.trial));
        }
        self.accepted.push((file, meter));
        Ok(File {
            id: file.id,
            user_id: user,
            filename: file.request.filename.as_str().to_owned(),
            content_type: file.request.content_type.as_str().to_owned(),
            sha256: Some(file.sha256),
            layout: file.layout(),
            scheme: meter.scheme,
            created_at: self.at,
            completed_at: self.at,
            paid_until: meter.kept_until(self.at),
            terms: file.priced.terms,
            paid: meter.paid,
            trial: meter.trial,
            price: meter.price,
            grace_since: None,
        })
    }

    fn pointed(&self) -> Vec<Pointed<'a>> {
        let targets = self.accepted.iter().filter_map(|(file, meter)| {
            Some(Pointed {
                target: file.target()?,
                file: file.id,
                size_bytes: file.priced.size_bytes,
                at: meter.since,
            })
        });
        targets.collect()
    }

    async fn store(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if !self.accepted.is_empty() {
            let rows: Vec<_> = self
                .accepted
                .iter()
                .map(|(file, meter)| (file, meter, meter.kept_until(self.at)))
                .map(|(file, meter, paid_until)| single_chunk::Row {
                    id: file.id,
                    upload_id: file.upload_id,
                    request: &file.request,
                    size_bytes: file.priced.size_bytes,
                    sha256: &file.sha256,
                    chunk_size: file.chunk_size,
                    terms: file.priced.terms,
                    has_chunk: file.chunk.is_some(),
                    key: &file.key,
                    meter,
                    paid_until,
                    renew_at: renew_at(paid_until, self.rules.renewal_before),
                })
                .collect();
            single_chunk::insert(connection, &rows, self.rules.key_ttl).await?;
            let chunks = self.accepted.iter();
            let chunks = chunks.filter_map(|(file, meter)| Some((file.row()?, meter.scheme)));
            let chunks: Vec<_> = chunks.collect();
            let rows: Vec<_> = chunks.iter().map(|(chunk, _)| *chunk).collect();
            blobs::tables::chunks::insert(connection, &rows).await?;
            single_chunk::record_earnings(connection, &chunks, self.at).await?;
            let users = self.accepted.iter().map(|(file, _)| file.request.user_id);
            allowances::count_files(connection, users, &self.trials).await?;
            ledger::post_new(connection, &self.transfers).await?;
        }
        blobs::tables::purges::enqueue(connection, &self.unused, Duration::ZERO).await
    }
}

/// A file that its owner can pay for.
struct Sold {
    meter: FileMeter,
    transfers: [Option<Transfer>; 2],
}

/// Takes the price of a file from what its owner may spend.
fn sell(
    entropy: &Entropy,
    allowance: &mut Allowance,
    file: &SingleChunkFile,
    at: Timestamp,
) -> Result<Sold, UploadError> {
    let amount = file.priced.month()?;
    let mut left = *allowance;
    let spent = left.spend(amount);
    let trial = spent.map_err(|refusal| refused(refusal, amount))?;
    let funds = Funds { amount, trial };
    let user = file.request.user_id;
    let commit = FileCommit::new(file.id, user, file.priced, (amount, funds), at)?;
    let transfers = payment(entropy, &commit)?;
    *allowance = left;
    Ok(Sold {
        meter: commit.meter,
        transfers,
    })
}

/// What the account pays, after what it may try the network with was set apart for it.
fn payment(
    entropy: &Entropy,
    commit: &FileCommit,
) -> Result<[Option<Transfer>; 2], InvalidTransfer> {
    let (id, user, at) = (commit.file_id, commit.owner, commit.meter.since);
    let (cause, trial) = (json!({"file_id": id}), commit.meter.trial);
    let trial = Movement {
        kind: transfer_kind::TRIAL,
        key: format!("trial:{id}"),
        cause: &cause,
        entries: &[(chart::INCOME, -trial), (chart::upload_hold(user), trial)],
    };
    let charge = Movement {
        kind: transfer_kind::CHARGE,
        key: format!("charge:{id}"),
        cause: &cause,
        entries: &commit.charge_available(),
    };
    Ok([
        posting::transfer(entropy, trial, at)?,
        posting::transfer(entropy, charge, at)?,
    ])
}
