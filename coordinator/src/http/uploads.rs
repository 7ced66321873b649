//! `/files/upload`: the three steps, and `POST|PUT /files`: all in one request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::files::File;
use api::paths;
use api::uploads::{
    Chunk, ChunkDigest, ChunkParams, InitiateBody, Initiated, StatusParams, UploadParams,
    UploadStatus,
};
use axum::extract::{Request, State};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use proto::UploadId;

use super::extract::{ClientAddr, Id, IdempotencyKey, Json, Params, User};
use super::paced_body::PacedBody;
use super::problem::Problem;
use crate::blobs::memory::Holder;
use crate::files::upload::session::{Begun, Mode};
use crate::files::upload::{UploadError, complete, put, session, stream};
use crate::files::{Files, listing};
use model::upload::UploadRequest;

use model::chunking::ChunkLayout;
use model::names::{ContentType, Filename};

/// Begin an upload: holds the price of the first month and tells how to cut the file.
#[utoipa::path(post, path = paths::UPLOAD_INITIATE, tag = "uploads", security(("bearer" = [])),
    request_body = InitiateBody, responses(
    (status = 201, body = Initiated),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 503, description = "Too few storage nodes are online"),
    (status = 507, description = "The storage nodes have too little room")))]
pub(super) async fn initiate(
    State(files): State<Arc<Files>>,
    User(caller): User,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Json(body): Json<InitiateBody>,
) -> Result<(StatusCode, Json<Initiated>), Problem> {
    let request = UploadRequest {
        user_id: caller.user_id,
        filename: Filename::try_from(body.filename)?,
        content_type: content_type(body.content_type)?,
        size_bytes: Some(body.size_bytes),
        idempotency_key,
    };
    let initiated = match session::begin(&files, &request, Mode::Stepwise).await? {
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
            let price = files.billing.money.price_per_gb_month;
            let cost = price.first_month(file.size_bytes.unwrap_or(0), file.scheme);
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
    Ok((StatusCode::CREATED, Json(initiated)))
}

fn content_type(given: Option<String>) -> Result<ContentType, Problem> {
    match given {
        Some(text) => Ok(ContentType::try_from(text)?),
        None => Ok(ContentType::octet_stream()),
    }
}

/// Send one chunk, raw. Chunks may come in any order and at the same time; one that is sent again
/// replaces the one before.
#[utoipa::path(method(post, put), path = paths::UPLOAD_CHUNK, tag = "uploads",
    security(("bearer" = [])), params(("id" = Uuid, Path), ChunkParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, body = Chunk),
    (status = 409, description = "The upload is completed or given up"),
    (status = 410, description = "The upload has expired"),
    (status = 422, description = "The chunk is too long, too short, or beyond the last")))]
pub(super) async fn chunk(
    State(files): State<Arc<Files>>,
    User(caller): User,
    ClientAddr(address): ClientAddr,
    Id(id): Id<UploadId>,
    Params(params): Params<ChunkParams>,
    request: Request,
) -> Result<Json<Chunk>, Problem> {
    let holder = Holder {
        account: caller.user_id,
        address,
    };
    let body = PacedBody::new(request.into_body(), files.idle_timeout);
    let chunk = put::put_chunk(Arc::clone(&files), holder, id, params.index, body).await?;
    Ok(Json(Chunk {
        index: chunk.index,
        size_bytes: chunk.size_bytes,
        sha256: hex::encode(chunk.sha256),
        replicas: chunk.replicas,
    }))
}

/// How far an upload has come.
#[utoipa::path(get, path = paths::UPLOAD, tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path), StatusParams), responses(
    (status = 200, body = UploadStatus), (status = 404, description = "No such upload")))]
pub(super) async fn status(
    State(files): State<Arc<Files>>,
    User(caller): User,
    Id(id): Id<UploadId>,
    Params(params): Params<StatusParams>,
) -> Result<Json<UploadStatus>, Problem> {
    let from = params.from_index.unwrap_or(0);
    let status = session::status(&files, caller.user_id, id, from).await?;
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

/// Make the file visible. Every chunk must be there with all its receipts; repeated, it answers the
/// same file.
#[utoipa::path(post, path = paths::UPLOAD_COMPLETE, tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 201, body = File),
    (status = 409, description = "Chunks are missing; the answer says which")))]
pub(super) async fn complete(
    State(files): State<Arc<Files>>,
    User(caller): User,
    Id(id): Id<UploadId>,
) -> Result<(StatusCode, Json<File>), Problem> {
    let file = complete::complete(&files, caller.user_id, id).await?;
    Ok((StatusCode::CREATED, Json(super::files::view(file))))
}

/// Give an upload up: its credits come back.
#[utoipa::path(delete, path = paths::UPLOAD, tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Given up"),
    (status = 409, description = "It is completed: delete the file instead")))]
pub(super) async fn abort(
    State(files): State<Arc<Files>>,
    User(caller): User,
    Id(id): Id<UploadId>,
) -> Result<StatusCode, Problem> {
    complete::abort(&files, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Store a file in one request: a raw body (`curl -T FILE`), of known length or chunked, or the first
/// file of a multipart form.
#[utoipa::path(method(post, put), path = paths::FILES, tag = "uploads", security(("bearer" = [])),
    params(UploadParams), request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 201, body = File),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 503, description = "Too few storage nodes are online"),
    (status = 507, description = "The storage nodes have too little room")))]
pub(super) async fn upload(
    State(files): State<Arc<Files>>,
    User(caller): User,
    ClientAddr(address): ClientAddr,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Params(params): Params<UploadParams>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<File>), Problem> {
    let body = PacedBody::new(request.into_body(), files.idle_timeout);
    let given_type = header_text(&headers, header::CONTENT_TYPE);
    let boundary = given_type
        .as_deref()
        .and_then(|text| multer::parse_boundary(text).ok());
    let file = if let Some(boundary) = boundary {
        stream::check_allowance(&files, caller.user_id).await?;
        let field = first_file(body, boundary).await?;
        let filename = params
            .filename
            .or_else(|| field.file_name().map(str::to_owned))
            .ok_or_else(|| Problem::invalid("The form's file has no name: add ?filename=."))?;
        let request = UploadRequest {
            user_id: caller.user_id,
            filename: Filename::try_from(filename)?,
            content_type: content_type(field.content_type().map(ToString::to_string))?,
            size_bytes: None,
            idempotency_key,
        };
        stream::upload(Arc::clone(&files), request, address, field).await?
    } else {
        let filename = params.filename.ok_or_else(|| {
            Problem::invalid("The file needs a name: add ?filename= to the address.")
        })?;
        let size_bytes =
            header_text(&headers, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        // The type that `curl -d` and `--data-binary` claim says nothing about the file.
        let given_type = given_type.filter(|text| text != "application/x-www-form-urlencoded");
        let request = UploadRequest {
            user_id: caller.user_id,
            filename: Filename::try_from(filename)?,
            content_type: content_type(given_type)?,
            size_bytes,
            idempotency_key,
        };
        stream::upload(Arc::clone(&files), request, address, body).await?
    };
    files.metrics.uploaded_bytes.inc_by(file.layout.size_bytes);
    Ok((StatusCode::CREATED, Json(super::files::view(file))))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What may stand before the file in a form.
const MAX_FORM_HEAD_BYTES: usize = 64 * 1024;

/// The first field that is a file; those before it are passed over.
async fn first_file(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    boundary: String,
) -> Result<multer::Field<'static>, Problem> {
    // Up to the file, the form's reader keeps all it gets: that has to end somewhere.
    let at_file = Arc::new(AtomicBool::new(false));
    let (reached, mut read) = (Arc::clone(&at_file), 0);
    let body = StreamExt::map(body, move |frame| {
        let frame = frame?;
        read += frame.len();
        if read > MAX_FORM_HEAD_BYTES && !reached.load(Ordering::Relaxed) {
            return Err(io::Error::other("the form has no file near its beginning"));
        }
        Ok(frame)
    });
    let mut form = multer::Multipart::new(body, boundary);
    loop {
        match form.next_field().await {
            Ok(Some(field)) if field.file_name().is_some() || field.name() == Some("file") => {
                at_file.store(true, Ordering::Relaxed);
                return Ok(field);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(Problem::invalid("The form has no file in it.")),
            Err(error) => {
                return Err(Problem::invalid(format!(
                    "The form cannot be read: {error}."
                )));
            }
        }
    }
}
