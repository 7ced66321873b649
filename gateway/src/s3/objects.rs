//! Objects: stored, read, looked at.

use futures::{StreamExt, TryStreamExt};
use http::header::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use model::objects::{
    Bucket as StoredBucket, Described, ObjectPart as StoredPart, ObjectVersion as Version,
    VersionRef, WriteCondition,
};
use s3s::dto::*;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, TrailingHeaders};

use super::errors::{invalid, no_such_part, not_served, of_body, of_store};
use super::face::{CallerOf, Face, On};
use super::metadata::{self, heads};
use super::texts::{etag, key, seconds, time, version_ref};
use super::versions::{told_version, written_text};
use crate::checked_body::{CheckedBody, Declared};
use crate::checksum::Algorithm;
use crate::conditions::{Conditions, Tag as MatchTag, Verdict};
use crate::inert;
use crate::store::{Action, ByteStream, ObjectStore};

/// What is declared of a body, from the fields that inputs with a body have.
macro_rules! declared {
    ($input:expr) => {
        $crate::checked_body::Declared::read(
            $input.content_length,
            $input.content_md5.as_deref(),
            &[
                (Algorithm::Crc32, $input.checksum_crc32.as_deref()),
                (Algorithm::Crc32c, $input.checksum_crc32c.as_deref()),
                (Algorithm::Crc64Nvme, $input.checksum_crc64nvme.as_deref()),
                (Algorithm::Sha1, $input.checksum_sha1.as_deref()),
                (Algorithm::Sha256, $input.checksum_sha256.as_deref()),
            ],
            $crate::s3::objects::algorithm($input.checksum_algorithm.as_ref())?,
        )
        .map_err(|error| $crate::s3::errors::of_declared(&error))?
    };
}
pub(super) use declared;

pub(super) fn algorithm(asked: Option<&ChecksumAlgorithm>) -> S3Result<Option<Algorithm>> {
    match asked.map(ChecksumAlgorithm::as_str) {
        None | Some("") => Ok(None),
        Some(name) => match Algorithm::of_name(name) {
            Some(algorithm) => Ok(Some(algorithm)),
            None => Err(invalid(
                "the checksum algorithm is CRC32, CRC32C, CRC64NVME, SHA1 or SHA256",
            )),
        },
    }
}

/// A body as the store takes it.
pub(super) fn checked(
    body: Option<StreamingBlob>,
    declared: Declared,
    trailers: Option<TrailingHeaders>,
) -> CheckedBody {
    let body = body.unwrap_or_else(|| StreamingBlob::from(Body::empty()));
    CheckedBody::new(body, declared, trailers)
}

/// Sets the checksum of an output that has such fields.
macro_rules! set_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.value.clone());
            match $crate::checksum::Algorithm::of_name(&checksum.algorithm) {
                Some($crate::checksum::Algorithm::Crc32) => $output.checksum_crc32 = value,
                Some($crate::checksum::Algorithm::Crc32c) => $output.checksum_crc32c = value,
                Some($crate::checksum::Algorithm::Crc64Nvme) => $output.checksum_crc64nvme = value,
                Some($crate::checksum::Algorithm::Sha1) => $output.checksum_sha1 = value,
                Some($crate::checksum::Algorithm::Sha256) => $output.checksum_sha256 = value,
                None => {}
            }
        }
    };
}
pub(super) use set_checksum;

/// What changes how an object is kept and is not served is refused, never passed over.
macro_rules! refuse_unserved {
    ($input:expr) => {
        if $input.sse_customer_key.is_some() || $input.sse_customer_algorithm.is_some() {
            return Err(not_served(
                "Keys of the client's own (SSE-C) are not taken: everything is sealed here.",
            ));
        }
        if $input.ssekms_key_id.is_some() {
            return Err(not_served(
                "There is no key service: everything is sealed here.",
            ));
        }
        if $input.tagging.is_some() {
            return Err(not_served("Tags are not served."));
        }
        if $input.object_lock_mode.is_some() || $input.object_lock_legal_hold_status.is_some() {
            return Err(not_served("Object lock is not served."));
        }
        if !$crate::s3::objects::is_owners($input.acl.as_ref()) {
            return Err(not_served(
                "The only access list of an object is `private`: what anybody may read is set for the bucket.",
            ));
        }
        if $input.website_redirect_location.is_some() {
            return Err(not_served("Redirects are not served."));
        }
    };
}
pub(super) use refuse_unserved;

/// Access lists that give nobody more than the owner of the bucket has anyway.
pub(super) fn is_owners(acl: Option<&ObjectCannedACL>) -> bool {
    let own = [
        ObjectCannedACL::PRIVATE,
        ObjectCannedACL::BUCKET_OWNER_READ,
        ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL,
    ];
    acl.is_none_or(|acl| own.contains(&acl.as_str()))
}

pub(super) fn write_condition(
    if_match: Option<IfMatch>,
    if_none_match: Option<IfNoneMatch>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::None),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::Absent),
        (Some(ETagCondition::ETag(tag)), None) => Ok(WriteCondition::Etag(tag.into_value())),
        _ => Err(not_served(
            "A write is conditional by `If-None-Match: *` or by `If-Match` with an ETag.",
        )),
    }
}

impl<S: ObjectStore> On<PutObjectInput, PutObjectOutput> for Face<S> {
    async fn on_request(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let caller = self.caller(&request)?;
        let trailers = request.trailing_headers.take();
        let mut input = request.input;
        refuse_unserved!(input);
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, key.as_str())
            .await?;
        let declared = declared!(input);
        let described = Described {
            content_type: metadata::content_type(input.content_type.take())?,
            metadata: heads!(input).metadata()?,
            condition: write_condition(input.if_match.take(), input.if_none_match.take())?,
            ..Described::plain(key)
        };
        let length = declared.length;
        let body = checked(input.body.take(), declared, trailers);
        let (sum, fault) = (body.sum(), body.fault());
        let told = sum.clone();
        let stored = self
            .store
            .put(&caller, &bucket, described, length, sum, body.boxed());
        let version = stored.await.map_err(|error| of_body(error, &fault))?;
        let mut output = PutObjectOutput {
            version_id: written_text(&bucket, version),
            ..Default::default()
        };
        if let Some(sum) = told.get() {
            output.e_tag = Some(ETag::Strong(sum.etag.clone()));
            set_checksum!(output, &sum.checksum);
        }
        Ok(S3Response::new(output))
    }
}

pub(super) fn tag(condition: ETagCondition) -> MatchTag {
    match condition {
        ETagCondition::Any => MatchTag::Any,
        ETagCondition::ETag(tag) => MatchTag::This(tag.into_value()),
    }
}

/// 304 and 412 tell which version was looked at.
fn weigh(conditions: &Conditions, version: &Version) -> S3Result<()> {
    let code = match conditions.evaluate(&version.etag, version.created_at) {
        Verdict::Proceed => return Ok(()),
        Verdict::NotModified => S3ErrorCode::NotModified,
        Verdict::Failed => S3ErrorCode::PreconditionFailed,
    };
    let is_failed = code == S3ErrorCode::PreconditionFailed;
    let text = "The object is not what the request's condition says.";
    let mut error = S3Error::with_message(code, text);
    let etag = HeaderValue::from_str(&format!("\"{}\"", version.etag));
    if let (Ok(etag), false) = (etag, is_failed) {
        error.set_headers(HeaderMap::from_iter([(http::header::ETAG, etag)]));
    }
    Err(error)
}

/// The bytes that are asked for.
struct Asked {
    range: std::ops::Range<u64>,
    /// Told of a part.
    content_range: Option<String>,
    parts_count: Option<i32>,
    parts: Vec<StoredPart>,
}

impl Asked {
    fn length(&self) -> i64 {
        (self.range.end - self.range.start) as i64
    }
}

impl<S: ObjectStore> Face<S> {
    async fn asked(
        &self,
        version: &Version,
        range: Option<Range>,
        part_number: Option<i32>,
    ) -> S3Result<Asked> {
        let parts = self.store.parts(version).await.map_err(of_store)?;
        let size = version.size_bytes;
        let (range, is_part, parts_count) = match (range, part_number) {
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "cannot specify both Range header and partNumber query parameter",
                ));
            }
            (Some(range), None) => (range.check(size)?, true, None),
            (None, Some(number)) => {
                let before = usize::try_from(number - 1).unwrap_or(usize::MAX);
                let part = parts.get(before).map(|part| part.size_bytes);
                let part = match (part, before, parts.is_empty()) {
                    (Some(bytes), ..) => bytes,
                    (None, 0, true) => 0, // an empty object is one part
                    _ => return Err(no_such_part()),
                };
                let start: u64 = parts[..before.min(parts.len())]
                    .iter()
                    .map(|part| part.size_bytes)
                    .sum();
                let count = version.etag.contains('-').then_some(parts.len() as i32);
                (start..start + part, part > 0, count)
            }
            (None, None) => (0..size, false, None),
        };
        let content_range = is_part.then(|| {
            format!(
                "bytes {}-{}/{size}",
                range.start,
                range.end.saturating_sub(1)
            )
        });
        Ok(Asked {
            range,
            content_range,
            parts_count,
            parts,
        })
    }

    pub(super) async fn readable(
        &self,
        caller: &CallerOf<S>,
        bucket: &str,
        key: &str,
        version: VersionRef,
    ) -> S3Result<(StoredBucket, Version)> {
        let bucket = self.bucket_at(caller, Action::Read, bucket, key).await?;
        let version = self
            .store
            .find(&bucket, key, version)
            .await
            .map_err(of_store)?;
        Ok((bucket, version))
    }
}

impl<S: ObjectStore> Face<S> {
    /// What is readable, by the caller or by anybody; and who reads it.
    async fn open(
        &self,
        caller: &CallerOf<S>,
        bucket: &str,
        key: &str,
        version: VersionRef,
    ) -> S3Result<(CallerOf<S>, StoredBucket, Version)> {
        let denied = match self.readable(caller, bucket, key, version).await {
            Ok((bucket, found)) => return Ok((caller.clone(), bucket, found)),
            Err(error) => error,
        };
        if *denied.code() != S3ErrorCode::AccessDenied || version != VersionRef::Latest {
            return Err(denied);
        }
        let anybody = self.store.anybody(bucket, key, caller.address).await;
        let anybody = anybody.map_err(of_store)?.ok_or(denied)?;
        let (bucket, found) = self.readable(&anybody, bucket, key, version).await?;
        Ok((anybody, bucket, found))
    }
}

/// What is told of an object, in the fields that both outputs have.
macro_rules! describe {
    ($output:expr, $bucket:expr, $version:expr, $asked:expr, $with_checksum:expr) => {
        let metadata = &$version.metadata;
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = metadata::head(metadata, "cache-control");
        let told = metadata::head(metadata, "content-disposition");
        $output.content_disposition = inert::told_disposition(told, &$version.content_type);
        $output.content_encoding = metadata::head(metadata, "content-encoding");
        $output.content_language = metadata::head(metadata, "content-language");
        $output.expires = metadata::expires(metadata);
        $output.metadata = metadata::user(metadata);
        $output.content_type = Some($version.content_type.clone());
        $output.content_length = Some($asked.length());
        $output.content_range = $asked.content_range.clone();
        $output.parts_count = $asked.parts_count;
        $output.e_tag = Some(etag(&$version));
        $output.last_modified = Some(time($version.created_at));
        $output.version_id = told_version(&$bucket, &$version);
        if $with_checksum {
            set_checksum!($output, &$version.checksum);
        }
    };
}

fn wants_checksum(mode: Option<&ChecksumMode>, asked: &Asked) -> bool {
    let wanted = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    wanted && asked.content_range.is_none() // it is that of all bytes
}

impl<S: ObjectStore> On<GetObjectInput, GetObjectOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let version = version_ref(input.version_id.as_deref())?;
        let (reader, bucket, version) = self
            .open(&caller, &input.bucket, &input.key, version)
            .await?;
        let conditions = Conditions {
            if_match: input.if_match.map(tag),
            if_none_match: input.if_none_match.map(tag),
            if_modified_since: input.if_modified_since.as_ref().and_then(seconds),
            if_unmodified_since: input.if_unmodified_since.as_ref().and_then(seconds),
        };
        weigh(&conditions, &version)?;
        let asked = self.asked(&version, input.range, input.part_number).await?;
        let bytes = self.store.read(&reader, &asked.parts, &asked.range).await;
        let mut output = GetObjectOutput {
            body: Some(blob(bytes.map_err(of_store)?)),
            ..Default::default()
        };
        let with_checksum = wants_checksum(input.checksum_mode.as_ref(), &asked);
        describe!(output, bucket, version, asked, with_checksum);
        Ok(S3Response::with_headers(output, inert_headers()))
    }
}

/// What users stored must not run as a page of this site.
fn inert_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (http::header::X_CONTENT_TYPE_OPTIONS, inert::NOSNIFF),
        (http::header::CONTENT_SECURITY_POLICY, inert::POLICY),
    ])
}

pub(super) fn blob(bytes: ByteStream) -> StreamingBlob {
    let frames = bytes.map_ok(Frame::data);
    StreamingBlob::from(Body::http_body_unsync(StreamBody::new(frames)))
}

impl<S: ObjectStore> On<HeadObjectInput, HeadObjectOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let version = version_ref(input.version_id.as_deref())?;
        let (_, bucket, version) = self
            .open(&caller, &input.bucket, &input.key, version)
            .await?;
        let conditions = Conditions {
            if_match: input.if_match.map(tag),
            if_none_match: input.if_none_match.map(tag),
            if_modified_since: input.if_modified_since.as_ref().and_then(seconds),
            if_unmodified_since: input.if_unmodified_since.as_ref().and_then(seconds),
        };
        weigh(&conditions, &version)?;
        let asked = self.asked(&version, input.range, input.part_number).await?;
        let mut output = HeadObjectOutput::default();
        let with_checksum = wants_checksum(input.checksum_mode.as_ref(), &asked);
        describe!(output, bucket, version, asked, with_checksum);
        Ok(S3Response::new(output))
    }
}

impl<S: ObjectStore> On<GetObjectAttributesInput, GetObjectAttributesOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let version = version_ref(input.version_id.as_deref())?;
        let (bucket, version) = self
            .readable(&caller, &input.bucket, &input.key, version)
            .await?;
        let mut checksum = Checksum::default();
        set_checksum!(checksum, &version.checksum);
        Ok(S3Response::new(GetObjectAttributesOutput {
            checksum: Some(checksum),
            e_tag: Some(etag(&version)),
            last_modified: Some(time(version.created_at)),
            object_size: Some(version.size_bytes as i64),
            version_id: told_version(&bucket, &version),
            ..Default::default()
        }))
    }
}
