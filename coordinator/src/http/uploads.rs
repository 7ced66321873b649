//! `/files/upload`: the three steps, and `POST|PUT /files`: all in one request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::extract::{Id, IdempotencyKey, Json, Params, User};
use super::files::FileView;
use super::problem::Problem;
use crate::app::App;
use crate::app::upload::session::{self, Begun, Manner, UploadRequest};
use crate::app::upload::{UploadError, end, put, stream};
use crate::db;
use crate::domain::chunking::ChunkLayout;
use crate::domain::ids::UploadId;
use crate::domain::names::{ContentType, Filename};

#[derive(Deserialize, ToSchema)]
pub struct InitiateBody {
    /// Any Unicode; names need not be unique.
    #[schema(example = "test.txt")]
    filename: String,
    #[schema(example = 1024)]
    size_bytes: u64,
    /// `application/octet-stream` unless told.
    content_type: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Initiated {
    upload_id: Uuid,
    file_id: Uuid,
    chunk_size_bytes: u32,
    chunk_count: u64,
    /// Held now; moved to escrow when the upload completes.
    cost_microcredits: i64,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// Begin an upload: holds the price of the first month and tells how to cut the file.
#[utoipa::path(post, path = "/files/upload/initiate", tag = "uploads", security(("bearer" = [])),
    request_body = InitiateBody, responses(
    (status = 201, body = Initiated),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 503, description = "Too few storage nodes are online"),
    (status = 507, description = "The storage nodes have too little room")))]
pub async fn initiate(
    State(app): State<Arc<App>>,
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
    let initiated = match session::begin(&app, &request, Manner::Stepwise).await? {
        Begun::New(session, _) => Initiated {
            upload_id: session.upload_id.as_uuid(),
            file_id: session.file_id.as_uuid(),
            chunk_size_bytes: session.chunk_size,
            chunk_count: session.chunk_count.unwrap_or_default(),
            cost_microcredits: session.cost.get(),
            expires_at: session.expires_at,
        },
        Begun::Before(upload) => {
            let mut connection = app.db.acquire().await?;
            let file = db::files::uploading(&mut connection, upload.file_id)
                .await?
                .ok_or(UploadError::NotFound)?;
            // Not what is held: that is gone once the upload is completed.
            let price = app.config.money.price_per_gb_month;
            let cost = price.first_month(file.size_bytes.unwrap_or(0), file.replication);
            Initiated {
                upload_id: upload.id.as_uuid(),
                file_id: upload.file_id.as_uuid(),
                chunk_size_bytes: file.chunk_size,
                chunk_count: file.layout().map_or(0, |layout| layout.chunk_count()),
                cost_microcredits: cost.map_err(UploadError::from)?.get(),
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

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChunkParams {
    /// Counted from 0.
    index: u32,
}

#[derive(Serialize, ToSchema)]
pub struct Chunk {
    index: u32,
    size_bytes: u32,
    /// Of the bytes that were sent, 64 hex digits.
    sha256: String,
    /// Nodes that have signed a receipt for a copy of their own.
    replicas: u32,
}

/// Send one chunk, raw. Chunks may come in any order and at the same time; one that is sent again
/// replaces the one before.
#[utoipa::path(method(post, put), path = "/files/upload/{id}/chunk", tag = "uploads",
    security(("bearer" = [])), params(("id" = Uuid, Path), ChunkParams),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 200, body = Chunk),
    (status = 409, description = "The upload is completed or given up"),
    (status = 410, description = "The upload has expired"),
    (status = 422, description = "The chunk is too long, too short, or beyond the last")))]
pub async fn chunk(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<UploadId>,
    Params(params): Params<ChunkParams>,
    request: Request,
) -> Result<Json<Chunk>, Problem> {
    let body = patient(&app, request.into_body());
    let chunk = put::put_chunk(Arc::clone(&app), caller.user_id, id, params.index, body).await?;
    Ok(Json(Chunk {
        index: chunk.index,
        size_bytes: chunk.size_bytes,
        sha256: hex::encode(chunk.sha256),
        replicas: chunk.replicas,
    }))
}

/// A body whose client may pause, but not for ever.
fn patient(app: &App, body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<> {
    let frames = body
        .into_data_stream()
        .timeout(app.config.http.idle_timeout);
    Box::pin(StreamExt::map(frames, |frame| match frame {
        Ok(frame) => frame.map_err(io::Error::other),
        Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
    }))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StatusParams {
    /// The first of up to 1000 chunks whose digests are told; 0 unless told.
    from_index: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct UploadStatus {
    upload_id: Uuid,
    file_id: Uuid,
    #[schema(example = "open")]
    state: &'static str,
    /// `null` while a body of unknown length is being read.
    chunk_count: Option<u64>,
    /// The first 1000 indices that have not been sent.
    missing: Vec<u32>,
    missing_count: u64,
    /// Digests of the chunks that are there, so that a changed source shows.
    chunks: Vec<ChunkDigest>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub struct ChunkDigest {
    index: u32,
    /// `null` for chunks that came in one streaming request.
    sha256: Option<String>,
}

/// How far an upload has come.
#[utoipa::path(get, path = "/files/upload/{id}", tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path), StatusParams), responses(
    (status = 200, body = UploadStatus), (status = 404, description = "No such upload")))]
pub async fn status(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<UploadId>,
    Params(params): Params<StatusParams>,
) -> Result<Json<UploadStatus>, Problem> {
    let from = params.from_index.unwrap_or(0);
    let status = session::status(&app, caller.user_id, id, from).await?;
    let digest = |(index, sha256): (u32, Option<[u8; 32]>)| ChunkDigest {
        index,
        sha256: sha256.map(hex::encode),
    };
    Ok(Json(UploadStatus {
        upload_id: id.as_uuid(),
        file_id: status.upload.file_id.as_uuid(),
        state: status.upload.state.name(),
        chunk_count: status.layout.as_ref().map(ChunkLayout::chunk_count),
        missing: status.missing,
        missing_count: status.missing_count,
        chunks: status.chunks.into_iter().map(digest).collect(),
        expires_at: status.upload.expires_at,
    }))
}

/// Make the file visible. Every chunk must be there with all its receipts; repeated, it answers the
/// same file.
#[utoipa::path(post, path = "/files/upload/{id}/complete", tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 201, body = FileView),
    (status = 409, description = "Chunks are missing; the answer says which")))]
pub async fn complete(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<UploadId>,
) -> Result<(StatusCode, Json<FileView>), Problem> {
    let file = end::complete(&app, caller.user_id, id).await?;
    Ok((StatusCode::CREATED, Json(file.into())))
}

/// Give an upload up: its credits come back.
#[utoipa::path(delete, path = "/files/upload/{id}", tag = "uploads", security(("bearer" = [])),
    params(("id" = Uuid, Path)), responses(
    (status = 204, description = "Given up"),
    (status = 409, description = "It is completed: delete the file instead")))]
pub async fn abort(
    State(app): State<Arc<App>>,
    User(caller): User,
    Id(id): Id<UploadId>,
) -> Result<StatusCode, Problem> {
    end::abort(&app, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UploadParams {
    /// Needed with a raw body; a form brings its own.
    filename: Option<String>,
}

/// Store a file in one request: a raw body (`curl -T FILE`), of known length or chunked, or the first
/// file of a multipart form.
#[utoipa::path(method(post, put), path = "/files", tag = "uploads", security(("bearer" = [])),
    params(UploadParams), request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
    (status = 201, body = FileView),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 413, description = "The file is longer than this network takes"),
    (status = 503, description = "Too few storage nodes are online"),
    (status = 507, description = "The storage nodes have too little room")))]
pub async fn upload(
    State(app): State<Arc<App>>,
    User(caller): User,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Params(params): Params<UploadParams>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<FileView>), Problem> {
    let body = patient(&app, request.into_body());
    let given_type = header_text(&headers, header::CONTENT_TYPE);
    let boundary = given_type
        .as_deref()
        .and_then(|text| multer::parse_boundary(text).ok());
    let file = if let Some(boundary) = boundary {
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
        stream::upload(Arc::clone(&app), request, field).await?
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
        stream::upload(Arc::clone(&app), request, body).await?
    };
    app.metrics.uploaded_bytes.inc_by(file.layout.size_bytes);
    Ok((StatusCode::CREATED, Json(file.into())))
}

fn header_text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// What may stand before the file in a form.
const MAX_FORM_HEAD_BYTES: usize = 1024 * 1024;

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
