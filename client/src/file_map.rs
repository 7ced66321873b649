//! All that it takes to get a file back: which it is, what it is made of, and what opens it.

use std::fmt;
use std::sync::Arc;

use proto::FileId;
use sealing::end_to_end::FileKey;
use sealing::end_to_end::content::HEADER_LEN;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Error;
use crate::upload::content::Sealed;

/// What [`crate::Client::store_file`] returns. Whoever has it, and may read the account's files, reads the file: it holds
/// the key. It can be written down with serde.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMap {
    /// SHA-256 of each chunk as it is stored, sealed: in hex, in order.
    pub chunks: Vec<String>,
    /// Bytes of the content.
    pub size: u64,
    /// Where it came from; empty for bytes.
    pub original_path: String,
    pub file_id: FileId,
    /// As the network cuts the file.
    pub chunk_size: u32,
    /// What opens it; `None` of a file that is stored as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<MappedKey>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MappedKey {
    /// 64 hex digits.
    key: String,
    /// With which the content begins; 128 hex digits.
    header: String,
}

impl MappedKey {
    pub(crate) fn of(sealed: &Sealed) -> Self {
        Self {
            key: hex::encode(sealed.key.as_bytes()),
            header: hex::encode(sealed.header),
        }
    }

    pub(crate) fn sealed(&self) -> Result<Sealed, Error> {
        let damaged = |_| Error::unusable("the file map is damaged: it holds no key");
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&self.key, &mut key[..]).map_err(damaged)?;
        let mut header = [0; HEADER_LEN];
        hex::decode_to_slice(&self.header, &mut header).map_err(damaged)?;
        Ok(Sealed {
            key: Arc::new(FileKey::from_bytes(key)),
            header,
        })
    }
}

impl fmt::Debug for FileMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileMap")
            .field("file_id", &self.file_id)
            .field("size", &self.size)
            .field("original_path", &self.original_path)
            .field("chunks", &self.chunks.len())
            .field("sealed", &self.sealed.is_some())
            .finish()
    }
}
