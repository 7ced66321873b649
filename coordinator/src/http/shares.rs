//! `/shares`: links to what is stored. Their owner makes, changes and ends them; whoever has one reads.

use std::net::IpAddr;
use std::sync::Arc;

use api::durability::Durability;
use api::headers::SHARE_TOKEN;
use api::page::PageParams;
use api::paths;
use api::shares::{
    ChangeShare, NewShare, Share as ShareView, SharedContent, Shares as SharesView, UnlockShare,
    UnlockedShare,
};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use credentials::share::{ShareId, Token};
use gateway::inert;
use http::header::{self, HeaderMap};
use http::{HeaderName, Method, StatusCode};
use jiff::Timestamp;
use model::names::Filename;
use model::sharing::{MOST_DOWNLOADS, ShareChange, ShareTarget};
use zeroize::Zeroizing;

use super::authorization::{Publish, User};
use super::conditions::Validators;
use super::durability::described;
use super::extract::{ClientAddr, Id, Json, Params};
use super::problem::Problem;
use super::rate_limit::{AccountLimits, AuthLimits, network_key};
use super::served::Served;
use crate::config::HttpConfig;
use crate::proofs::Proofs;
use crate::shares::make::{self, Wanted, WantedTarget};
use crate::shares::open::{self, Content, Reader};
use crate::shares::{Share, ShareError, Shares};

/// Bytes of an envelope.
const MOST_ENVELOPE: usize = 16 * 1024;
/// Chunks of a page of evidence.
const MOST_CHUNKS: u16 = 100;
/// A version, a nonce and a tag.
const LEAST_ENVELOPE: usize = 1 + 12 + 16;

/// Make a link to a file, or to what a key of a bucket points to. Sent again with the same `id` it is the same share.
#[utoipa::path(post, path = paths::SHARES, tag = "shares", security(("bearer" = []), ("access_key" = [])),
    request_body = NewShare, responses(
    (status = 201, body = ShareView),
    (status = 403, description = "The account has as many as it may, or the key lacks `read` or `write`"),
    (status = 404, description = "The caller has no such file, bucket or key"),
    (status = 409, description = "The id is another share's")))]
pub(super) async fn create(
    State(shares): State<Arc<Shares>>,
    State(config): State<Arc<HttpConfig>>,
    Extension(limits): Extension<Arc<AccountLimits>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Publish>,
    Json(body): Json<NewShare>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<ShareView>), Problem> {
    let wanted = wanted(body, shares.clock.now())?;
    limits.check_share(caller.user_id)?;
    let (share, id) = make::create(&shares, caller.user_id, wanted, address).await?;
    let location = [(header::LOCATION, paths::share(id))];
    let share = view(share, Some(id), &config);
    Ok((StatusCode::CREATED, location, Json(share)))
}

/// The account's shares, the newest first; those whose time is up for 30 days more.
#[utoipa::path(get, path = paths::SHARES, tag = "shares", security(("bearer" = []), ("access_key" = [])), responses(
    (status = 200, body = SharesView)))]
pub(super) async fn list(
    State(shares): State<Arc<Shares>>,
    State(config): State<Arc<HttpConfig>>,
    User(caller, ..): User<Publish>,
) -> Result<Json<SharesView>, Problem> {
    let listed = make::list(&shares, caller.user_id).await?;
    let items = listed
        .into_iter()
        .map(|(share, id)| view(share, id, &config));
    Ok(Json(SharesView {
        items: items.collect(),
    }))
}

/// What a link leads to, for whoever has it. A share with a password tells no more than that, until a token is shown.
#[utoipa::path(get, path = paths::SHARE, tag = "shares", params(("id" = String, Path),
    ("Share-Token" = Option<String>, Header, description = "Of `unlock`")), responses(
    (status = 200, body = SharedContent),
    (status = 404, description = "There is no such share, or it was taken back"),
    (status = 410, description = "It has ended")))]
pub(super) async fn facts(
    State(shares): State<Arc<Shares>>,
    Id(id): Id<String>,
    headers: HeaderMap,
) -> Result<Json<SharedContent>, Problem> {
    let id = share_id(&id)?;
    let share = shares.find(&id).await?;
    let needs_password = token(&shares, &id, &share, &headers).is_none();
    let content = match needs_password {
        true => None,
        false => Some(open::content(&shares, &share).await?),
    };
    Ok(Json(told(&share, content.as_ref())))
}

/// Change when a share ends, how often it may be downloaded, or its password.
#[utoipa::path(patch, path = paths::SHARE, tag = "shares", security(("bearer" = []), ("access_key" = [])),
    params(("id" = String, Path)), request_body = ChangeShare, responses(
    (status = 200, body = ShareView),
    (status = 404, description = "The account has no such share")))]
pub(super) async fn change(
    State(shares): State<Arc<Shares>>,
    State(config): State<Arc<HttpConfig>>,
    ClientAddr(address): ClientAddr,
    User(caller, ..): User<Publish>,
    Id(id): Id<String>,
    Json(body): Json<ChangeShare>,
) -> Result<Json<ShareView>, Problem> {
    let id = share_id(&id)?;
    check_end(body.expires_at.flatten(), shares.clock.now())?;
    check_downloads(body.max_downloads.flatten())?;
    let password_hash = match body.password {
        None => None,
        Some(password) => {
            let password = password.map(Zeroizing::new);
            Some(make::hash_password(&shares, password, address).await?)
        }
    };
    let wanted = ShareChange {
        expires_at: body.expires_at,
        max_downloads: body.max_downloads,
        password_hash,
    };
    let share = make::change(&shares, caller.user_id, &id, &wanted).await?;
    Ok(Json(view(share, Some(id), &config)))
}

/// End a share. What is being sent for it is cut within a second.
#[utoipa::path(delete, path = paths::SHARE, tag = "shares", security(("bearer" = []), ("access_key" = [])),
    params(("id" = String, Path)), responses(
    (status = 204, description = "Ended"),
    (status = 404, description = "The account has no such share, or has ended it")))]
pub(super) async fn end(
    State(shares): State<Arc<Shares>>,
    User(caller, ..): User<Publish>,
    Id(id): Id<String>,
) -> Result<StatusCode, Problem> {
    make::end(&shares, caller.user_id, &share_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell a share's password. The token is good for a day, and so is the cookie that comes with it.
#[utoipa::path(post, path = paths::SHARE_UNLOCK, tag = "shares", params(("id" = String, Path)),
    request_body = UnlockShare, responses(
    (status = 200, body = UnlockedShare),
    (status = 401, description = "The password is wrong"),
    (status = 429, description = "Five were tried within a minute")))]
pub(super) async fn unlock(
    State(shares): State<Arc<Shares>>,
    State(config): State<Arc<HttpConfig>>,
    Extension(limits): Extension<Arc<AuthLimits>>,
    ClientAddr(address): ClientAddr,
    Id(id): Id<String>,
    Json(body): Json<UnlockShare>,
) -> Result<Response, Problem> {
    let id = share_id(&id)?;
    let share = shares.find(&id).await?;
    let password = Zeroizing::new(body.password);
    let (token, text) = let_in(&shares, &limits, (&id, &share), password, address).await?;
    let headers = [
        (header::SET_COOKIE, cookie(&id, &text, &config)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let unlocked = UnlockedShare {
        token: text,
        expires_at: token.expires_at,
    };
    Ok((headers, Json(unlocked)).into_response())
}

/// Read what a link leads to. `Range` (one range), the conditions `If-…` and `HEAD` work as RFC 9110 says.
#[utoipa::path(method(get, head), path = paths::SHARE_CONTENT, tag = "shares", params(("id" = String, Path),
    ("Share-Token" = Option<String>, Header, description = "Of `unlock`")), responses(
    (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 206, description = "The range that was asked for"),
    (status = 304, description = "The client has it already"),
    (status = 401, description = "The share has a password"),
    (status = 404, description = "There is no such share, or it shows evidence alone"),
    (status = 410, description = "It has ended, or has been downloaded as often as it may"),
    (status = 416, description = "The range lies outside of the content")))]
pub(super) async fn content(
    State(shares): State<Arc<Shares>>,
    State(config): State<Arc<HttpConfig>>,
    ClientAddr(address): ClientAddr,
    Id(id): Id<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = share_id(&id)?;
    let share = shares.find(&id).await?;
    let shown = token(&shares, &id, &share, &headers);
    let (token, fresh) = shown.ok_or(ShareError::PasswordRequired)?;
    if share.evidence {
        return Err(ShareError::NoContent.into());
    }
    let content = open::content(&shares, &share).await?;
    let served = Served {
        size: content.size_bytes,
        content_type: &content.content_type,
        disposition: inert::inline_or_attachment(&share.name, &content.content_type),
        sha256: content.sha256.as_ref(),
        validators: Validators::new(&content.etag, content.modified),
    };
    let asked = served.asked(&method, &headers)?;
    let bytes = asked.bytes(&method, served.size);
    if bytes.is_empty() {
        return served.answer(&asked, Body::empty());
    }
    let reader = Reader {
        token,
        network: network_key(address),
        address,
    };
    let body = open::read(&shares, &id, &share, &content, &bytes, reader).await?;
    let mut answer = served.answer(&asked, Body::from_stream(body))?;
    if let Some(text) = fresh {
        let cookie = cookie(&id, &text, &config);
        let cookie = cookie.parse().map_err(Problem::internal)?;
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// Where the copies are of what a share with `evidence` leads to, and what they last proved.
#[utoipa::path(get, path = paths::SHARE_DURABILITY, tag = "shares", params(("id" = String, Path), PageParams,
    ("Share-Token" = Option<String>, Header, description = "Of `unlock`")), responses(
    (status = 200, body = Durability),
    (status = 401, description = "The share has a password"),
    (status = 404, description = "There is no such share, or it shows no evidence"),
    (status = 410, description = "It has ended")))]
pub(super) async fn durability(
    State(shares): State<Arc<Shares>>,
    State(proofs): State<Arc<Proofs>>,
    Id(id): Id<String>,
    Params(params): Params<PageParams>,
    headers: HeaderMap,
) -> Result<Json<Durability>, Problem> {
    let id = share_id(&id)?;
    let share = shares.find(&id).await?;
    token(&shares, &id, &share, &headers).ok_or(ShareError::PasswordRequired)?;
    let content = open::content(&shares, &share).await?;
    // Each copy's statement is signed anew: for a stranger, of a few at a time.
    let params = PageParams {
        limit: Some(params.limit.unwrap_or(MOST_CHUNKS).min(MOST_CHUNKS)),
        ..params
    };
    evidence(&proofs, &share, &content, &params).await.map(Json)
}

/// Of what consists of one file: where each part of an object is would be many documents.
pub(super) async fn evidence(
    proofs: &Proofs,
    share: &Share,
    content: &Content,
    params: &PageParams,
) -> Result<Durability, Problem> {
    let file = content.only_file().filter(|_| share.evidence);
    let file = file.ok_or_else(|| {
        Problem::not_found(
            "evidence: the share was made without `evidence`, or leads to what came in parts",
        )
    })?;
    described(proofs, share.owner, file, params).await
}

pub(super) fn share_id(text: &str) -> Result<ShareId, ShareError> {
    text.parse().map_err(|_| ShareError::NotFound)
}

/// Takes a password that was told, or says that too many were.
pub(super) async fn let_in(
    shares: &Shares,
    limits: &AuthLimits,
    (id, share): (&ShareId, &Share),
    password: Zeroizing<String>,
    address: IpAddr,
) -> Result<(Token, String), Problem> {
    limits.check_share_password(address, &share.hash.0)?;
    Ok(open::unlock(shares, id, share, password, address).await?)
}

/// Who asks, if he may: by the token that he shows, or where no password is asked for by a new one, which he is then told.
pub(super) fn token(
    shares: &Shares,
    id: &ShareId,
    share: &Share,
    headers: &HeaderMap,
) -> Option<(Token, Option<String>)> {
    let header = headers.get(SHARE_TOKEN).and_then(|text| text.to_str().ok());
    let shown = header.into_iter().chain(cookies(headers));
    let mut known = shown.filter_map(|text| open::known(shares, id, share, text));
    if let Some(token) = known.next() {
        return Some((token, None));
    }
    share.password_hash.is_none().then(|| {
        let (token, text) = open::new_token(shares, id, share);
        (token, Some(text))
    })
}

/// Of the share's own path, so that each has its own.
const COOKIE: &str = "fsn-share";

/// A browser sends those of longer paths first.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    let own = pairs.filter(|(name, _)| *name == COOKIE);
    own.map(|(_, value)| value).take(4)
}

pub(super) fn cookie(id: &ShareId, token: &str, config: &HttpConfig) -> String {
    let is_https = config
        .public_url
        .as_ref()
        .is_some_and(|url| url.starts_with("https:"));
    let secure = if is_https { "; Secure" } else { "" };
    let (path, age) = (paths::share(id), rules::sharing::VISIT.as_secs());
    format!("{COOKIE}={token}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

/// What everybody may know who has the link, and has told the password: then there is `content`.
pub(super) fn told(share: &Share, content: Option<&Content>) -> SharedContent {
    SharedContent {
        needs_password: content.is_none(),
        name: content.map(|_| share.name.clone()),
        size_bytes: content.map(|content| content.size_bytes),
        content_type: content.map(|content| content.content_type.clone()),
        sha256: content.and_then(|content| content.sha256.map(hex::encode)),
        envelope: content
            .and(share.envelope.as_ref())
            .map(|envelope| BASE64_URL_SAFE_NO_PAD.encode(envelope)),
        evidence: content.is_some() && share.evidence,
        expires_at: content.and(share.expires_at),
        downloads_left: content.and_then(|_| share.usage.left()),
    }
}

fn view(share: Share, id: Option<ShareId>, config: &HttpConfig) -> ShareView {
    let id = id.map(|id| id.to_string()).unwrap_or_default();
    let (file_id, key, version) = match share.target {
        ShareTarget::File(file) => (Some(file), None, None),
        ShareTarget::Object { key, version, .. } => (None, Some(key), version),
    };
    let site = config.public_url.as_deref().unwrap_or_default();
    ShareView {
        url: format!("{}{}", site.trim_end_matches('/'), paths::share_page(&id)),
        id,
        name: share.name,
        file_id,
        bucket: share.bucket,
        key,
        version_id: version.map(|version| version.to_string()),
        created_at: share.created_at,
        expires_at: share.expires_at,
        has_password: share.password_hash.is_some(),
        sealed: share.envelope.is_some(),
        evidence: share.evidence,
        downloads: share.usage.downloads,
        max_downloads: share.usage.max_downloads,
        sent_bytes: share.usage.sent_bytes,
    }
}

fn wanted(mut body: NewShare, now: Timestamp) -> Result<Wanted, Problem> {
    let password = body.password.take().map(Zeroizing::new);
    let text = serde_json::to_vec(&body).map_err(Problem::internal)?;
    check_end(body.expires_at, now)?;
    check_downloads(body.max_downloads)?;
    let id = body.id.as_deref().map(str::parse).transpose();
    let id = id.map_err(|_| Problem::invalid("`id` is 16 bytes in base64url: 22 characters."))?;
    Ok(Wanted {
        id,
        target: target(&body)?,
        name: body.name.map(name).transpose()?,
        password,
        envelope: body.envelope.as_deref().map(envelope).transpose()?,
        evidence: body.evidence,
        expires_at: body.expires_at,
        max_downloads: body.max_downloads,
        request_hash: blake3::derive_key("fsn share request v1", &text),
    })
}

fn target(body: &NewShare) -> Result<WantedTarget, Problem> {
    match (body.file_id, &body.bucket, &body.key) {
        (Some(file), None, None) if body.version_id.is_none() => Ok(WantedTarget::File(file)),
        (None, Some(bucket), Some(key)) => {
            let version = body.version_id.as_deref().map(str::parse).transpose();
            let version = version.map_err(|_| Problem::not_found("version of the key"))?;
            if key.contains('\0') || bucket.contains('\0') {
                return Err(ShareError::NoTarget.into()); // and nothing that Postgres takes
            }
            Ok(WantedTarget::Object {
                bucket: bucket.clone(),
                key: key.clone(),
                version,
            })
        }
        _ => Err(Problem::invalid(
            "A share leads to one thing: give `file_id`, or `bucket` and `key`, with a `version_id` where you like.",
        )),
    }
}

fn name(name: String) -> Result<String, Problem> {
    Ok(Filename::try_from(name)?.into_string())
}

fn envelope(text: &str) -> Result<Vec<u8>, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let bytes = bytes.filter(|bytes| (LEAST_ENVELOPE..=MOST_ENVELOPE).contains(&bytes.len()));
    bytes.ok_or_else(|| {
        Problem::invalid(format!(
            "`envelope` is {LEAST_ENVELOPE} to {MOST_ENVELOPE} bytes in base64url, without padding."
        ))
    })
}

fn check_end(end: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    match end.is_some_and(|end| end <= now) {
        true => Err(Problem::invalid("`expires_at` has to lie ahead.")),
        false => Ok(()),
    }
}

fn check_downloads(most: Option<u32>) -> Result<(), Problem> {
    if most.is_none_or(|most| (1..=MOST_DOWNLOADS).contains(&most)) {
        return Ok(());
    }
    let detail = format!("`max_downloads` is 1 to {MOST_DOWNLOADS}.");
    Err(Problem::invalid(detail))
}
