//! Who asks: the access key that a request is signed with, and whether the signature is one for this place and time.

use std::sync::Arc;

use http::{HeaderMap, Request, Uri, header};
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::PostObjectInput;
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result};

use super::ASKING;
use super::errors::of_store;
use crate::store::{Caller, ObjectStore};

/// A link is good for seven days at most.
const LONGEST_LINK_SECONDS: u64 = 7 * 24 * 3600;

/// Whoever has no region yet asks for it, signing for any.
const ASKS_FOR_REGION: &str = "GetBucketLocation";

/// Version 2 does not sign what it should, and `s3s` would take it.
pub(super) fn refuse_version_2<B>(request: &Request<B>) -> S3Result<()> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let in_header = authorization.is_some_and(|value| value.as_bytes().starts_with(b"AWS "));
    let in_query = |name| query(request.uri(), name).is_some();
    if in_header || in_query("AWSAccessKeyId") || in_query("Signature") {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidRequest,
            "Signatures of version 2 are not taken. Sign with AWS4-HMAC-SHA256: set the region that this service has, \
             which is not one of Amazon's, or `signature_version = s3v4`.",
        ));
    }
    Ok(())
}

/// A parameter of the query, decoded.
fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (_, value) = pairs.find(|(key, _)| decode(key) == name)?;
    Some(decode(value))
}

pub(super) struct Auth<S> {
    pub store: Arc<S>,
}

#[async_trait::async_trait]
impl<S: ObjectStore> S3Auth for Auth<S> {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let asking = ASKING.try_with(Clone::clone);
        let asking = asking.map_err(S3Error::internal_error)?;
        let granted = self.store.grant(access_key, asking.from).await;
        let grant = granted.map_err(of_store)?.ok_or_else(|| {
            S3Error::with_message(
                S3ErrorCode::InvalidAccessKeyId,
                "The access key is not known here, or was revoked. POST /api/v1/access-keys makes one, with `\"s3\": true`.",
            )
        })?;
        let secret = SecretKey::from(grant.secret.as_str());
        let caller = Caller {
            account: grant.account,
            address: asking.from,
            rights: grant.rights,
            bucket: grant.bucket,
            prefix: grant.prefix,
        };
        let _ = asking.signed_by.set(Box::new(caller));
        Ok(secret)
    }
}

pub(super) struct Access<S> {
    pub region: Arc<str>,
    pub store: Arc<S>,
}

/// What somebody without a key may not ask for: another version than the latest, and an answer that says something else of
/// itself than its owner does.
fn is_for_owners(uri: &Uri) -> bool {
    let names = uri.query().unwrap_or_default().split('&');
    let names = names.map(|pair| pair.split('=').next().unwrap_or_default());
    let mut names = names.map(|name| {
        percent_decode_str(name)
            .decode_utf8_lossy()
            .to_ascii_lowercase()
    });
    names.any(|name| name == "versionid" || name.starts_with("response-"))
}

impl<S: ObjectStore> Access<S> {
    /// Somebody without a key, where anybody may do this.
    async fn anybody(&self, context: &S3AccessContext<'_>) -> S3Result<Option<Caller<S::Account>>> {
        let S3Path::Object { bucket, key } = context.s3_path() else {
            return Ok(None);
        };
        let reads = matches!(context.s3_op().name(), "GetObject" | "HeadObject");
        if !reads || is_for_owners(context.uri()) {
            return Ok(None);
        }
        let asking = ASKING.try_with(Clone::clone);
        let asking = asking.map_err(S3Error::internal_error)?;
        let found = self.store.anybody(bucket, key, asking.from).await;
        found.map_err(of_store)
    }
}

impl<S> Access<S> {
    fn check_scope(&self, operation: &str, scope: &Scope) -> S3Result<()> {
        if *scope.region != *self.region && operation != ASKS_FOR_REGION {
            let expected = &self.region;
            let message = format!(
                "The signature is for the region `{}`; the region here is `{expected}`. Set it in the client.",
                scope.region
            );
            return Err(S3Error::with_message(
                S3ErrorCode::AuthorizationHeaderMalformed,
                message,
            ));
        }
        let too_long = scope
            .lasts_seconds
            .is_some_and(|lasts| lasts > LONGEST_LINK_SECONDS);
        if too_long {
            return Err(S3Error::with_message(
                S3ErrorCode::AuthorizationQueryParametersError,
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less \
                 than 604800 seconds.",
            ));
        }
        Ok(())
    }
}

/// What a signature is for.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    region: String,
    /// Of a link.
    lasts_seconds: Option<u64>,
}

impl Scope {
    /// `None`: neither head nor query is signed; a form is, in its fields.
    fn of(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        // access key/date/region/service/aws4_request
        let region = |credential: &str| credential.rsplit('/').nth(2).map(str::to_owned);
        if let Some(credential) = query(uri, "X-Amz-Credential") {
            let lasts = query(uri, "X-Amz-Expires");
            return Some(Self {
                region: region(&credential)?,
                lasts_seconds: lasts.and_then(|lasts| lasts.parse().ok()),
            });
        }
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, credential) = authorization.split_once("Credential=")?;
        let end = credential.find([',', ' ']).unwrap_or(credential.len());
        Some(Self {
            region: region(&credential[..end])?,
            lasts_seconds: None,
        })
    }
}

#[async_trait::async_trait]
impl<S: ObjectStore> S3Access for Access<S> {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let denied = || {
            S3Error::with_message(
                S3ErrorCode::AccessDenied,
                "Requests are signed with an access key: this is not public.",
            )
        };
        if context.credentials().is_none() {
            let caller = self.anybody(context).await?.ok_or_else(denied)?;
            context.extensions_mut().insert(caller);
            return Ok(());
        }
        if let Some(scope) = Scope::of(context.uri(), context.headers()) {
            self.check_scope(context.s3_op().name(), &scope)?;
        }
        let asking = ASKING.try_with(Clone::clone);
        let asking = asking.map_err(S3Error::internal_error)?;
        let signed_by = asking.signed_by.get().ok_or_else(denied)?;
        let caller: &Caller<S::Account> = signed_by.downcast_ref().ok_or_else(denied)?;
        context.extensions_mut().insert(caller.clone());
        Ok(())
    }

    /// A form is signed in its fields. Where a region is missing, the signature was of version 2.
    async fn post_object(&self, request: &mut S3Request<PostObjectInput>) -> S3Result<()> {
        let region = request.region.as_ref().map_or("", |region| region.as_str());
        let scope = Scope {
            region: region.to_owned(),
            lasts_seconds: None,
        };
        self.check_scope("PostObject", &scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, authorization: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(()).unwrap()
    }

    fn scope(uri: &str, authorization: Option<&str>) -> Option<Scope> {
        let request = request(uri, authorization);
        Scope::of(request.uri(), request.headers())
    }

    #[test]
    fn signatures_of_version_2_are_told_from_others() {
        let v4 = "AWS4-HMAC-SHA256 Credential=K/20261130/fsn/s3/aws4_request, SignedHeaders=host, Signature=ab";
        for (uri, authorization, is_taken) in [
            ("/b/k", Some(v4), true),
            ("/b/k?X-Amz-Signature=ab&X-Amz-Credential=x", None, true),
            ("/b/k", Some("AWS K:sig"), false),
            ("/b/k?AWSAccessKeyId=K&Signature=s&Expires=1", None, false),
            ("/b/k?a=1&%53ignature=s", None, false),
            ("/b/AWSAccessKeyId", None, true),
        ] {
            let refused = refuse_version_2(&request(uri, authorization)).is_err();
            assert_eq!(!refused, is_taken, "{uri} {authorization:?}");
        }
    }

    #[test]
    fn somebody_without_a_key_gets_what_is_the_latest_as_it_is() {
        for (uri, is_for_owners) in [
            ("/b/k", false),
            ("/b/k?v=2", false),
            ("/b/k?versionId=x", true),
            ("/b/k?a&response-content-type=text/html", true),
            ("/b/k?%72esponse-content-type=text/html", true),
        ] {
            assert_eq!(
                super::is_for_owners(&uri.parse().unwrap()),
                is_for_owners,
                "{uri}"
            );
        }
    }

    #[test]
    fn a_signature_tells_its_region_and_how_long_a_link_lasts() {
        let header = "AWS4-HMAC-SHA256 Credential=K/20261130/fsn/s3/aws4_request,SignedHeaders=host,Signature=ab";
        let expected = |region: &str, lasts_seconds| {
            Some(Scope {
                region: region.to_owned(),
                lasts_seconds,
            })
        };
        assert_eq!(scope("/", Some(header)), expected("fsn", None));
        let link = "/?X-Amz-Credential=K%2F20261130%2Feu-1%2Fs3%2Faws4_request&X-Amz-Expires=600";
        assert_eq!(scope(link, None), expected("eu-1", Some(600)));
        assert_eq!(scope("/", None), None);
    }
}
