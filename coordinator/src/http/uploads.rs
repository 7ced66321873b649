//! `/files/upload`: the three steps, and `POST|PUT /files`: all in one request.

use std::sync::Arc;

use api::files::File;
use api::paths;
use api::problem::ProblemKind;
use api::uploads::{
    Chunk, ChunkDigest, ChunkParams, Chunks, ChunksParams, CompleteBody, InitiateBody, Initiated,
    StatusParams, UploadParams, UploadStatus,
};
use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use credentials::scope::Scope;
use http::{HeaderMap, HeaderName, StatusCode, header};
use proto::{MicroCredits, UploadId};

use super::authorization::{Sharer, Write, charge};
use super::buckets::caller::Uploader;
use super::buckets::uploads as targets;
use super::digests::Declared;
use super::extract::{Id, Json, OptionalJson, Params, UploadHead};
use super::form;
use super::paced_body::PacedBody;
use super::problem::Problem;
use super::rate_limit::AccountLimits;
use crate::accounts::principal::Principal;
use crate::accounts::{Accounts, recovery};
use crate::files::upload::session::{Begun, Mode};
use crate::files::upload::{UploadError, complete, put, range, session, stream};
use crate::files::{Files, listing};
use crate::objects::{Objects, stepwise};
use model::upload::{DeclaredDigests, UploadRequest};

use model::chunking::ChunkLayout;
use model::names::{ContentType, Filename};
use model::scheme::Scheme;
use model::storage_class::StorageClass;
use model::terms::Terms;
use rules::file_meter::Priced;

/// Begin an upload: holds the price of the first month and tells how to cut the file.
#[utoipa::path(post, path = paths::UPLOAD_INITIATE, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("X-FSN-Class" = Option<String>, Header, description = "`standard`, unless told, or `dense`: see \
        `GET classes`")), request_body = InitiateBody, responses(
    (status = 201, body = Initiated),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 429, description = "Too many uploads were begun, or are open"),
    (status = 503, description = "Too few storage nodes are online, for the file or for its class"),
    (status = 507, description = "The storage nodes have too little room")))]
pub(super) async fn initiate(
    State(files): State<Arc<Files>>,
    State(accounts): State<Arc<Accounts>>,
    State(objects): State<Arc<Objects>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    Uploader(caller): Uploader,
    UploadHead {
        idempotency_key,
        class,
    }: UploadHead,
    Json(body): Json<InitiateBody>,
) -> Result<Created<Initiated>, Problem> {
    let user = caller.principal().user_id;
    let content_type = content_type(body.content_type)?;
    let size_bytes = body.size_bytes;
    let request = match body.target {
        None => {
            caller.principal().check(Scope::Write)?;
            UploadRequest {
                user_id: user,
                filename: Filename::try_from(body.filename)?,
                content_type,
                size_bytes: Some(size_bytes),
                class,
                idempotency_key,
                declared: DeclaredDigests::default(),
                target: None,
            }
        }
        Some(_) if class != StorageClass::Standard => {
            return Err(Problem::invalid(
                "Objects of buckets are kept as `standard`: leave X-FSN-Class out.",
            ));
        }
        Some(target) => {
            let (bucket, described) =
                targets::target(&objects, &caller, target, content_type).await?;
            stepwise::request(&objects, &bucket, described, size_bytes, idempotency_key)
        }
    };
    limits.check_session(user)?;
    recovery::demand_verified(&accounts, user).await?;
    let scheme = session::scheme(&files, &request)?;
    let cost = price(&files, request.terms(size_bytes), size_bytes, scheme)?;
    charge(&accounts, caller.principal(), 0, cost).await?;
    let initiated = match session::begin(&files, &request, Mode::Stepwise, scheme).await? {
        Begun::New(session, _) => Initiated {
            upload_id: session.upload_id,
            file_id: session.file_id,
            chunk_size_bytes: session.chunk_size,
            chunk_count: session.chunk_count.unwrap_or_default(),
            cost_microcredits: session.cost,
            expires_at: session.expires_at,
        },
        Begun::Before(upload) => {
            let file = listing::uploading(&files, upload.file_id)
                .await?
                .ok_or(UploadError::NotFound)?;
            // Not what is held: that is gone once the upload is completed.
            let cost = Priced {
                size_bytes: file.size_bytes.unwrap_or(0),
                terms: file.terms,
                scheme: file.scheme,
                price: files.billing.money.price_per_gb_month,
            }
            .month();
            Initiated {
                upload_id: upload.id,
                file_id: upload.file_id,
                chunk_size_bytes: file.chunk_size,
                chunk_count: file.layout().map_or(0, |layout| layout.chunk_count()),
                cost_microcredits: cost.map_err(UploadError::from)?,
                expires_at: upload.expires_at,
            }
        }
    };
    let location = paths::upload(initiated.upload_id);
    Ok(created(location, initiated))
}

/// 201, and where it is.
type Created<T> = (StatusCode, [(HeaderName, String); 1], Json<T>);

fn created<T>(location: String, body: T) -> Created<T> {
    let location = [(header::LOCATION, location)];
    (StatusCode::CREATED, location, Json(body))
}

fn created_file(file: model::file::File) -> Created<File> {
    created(paths::file(file.id), listing::described(file))
}

pub(super) fn content_type(given: Option<String>) -> Result<ContentType, Problem> {
    match given {
        Some(text) => Ok(ContentType::try_from(text)?),
        None => Ok(ContentType::octet_stream()),
    }
}

/// Send one chunk, raw. Chunks may come in any order and at the same time. One that is sent again with the
/// same content is acknowledged; with other content it replaces the one before, which costs as much as
/// storing it for a month, and an upload takes as many of these as it has chunks, and 16. A `Content-Digest`
/// is checked.
#[utoipa::path(method(post, put), path = paths::UPLOAD_CHUNK, tag = "uploads",
    security(("bearer" = []), ("access_key" = [])), params(("id" = Uuid, Path), ChunkParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, body = Chunk),
    (status = 402, description = "Too few credits for a chunk that replaces another"),
    (status = 409, description = "The upload is completed or given up, or too many chunks were replaced"),
    (status = 410, description = "The upload has expired"),
    (status = 415, description = "A form: a chunk is the bytes themselves"),
    (status = 422, description = "The chunk is too long, too short, or beyond the last")))]
pub(super) async fn chunk(
    State(accounts): State<Arc<Accounts>>,
    State(objects): State<Arc<Objects>>,
    Uploader(caller): Uploader,
    Id(id): Id<UploadId>,
    Params(params): Params<ChunkParams>,
    Declared(declared): Declared,
    request: Request,
) -> Result<Json<Chunk>, Problem> {
    targets::may_go_on(&objects, &caller, id).await?;
    let files = &objects.files;
    refuse_form(request.headers())?;
    let bytes = length(request.headers());
    let holder = caller.holder();
    let caller = caller.principal();
    charge_body(&accounts, caller, bytes, |_| Ok(MicroCredits::ZERO)).await?;
    let body = PacedBody::new(request.into_body(), files.idle_timeout);
    let index = params.index;
    let chunk = put::put_chunk(Arc::clone(files), holder, id, index, declared, body).await?;
    Ok(Json(Chunk {
        index: chunk.index,
        size_bytes: chunk.size_bytes,
        sha256: hex::encode(chunk.sha256),
        replicas: chunk.replicas,
    }))
}

/// Send many chunks in one body, one behind the other, raw. Each is taken as if it came alone. Of a body that breaks off,
/// the chunks that came whole stay. At most 4096 at a time; several bodies may come at the same time.
#[utoipa::path(put, path = paths::UPLOAD_CHUNKS, tag = "uploads",
    security(("bearer" = []), ("access_key" = [])), params(("id" = Uuid, Path), ChunksParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, body = Chunks),
    (status = 400, description = "The body broke off, brought too many chunks, or came with a digest"),
    (status = 402, description = "Too few credits for a chunk that replaces another"),
    (status = 409, description = "The upload is completed or given up, or too many chunks were replaced"),
    (status = 410, description = "The upload has expired"),
    (status = 415, description = "A form: chunks are the bytes themselves"),
    (status = 422, description = "A chunk is too long, too short, or beyond the last")))]
pub(super) async fn chunks(
    State(accounts): State<Arc<Accounts>>,
    State(objects): State<Arc<Objects>>,
    Uploader(caller): Uploader,
    Id(id): Id<UploadId>,
    Params(params): Params<ChunksParams>,
    Declared(declared): Declared,
    request: Request,
) -> Result<Json<Chunks>, Problem> {
    targets::may_go_on(&objects, &caller, id).await?;
    refuse_form(request.headers())?;
    if !declared.is_empty() {
        return Err(Problem::invalid(
            "A digest of several chunks is not checked: leave it out, and compare those that the answer has of each.",
        ));
    }
    let bytes = length(request.headers());
    let principal = caller.principal();
    charge_body(&accounts, principal, bytes, |_| Ok(MicroCredits::ZERO)).await?;
    let files = Arc::clone(&objects.files);
    let body = PacedBody::new(request.into_body(), files.idle_timeout);
    let first = params.first;
    let sha256 = range::put_chunks(files, caller.holder(), id, first, body).await?;
    Ok(Json(Chunks {
        first,
        count: sha256.len() as u32,
        sha256: sha256.into_iter().map(hex::encode).collect(),
    }))
}

/// How far an upload has come.
#[utoipa::path(get, path = paths::UPLOAD, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), StatusParams), responses(
    (status = 200, body = UploadStatus), (status = 404, description = "No such upload")))]
pub(super) async fn status(
    State(files): State<Arc<Files>>,
    State(objects): State<Arc<Objects>>,
    Uploader(caller): Uploader,
    Id(id): Id<UploadId>,
    Params(params): Params<StatusParams>,
) -> Result<Json<UploadStatus>, Problem> {
    targets::may_go_on(&objects, &caller, id).await?;
    let from = params.from_index.unwrap_or(0);
    let status = session::status(&files, caller.principal().user_id, id, from).await?;
    let digest = |(index, sha256): (u32, Option<[u8; 32]>)| ChunkDigest {
        index,
        sha256: sha256.map(hex::encode),
    };
    Ok(Json(UploadStatus {
        upload_id: id,
        file_id: status.upload.file_id,
        state: status.upload.state.name().to_owned(),
        chunk_count: status.layout.as_ref().map(ChunkLayout::chunk_count),
        missing: status.missing,
        missing_count: status.missing_count,
        chunks: status.chunks.into_iter().map(digest).collect(),
        expires_at: status.upload.expires_at,
    }))
}

/// Make the file visible. Every chunk must be there with all its receipts, and the file be the one that `sha256`, if it
/// is told, was taken of. Repeated, it answers the same file.
#[utoipa::path(post, path = paths::UPLOAD_COMPLETE, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path)), request_body = Option<CompleteBody>, responses(
    (status = 201, body = File),
    (status = 400, description = "The file is not the one that the digest was taken of"),
    (status = 409, description = "Chunks are missing; the answer says which. Or the digest is still being compared")))]
pub(super) async fn complete(
    State(files): State<Arc<Files>>,
    State(objects): State<Arc<Objects>>,
    Uploader(caller): Uploader,
    Id(id): Id<UploadId>,
    OptionalJson(body): OptionalJson<CompleteBody>,
) -> Result<Response, Problem> {
    let user = caller.principal().user_id;
    targets::may_go_on(&objects, &caller, id).await?;
    let declared = match body.and_then(|body| body.sha256) {
        None => None,
        Some(text) => {
            let mut sha256 = [0; 32];
            hex::decode_to_slice(&text, &mut sha256)
                .map_err(|_| Problem::invalid("`sha256` is a SHA-256 in 64 hex digits."))?;
            Some(sha256)
        }
    };
    let file = complete::complete(&files, user, id, declared, None).await?;
    match stepwise::aim(&objects, user, id).await? {
        None => Ok(created_file(file).into_response()),
        Some(aim) => Ok(targets::completed(&aim, file).into_response()),
    }
}

/// Give an upload up: its credits come back.
#[utoipa::path(delete, path = paths::UPLOAD, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Given up"),
    (status = 409, description = "It is completed: delete the file instead")))]
pub(super) async fn abort(
    State(files): State<Arc<Files>>,
    State(objects): State<Arc<Objects>>,
    Uploader(caller): Uploader,
    Id(id): Id<UploadId>,
) -> Result<StatusCode, Problem> {
    targets::may_go_on(&objects, &caller, id).await?;
    complete::abort(&files, caller.principal().user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Store a file in one request: a raw body (`curl -T FILE`), of known length or chunked, or a multipart form with one
/// file. `Content-Digest`, `Repr-Digest` and `Content-MD5` are checked.
#[utoipa::path(method(post, put), path = paths::FILES, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(UploadParams, ("X-FSN-Class" = Option<String>, Header, description = "`standard`, unless told, or `dense`: \
        see `GET classes`")), request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 201, body = File),
    (status = 400, description = "The bytes are not those of the digest, or it is no request for this"),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 411, description = "Neither a body nor a length: nothing says that an empty file is meant"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 415, description = "The bytes are in a coding"),
    (status = 422, description = "The Idempotency-Key was used for another file"),
    (status = 503, description = "Too few storage nodes are online, for the file or for its class"),
    (status = 507, description = "The storage nodes have too little room")))]
pub(super) async fn upload(
    State(files): State<Arc<Files>>,
    State(accounts): State<Arc<Accounts>>,
    Sharer { caller, holder, .. }: Sharer<Write>,
    UploadHead {
        idempotency_key,
        class,
    }: UploadHead,
    Params(params): Params<UploadParams>,
    Declared(declared): Declared,
    request: Request,
) -> Result<Created<File>, Problem> {
    let headers = request.headers().clone();
    let sent = Sent::of(&headers)?;
    if matches!(sent, Sent::Raw(_)) {
        expect_body(&headers, request.body())?;
    }
    recovery::demand_verified(&accounts, holder.account).await?;
    let body = PacedBody::new(request.into_body(), files.idle_timeout);
    let file = match sent {
        Sent::Form(boundary) => {
            if !declared.is_empty() {
                return Err(Problem::invalid(
                    "The digest of a form is that of its wrapping, too, and is not checked: put it into the head of \
                     the form's file, or send the file's bytes alone.",
                ));
            }
            check_no_cap(&caller)?;
            stream::check_allowance(&files, holder.account).await?;
            let form = form::open(body, boundary).await?;
            let filename = params
                .filename
                .or_else(|| form.filename.clone())
                .ok_or_else(|| Problem::invalid("The form's file has no name: add ?filename=."))?;
            let request = UploadRequest {
                user_id: holder.account,
                filename: Filename::try_from(filename)?,
                content_type: content_type(form.content_type.clone())?,
                size_bytes: None,
                class,
                idempotency_key,
                declared: form.declared,
                target: None,
            };
            let refusal = form.refusal();
            let uploaded =
                stream::upload(Arc::clone(&files), request, holder, form.into_bytes()).await;
            uploaded.map_err(|error| refusal.problem().unwrap_or_else(|| error.into()))?
        }
        Sent::Raw(given_type) => {
            let filename = params.filename.ok_or_else(|| {
                Problem::invalid("The file needs a name: add ?filename= to the address.")
            })?;
            let request = UploadRequest {
                user_id: holder.account,
                filename: Filename::try_from(filename)?,
                content_type: content_type(given_type)?,
                size_bytes: length(&headers),
                class,
                idempotency_key,
                declared,
                target: None,
            };
            let cost = |bytes| {
                let scheme = session::scheme(&files, &request)?;
                price(&files, request.terms(bytes), bytes, scheme)
            };
            charge_body(&accounts, &caller, length(&headers), cost).await?;
            stream::upload(Arc::clone(&files), request, holder, body).await?
        }
    };
    files.metrics.uploaded_bytes.inc_by(file.layout.size_bytes);
    Ok(created_file(file))
}

/// What the first month costs.
pub(super) fn price(
    files: &Files,
    terms: Terms,
    bytes: u64,
    scheme: Scheme,
) -> Result<MicroCredits, Problem> {
    let priced = files.billing.priced(terms, bytes, scheme);
    Ok(priced.month().map_err(UploadError::from)?)
}

/// Of a key that has a cap, what a body brings and costs is counted before it is read.
pub(super) async fn charge_body(
    accounts: &Accounts,
    caller: &Principal,
    length: Option<u64>,
    cost: impl FnOnce(u64) -> Result<MicroCredits, Problem>,
) -> Result<(), Problem> {
    match length {
        Some(bytes) if caller.is_capped() => charge(accounts, caller, bytes, cost(bytes)?).await,
        Some(_) => Ok(()),
        None => check_no_cap(caller),
    }
}

/// What comes in an unknown length cannot be counted against a cap beforehand.
pub(super) fn check_no_cap(caller: &Principal) -> Result<(), Problem> {
    match caller.is_capped() {
        false => Ok(()),
        true => Err(Problem::new(
            ProblemKind::LengthRequired,
            "The access key has a cap for each day: send the file's bytes alone, with their `Content-Length`.",
        )),
    }
}

/// How a file's bytes come.
pub(super) enum Sent {
    /// As they are, with the type that they are said to have.
    Raw(Option<String>),
    /// In a multipart form with this boundary.
    Form(String),
}

impl Sent {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let Some(given) = types.next() else {
            return Ok(Self::Raw(None));
        };
        let text = given.to_str().ok().filter(|_| types.next().is_none());
        let text = text.ok_or_else(|| {
            Problem::invalid("Content-Type is one type in ASCII, like text/plain.")
        })?;
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multer::parse_boundary(text);
            return boundary
                .map(Self::Form)
                .map_err(|error| Problem::invalid(format!("The form cannot be read: {error}.")));
        }
        // The type that `curl -d` and `--data-binary` claim says nothing about the file.
        let claimed = essence.eq_ignore_ascii_case("application/x-www-form-urlencoded");
        Ok(Self::Raw((!claimed).then(|| text.to_owned())))
    }
}

fn refuse_form(headers: &HeaderMap) -> Result<(), Problem> {
    match Sent::of(headers)? {
        Sent::Raw(_) => Ok(()),
        Sent::Form(_) => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "A form is not taken here: chunks are sent as their bytes alone (`curl -T CHUNK`).",
        )),
    }
}

/// A request that has neither a body nor says that it has none is a mistake more often than an empty file.
pub(super) fn expect_body(headers: &HeaderMap, body: &Body) -> Result<(), Problem> {
    let announced = headers.contains_key(header::CONTENT_LENGTH)
        || headers.contains_key(header::TRANSFER_ENCODING);
    if announced || !body.is_end_stream() {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::LengthRequired,
        "The request has no body. Send the file's bytes (`curl -T FILE`), or `Content-Length: 0` to store an empty \
         file.",
    ))
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
