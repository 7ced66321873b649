//! Files up, down, listed and deleted.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use reqwest::{Body, Method, Response, header};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::session::{Page, Session, json_of, send};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileInfo {
    pub file_id: String,
    pub filename: String,
    pub size_bytes: u64,
    pub chunk_size_bytes: u64,
    pub chunk_count: u64,
    pub state: String,
}

/// What `initiate` answers.
#[derive(Debug, Clone, Deserialize)]
pub struct UploadPlan {
    pub upload_id: String,
    pub file_id: String,
    pub chunk_size_bytes: u64,
    pub chunk_count: u64,
    pub cost_microcredits: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ChunkReceipt {
    pub index: u64,
    pub size_bytes: u64,
    pub sha256: String,
    pub replicas: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct UploadStatus {
    pub state: String,
    pub chunk_count: u64,
    pub missing: Vec<u64>,
    pub missing_count: u64,
}

impl Session {
    /// One request; `size` makes it one of known length, `None` a chunked one.
    pub async fn upload(
        &self,
        filename: &str,
        size: Option<u64>,
        body: impl Into<Body>,
    ) -> Result<FileInfo, ApiError> {
        let mut request = self.request(Method::POST, "/files").await?;
        request = request
            .query(&[("filename", filename)])
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(body);
        if let Some(size) = size {
            request = request.header(header::CONTENT_LENGTH, size);
        }
        json_of(request).await
    }

    pub async fn initiate(&self, filename: &str, size: u64) -> Result<UploadPlan, ApiError> {
        let request = self.request(Method::POST, "/files/upload/initiate").await?;
        json_of(request.json(&json!({"filename": filename, "size_bytes": size}))).await
    }

    pub async fn send_chunk(
        &self,
        upload_id: &str,
        index: u64,
        content: Bytes,
    ) -> Result<ChunkReceipt, ApiError> {
        let path = format!("/files/upload/{upload_id}/chunk?index={index}");
        json_of(self.request(Method::PUT, &path).await?.body(content)).await
    }

    pub async fn upload_status(&self, upload_id: &str) -> Result<UploadStatus, ApiError> {
        self.get(&format!("/files/upload/{upload_id}")).await
    }

    pub async fn complete(&self, upload_id: &str) -> Result<FileInfo, ApiError> {
        let path = format!("/files/upload/{upload_id}/complete");
        json_of(self.request(Method::POST, &path).await?).await
    }

    /// Gives an upload up: its chunks go, its credits come back.
    pub async fn abort(&self, upload_id: &str) -> Result<(), ApiError> {
        let path = format!("/files/upload/{upload_id}");
        send(self.request(Method::DELETE, &path).await?).await?;
        Ok(())
    }

    /// The three-step upload, chunk after chunk.
    pub async fn upload_in_steps(
        &self,
        filename: &str,
        content: &Bytes,
    ) -> Result<FileInfo, ApiError> {
        let plan = self.initiate(filename, content.len() as u64).await?;
        for index in 0..plan.chunk_count {
            let chunk = plan.chunk_of(content, index);
            self.send_chunk(&plan.upload_id, index, chunk).await?;
        }
        self.complete(&plan.upload_id).await
    }

    /// The answer's body is the file; it can be streamed.
    pub async fn open(&self, file_id: &str) -> Result<Response, ApiError> {
        let path = format!("/files/{file_id}/download");
        send(self.request(Method::GET, &path).await?).await
    }

    pub async fn download(&self, file_id: &str) -> Result<Bytes, ApiError> {
        Ok(self.open(file_id).await?.bytes().await?)
    }

    /// A part of a file; `range` is not empty.
    pub async fn download_range(
        &self,
        file_id: &str,
        range: Range<u64>,
    ) -> Result<Bytes, ApiError> {
        let path = format!("/files/{file_id}/download");
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.request(Method::GET, &path).await?;
        let answer = send(request.header(header::RANGE, wanted)).await?;
        Ok(answer.bytes().await?)
    }

    /// Downloads without keeping: the number of bytes and their SHA-256 in hex.
    pub async fn download_digest(&self, file_id: &str) -> Result<(u64, String), ApiError> {
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
    pub async fn files(&self) -> Result<Page<FileInfo>, ApiError> {
        self.get("/files?limit=100").await
    }

    pub async fn all_files(&self) -> Result<Vec<FileInfo>, ApiError> {
        let mut page = self.files().await?;
        let mut files = page.items;
        while let Some(cursor) = page.next_cursor {
            page = self
                .get(&format!("/files?limit=100&cursor={cursor}"))
                .await?;
            files.append(&mut page.items);
        }
        Ok(files)
    }

    pub async fn file(&self, file_id: &str) -> Result<FileInfo, ApiError> {
        self.get(&format!("/files/{file_id}")).await
    }

    pub async fn delete(&self, file_id: &str) -> Result<(), ApiError> {
        let path = format!("/files/{file_id}");
        send(self.request(Method::DELETE, &path).await?).await?;
        Ok(())
    }
}

impl UploadPlan {
    /// The bytes of a chunk, without a copy.
    pub fn chunk_of(&self, content: &Bytes, index: u64) -> Bytes {
        let start = (index * self.chunk_size_bytes) as usize;
        let end = (start + self.chunk_size_bytes as usize).min(content.len());
        content.slice(start..end)
    }
}
