//! Buckets, and the objects in them.

use std::ops::Range;

use api::buckets::{
    Bucket, Buckets, CopyBody, EntryParams, NewBucket, Object, Objects, ObjectsParams,
};
use api::buckets::{ObjectParams, ObjectTarget};
use api::{headers, paths};
use reqwest::{Body, Method, Response, header};
use uuid::Uuid;

use super::error::ApiError;
use super::session::{Session, json_of, send};

impl Session {
    pub async fn create_bucket(&self, bucket: &NewBucket) -> Result<Bucket, ApiError> {
        let request = self.request(Method::POST, paths::BUCKETS).await?;
        json_of(request.json(bucket)).await
    }

    /// All of the account's, in order of name.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, ApiError> {
        let buckets: Buckets = self.get(paths::BUCKETS).await?;
        Ok(buckets.items)
    }

    pub async fn bucket(&self, name: &str) -> Result<Bucket, ApiError> {
        self.get(&paths::bucket(name)).await
    }

    /// An empty one.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ApiError> {
        send(self.request(Method::DELETE, &paths::bucket(name)).await?).await?;
        Ok(())
    }

    /// Of `target` the key, the type, the metadata, the envelope and the condition that there is no such key are told.
    /// `size` makes it a body of known length, `None` a chunked one.
    pub async fn put_object(
        &self,
        bucket: &str,
        target: &ObjectTarget,
        size: Option<u64>,
        body: impl Into<Body>,
    ) -> Result<Object, ApiError> {
        let path = paths::object(bucket, &target.key);
        let mut request = self.request(Method::PUT, &path).await?;
        let told = [
            (header::CONTENT_TYPE.as_str(), &target.content_type),
            (headers::ENVELOPE, &target.envelope),
            (header::IF_NONE_MATCH.as_str(), &target.if_none_match),
        ];
        for (name, value) in told {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        for (name, value) in target.metadata.iter().flatten() {
            request = request.header(format!("{}{name}", headers::META), value);
        }
        if let Some(size) = size {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        json_of(request.body(body)).await
    }

    /// What is known of an object, with its envelope.
    pub async fn object_entry(&self, bucket: &str, key: &str) -> Result<Object, ApiError> {
        let params = EntryParams {
            key: key.to_owned(),
            version: None,
        };
        self.get_with(&paths::bucket_entry(bucket), &params).await
    }

    /// The answer's body is the part; `range` is not empty.
    pub async fn open_object(
        &self,
        (bucket, key): (&str, &str),
        version: Option<Uuid>,
        range: Range<u64>,
    ) -> Result<Response, ApiError> {
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let path = paths::object(bucket, key);
        let params = ObjectParams {
            version,
            envelope: None,
        };
        let request = self.request(Method::GET, &path).await?.query(&params);
        send(request.header(header::RANGE, wanted)).await
    }

    pub async fn objects(&self, bucket: &str, params: &ObjectsParams) -> Result<Objects, ApiError> {
        self.get_with(&paths::bucket_objects(bucket), params).await
    }

    /// With an ETag (without its quotes): only if that is the latest version's.
    pub async fn remove_object(
        &self,
        bucket: &str,
        key: &str,
        if_match: Option<&str>,
    ) -> Result<(), ApiError> {
        let path = paths::object(bucket, key);
        let mut request = self.request(Method::DELETE, &path).await?;
        if let Some(etag) = if_match {
            request = request.header(header::IF_MATCH, format!("\"{etag}\""));
        }
        send(request).await?;
        Ok(())
    }

    /// No bytes move.
    pub async fn copy_object(&self, bucket: &str, body: &CopyBody) -> Result<Object, ApiError> {
        let request = self
            .request(Method::POST, &paths::bucket_copy(bucket))
            .await?;
        json_of(request.json(body)).await
    }

    /// The key that it had is gone in the same moment.
    pub async fn move_object(&self, bucket: &str, body: &CopyBody) -> Result<Object, ApiError> {
        let request = self
            .request(Method::POST, &paths::bucket_move(bucket))
            .await?;
        json_of(request.json(body)).await
    }
}
