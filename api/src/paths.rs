//! Where everything is served: each route once.
//!
//! A constant is a route as the coordinator serves and describes it, with `{id}` in place of an id. A
//! function of the same name is the path of one thing, for clients. All begin at the root: a prefix that each
//! client adds by itself would be a second place where paths are made.

use std::fmt::Display;

use proto::{ChallengeId, FileId, NodeId, UploadId};
use uuid::Uuid;

pub const REGISTER: &str = "/api/v1/auth/register";
pub const LOGIN: &str = "/api/v1/auth/login";
pub const REFRESH: &str = "/api/v1/auth/refresh";
pub const LOGOUT: &str = "/api/v1/auth/logout";
pub const PASSWORD: &str = "/api/v1/auth/password";
pub const PASSWORD_RESET: &str = "/api/v1/auth/password/reset";
pub const PASSWORD_RESET_REQUEST: &str = "/api/v1/auth/password/reset/request";
pub const VERIFY: &str = "/api/v1/auth/verify";
pub const VERIFY_REQUEST: &str = "/api/v1/auth/verify/request";
pub const LOGIN_SECOND_FACTOR: &str = "/api/v1/auth/login/second-factor";
pub const SECOND_FACTOR: &str = "/api/v1/auth/second-factor";
pub const TOTP: &str = "/api/v1/auth/second-factor/totp";
pub const TOTP_CONFIRM: &str = "/api/v1/auth/second-factor/totp/confirm";
pub const PASSKEYS: &str = "/api/v1/auth/passkeys";
pub const PASSKEYS_BEGIN: &str = "/api/v1/auth/passkeys/begin";
pub const PASSKEY: &str = "/api/v1/auth/passkeys/{id}";
pub const LOGIN_PASSKEY: &str = "/api/v1/auth/login/passkey";
pub const LOGIN_PASSKEY_BEGIN: &str = "/api/v1/auth/login/passkey/begin";
pub const RECOVERY_CODES: &str = "/api/v1/auth/second-factor/recovery-codes";
pub const SESSIONS: &str = "/api/v1/auth/sessions";
pub const SESSION: &str = "/api/v1/auth/sessions/{id}";
pub const EVENTS: &str = "/api/v1/auth/events";
pub const ME: &str = "/api/v1/auth/me";
pub const EXPORT: &str = "/api/v1/auth/me/export";
pub const USAGE: &str = "/api/v1/auth/me/usage";
pub const PURCHASE: &str = "/api/v1/auth/credits/purchase";

pub const ACCESS_KEYS: &str = "/api/v1/access-keys";
pub const ACCESS_KEY: &str = "/api/v1/access-keys/{access_key_id}";

pub const BALANCE: &str = "/api/v1/balance";
pub const TRANSACTIONS: &str = "/api/v1/credits/transactions";
pub const PURCHASE_STATUS: &str = "/api/v1/credits/purchases/{id}";
pub const PAYMENT_WEBHOOK: &str = "/api/v1/payments/webhook";
pub const PAYOUT_DESTINATION: &str = "/api/v1/payout-destination";

pub const CLASSES: &str = "/api/v1/classes";

pub const FILES: &str = "/api/v1/files";
pub const FILE: &str = "/api/v1/files/{id}";
pub const FILE_DOWNLOAD: &str = "/api/v1/files/{id}/download";
pub const FILE_DURABILITY: &str = "/api/v1/files/{id}/durability";
pub const FILE_RECEIPTS: &str = "/api/v1/files/{id}/receipts";
pub const FILE_PROOF: &str = "/api/v1/files/{id}/proof";
pub const FILE_SEALED: &str = "/api/v1/files/{id}/sealed";

pub const UPLOAD_INITIATE: &str = "/api/v1/files/upload/initiate";
pub const UPLOAD: &str = "/api/v1/files/upload/{id}";
pub const UPLOAD_CHUNK: &str = "/api/v1/files/upload/{id}/chunk";
pub const UPLOAD_CHUNKS: &str = "/api/v1/files/upload/{id}/chunks";
pub const UPLOAD_COMPLETE: &str = "/api/v1/files/upload/{id}/complete";

pub const BUCKETS: &str = "/api/v1/buckets";
pub const BUCKET: &str = "/api/v1/buckets/{bucket}";
pub const BUCKET_OBJECTS: &str = "/api/v1/buckets/{bucket}/objects";
/// A key is all that is left of the path, slashes included.
pub const OBJECT: &str = "/api/v1/buckets/{bucket}/objects/{key}";
pub const BUCKET_ENTRY: &str = "/api/v1/buckets/{bucket}/entry";
pub const BUCKET_COPY: &str = "/api/v1/buckets/{bucket}/copy";
pub const BUCKET_MOVE: &str = "/api/v1/buckets/{bucket}/move";
pub const BUCKET_RESTORE: &str = "/api/v1/buckets/{bucket}/restore";
pub const BUCKET_CHANGES: &str = "/api/v1/buckets/{bucket}/changes";
pub const TUS: &str = "/api/v1/files/tus";
pub const TUS_UPLOAD: &str = "/api/v1/files/tus/{id}";

pub const SHARES: &str = "/api/v1/shares";
pub const SHARE: &str = "/api/v1/shares/{id}";
pub const SHARE_CONTENT: &str = "/api/v1/shares/{id}/content";
pub const SHARE_DURABILITY: &str = "/api/v1/shares/{id}/durability";
pub const SHARE_UNLOCK: &str = "/api/v1/shares/{id}/unlock";

pub const NETWORK: &str = "/api/v1/network";
pub const NETWORK_SUMMARY: &str = "/api/v1/network/summary";
pub const NODES: &str = "/api/v1/nodes";
pub const NODE: &str = "/api/v1/nodes/{id}";
pub const NODE_DRAIN: &str = "/api/v1/nodes/{id}/drain";
pub const NODE_DRAIN_PLAN: &str = "/api/v1/nodes/{id}/drain/plan";
pub const NODE_EARNINGS: &str = "/api/v1/nodes/{id}/earnings";
pub const NODE_PAYOUTS: &str = "/api/v1/nodes/{id}/payouts";
pub const NODE_PROOFS: &str = "/api/v1/nodes/{id}/proofs";
pub const NODE_PROOF: &str = "/api/v1/nodes/{id}/proofs/{challenge}";
pub const NODE_NONCE: &str = "/api/v1/nodes/register/nonce";
pub const NODE_REGISTER: &str = "/api/v1/nodes/register";
pub const NODE_TOKENS: &str = "/api/v1/nodes/tokens";

pub const PEERS: &str = "/api/v1/admin/peers";
pub const JOBS: &str = "/api/v1/admin/jobs";

pub const HEALTH: &str = "/health";
pub const LIVEZ: &str = "/livez";
pub const READYZ: &str = "/readyz";

/// As [`JOBS`], on the listener of the metrics, for who may read those.
pub const LOCAL_JOBS: &str = "/jobs";

/// The API's description of itself, OpenAPI 3.1.
pub const OPENAPI: &str = "/api/v1/openapi.json";
/// The same to read and try.
pub const DOCS: &str = "/docs";

/// Where links in letters lead: pages of the coordinator's site.
pub const RESET_PAGE: &str = "/reset-password";
pub const VERIFY_PAGE: &str = "/verify-address";
/// Where a share's link leads: a page, with a form.
pub const SHARE_PAGE: &str = "/s/{id}";

/// Every route that the description has in it.
pub const ALL: [&str; 80] = [
    REGISTER,
    LOGIN,
    REFRESH,
    LOGOUT,
    PASSWORD,
    PASSWORD_RESET,
    PASSWORD_RESET_REQUEST,
    VERIFY,
    VERIFY_REQUEST,
    LOGIN_SECOND_FACTOR,
    SECOND_FACTOR,
    TOTP,
    TOTP_CONFIRM,
    RECOVERY_CODES,
    PASSKEYS,
    PASSKEYS_BEGIN,
    PASSKEY,
    LOGIN_PASSKEY,
    LOGIN_PASSKEY_BEGIN,
    SESSIONS,
    SESSION,
    EVENTS,
    ME,
    EXPORT,
    USAGE,
    PURCHASE,
    ACCESS_KEYS,
    ACCESS_KEY,
    BALANCE,
    TRANSACTIONS,
    PURCHASE_STATUS,
    PAYMENT_WEBHOOK,
    PAYOUT_DESTINATION,
    CLASSES,
    FILES,
    FILE,
    FILE_DOWNLOAD,
    FILE_DURABILITY,
    FILE_RECEIPTS,
    FILE_PROOF,
    FILE_SEALED,
    UPLOAD_INITIATE,
    UPLOAD,
    UPLOAD_CHUNK,
    UPLOAD_CHUNKS,
    UPLOAD_COMPLETE,
    BUCKETS,
    BUCKET,
    BUCKET_OBJECTS,
    OBJECT,
    BUCKET_ENTRY,
    BUCKET_COPY,
    BUCKET_MOVE,
    BUCKET_RESTORE,
    BUCKET_CHANGES,
    TUS,
    TUS_UPLOAD,
    SHARES,
    SHARE,
    SHARE_CONTENT,
    SHARE_DURABILITY,
    SHARE_UNLOCK,
    NETWORK,
    NETWORK_SUMMARY,
    NODES,
    NODE,
    NODE_DRAIN,
    NODE_DRAIN_PLAN,
    NODE_EARNINGS,
    NODE_PAYOUTS,
    NODE_PROOFS,
    NODE_PROOF,
    NODE_NONCE,
    NODE_REGISTER,
    NODE_TOKENS,
    PEERS,
    JOBS,
    HEALTH,
    LIVEZ,
    READYZ,
];

fn of(route: &str, id: impl Display) -> String {
    route.replace("{id}", &id.to_string())
}

pub fn passkey(id: Uuid) -> String {
    of(PASSKEY, id)
}

pub fn session(id: Uuid) -> String {
    of(SESSION, id)
}

pub fn access_key(id: impl Display) -> String {
    ACCESS_KEY.replace("{access_key_id}", &id.to_string())
}

pub fn purchase(id: impl Display) -> String {
    of(PURCHASE_STATUS, id)
}

pub fn file(id: FileId) -> String {
    of(FILE, id)
}

pub fn file_download(id: FileId) -> String {
    of(FILE_DOWNLOAD, id)
}

pub fn file_durability(id: FileId) -> String {
    of(FILE_DURABILITY, id)
}

pub fn file_receipts(id: FileId) -> String {
    of(FILE_RECEIPTS, id)
}

pub fn file_proof(id: FileId) -> String {
    of(FILE_PROOF, id)
}

/// One copy of a chunk, and what opens it.
pub fn file_sealed(id: FileId, index: u32, node: impl Display) -> String {
    format!("{}?index={index}&node={node}", of(FILE_SEALED, id))
}

pub fn upload(id: UploadId) -> String {
    of(UPLOAD, id)
}

pub fn upload_chunk(id: UploadId) -> String {
    of(UPLOAD_CHUNK, id)
}

pub fn upload_chunks(id: UploadId) -> String {
    of(UPLOAD_CHUNKS, id)
}

pub fn upload_complete(id: UploadId) -> String {
    of(UPLOAD_COMPLETE, id)
}

fn of_bucket(route: &str, bucket: &str) -> String {
    route.replace("{bucket}", &encoded(bucket, false))
}

pub fn bucket(bucket: &str) -> String {
    of_bucket(BUCKET, bucket)
}

pub fn bucket_objects(bucket: &str) -> String {
    of_bucket(BUCKET_OBJECTS, bucket)
}

/// Slashes of a key stay as they are, unless it has a segment `.` or `..`: clients and proxies would resolve it. A key that
/// is nothing but one of these cannot be asked for by most of them.
pub fn object(bucket: &str, key: &str) -> String {
    let keeps_slashes = !key.split('/').any(|segment| matches!(segment, "." | ".."));
    of_bucket(OBJECT, bucket).replace("{key}", &encoded(key, keeps_slashes))
}

pub fn bucket_entry(bucket: &str) -> String {
    of_bucket(BUCKET_ENTRY, bucket)
}

pub fn bucket_copy(bucket: &str) -> String {
    of_bucket(BUCKET_COPY, bucket)
}

pub fn bucket_move(bucket: &str) -> String {
    of_bucket(BUCKET_MOVE, bucket)
}

pub fn bucket_restore(bucket: &str) -> String {
    of_bucket(BUCKET_RESTORE, bucket)
}

pub fn bucket_changes(bucket: &str) -> String {
    of_bucket(BUCKET_CHANGES, bucket)
}

/// Percent-encoded, but for what RFC 3986 has unreserved.
fn encoded(text: &str, keeps_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte.into());
            }
            b'/' if keeps_slashes => encoded.push('/'),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

pub fn tus_upload(id: UploadId) -> String {
    of(TUS_UPLOAD, id)
}

pub fn share(id: impl Display) -> String {
    of(SHARE, id)
}

pub fn share_content(id: impl Display) -> String {
    of(SHARE_CONTENT, id)
}

pub fn share_durability(id: impl Display) -> String {
    of(SHARE_DURABILITY, id)
}

pub fn share_unlock(id: impl Display) -> String {
    of(SHARE_UNLOCK, id)
}

pub fn share_page(id: impl Display) -> String {
    of(SHARE_PAGE, id)
}

pub fn node(id: NodeId) -> String {
    of(NODE, id)
}

pub fn node_drain(id: NodeId) -> String {
    of(NODE_DRAIN, id)
}

pub fn node_drain_plan(id: NodeId) -> String {
    of(NODE_DRAIN_PLAN, id)
}

pub fn node_earnings(id: NodeId) -> String {
    of(NODE_EARNINGS, id)
}

pub fn node_payouts(id: NodeId) -> String {
    of(NODE_PAYOUTS, id)
}

pub fn node_proofs(id: NodeId) -> String {
    of(NODE_PROOFS, id)
}

pub fn node_proof(id: NodeId, challenge: ChallengeId) -> String {
    of(NODE_PROOF, id).replace("{challenge}", &challenge.to_string())
}
