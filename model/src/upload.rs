//! An upload: the session in which a file comes in.

use std::sync::Arc;

use jiff::Timestamp;
use proto::{FileId, MicroCredits};
use serde_json::json;

use crate::ids::{UploadId, UserId};
use crate::names::{ContentType, Filename};
use crate::objects::{Envelope, Target};
use crate::storage_class::StorageClass;
use crate::terms::Terms;

#[derive(Debug, Clone)]
pub struct Upload {
    pub id: UploadId,
    pub file_id: FileId,
    pub user_id: UserId,
    pub state: UploadState,
    pub hold: MicroCredits,
    /// The part of it that is trial credit.
    pub trial: MicroCredits,
    /// Chunks that were sent once more.
    pub resent_chunks: u32,
    pub request_digest: Vec<u8>,
    pub expires_at: Timestamp,
    pub expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    Open,
    Completed,
}

impl UploadState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
        }
    }
}

/// What a client asks for when it begins.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    pub user_id: UserId,
    pub filename: Filename,
    pub content_type: ContentType,
    /// `None` for a body whose length is not known before its end.
    pub size_bytes: Option<u64>,
    /// How it is to be kept.
    pub class: StorageClass,
    pub idempotency_key: Option<String>,
    pub declared: DeclaredDigests,
    /// What of a bucket points to the file from the transaction on that makes it visible. `None`: it is listed by itself.
    pub target: Option<Arc<Target>>,
}

/// What a client says that the bytes it sends hash to. What it says is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeclaredDigests {
    pub sha256: Option<[u8; 32]>,
    pub md5: Option<[u8; 16]>,
}

impl DeclaredDigests {
    pub const fn is_empty(&self) -> bool {
        self.sha256.is_none() && self.md5.is_none()
    }
}

impl UploadRequest {
    /// What it is sold under, with so many bytes: billed are its name, and what is kept of it besides.
    pub fn terms(&self, size_bytes: u64) -> Terms {
        let name = self.filename.as_str();
        match &self.target {
            None => Terms::named(name.len()),
            Some(target) => target.terms(name, size_bytes),
        }
    }

    /// Tells a repeated request from another one under the same key, as far as its head goes. The content is compared
    /// besides.
    pub fn digest(&self) -> [u8; 32] {
        let mut fields = vec![
            json!(self.filename.as_str()),
            json!(self.content_type.as_str()),
            json!(self.size_bytes),
        ];
        if let Some(Target::Object(object)) = self.target.as_deref() {
            let described = &object.described;
            let envelope = described.envelope.as_ref().map(Envelope::as_bytes);
            fields.extend([
                json!(object.bucket.as_uuid()),
                json!(described.metadata),
                json!(envelope.map(|bytes| blake3::hash(bytes).to_string())),
                json!(described.expires_at),
                json!(format!("{:?}", described.condition)),
            ]);
        }
        // Without it the digest is what it was before there were classes.
        if self.class != StorageClass::Standard {
            fields.push(json!(self.class.name()));
        }
        let fields = serde_json::Value::from(fields);
        *blake3::hash(fields.to_string().as_bytes()).as_bytes()
    }
}
