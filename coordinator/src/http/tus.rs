//! `/files/tus`: resumable uploads as tus 1.0 has them, for its clients in browsers, phones and programs.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use api::headers::tus as names;
use api::paths;
use api::problem::ProblemKind;
use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gateway::tus::{self, CONTENT_TYPE, Checksum, Metadata};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use limits::memory::Holder;
use model::file::File;
use model::names::Filename;
use model::storage_class::StorageClass;
use model::terms::Terms;
use model::upload::{DeclaredDigests, UploadRequest};
use proto::{MicroCredits, UploadId};

use super::authorization::{Sharer, User, Write, charge};
use super::extract::Id;
use super::paced_body::PacedBody;
use super::problem::{Problem, capitalised};
use super::rate_limit::AccountLimits;
use super::uploads::{charge_body, check_no_cap, content_type, length, price};
use crate::accounts::{Accounts, recovery};
use crate::files::Files;
use crate::files::upload::complete;
use crate::files::upload::tus::{Piece, TusError, TusUpload, append, create, find};

/// As clients without a name for their file call it.
const UNNAMED: &str = "upload";

/// Begin a resumable upload (tus 1.0: creation, with its first bytes where they come with it, and with a length that is told
/// later). `Upload-Metadata` may have `filename` and `filetype`.
#[utoipa::path(post, path = paths::TUS, tag = "uploads", security(("bearer" = []), ("access_key" = [])), params(
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Length" = Option<u64>, Header, description = "Bytes of the file"),
    ("Upload-Defer-Length" = Option<u8>, Header, description = "1: the length is told by a later PATCH"),
    ("Upload-Metadata" = Option<String>, Header, description = "`filename` and `filetype`, in Base64"),
    ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256` of this request's bytes")),
    responses(
    (status = 201, description = "Begun; `Location` is its address, `Upload-Offset` what has come with it"),
    (status = 402, description = "Too few credits; the answer says how many are missing"),
    (status = 412, description = "Another version of tus"),
    (status = 413, description = "The file is longer than this network takes")))]
pub(super) async fn begin(
    State(files): State<Arc<Files>>,
    State(accounts): State<Arc<Accounts>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    Sharer { caller, holder, .. }: Sharer<Write>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    check_version(headers)?;
    if headers.contains_key(names::CONCAT) {
        return Err(Problem::invalid(
            "`Upload-Concat` is not served here: send the file as one upload.",
        ));
    }
    let size_bytes = announced(headers)?;
    let metadata = text(headers, names::METADATA)?.unwrap_or_default();
    let metadata = Metadata::parse(metadata).map_err(invalid)?;
    let filename = metadata.filename.clone();
    let filename = filename.filter(|name| !name.is_empty());
    let filetype = metadata.filetype.clone();
    let wanted = UploadRequest {
        user_id: holder.account,
        filename: Filename::try_from(filename.unwrap_or_else(|| UNNAMED.to_owned()))?,
        content_type: content_type(filetype.filter(|kind| !kind.is_empty()))?,
        size_bytes,
        class: StorageClass::Standard,
        idempotency_key: None,
        declared: DeclaredDigests::default(),
        target: None,
    };
    let brings = brings(headers)?;
    let checksum = checksum(headers)?;
    limits.check_session(caller.user_id)?;
    recovery::demand_verified(&accounts, caller.user_id).await?;
    if size_bytes.is_none() {
        check_no_cap(&caller)?;
    }
    let cost = price(
        &files,
        Terms::named(wanted.filename.as_str().len()),
        size_bytes.unwrap_or(0),
        files.blobs.copies(),
    )?;
    charge(&accounts, &caller, 0, cost).await?;
    let mut upload = create(&files, &wanted, &metadata.raw).await?;
    let id = upload.upload.id;
    let mut file = None;
    if brings && !upload.is_complete() {
        let length = length(headers);
        let body = PacedBody::new(request.into_body(), files.idle_timeout);
        let first = Piece {
            offset: 0,
            length: None,
            checksum,
            body,
        };
        charge_body(&accounts, &caller, length, |_| Ok(MicroCredits::ZERO)).await?;
        match appended(&files, holder, id, first).await {
            Ok(appended) => (upload, file) = appended,
            // Nobody learns where it is.
            Err(problem) => {
                if let Err(error) = complete::abort(&files, holder.account, id).await {
                    tracing::warn!(upload_id = %id, %error, "an upload that failed at once expires");
                }
                return Err(problem);
            }
        }
    }
    let location = (header::LOCATION, paths::tus_upload(id));
    let told = describe(&upload, file.as_ref());
    Ok((StatusCode::CREATED, [location], told).into_response())
}

/// Where an upload stands.
#[utoipa::path(head, path = paths::TUS_UPLOAD, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), ("Tus-Resumable" = String, Header, description = "1.0.0")), responses(
    (status = 200, description = "`Upload-Offset`, and `Upload-Length` or `Upload-Defer-Length`"),
    (status = 404, description = "No such upload of the caller's"),
    (status = 410, description = "The upload has expired")))]
pub(super) async fn status(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<Write>,
    Id(id): Id<UploadId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let upload = find(&files, caller.user_id, id).await?;
    let told = describe(&upload, None);
    let length = match upload.length() {
        Some(length) => (HeaderName::from_static(names::LENGTH), length.to_string()),
        None => (HeaderName::from_static(names::DEFER_LENGTH), "1".to_owned()),
    };
    let mut answer = (StatusCode::OK, [length], told).into_response();
    if let Ok(metadata) = HeaderValue::from_str(upload.metadata())
        && !metadata.is_empty()
    {
        let name = HeaderName::from_static(names::METADATA);
        answer.headers_mut().insert(name, metadata);
    }
    Ok(answer)
}

/// Append bytes to an upload, at its offset. The last byte makes the file; `Content-Location` is its address then.
#[utoipa::path(patch, path = paths::TUS_UPLOAD, tag = "uploads", security(("bearer" = []), ("access_key" = [])), params(
    ("id" = Uuid, Path),
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Offset" = u64, Header, description = "Where the bytes belong: where the upload stands"),
    ("Upload-Length" = Option<u64>, Header, description = "Of an upload that began without"),
    ("Upload-Checksum" = Option<String>, Header, description = "`sha1` or `sha256` of this request's bytes")),
    request_body(content = Vec<u8>, content_type = "application/offset+octet-stream"), responses(
    (status = 204, description = "Appended; `Upload-Offset` tells where it stands"),
    (status = 404, description = "No such upload of the caller's"),
    (status = 409, description = "The upload stands elsewhere"),
    (status = 410, description = "The upload has expired"),
    (status = 415, description = "The body is not said to be `application/offset+octet-stream`"),
    (status = 423, description = "Another request appends to it"),
    (status = 460, description = "The bytes are not those of the checksum")))]
pub(super) async fn patch(
    State(files): State<Arc<Files>>,
    State(accounts): State<Arc<Accounts>>,
    Sharer { caller, holder, .. }: Sharer<Write>,
    Id(id): Id<UploadId>,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    check_version(headers)?;
    if !brings(headers)? {
        let detail = format!("The bytes are sent as `Content-Type: {CONTENT_TYPE}`.");
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let offset = number(headers, names::OFFSET)?;
    let offset = offset.ok_or_else(|| Problem::invalid("`Upload-Offset` is missing."))?;
    let (told_length, checksum) = (number(headers, names::LENGTH)?, checksum(headers)?);
    let bytes = length(headers);
    charge_body(&accounts, &caller, bytes, |_| Ok(MicroCredits::ZERO)).await?;
    let piece = Piece {
        offset,
        length: told_length,
        checksum,
        body: PacedBody::new(request.into_body(), files.idle_timeout),
    };
    let (upload, file) = appended(&files, holder, id, piece).await?;
    let told = describe(&upload, file.as_ref());
    Ok((StatusCode::NO_CONTENT, told).into_response())
}

async fn appended(
    files: &Arc<Files>,
    holder: Holder,
    id: UploadId,
    piece: Piece<PacedBody>,
) -> Result<(TusUpload, Option<File>), Problem> {
    let appended = append(Arc::clone(files), holder, id, piece).await?;
    if let (_, Some(file)) = &appended {
        let uploaded = &files.metrics.uploaded_bytes;
        uploaded.inc_by(file.layout.size_bytes);
    }
    Ok(appended)
}

/// Give an upload up: its credits come back.
#[utoipa::path(delete, path = paths::TUS_UPLOAD, tag = "uploads", security(("bearer" = []), ("access_key" = [])),
    params(("id" = Uuid, Path), ("Tus-Resumable" = String, Header, description = "1.0.0")), responses(
    (status = 204, description = "Given up"),
    (status = 404, description = "No such upload of the caller's"),
    (status = 409, description = "It is completed: delete the file instead")))]
pub(super) async fn terminate(
    State(files): State<Arc<Files>>,
    User(caller, ..): User<Write>,
    Id(id): Id<UploadId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    check_version(&headers)?;
    complete::abort(&files, caller.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Outside of CORS, which answers every OPTIONS: what is spoken here is told in each answer.
pub(super) async fn tell_version(
    State(files): State<Arc<Files>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_tus = path == paths::TUS || path.starts_with(paths::TUS_UPLOAD.trim_end_matches("{id}"));
    let asks = is_tus && *request.method() == Method::OPTIONS;
    let mut answer = next.run(request).await;
    if !is_tus {
        return answer;
    }
    let headers = answer.headers_mut();
    let mut tell = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    tell(names::RESUMABLE, tus::VERSION);
    if asks {
        tell(names::VERSION, tus::VERSION);
        tell(names::EXTENSION, tus::EXTENSIONS);
        tell(names::CHECKSUM_ALGORITHM, tus::CHECKSUM_ALGORITHMS);
        let most = files.uploads.max_file_size.as_u64();
        tell(names::MAX_SIZE, &most.to_string());
        *answer.status_mut() = StatusCode::NO_CONTENT;
    }
    answer
}

/// Headers of an answer that tell where an upload stands.
fn describe(upload: &TusUpload, file: Option<&File>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        HeaderName::from_static(names::OFFSET),
        upload.offset().into(),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !upload.is_complete() {
        let seconds = upload.upload.expires_at.as_second().unsigned_abs();
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        if let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(at)) {
            headers.insert(HeaderName::from_static(names::EXPIRES), value);
        }
    }
    let file = file.map(|file| file.id);
    let file = file.or_else(|| upload.is_complete().then_some(upload.upload.file_id));
    if let Some(file) = file
        && let Ok(value) = HeaderValue::from_str(&paths::file(file))
    {
        headers.insert(header::CONTENT_LOCATION, value);
    }
    headers
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, names::RESUMABLE)? == Some(tus::VERSION) {
        return Ok(());
    }
    let mut problem = Problem::new(
        ProblemKind::TusVersion,
        "tus 1.0.0 is spoken here: each request says so, in `Tus-Resumable`.",
    );
    let version = HeaderName::from_static(names::VERSION);
    problem.headers.push((version, tus::VERSION.to_owned()));
    Err(problem)
}

/// A header that may be sent once.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    let text = first.map(HeaderValue::to_str).transpose();
    match (text, values.next()) {
        (Ok(text), None) => Ok(text),
        _ => {
            let detail = format!("`{name}` is sent once, in ASCII.");
            Err(Problem::invalid(detail))
        }
    }
}

fn invalid(error: tus::InvalidHeader) -> Problem {
    Problem::invalid(capitalised(&format!("{error}.")))
}

fn number(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, Problem> {
    let text = text(headers, name)?;
    text.map(|text| tus::bytes(name, text).map_err(invalid))
        .transpose()
}

fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Problem> {
    let text = text(headers, names::CHECKSUM)?;
    text.map(|text| Checksum::parse(text).map_err(invalid))
        .transpose()
}

/// The file's length, or that it is told later.
fn announced(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let deferred = text(headers, names::DEFER_LENGTH)?;
    match (number(headers, names::LENGTH)?, deferred) {
        (Some(length), None) => Ok(Some(length)),
        (None, Some("1")) => Ok(None),
        _ => Err(Problem::invalid(
            "A new upload has `Upload-Length`, or `Upload-Defer-Length: 1`.",
        )),
    }
}

/// Whether bytes of the file come with the request.
fn brings(headers: &HeaderMap) -> Result<bool, Problem> {
    Ok(text(headers, "content-type")? == Some(CONTENT_TYPE))
}

impl From<TusError> for Problem {
    fn from(error: TusError) -> Self {
        match error {
            TusError::Offset { offset } => {
                let detail = format!("The upload stands at {offset}: go on from there.");
                let mut problem = Self::new(ProblemKind::WrongOffset, detail);
                let name = HeaderName::from_static(names::OFFSET);
                problem.headers.push((name, offset.to_string()));
                problem
            }
            TusError::Held => Self::new(
                ProblemKind::UploadHeld,
                "Another request appends to this upload. Wait until it has ended, and ask where the upload stands.",
            )
            .retry_after(5),
            TusError::Checksum => Self::new(
                ProblemKind::ChecksumMismatch,
                "The bytes are not those that `Upload-Checksum` was taken of. None of them counts; send them again.",
            ),
            TusError::TooLong => Self::new(
                ProblemKind::FileTooLarge,
                "The body has more bytes than the upload lacks. What fits may have been taken: ask where it stands.",
            ),
            TusError::OtherLength => {
                Self::invalid("The length of this upload is known, and it is another one.")
            }
            TusError::TooShort => {
                Self::invalid("The upload has more bytes already than `Upload-Length` says.")
            }
            TusError::Upload(error) => error.into(),
        }
    }
}
