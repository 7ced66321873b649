//! The first step: open a session and hold its price; and how far it has come.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{chart, posting};
use std::sync::Arc;
use std::time::Duration;

use ledger::Movement;
use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use crate::blobs;
use crate::blobs::put::FileKey;
use crate::files::tables::allowances;
use crate::files::upload::allowance::{self, refused};
use crate::files::upload::complete::MISSING_NAMED;
use crate::files::upload::content_hash::Content;
use crate::files::upload::{Session, UploadError};
use crate::files::{Files, tables};
use crate::keys::data_keys::WrappedKey;
use model::upload::UploadRequest;

use model::chunking::{ChunkLayout, MAX_CHUNKS};
use model::file::File;
use model::ids::{FileId, UploadId, UserId, uuid_v7};
use model::scheme::Scheme;
use model::storage_class;
use model::upload::{Upload, UploadState};
use sealing::DataKey;

/// How the chunks will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One request each; the client may come back for a long time.
    Stepwise,
    /// In order and in pieces of any length; the client may come back for a long time.
    InOrder,
    /// With the request that began; a body of unknown length holds the price of so much for now.
    /// The session lives as long as somebody renews it, so that one that was cut off by the end of
    /// its coordinator soon gives its credits and its `Idempotency-Key` back.
    Streaming { first_hold_bytes: u64 },
}

/// What comes in order waits in the database until it fills a chunk: so long ones are not made.
const LONGEST_IN_ORDER: u32 = 256 * 1024;

/// Life of a streaming session from its last renewal on.
pub(super) const STREAMING_LEASE: Duration = Duration::from_secs(5 * 60);

/// A session, and whether it is an earlier one that this request repeats.
#[derive(Debug, Clone)]
pub enum Begun {
    New(Session, Arc<FileKey>),
    Before(Upload),
}

/// Opens a session: file row, wrapped data key, and the hold of its price, in one transaction.
pub async fn begin(
    files: &Files,
    request: &UploadRequest,
    mode: Mode,
    scheme: Scheme,
) -> Result<Begun, UploadError> {
    let mut chunk_size = chunk_size(files, scheme);
    if mode == Mode::InOrder {
        chunk_size = chunk_size.min(LONGEST_IN_ORDER);
    }
    let limit_bytes = max_file_size(files, chunk_size);
    if request.size_bytes.is_some_and(|size| size > limit_bytes) {
        return Err(UploadError::TooLarge { limit_bytes });
    }
    if let Some(upload) = earlier(files, request).await? {
        return Ok(Begun::Before(upload));
    }
    let (ttl, first_hold_bytes) = match mode {
        Mode::Stepwise | Mode::InOrder => (files.uploads.session_ttl, 0),
        Mode::Streaming { first_hold_bytes } => (STREAMING_LEASE, first_hold_bytes),
    };
    let held_bytes = request.size_bytes.unwrap_or(first_hold_bytes);
    let priced = files
        .billing
        .priced(request.terms(held_bytes), held_bytes, scheme);
    let cost = priced.month()?;
    allowance::check(files, request.user_id, cost).await?;
    let placement = &files.blobs.placement;
    files
        .blobs
        .fleet
        .check_room(
            held_bytes,
            scheme,
            placement.patience,
            &mut files.entropy.rng(),
        )
        .await?;

    let (now, mut rng) = (files.clock.now(), files.entropy.rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let upload_id = UploadId::from_uuid(uuid_v7(now, &mut rng));
    let keys = &files.blobs.keys;
    let data_key = DataKey::generate(keys.sealing(), &mut rng)?;
    let wrapped = WrappedKey::new(file_id, &data_key, &keys.master(), &mut rng)?;

    let mut transaction = files.db.begin().await?;
    let trial = spend(files, &mut transaction, request.user_id, cost).await?;
    let file = tables::files::NewFile {
        id: file_id,
        user_id: request.user_id,
        filename: &request.filename,
        content_type: &request.content_type,
        size_bytes: request.size_bytes,
        chunk_size,
        scheme,
        terms: priced.terms,
        key: &wrapped,
        is_part: request.target.is_some(),
    };
    // The user's row is locked: nobody begins another one meanwhile.
    let limit = files.uploads.max_open_per_user;
    if tables::uploads::count_open(&mut transaction, request.user_id, limit).await? >= limit {
        return Err(UploadError::TooManyOpen { limit });
    }
    tables::files::insert(&mut transaction, &file).await?;
    let upload = tables::uploads::NewUpload {
        id: upload_id,
        file_id,
        user_id: request.user_id,
        hold: cost,
        trial,
        idempotency_key: request.idempotency_key.as_deref(),
        request_digest: &request.digest(),
        ttl,
    };
    let expires_at = match tables::uploads::insert(&mut transaction, &upload).await {
        Err(error) if is_unique_violation(&error) => {
            // Somebody else began under the same key at this moment.
            drop(transaction);
            let upload = earlier(files, request)
                .await?
                .ok_or(UploadError::InProgress)?;
            return Ok(Begun::Before(upload));
        }
        inserted => inserted?,
    };
    if let Some(target) = &request.target
        && mode == Mode::Stepwise
    {
        let pointing = &files.pointing;
        pointing
            .remember(&mut transaction, upload_id, target)
            .await?;
    }
    lend(files, &mut transaction, upload_id, request.user_id, trial).await?;
    hold(
        files,
        &mut transaction,
        upload_id,
        request.user_id,
        trial,
        cost,
    )
    .await?;
    transaction.commit().await?;

    let session = Session {
        upload_id,
        file_id,
        chunk_size,
        chunk_count: request
            .size_bytes
            .map(|size| ChunkLayout::new(size, chunk_size).chunk_count()),
        terms: priced.terms,
        cost,
        expires_at,
    };
    let key = FileKey {
        data_key: Arc::new(data_key),
        scheme,
    };
    Ok(Begun::New(session, Arc::new(key)))
}

/// How a file is to be kept, as far as that is known before its body is.
pub fn scheme(files: &Files, request: &UploadRequest) -> Result<Scheme, UploadError> {
    Ok(match request.size_bytes {
        Some(bytes) => files.blobs.scheme_for(request.class, bytes)?,
        None => files.blobs.scheme(request.class)?,
    })
}

/// Bytes in each chunk of such a file.
pub fn chunk_size(files: &Files, scheme: Scheme) -> u32 {
    storage_class::chunk_size(scheme, files.uploads.chunk_size.as_u64() as u32)
}

pub(super) fn max_file_size(files: &Files, chunk_size: u32) -> u64 {
    let by_count = MAX_CHUNKS * u64::from(chunk_size);
    files.uploads.max_file_size.as_u64().min(by_count)
}

/// Whether a request with this `Idempotency-Key` has been here before.
pub(super) async fn is_repeated(
    files: &Files,
    request: &UploadRequest,
) -> Result<bool, UploadError> {
    Ok(earlier(files, request).await?.is_some())
}

/// The file that a repeated request has stored already, if this is its content.
pub(super) async fn completed_before(
    files: &Files,
    request: &UploadRequest,
    content: Content,
) -> Result<Option<File>, UploadError> {
    let Some(upload) = earlier(files, request).await? else {
        return Ok(None);
    };
    if upload.state != UploadState::Completed {
        return Err(UploadError::InProgress);
    }
    let file = file_of(files, &upload).await?;
    content.repeats(file).map(Some)
}

/// The file of a session that is completed.
pub(super) async fn file_of(files: &Files, upload: &Upload) -> Result<File, UploadError> {
    let mut connection = files.db.acquire().await?;
    let file = tables::files::by_id(&mut connection, upload.file_id, upload.user_id).await?;
    file.ok_or(UploadError::NotFound)
}

/// The session that a repeated request means.
async fn earlier(files: &Files, request: &UploadRequest) -> Result<Option<Upload>, UploadError> {
    let Some(key) = &request.idempotency_key else {
        return Ok(None);
    };
    let mut connection = files.db.acquire().await?;
    let upload = tables::uploads::by_idempotency_key(&mut connection, request.user_id, key).await?;
    match upload {
        Some(upload) if upload.request_digest != request.digest() => Err(UploadError::KeyReused),
        upload => Ok(upload),
    }
}

fn is_unique_violation(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// Decides, under the lock of the user's row and then of the accounts, whether the account may have one more upload
/// and can pay for it. Counts it; returns what has to come from the trial allowance.
async fn spend(
    files: &Files,
    connection: &mut PgConnection,
    user: UserId,
    cost: MicroCredits,
) -> Result<MicroCredits, UploadError> {
    let limits = &files.rules.limits;
    let mut allowances = allowances::lock_allowances(connection, &[user], limits).await?;
    let allowance = allowances.get_mut(&user).ok_or(UploadError::NotFound)?;
    let spent = allowance.spend(cost);
    let trial = spent.map_err(|refusal| refused(refusal, cost))?;
    if allowance.file_limit.on_trial {
        let limit = limits.trial_uploads;
        if allowances::open_uploads(connection, user).await? >= limit {
            return Err(UploadError::TooManyUploads { limit });
        }
    }
    allowances::count_files(connection, [user].into_iter(), &[(user, trial)]).await?;
    Ok(trial)
}

/// What the trial covers is set apart at once: it never becomes the user's own.
async fn lend(
    files: &Files,
    connection: &mut PgConnection,
    upload_id: UploadId,
    user: UserId,
    trial: MicroCredits,
) -> Result<(), UploadError> {
    let movement = Movement {
        kind: transfer_kind::TRIAL,
        key: format!("trial:{upload_id}"),
        cause: &json!({"upload_id": upload_id}),
        entries: &[(chart::INCOME, -trial), (chart::upload_hold(user), trial)],
    };
    posting::post(connection, &files.entropy, movement).await?;
    Ok(())
}

/// Raises what is held for an upload from `held` to `target`.
pub(super) async fn hold(
    files: &Files,
    connection: &mut PgConnection,
    upload_id: UploadId,
    user: UserId,
    held: MicroCredits,
    target: MicroCredits,
) -> Result<(), UploadError> {
    let Some(entries) = chart::held_for_upload(user, held).raise(target) else {
        return Ok(());
    };
    let hold = Movement {
        kind: transfer_kind::HOLD,
        key: format!("hold:{upload_id}:{target}"),
        cause: &json!({"upload_id": upload_id}),
        entries: &entries,
    };
    posting::post(connection, &files.entropy, hold).await?;
    Ok(())
}

/// The same in a transaction of its own.
pub(super) async fn raise_hold(
    files: &Files,
    id: UploadId,
    user: UserId,
    held: MicroCredits,
    target: MicroCredits,
) -> Result<(), UploadError> {
    let mut transaction = files.db.begin().await?;
    tables::uploads::lock(&mut transaction, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    hold(files, &mut transaction, id, user, held, target).await?;
    tables::uploads::raise_hold(&mut transaction, id, target).await?;
    transaction.commit().await?;
    Ok(())
}

/// How far a session has come.
#[derive(Debug, Clone)]
pub struct Status {
    pub upload: Upload,
    pub layout: Option<ChunkLayout>,
    pub missing_count: u64,
    pub missing: Vec<u32>,
    /// Of the chunks that are there, from the asked index on.
    pub chunks: Vec<(u32, Option<[u8; 32]>)>,
}

/// Chunk digests that one status answer carries.
pub const STATUS_PAGE: i64 = 1000;

pub async fn status(
    files: &Files,
    user: UserId,
    id: UploadId,
    from_index: u32,
) -> Result<Status, UploadError> {
    let mut connection = files.db.acquire().await?;
    let upload = tables::uploads::by_id(&mut connection, id, user)
        .await?
        .ok_or(UploadError::NotFound)?;
    let file = tables::files::uploading(&mut connection, upload.file_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    let layout = file.layout();
    let (missing_count, missing) = match layout {
        Some(layout) if upload.state == UploadState::Open => {
            let count = layout.chunk_count() as u32;
            let scheme = file.scheme;
            blobs::tables::chunks::missing(&mut connection, file.id, count, scheme, MISSING_NAMED)
                .await?
        }
        _ => (0, Vec::new()),
    };
    let chunks =
        blobs::tables::chunks::digests(&mut connection, file.id, from_index, STATUS_PAGE).await?;
    Ok(Status {
        upload,
        layout,
        missing_count,
        missing,
        chunks,
    })
}
