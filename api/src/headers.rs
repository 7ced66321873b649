//! Headers with a meaning of their own here, in the lower case in which HTTP libraries keep them.

/// The key of the storage node that asks.
pub const API_KEY: &str = "x-api-key";

/// 1 to 255 printable ASCII characters of the client's: a request that is repeated under the same key is
/// done once.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The storage class of a file that is uploaded.
pub const CLASS: &str = "x-fsn-class";

/// Names a request in the answer, in its problem and in the coordinator's log; the client's own (up to 128
/// visible ASCII characters) is taken over.
pub const REQUEST_ID: &str = "x-request-id";

/// Digests of what is sent and of what is answered (RFC 9530), and the older MD5 (RFC 1864).
pub const CONTENT_DIGEST: &str = "content-digest";
pub const REPR_DIGEST: &str = "repr-digest";
pub const CONTENT_MD5: &str = "content-md5";

/// What is left of a quota, and the quota, as the IETF's draft writes them.
pub const RATE_LIMIT: &str = "ratelimit";
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";

/// What a client says of an object: each header that begins so is kept, and handed back with it.
pub const META: &str = "x-fsn-meta-";

/// When an object is deleted (RFC 3339).
pub const EXPIRES_AT: &str = "x-fsn-expires-at";

/// What an end-to-end client keeps with an object, in Base64.
pub const ENVELOPE: &str = "x-fsn-envelope";

/// Which version of its key was written, read or deleted.
pub const VERSION_ID: &str = "x-fsn-version-id";
/// That somebody has told a share's password, where cookies are not kept.
pub const SHARE_TOKEN: &str = "share-token";

/// Of the protocol tus.
pub mod tus {
    pub const RESUMABLE: &str = "tus-resumable";
    pub const VERSION: &str = "tus-version";
    pub const EXTENSION: &str = "tus-extension";
    pub const MAX_SIZE: &str = "tus-max-size";
    pub const CHECKSUM_ALGORITHM: &str = "tus-checksum-algorithm";
    pub const LENGTH: &str = "upload-length";
    pub const DEFER_LENGTH: &str = "upload-defer-length";
    pub const OFFSET: &str = "upload-offset";
    pub const METADATA: &str = "upload-metadata";
    pub const CHECKSUM: &str = "upload-checksum";
    pub const EXPIRES: &str = "upload-expires";
    pub const CONCAT: &str = "upload-concat";
}
