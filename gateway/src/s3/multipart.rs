//! Objects that come in parts.

use futures::StreamExt;
use model::objects::{ContentSum, Multipart, ObjectPart as StoredPart, VersionRef};
use rules::listing::{Listing, Start};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::copies::source_conditions;
use super::encoding::Encoding;
use super::errors::{invalid, not_served, of_assembly, of_body, of_store};
use super::face::{CallerOf, Face, On};
use super::lists::limit;
use super::metadata::{self, heads};
use super::objects::{
    algorithm, blob, checked, declared, refuse_unserved, set_checksum, write_condition,
};
use super::texts::{key, some, time, upload_id, upload_text};
use super::versions::{told_version, written_text};
use crate::checked_body::Declared;
use crate::checksum::{self, Algorithm};
use crate::etag::{self, MOST_PARTS, Named};
use crate::store::{Action, Behind, ObjectStore, PartPlace, StoreError};
use model::ids::MultipartId;

fn upload(text: &str) -> S3Result<MultipartId> {
    upload_id(text).ok_or_else(|| of_store(StoreError::NoSuchUpload))
}

fn part_number(number: i32) -> S3Result<u32> {
    match u32::try_from(number) {
        Ok(number) if (1..=MOST_PARTS).contains(&number) => Ok(number),
        _ => Err(invalid(
            "part number must be an integer between 1 and 10000, inclusive",
        )),
    }
}

impl<S: ObjectStore> On<CreateMultipartUploadInput, CreateMultipartUploadOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let caller = self.caller(&request)?;
        let mut input = request.input;
        refuse_unserved!(input);
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, key.as_str())
            .await?;
        let content_type = metadata::content_type(input.content_type.take())?;
        let metadata = heads!(input).metadata()?;
        let checksum = algorithm(input.checksum_algorithm.as_ref())?.map(Algorithm::name);
        let begun = self
            .store
            .begin(&bucket, &key, &content_type, &metadata, checksum)
            .await;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            upload_id: Some(upload_text(begun.map_err(of_store)?)),
            bucket: Some(bucket.name),
            key: Some(input.key),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<UploadPartInput, UploadPartOutput> for Face<S> {
    async fn on_request(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let caller = self.caller(&request)?;
        let trailers = request.trailing_headers.take();
        let input = request.input;
        if input.sse_customer_key.is_some() {
            return Err(not_served(
                "Keys of the client's own (SSE-C) are not taken: everything is sealed here.",
            ));
        }
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, key.as_str())
            .await?;
        let place = PartPlace {
            bucket: &bucket,
            key: &key,
            id: upload(&input.upload_id)?,
            number: part_number(input.part_number)?,
        };
        let declared = declared!(input);
        let length = declared.length;
        let body = checked(input.body, declared, trailers);
        let (sum, fault) = (body.sum(), body.fault());
        let told = sum.clone();
        let stored = self
            .store
            .put_part(&caller, place, length, sum, body.boxed())
            .await;
        stored.map_err(|error| of_body(error, &fault))?;
        let mut output = UploadPartOutput::default();
        if let Some(sum) = told.get() {
            output.e_tag = Some(ETag::Strong(sum.etag.clone()));
            set_checksum!(output, &sum.checksum);
        }
        Ok(S3Response::new(output))
    }
}

/// A range of what is copied: both ends named, and within it.
fn copied_range(text: &str, size: u64) -> S3Result<std::ops::Range<u64>> {
    let range = Range::parse(text).ok();
    let within = range.and_then(|range| match range {
        Range::Int {
            first,
            last: Some(last),
        } if last < size => Some(first..last + 1),
        _ => None,
    });
    within.ok_or_else(|| {
        invalid(format_args!(
            "the x-amz-copy-source-range is bytes=first-last, within the {size} bytes of the object"
        ))
    })
}

impl<S: ObjectStore> On<UploadPartCopyInput, UploadPartCopyOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let caller = self.caller(&request)?;
        let mut input = request.input;
        let key = key(&input.key)?;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, key.as_str())
            .await?;
        let conditions = source_conditions!(input);
        let source = self
            .source(&caller, &input.copy_source, &conditions)
            .await?;
        let size = source.version.size_bytes;
        let range = match some(input.copy_source_range.as_deref()) {
            Some(text) => copied_range(text, size)?,
            None => 0..size,
        };
        let place = PartPlace {
            bucket: &bucket,
            key: &key,
            id: upload(&input.upload_id)?,
            number: part_number(input.part_number)?,
        };
        let parts = self.store.parts(&source.version).await.map_err(of_store)?;
        let etag = match (&parts[..], range == (0..size)) {
            ([only], true) => {
                let sum = ContentSum {
                    etag: source.version.etag.clone(),
                    checksum: None,
                };
                // Of an object that came in one part and was completed, the tag is another.
                let sum = ContentSum {
                    etag: only.md5.map_or(sum.etag, hex::encode),
                    ..sum
                };
                let etag = sum.etag.clone();
                let copied = self.store.copy_part(place, only, sum).await;
                copied.map_err(of_store)?;
                etag
            }
            _ => self.copy_bytes(&caller, place, &parts, range).await?,
        };
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(time(source.version.created_at)),
                ..Default::default()
            }),
            copy_source_version_id: told_version(&source.bucket, &source.version),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> Face<S> {
    /// A part of stored bytes becomes a part of its own: they are read and stored again.
    async fn copy_bytes(
        &self,
        caller: &CallerOf<S>,
        place: PartPlace<'_>,
        parts: &[StoredPart],
        range: std::ops::Range<u64>,
    ) -> S3Result<String> {
        let length = range.end - range.start;
        let bytes = self
            .store
            .read(caller, parts, &range)
            .await
            .map_err(of_store)?;
        let declared = Declared {
            length: Some(length),
            ..Declared::default()
        };
        let body = checked(Some(blob(bytes)), declared, None);
        let (sum, fault) = (body.sum(), body.fault());
        let told = sum.clone();
        let stored = self
            .store
            .put_part(caller, place, Some(length), sum, body.boxed())
            .await;
        stored.map_err(|error| of_body(error, &fault))?;
        Ok(told.get().map(|sum| sum.etag.clone()).unwrap_or_default())
    }

    /// As it was answered before.
    async fn completed(
        &self,
        bucket: &model::objects::Bucket,
        multipart: &Multipart,
        version: model::ids::VersionId,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let found = self
            .store
            .find(bucket, &multipart.key, VersionRef::Id(version))
            .await;
        let found = found.map_err(|_| of_store(StoreError::NoSuchUpload))?;
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(bucket.name.clone()),
            key: Some(multipart.key.clone()),
            location: Some(format!("/{}/{}", bucket.name, multipart.key)),
            e_tag: Some(super::texts::etag(&found)),
            version_id: written_text(bucket, version),
            ..Default::default()
        };
        set_checksum!(output, &found.checksum);
        Ok(output)
    }
}

fn named(part: CompletedPart) -> S3Result<Named> {
    let checksums = [
        part.checksum_crc32,
        part.checksum_crc32c,
        part.checksum_crc64nvme,
        part.checksum_sha1,
        part.checksum_sha256,
    ];
    Ok(Named {
        number: part_number(part.part_number.unwrap_or_default())?,
        etag: part.e_tag.map(ETag::into_value).unwrap_or_default(),
        checksum: checksums.into_iter().flatten().next(),
    })
}

impl<S: ObjectStore> On<CompleteMultipartUploadInput, CompleteMultipartUploadOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, &input.key)
            .await?;
        let id = upload(&input.upload_id)?;
        let multipart = self
            .store
            .multipart(&bucket, &input.key, id)
            .await
            .map_err(of_store)?;
        if let Some(version) = multipart.completed_as {
            let output = self.completed(&bucket, &multipart, version).await?;
            return Ok(S3Response::new(output));
        }
        let parts = input
            .multipart_upload
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let names = parts
            .into_iter()
            .map(named)
            .collect::<S3Result<Vec<Named>>>()?;
        let stored = self
            .store
            .multipart_parts(&bucket, &input.key, id, 0, MOST_PARTS)
            .await
            .map_err(of_store)?;
        let (parts, chosen, etag) = etag::assemble(&names, &stored).map_err(of_assembly)?;
        let size: u64 = parts.iter().map(|part| part.size_bytes).sum();
        if input
            .mpu_object_size
            .is_some_and(|announced| announced as u64 != size)
        {
            return Err(invalid(format_args!(
                "the parts have {size} bytes together"
            )));
        }
        let sums: Vec<_> = chosen.iter().map(|part| part.checksum.as_ref()).collect();
        // Where the client meant to send checksums, theirs together are the object's.
        let wanted = multipart.checksum_algorithm.is_some();
        let sum = ContentSum {
            etag,
            checksum: checksum::of_parts(&sums).filter(|_| wanted),
        };
        let condition = write_condition(input.if_match, input.if_none_match)?;
        let completed = self
            .store
            .complete(&caller, &bucket, &multipart, parts, sum, condition)
            .await;
        let version = completed.map_err(of_store)?;
        let output = self.completed(&bucket, &multipart, version).await?;
        Ok(S3Response::new(output))
    }
}

impl<S: ObjectStore> On<AbortMultipartUploadInput, AbortMultipartUploadOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let bucket = self
            .bucket_at(&caller, Action::Write, &input.bucket, &input.key)
            .await?;
        let id = upload(&input.upload_id)?;
        self.store
            .abort(&bucket, &input.key, id)
            .await
            .map_err(of_store)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

impl<S: ObjectStore> On<ListPartsInput, ListPartsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let bucket = self
            .bucket_at(&caller, Action::List, &input.bucket, &input.key)
            .await?;
        let id = upload(&input.upload_id)?;
        let limit = limit(input.max_parts)?;
        let after = u32::try_from(input.part_number_marker.unwrap_or(0));
        let after = after.map_err(|_| invalid("the part-number marker is not negative"))?;
        let mut parts = self
            .store
            .multipart_parts(&bucket, &input.key, id, after, limit + 1)
            .await
            .map_err(of_store)?;
        let is_truncated = parts.len() > limit as usize;
        parts.truncate(limit as usize);
        let last = parts.last().map(|part| part.number as i32);
        let told = parts.iter().map(|part| {
            let mut told = Part {
                e_tag: Some(ETag::Strong(part.etag.clone())),
                last_modified: Some(time(part.stored_at)),
                part_number: Some(part.number as i32),
                size: Some(part.size_bytes as i64),
                ..Default::default()
            };
            set_checksum!(told, &part.checksum);
            told
        });
        let owner = self.owner(&caller);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(bucket.name),
            initiator: Some(Initiator {
                id: owner.id.clone(),
                display_name: None,
            }),
            owner: Some(owner),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(limit as i32),
            is_truncated: Some(is_truncated),
            part_number_marker: Some(after as i32),
            next_part_number_marker: last,
            parts: Some(told.collect()),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..Default::default()
        }))
    }
}

impl<S: ObjectStore> On<ListMultipartUploadsInput, ListMultipartUploadsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let encoding = Encoding::of(input.encoding_type.as_ref())?;
        let prefix = input.prefix.unwrap_or_default();
        let delimiter = input.delimiter.unwrap_or_default();
        let limit = limit(input.max_uploads)?;
        let bucket = self
            .bucket_at(&caller, Action::List, &input.bucket, &prefix)
            .await?;
        let key_marker = input.key_marker.unwrap_or_default();
        let id_marker = some(input.upload_id_marker.as_deref()).and_then(upload_id);
        let behind = Behind {
            key: &key_marker,
            id: id_marker.filter(|_| !key_marker.is_empty()),
        };
        let mut found = self
            .store
            .multiparts(&bucket, &prefix, behind, limit + 1)
            .await
            .map_err(of_store)?;
        let is_truncated = found.len() > limit as usize;
        found.truncate(limit as usize);
        let next = found.last().filter(|_| is_truncated);
        let next = next.map(|last| (last.key.clone(), upload_text(last.id)));
        let folding = Listing {
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            start: Start::beginning(),
            limit,
        };
        let owner = self.owner(&caller);
        let (mut uploads, mut prefixes) = (Vec::new(), Vec::<CommonPrefix>::new());
        for upload in found {
            if let Some(folder) = folding.folder(&upload.key) {
                let folder = Some(encoding.text(folder));
                if prefixes.last().is_none_or(|last| last.prefix != folder) {
                    prefixes.push(CommonPrefix { prefix: folder });
                }
                continue;
            }
            uploads.push(MultipartUpload {
                initiated: Some(time(upload.created_at)),
                key: Some(encoding.text(&upload.key)),
                owner: Some(owner.clone()),
                upload_id: Some(upload_text(upload.id)),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                ..Default::default()
            });
        }
        let (next_key, next_id) = next.unzip();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(bucket.name),
            prefix: Some(encoding.text(&prefix)),
            delimiter: encoding.some(&delimiter),
            encoding_type: encoding.told(),
            is_truncated: Some(is_truncated),
            key_marker: Some(encoding.text(&key_marker)),
            upload_id_marker: input.upload_id_marker,
            max_uploads: Some(limit as i32),
            next_key_marker: next_key.map(|key| encoding.text(&key)),
            next_upload_id_marker: next_id,
            uploads: Some(uploads),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }
}
