//! Uploads by tus: a session whose bytes come in order, in pieces of any length.
//!
//! Nodes see whole chunks only. What lies behind the last one waits in the database, sealed, so that a client with small pieces gets
//! on; its chunks are 256 KiB at most. One request at a time appends: it holds a lease, which ends by itself when its
//! coordinator dies. Rejected: that a newer request takes the lease away at once. The older one may be about to send a
//! chunk, which would then stand in the place of the newer one's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use gateway::tus::{BodyFault, Checksum, Watch};
use limits::memory::Holder;
use proto::MicroCredits;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::blobs::body::{ChunkBody, ChunkReader};
use crate::blobs::put::FileKey;
use crate::files::tables::tus::Progress;
use crate::files::upload::session::{Begun, Mode};
use crate::files::upload::{UploadError, chunk_commit, complete, put, resend, session};
use crate::files::{Files, tables};
use crate::security;
use model::chunking::ChunkLayout;
use model::file::{File, UploadingFile};
use model::ids::{FileId, UploadId, UserId};
use model::upload::{Upload, UploadRequest, UploadState};
use rules::file_meter::Priced;
use sealing::{ChunkRef, SEALING_OVERHEAD};

/// How long nobody else appends after the request that did has last been heard of.
const LEASE: Duration = Duration::from_secs(30);

/// Why a request could not append.
#[derive(Debug, thiserror::Error)]
pub enum TusError {
    #[error("the upload has {offset} bytes")]
    Offset { offset: u64 },
    #[error("another request appends to it")]
    Held,
    #[error("the bytes are not those that the checksum was taken of")]
    Checksum,
    #[error("the body has more bytes than are missing")]
    TooLong,
    #[error("the length is known, and another one")]
    OtherLength,
    #[error("more bytes are there than the length says")]
    TooShort,
    #[error(transparent)]
    Upload(#[from] UploadError),
}

impl From<BodyFault> for TusError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Checksum => Self::Checksum,
            BodyFault::TooLong => Self::TooLong,
            BodyFault::BrokeOff(how) => Self::Upload(UploadError::BrokeOff(how)),
        }
    }
}

impl From<sqlx::Error> for TusError {
    fn from(error: sqlx::Error) -> Self {
        Self::Upload(error.into())
    }
}

/// An upload, as far as it has come.
#[derive(Debug, Clone)]
pub struct TusUpload {
    pub upload: Upload,
    file: UploadingFile,
    progress: Progress,
}

impl TusUpload {
    /// Bytes that need not be sent again.
    pub fn offset(&self) -> u64 {
        let whole = u64::from(self.progress.chunks) * u64::from(self.file.chunk_size);
        let tail = self.progress.tail.len().saturating_sub(SEALING_OVERHEAD);
        let bytes = whole + tail as u64;
        self.length().map_or(bytes, |length| bytes.min(length)) // the last chunk is shorter
    }

    /// `None` while it has not been told.
    pub fn length(&self) -> Option<u64> {
        self.file.size_bytes
    }

    pub fn metadata(&self) -> &str {
        &self.progress.metadata
    }

    /// There is a file.
    pub fn is_complete(&self) -> bool {
        self.upload.state == UploadState::Completed
    }
}

/// Begins an upload; an empty file is complete with that.
pub async fn create(
    files: &Arc<Files>,
    request: &UploadRequest,
    metadata: &str,
) -> Result<TusUpload, TusError> {
    let begun = session::begin(
        files,
        request,
        Mode::InOrder,
        session::scheme(files, request)?,
    )
    .await?;
    let id = match begun {
        Begun::New(session, _) => session.upload_id,
        Begun::Before(upload) => upload.id, // only where it had a key
    };
    let mut connection = files.db.acquire().await?;
    tables::tus::insert(&mut connection, id, metadata).await?;
    drop(connection);
    if request.size_bytes == Some(0) {
        complete::complete(files, request.user_id, id, None, None).await?;
    }
    find(files, request.user_id, id).await
}

pub async fn find(files: &Files, user: UserId, id: UploadId) -> Result<TusUpload, TusError> {
    let mut connection = files.db.acquire().await?;
    let upload = tables::uploads::by_id(&mut connection, id, user).await?;
    let upload = upload.ok_or(UploadError::NotFound)?;
    let progress = tables::tus::progress(&mut connection, id).await?;
    let file = tables::files::uploading(&mut connection, upload.file_id).await?;
    if upload.state == UploadState::Open && upload.expired {
        return Err(UploadError::Expired(upload.expires_at).into());
    }
    Ok(TusUpload {
        upload,
        file: file.ok_or(UploadError::NotFound)?,
        progress: progress.ok_or(UploadError::NotFound)?,
    })
}

/// What a request brings.
pub struct Piece<S> {
    pub offset: u64,
    /// Told now, of an upload that began without.
    pub length: Option<u64>,
    pub checksum: Option<Checksum>,
    pub body: S,
}

/// Appends what comes, as far as it comes; with a checksum all of it or nothing. The last byte completes the file.
///
/// Runs as a task of its own, so that what a client that disappears has sent is kept.
pub async fn append<S, E>(
    files: Arc<Files>,
    holder: Holder,
    id: UploadId,
    piece: Piece<S>,
) -> Result<(TusUpload, Option<File>), TusError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    find(&files, holder.account, id).await?; // whose it is
    let task = tokio::spawn(security::carried(async move {
        let lease = Lease::take(&files, id).await?;
        let appended = run(&files, holder, id, piece, &lease).await;
        lease.release().await;
        let file = appended?;
        Ok((find(&files, holder.account, id).await?, file))
    }));
    task.await
        .unwrap_or_else(|error| Err(UploadError::Internal(error.into()).into()))
}

async fn run<S, E>(
    files: &Arc<Files>,
    holder: Holder,
    id: UploadId,
    piece: Piece<S>,
    lease: &Lease,
) -> Result<Option<File>, TusError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + 'static,
{
    let user = holder.account;
    let mut upload = find(files, user, id).await?;
    let offset = upload.offset();
    if piece.offset != offset {
        return Err(TusError::Offset { offset });
    }
    if let Some(length) = piece.length {
        tell_length(files, lease, &mut upload, length).await?;
    }
    if !upload.is_complete() {
        take_body(files, holder, lease, upload, piece).await?;
    }
    let upload = find(files, user, id).await?;
    if upload.length() != Some(upload.offset()) {
        return Ok(None);
    }
    match complete::complete(files, user, id, None, None).await {
        Ok(file) => Ok(Some(file)),
        // A node has lost its copy since: from there on it has to come again.
        Err(UploadError::ChunksMissing { count, first }) => {
            let from = first.first().copied().unwrap_or(0);
            lease.advance(from, &[]).await?;
            Err(UploadError::CopiesLost { chunks: count }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes the bytes that a request brings, as far as they count.
async fn take_body<S, E>(
    files: &Arc<Files>,
    holder: Holder,
    lease: &Lease,
    mut upload: TusUpload,
    piece: Piece<S>,
) -> Result<(), TusError>
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
    E: std::error::Error + Send + 'static,
{
    let from = upload.progress.chunks;
    let limit = session::max_file_size(files, upload.file.chunk_size);
    let most = upload
        .length()
        .unwrap_or(limit)
        .saturating_sub(piece.offset);
    let watch = Watch::new(most, piece.checksum);
    let body = watch.body(piece.body);
    let appending = Appending {
        files,
        holder,
        lease,
        advances: !watch.has_checksum(),
        chunks: from,
        tail: std::mem::take(&mut upload.progress.tail),
    };
    let (chunks, tail) = appending.run(&upload, body).await?;
    if let Err(fault) = watch.check_sum() {
        // What broke off comes again as it was, and then moves nothing.
        let is_wrong = !matches!(fault, BodyFault::BrokeOff(_));
        if is_wrong && chunks > from {
            // After too many of these they stay where they are: nothing else may come in their place then.
            resend::count_failed(files, &upload.upload, &upload.file).await?;
            lease.take_away(&upload.upload, from).await?;
        }
        return Err(fault.into());
    }
    lease.advance(chunks, &tail).await?;
    watch.check_end()?;
    Ok(())
}

/// A request that has the upload's turn.
struct Appending<'a> {
    files: &'a Arc<Files>,
    holder: Holder,
    lease: &'a Lease,
    /// Each chunk counts at once.
    advances: bool,
    chunks: u32,
    tail: Vec<u8>,
}

impl Appending<'_> {
    /// Sends whole chunks to their nodes; how many there are then, and what lies behind them, sealed.
    async fn run<S>(mut self, upload: &TusUpload, body: S) -> Result<(u32, Vec<u8>), TusError>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Unpin,
    {
        let (files, user, id) = (self.files, self.holder.account, upload.upload.id);
        let (session, file, key) = put::open_session(files, user, id).await?;
        let chunk_size = u64::from(file.chunk_size);
        let tail = self.open_tail(&key, file.id)?;
        let before = stream::iter((!tail.is_empty()).then_some(Ok(tail)));
        let mut reader = ChunkReader::new(before.chain(body), file.chunk_size);
        let mut held = session.hold;
        let session = Arc::new(session);
        loop {
            let mut share = files.upload_memory.arriving.open(self.holder);
            let chunk = reader.next_chunk(&mut share).await;
            let Some(chunk) = chunk.map_err(UploadError::from)? else {
                return Ok((self.chunks, Vec::new()));
            };
            let length = chunk.len() as u64;
            let end = u64::from(self.chunks) * chunk_size + length;
            if length < chunk_size && upload.length() != Some(end) {
                return Ok((self.chunks, self.seal_tail(&key, file.id, &chunk)?));
            }
            if upload.length().is_none() {
                held = hold_for(files, upload, held, end).await?;
            }
            let (session, file, key) = (Arc::clone(&session), file.clone(), Arc::clone(&key));
            let index = self.chunks;
            let accept = put::accept(
                Arc::clone(files),
                session,
                file,
                key,
                self.holder,
                index,
                chunk,
            );
            accept.await?;
            drop(share);
            self.chunks += 1;
            if self.advances {
                self.lease.advance(self.chunks, &[]).await?;
            }
        }
    }
}

/// Sealed as a copy of its chunk would be: the database has no bytes of files.
impl Appending<'_> {
    fn place(&self, file_id: FileId) -> ChunkRef {
        ChunkRef {
            file_id,
            index: self.chunks,
        }
    }

    fn open_tail(&self, key: &FileKey, file: FileId) -> Result<Bytes, UploadError> {
        if self.tail.is_empty() {
            return Ok(Bytes::new());
        }
        let sealed = BytesMut::from(&self.tail[..]);
        let opened = key.data_key.open(self.place(file), sealed);
        opened.map_err(|_| UploadError::Internal(anyhow!("the end of an upload does not open")))
    }

    fn seal_tail(
        &self,
        key: &FileKey,
        file: FileId,
        tail: &ChunkBody,
    ) -> Result<Vec<u8>, UploadError> {
        let mut rng = self.files.entropy.rng();
        let sealed = key
            .data_key
            .seal(self.place(file), tail.pieces(), &mut rng)?;
        Ok(sealed.data.to_vec())
    }
}

/// The length of an upload that began without one.
async fn tell_length(
    files: &Files,
    lease: &Lease,
    upload: &mut TusUpload,
    length: u64,
) -> Result<(), TusError> {
    match upload.length() {
        Some(known) if known == length => return Ok(()),
        Some(_) => return Err(TusError::OtherLength),
        None => {}
    }
    let limit_bytes = session::max_file_size(files, upload.file.chunk_size);
    if length > limit_bytes {
        return Err(UploadError::TooLarge { limit_bytes }.into());
    }
    if length < upload.offset() {
        return Err(TusError::TooShort);
    }
    hold_for(files, upload, upload.upload.hold, length).await?;
    let layout = ChunkLayout::new(length, upload.file.chunk_size);
    // Chunks that came and do not count are whole ones: the last of the file may be shorter.
    let whole = length / u64::from(layout.chunk_size);
    lease.take_away(&upload.upload, whole as u32).await?;
    let mut connection = files.db.acquire().await?;
    tables::files::set_length(&mut connection, upload.file.id, layout).await?;
    upload.file.size_bytes = Some(length);
    Ok(())
}

/// Holds the price of so many bytes; what is held then.
async fn hold_for(
    files: &Files,
    upload: &TusUpload,
    held: MicroCredits,
    bytes: u64,
) -> Result<MicroCredits, TusError> {
    let priced = Priced {
        size_bytes: bytes,
        terms: upload.file.terms,
        scheme: upload.file.scheme,
        price: files.billing.money.price_per_gb_month,
    };
    let target = priced.month().map_err(UploadError::from)?;
    if target <= held {
        return Ok(held);
    }
    let (id, user) = (upload.upload.id, upload.upload.user_id);
    session::raise_hold(files, id, user, held, target).await?;
    Ok(target)
}

/// That nobody else appends; renewed while it is there.
struct Lease {
    files: Arc<Files>,
    id: UploadId,
    holder: Uuid,
    _renewal: AbortOnDropHandle<()>,
}

impl Lease {
    async fn take(files: &Arc<Files>, id: UploadId) -> Result<Self, TusError> {
        let holder = files.entropy.uuid_v7(files.clock.now());
        let mut connection = files.db.acquire().await?;
        if !tables::tus::take(&mut connection, id, holder, LEASE).await? {
            return match tables::tus::progress(&mut connection, id).await? {
                Some(_) => Err(TusError::Held),
                None => Err(UploadError::NotFound.into()),
            };
        }
        let renewal = renew(Arc::clone(files), id, holder);
        Ok(Self {
            files: Arc::clone(files),
            id,
            holder,
            _renewal: AbortOnDropHandle::new(tokio::spawn(renewal)),
        })
    }

    async fn advance(&self, chunks: u32, tail: &[u8]) -> Result<(), TusError> {
        let mut connection = self.files.db.acquire().await?;
        let is_held =
            tables::tus::advance(&mut connection, self.id, self.holder, chunks, tail).await?;
        is_held.then_some(()).ok_or(TusError::Held)
    }

    /// Takes the chunks from an index on away. Nobody else can have the upload meanwhile, for whom they count.
    async fn take_away(&self, upload: &Upload, from: u32) -> Result<(), TusError> {
        loop {
            let mut transaction = self.files.db.begin().await?;
            let locked = tables::uploads::lock(&mut transaction, self.id, upload.user_id).await?;
            if locked.is_none_or(|locked| locked.state != UploadState::Open) {
                return Err(UploadError::Closed.into());
            }
            if !tables::tus::renew(&mut transaction, self.id, self.holder, LEASE).await? {
                return Err(TusError::Held);
            }
            let were_all =
                chunk_commit::take_some_away(&mut transaction, upload.file_id, from).await?;
            transaction.commit().await?;
            self.files.blobs.purge_wake.wake();
            if were_all {
                return Ok(());
            }
        }
    }

    /// Before the answer, so that whoever has it may send the next piece.
    async fn release(self) {
        let release = async {
            let mut connection = self.files.db.acquire().await?;
            tables::tus::release(&mut connection, self.id, self.holder).await
        };
        if let Err(error) = release.await {
            tracing::warn!(upload_id = %self.id, %error, "an upload stays held until its lease ends");
        }
    }
}

async fn renew(files: Arc<Files>, id: UploadId, holder: Uuid) {
    loop {
        tokio::time::sleep(LEASE / 4).await;
        let renewed = async {
            let mut connection = files.db.acquire().await?;
            tables::tus::renew(&mut connection, id, holder, LEASE).await
        };
        match renewed.await {
            Ok(true) => {}
            Ok(false) => return, // it is over, or somebody else's
            Err(error) => {
                tracing::warn!(upload_id = %id, %error, "an upload's lease could not be renewed yet");
            }
        }
    }
}
