//! Files up, down, listed and deleted.

use std::ops::Range;

use api::evidence::{ProofRequest, Proofs, Receipts};
use api::files::{File, ListParams};
use api::page::{DEFAULT_LIMIT, MAX_LIMIT, Page, PageParams};
use api::uploads::{
    Chunk, ChunkParams, Chunks, ChunksParams, InitiateBody, Initiated, StatusParams, UploadParams,
    UploadStatus,
};
use api::{headers, paths};
use bytes::Bytes;
use futures::TryStreamExt;
use proto::{FileId, UploadId};
use reqwest::{Body, Method, Response, header};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::session::{Session, json_of, send};

const OCTETS: &str = "application/octet-stream";

impl Session {
    /// One request; `size` makes it one of known length, `None` a chunked one.
    pub async fn upload(
        &self,
        filename: &str,
        size: Option<u64>,
        body: impl Into<Body>,
    ) -> Result<File, ApiError> {
        let params = UploadParams {
            filename: Some(filename.to_owned()),
        };
        let mut request = self.request(Method::POST, paths::FILES).await?;
        request = request
            .query(&params)
            .header(header::CONTENT_TYPE, OCTETS)
            .body(body);
        if let Some(size) = size {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        json_of(request).await
    }

    /// One request of known length that is done once, however often it comes.
    pub async fn upload_once(
        &self,
        (filename, key): (&str, &str),
        size: u64,
        body: impl Into<Body>,
    ) -> Result<File, ApiError> {
        let params = UploadParams {
            filename: Some(filename.to_owned()),
        };
        let request = self.request(Method::POST, paths::FILES).await?;
        let request = request
            .query(&params)
            .header(header::CONTENT_TYPE, OCTETS)
            .header(header::CONTENT_LENGTH, size)
            .header(headers::IDEMPOTENCY_KEY, key);
        json_of(request.body(body)).await
    }

    /// As [`Self::initiate`], done once, however often it comes.
    pub async fn initiate_once(
        &self,
        key: &str,
        body: &InitiateBody,
    ) -> Result<Initiated, ApiError> {
        let request = self.request(Method::POST, paths::UPLOAD_INITIATE).await?;
        let request = request.header(headers::IDEMPOTENCY_KEY, key);
        json_of(request.json(body)).await
    }

    /// Whole chunks of which `first` is the first, `size` bytes of them.
    pub async fn send_chunks(
        &self,
        upload_id: UploadId,
        first: u32,
        size: u64,
        body: impl Into<Body>,
    ) -> Result<Chunks, ApiError> {
        let path = paths::upload_chunks(upload_id);
        let request = self.request(Method::PUT, &path).await?;
        let request = request
            .query(&ChunksParams { first })
            .header(header::CONTENT_LENGTH, size);
        json_of(request.body(body)).await
    }

    pub async fn initiate(&self, filename: &str, size: u64) -> Result<Initiated, ApiError> {
        let body = InitiateBody {
            filename: filename.to_owned(),
            size_bytes: size,
            content_type: None,
            target: None,
        };
        let request = self.request(Method::POST, paths::UPLOAD_INITIATE).await?;
        json_of(request.json(&body)).await
    }

    pub async fn send_chunk(
        &self,
        upload_id: UploadId,
        index: u32,
        content: Bytes,
    ) -> Result<Chunk, ApiError> {
        let path = paths::upload_chunk(upload_id);
        let request = self.request(Method::PUT, &path).await?;
        json_of(request.query(&ChunkParams { index }).body(content)).await
    }

    pub async fn upload_status(&self, upload_id: UploadId) -> Result<UploadStatus, ApiError> {
        self.upload_status_from(upload_id, 0).await
    }

    /// With the digests of a thousand chunks from this one on.
    pub async fn upload_status_from(
        &self,
        upload_id: UploadId,
        index: u32,
    ) -> Result<UploadStatus, ApiError> {
        let params = StatusParams {
            from_index: Some(index),
        };
        self.get_with(&paths::upload(upload_id), &params).await
    }

    pub async fn complete(&self, upload_id: UploadId) -> Result<File, ApiError> {
        let path = paths::upload_complete(upload_id);
        json_of(self.request(Method::POST, &path).await?).await
    }

    /// Gives an upload up: its chunks go, its credits come back.
    pub async fn abort(&self, upload_id: UploadId) -> Result<(), ApiError> {
        let path = paths::upload(upload_id);
        send(self.request(Method::DELETE, &path).await?).await?;
        Ok(())
    }

    /// The three-step upload, chunk after chunk.
    pub async fn upload_in_steps(&self, filename: &str, content: &Bytes) -> Result<File, ApiError> {
        let plan = self.initiate(filename, content.len() as u64).await?;
        for index in plan.indices() {
            let chunk = chunk_of(&plan, content, index);
            self.send_chunk(plan.upload_id, index, chunk).await?;
        }
        self.complete(plan.upload_id).await
    }

    /// The answer's body is the file; it can be streamed.
    pub async fn open(&self, file_id: FileId) -> Result<Response, ApiError> {
        let path = paths::file_download(file_id);
        send(self.request(Method::GET, &path).await?).await
    }

    pub async fn download(&self, file_id: FileId) -> Result<Bytes, ApiError> {
        Ok(self.open(file_id).await?.bytes().await?)
    }

    /// A part of a file; `range` is not empty.
    pub async fn download_range(
        &self,
        file_id: FileId,
        range: Range<u64>,
    ) -> Result<Bytes, ApiError> {
        Ok(self.open_range(file_id, range).await?.bytes().await?)
    }

    /// The answer's body is the part; `range` is not empty.
    pub async fn open_range(
        &self,
        file_id: FileId,
        range: Range<u64>,
    ) -> Result<Response, ApiError> {
        let path = paths::file_download(file_id);
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.request(Method::GET, &path).await?;
        send(request.header(header::RANGE, wanted)).await
    }

    /// Downloads without keeping: the number of bytes and their SHA-256 in hex.
    pub async fn download_digest(&self, file_id: FileId) -> Result<(u64, String), ApiError> {
        let body = self.open(file_id).await?.bytes_stream();
        let start = (0, Sha256::new());
        let (length, digest) = body
            .try_fold(start, async |(length, mut digest), piece| {
                digest.update(&piece);
                Ok((length + piece.len() as u64, digest))
            })
            .await?;
        Ok((length, hex::encode(digest.finalize())))
    }

    /// The newest hundred.
    pub async fn files(&self) -> Result<Page<File>, ApiError> {
        self.page_of_files(None).await
    }

    async fn page_of_files(&self, cursor: Option<String>) -> Result<Page<File>, ApiError> {
        let params = ListParams {
            limit: Some(DEFAULT_LIMIT),
            cursor,
            ..ListParams::default()
        };
        self.get_with(paths::FILES, &params).await
    }

    pub async fn all_files(&self) -> Result<Vec<File>, ApiError> {
        let mut page = self.files().await?;
        let mut files = page.items;
        while let Some(cursor) = page.next_cursor {
            page = self.page_of_files(Some(cursor)).await?;
            files.append(&mut page.items);
        }
        Ok(files)
    }

    pub async fn file(&self, file_id: FileId) -> Result<File, ApiError> {
        self.get(&paths::file(file_id)).await
    }

    pub async fn delete(&self, file_id: FileId) -> Result<(), ApiError> {
        let path = paths::file(file_id);
        send(self.request(Method::DELETE, &path).await?).await?;
        Ok(())
    }

    /// A page of the nodes' signed receipts.
    pub async fn receipts(
        &self,
        file_id: FileId,
        cursor: Option<String>,
    ) -> Result<Receipts, ApiError> {
        let params = PageParams {
            limit: Some(MAX_LIMIT),
            cursor,
        };
        self.get_with(&paths::file_receipts(file_id), &params).await
    }

    /// Has copies of a file's chunks proven now.
    pub async fn prove(&self, file_id: FileId, body: &ProofRequest) -> Result<Proofs, ApiError> {
        let path = paths::file_proof(file_id);
        json_of(self.request(Method::POST, &path).await?.json(body)).await
    }
}

/// The bytes of a chunk, without a copy.
pub fn chunk_of(upload: &Initiated, content: &Bytes, index: u32) -> Bytes {
    let range = upload.chunk_range(index, content.len() as u64);
    content.slice(range.start as usize..range.end as usize)
}
