//! Errors: every kind, and the document that tells one (RFC 9457, `application/problem+json`).
//!
//! Programs go by `type`, which never changes; people read `detail`. A kind is added here, to the table in
//! docs/api.md, and nowhere else. A client meets kinds that are newer than itself: [`Problem`] keeps the URI
//! as it came, and [`Problem::kind`] is `None`. An enum with a variant for the unknown was rejected: it
//! could be handed to what makes problems.

use proto::MicroCredits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub const CONTENT_TYPE: &str = "application/problem+json";

const URN: &str = "urn:fsn:problem:";

/// What RFC 9457 calls a problem without a type.
const NO_TYPE: &str = "about:blank";

macro_rules! problem_kinds {
    ($($kind:ident = $slug:literal, $status:literal, $next:literal;)*) => {
        /// What can go wrong, by its stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemKind {
            $(#[doc = concat!("`", $slug, "`, ", stringify!($status), ": ", $next)] $kind,)*
        }

        impl ProblemKind {
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The last part of `type`: `urn:fsn:problem:<slug>`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// The HTTP status that it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// What to do about it, for whoever cannot read `detail`.
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$kind => $next,)* }
            }
        }
    };
}

problem_kinds! {
    InvalidRequest = "invalid-request", 400, "mend what `detail` names";
    DigestMismatch = "digest-mismatch", 400,
        "the bytes are not those that the digest was taken of: send them again";
    WeakPassword = "weak-password", 400,
        "take a password that is longer, or less usual";
    WebhookNotVerified = "webhook-not-verified", 400,
        "for the payment provider alone: it is to be signed with the secret of the webhook endpoint";
    Unauthorized = "unauthorized", 401, "`auth/refresh`, or log in again";
    WrongCredentials = "wrong-credentials", 401,
        "check address and password; it says the same for both";
    BadRefreshToken = "bad-refresh-token", 401, "log in again";
    SecondFactorRequired = "second-factor-required", 401,
        "`auth/login/second-factor` with `challenge`, which is good for `expires_in` seconds, and a code; or `auth/login/passkey/begin`";
    SharePasswordRequired = "share-password-required", 401,
        "POST the password to the share's `unlock`, and show its token in `Share-Token`, or its cookie";
    WrongCode = "wrong-code", 401, "send the code that the app shows now, or a recovery code";
    BadChallenge = "bad-challenge", 401, "log in again";
    WrongPasskey = "wrong-passkey", 401, "try again, or another passkey; `detail` says what does not hold";
    BadToken = "bad-token", 401, "ask for another one: it is unknown, used or expired";
    InsufficientCredits = "insufficient-credits", 402,
        "buy `missing_microcredits`; also there: `needed_…`, `available_…`";
    PaymentRefused = "payment-refused", 402, "the payment provider's reason is in `detail`";
    NothingToPayOut = "nothing-to-pay-out", 402, "ask for no more than is available";
    Forbidden = "forbidden", 403, "ask as the node itself, or as its operator";
    AddressNotVerified = "address-not-verified", 403,
        "open the link in the letter; `auth/verify/request` sends another one";
    SecondFactorDemanded = "second-factor-demanded", 403,
        "administrators need a second factor here: `auth/second-factor/totp` begins one";
    TooManyPurchases = "too-many-purchases", 403,
        "pay those that are open, or wait until they are called off; `limit`";
    AdminsOnly = "admins-only", 403,
        "`coordinator admin set-role ADDRESS admin`";
    NotForThisKey = "not-for-this-key", 403,
        "use a key that has the scope, or log in; `detail` says what this one may not";
    BasicRefused = "basic-refused", 403,
        "send keys over TLS, and not from web pages; `detail` says which it was";
    AccountSuspended = "account-suspended", 403, "ask the network's operator; `detail` has his reason";
    TooManyAccessKeys = "too-many-access-keys", 403, "revoke some; `limit`";
    TooManyPasskeys = "too-many-passkeys", 403, "remove some; `limit`";
    TooManyFiles = "too-many-files", 403, "delete some; `limit`";
    TooManyUploads = "too-many-uploads", 403,
        "complete some, give some up, or buy credits; `limit`";
    TooManyShares = "too-many-shares", 403, "end one that nobody needs any more; `limit`";
    TooManyBuckets = "too-many-buckets", 403, "delete one, or use prefixes; `limit`";
    NodeTokenRequired = "node-token-required", 403, "what the network's operator asks of a node";
    BadNodeToken = "bad-node-token", 403, "what the network's operator asks of a node";
    NodeNotAllowed = "node-not-allowed", 403, "what the network's operator asks of a node";
    MayNotAddNodes = "may-not-add-nodes", 403,
        "ask the network's operator: `coordinator admin user allow-nodes ADDRESS COUNT`";
    TooManyNodes = "too-many-nodes", 403,
        "`limit` nodes and unused tokens are there: let a token expire or a node leave, or ask for more";
    NodeDisqualified = "node-disqualified", 403, "what the network's operator asks of a node";
    NotFound = "not-found", 404, "it is not there, or not yours";
    NoSuchRoute = "no-such-route", 404, "look at `/docs`";
    MethodNotAllowed = "method-not-allowed", 405, "the header `Allow` tells which are";
    Timeout = "timeout", 408, "try again";
    HasSecondFactor = "has-second-factor", 409, "remove the one that there is first";
    NoSecondFactor = "no-second-factor", 409, "`auth/second-factor/totp` begins one";
    LastWayIn = "last-way-in", 409,
        "set a password first (`auth/password/reset/request`), or add another passkey";
    HasNodes = "has-nodes", 409,
        "drain the account's `nodes` nodes, or have them removed, then delete the account again";
    NoPayoutDestination = "no-payout-destination", 409,
        "`PUT payout-destination` as the node's operator, and do what the page says to which it leads";
    AddressTaken = "address-taken", 409, "log in, or use another address";
    ChunksMissing = "chunks-missing", 409,
        "send those in `missing` (the first 1000 of `missing_count`), then complete again; a chunk that has lost a copy since it was sent is among them";
    CopiesLost = "copies-lost", 503,
        "a chunk of an upload in one request has lost a copy since it was sent: send the file again";
    UploadClosed = "upload-closed", 409,
        "it is completed or given up: look at the file, or begin anew";
    UploadInProgress = "upload-in-progress", 409,
        "the first request under this `Idempotency-Key` still runs: wait";
    TooManyResends = "too-many-resends", 409,
        "chunks were sent again with other content `limit` times: complete, or begin anew";
    DigestPending = "digest-pending", 409,
        "the file is still being read back for its digest: wait `Retry-After`, then complete again";
    BucketNameTaken = "bucket-name-taken", 409, "choose another name: they are unique in the network";
    BucketNotEmpty = "bucket-not-empty", 409,
        "delete its objects, their versions and delete markers, and give up its multipart uploads";
    WrongOffset = "wrong-offset", 409, "ask where the upload stands with `HEAD`, and go on from there";
    ShareIdTaken = "share-id-taken", 409, "take 16 other bytes of chance";
    WriteConflict = "write-conflict", 409,
        "somebody else wrote the key at the same moment: look at it, and try again";
    UploadExpired = "upload-expired", 410, "begin anew";
    ShareEnded = "share-ended", 410, "ask whoever sent the link for another one";
    ChangesGone = "changes-gone", 410, "list the bucket anew, and go on from its last change";
    LengthRequired = "length-required", 411,
        "send the file's bytes, or `Content-Length: 0` for an empty one";
    TusVersion = "tus-version", 412, "send `Tus-Resumable: 1.0.0`; `Tus-Version` tells what is spoken";
    PreconditionFailed = "precondition-failed", 412,
        "the file is not the one that `If-…` names; look at it, and ask again";
    BodyTooLarge = "body-too-large", 413, "a JSON body has at most 64 KiB";
    FileTooLarge = "file-too-large", 413, "`limit_bytes`";
    UnsupportedMediaType = "unsupported-media-type", 415,
        "send what `detail` names: JSON, or the file's bytes as they are";
    RangeNotSatisfiable = "range-not-satisfiable", 416, "`Content-Range` tells the size";
    WrongChunkLength = "wrong-chunk-length", 422, "send exactly `expected_bytes`";
    ChunkOutOfRange = "chunk-out-of-range", 422, "indices end before `chunk_count`";
    UploadHeld = "upload-held", 423,
        "another request appends to the upload: wait `Retry-After`, then ask with `HEAD` where it stands";
    ChecksumMismatch = "checksum-mismatch", 460,
        "the bytes are not those of `Upload-Checksum`, and none of them counts: send them again";
    AwaitsRestore = "awaits-adoption", 409,
        "the database was restored, and restore mode has ended without this node: it can be drained after another `coordinator restore begin`";
    NotOpenable = "not-openable", 409,
        "the file was stored when all chunks of a file had one key, which would open all of it: store it anew";
    NotDraining = "not-draining", 409, "only a draining node can be called back; `state`";
    IdempotencyKeyReused = "idempotency-key-reused", 422,
        "take a fresh key for a different request";
    BadNonce = "bad-nonce", 422, "register again from a fresh nonce";
    BadSignature = "bad-signature", 422, "register again from a fresh nonce";
    TooManyRequests = "too-many-requests", 429,
        "wait `Retry-After`; `RateLimit` and `RateLimit-Policy` tell the quota";
    KeyUsedUp = "key-used-up", 429,
        "the key has used what it may on one day (UTC): wait `Retry-After`, or use another";
    OpenedEnough = "opened-enough", 429,
        "no more chunks of this file are opened now: ask for one that is open already, or wait `Retry-After`";
    Internal = "internal", 500, "try again; if it goes on, give the operator the `request_id`";
    Busy = "busy", 503, "too many proofs are being asked for at the moment: wait";
    TooFewNodes = "too-few-nodes", 503,
        "wait: nothing is stored with fewer copies than it should have. Of a drain: `stuck_chunks` of `sampled_chunks` have no other node to go to";
    ClassUnavailable = "class-unavailable", 503,
        "nothing can be stored in this class now: ask `GET classes`, take another one, or wait";
    Unreadable = "unreadable", 503, "no copy of a chunk can be read right now: wait";
    NoMail = "no-mail", 503, "ask the network's operator, or later";
    PasskeysNotConfigured = "passkeys-not-configured", 503,
        "the network's operator has to set `http.public_url` to a name";
    PaymentsNotConfigured = "payments-not-configured", 503,
        "the network's operator has to set `money.provider`";
    PaymentProviderAway = "payment-provider-away", 503,
        "what was asked for is kept, and nothing is done twice: ask again";
    CreditsSoldOut = "credits-sold-out", 503, "nothing was charged; tell the operator";
    DatabaseUnavailable = "database-unavailable", 503, "try again in a few seconds";
    Stopping = "stopping", 503, "try again in a few seconds";
    InsufficientStorage = "insufficient-storage", 507,
        "the nodes are full; nothing was charged. Of a drain: `missing_bytes` of room";
}

impl ProblemKind {
    /// As it stands in `type`.
    pub fn uri(self) -> String {
        format!("{URN}{}", self.slug())
    }

    /// The kind of a `type`, if this version knows it.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let slug = uri.strip_prefix(URN)?;
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// The slug as a sentence's beginning: `not-found` → `Not found`.
    pub fn title(self) -> String {
        let text = self.slug().replace('-', " ");
        let mut letters = text.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect())
            .unwrap_or_default()
    }
}

/// An error as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>")]
pub struct Problem {
    /// `urn:fsn:problem:…`, the same for ever; see [`Problem::kind`].
    #[serde(rename = "type")]
    pub uri: String,
    /// The type in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do next.
    pub detail: String,
    /// The path that was asked for.
    pub instance: String,
    /// For the operator, who finds it in the log.
    pub request_id: String,
    #[serde(flatten)]
    pub members: Members,
}

/// What some kinds have to say to programs besides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Members {
    /// `insufficient-credits`: what it costs, what there is, and the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_microcredits: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_microcredits: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_microcredits: Option<MicroCredits>,
    /// `too-many-access-keys`: keys that an account may have. `too-many-files`, `too-many-nodes`, `too-many-purchases`: files, nodes or open purchases that an account may have. `too-many-requests`, of an upload:
    /// those that it may have under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// `file-too-large`: bytes that a file may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// `chunk-out-of-range`: indices end before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_count: Option<u64>,
    /// `wrong-chunk-length`: bytes that the chunk has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_bytes: Option<u64>,
    /// `chunks-missing`: the first 1000 indices, and how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_count: Option<u64>,
    /// `second-factor-required`: the login that waits for a code, and for how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// `has-nodes`: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u64>,
    /// `not-draining`: what the node is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `too-few-nodes`, of a drain: so many of the chunks that were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stuck_chunks: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_chunks: Option<u64>,
    /// `insufficient-storage`, of a drain: what the node holds, what there is room for, and the difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_bytes: Option<u64>,
}

impl Problem {
    /// One of this kind, with its title and status, that nobody has asked for yet.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            uri: kind.uri(),
            title: kind.title(),
            status: kind.status(),
            detail: detail.into(),
            instance: String::new(),
            request_id: String::new(),
            members: Members::default(),
        }
    }

    /// What an answer that is not one of success says. A body that is no such document, a proxy's page for
    /// instance, says nothing but its status.
    pub fn of_answer(status: u16, body: &[u8]) -> Self {
        let document: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        Self {
            status,
            ..Self::from(document)
        }
    }

    /// The kind, if this version knows it.
    pub fn kind(&self) -> Option<ProblemKind> {
        ProblemKind::of_uri(&self.uri)
    }
}

/// Whatever is not as it should be is left out: an error must not get lost because one of its members has
/// changed.
impl From<Map<String, Value>> for Problem {
    fn from(mut document: Map<String, Value>) -> Self {
        let mut text = |name: &str| match document.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (uri, title, detail) = (text("type"), text("title"), text("detail"));
        let (instance, request_id) = (text("instance"), text("request_id"));
        let status = document.remove("status").and_then(|status| status.as_u64());
        Self {
            uri: uri.unwrap_or_else(|| NO_TYPE.to_owned()),
            title: title.unwrap_or_default(),
            status: status
                .and_then(|status| status.try_into().ok())
                .unwrap_or(0),
            detail: detail.unwrap_or_default(),
            instance: instance.unwrap_or_default(),
            request_id: request_id.unwrap_or_default(),
            members: serde_json::from_value(Value::Object(document)).unwrap_or_default(),
        }
    }
}

/// Written by hand: the members differ from kind to kind, and the description says no more than that there
/// are some.
#[cfg(feature = "openapi")]
mod schema {
    use std::borrow::Cow;

    use utoipa::openapi::schema::AdditionalProperties;
    use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
    use utoipa::{PartialSchema, ToSchema};

    use super::Problem;

    impl ToSchema for Problem {
        fn name() -> Cow<'static, str> {
            Cow::Borrowed("Problem")
        }
    }

    impl PartialSchema for Problem {
        fn schema() -> RefOr<Schema> {
            let text = |description: &str| {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some(description))
            };
            let status = ObjectBuilder::new().schema_type(Type::Integer);
            let members = [
                (
                    "type",
                    text("urn:fsn:problem:… is the same for ever; programs go by it"),
                ),
                ("title", text("The type in words")),
                ("status", status.description(Some("The HTTP status"))),
                ("detail", text("What happened, and what to do next")),
                ("instance", text("The path that was asked for")),
                (
                    "request_id",
                    text("For the operator, who finds it in the log"),
                ),
            ];
            let schema = ObjectBuilder::new()
                .schema_type(Type::Object)
                .description(Some(
                    "An error (RFC 9457). Some types have further members, for programs.",
                ))
                .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)));
            let schema = members.into_iter().fold(schema, |schema, (name, member)| {
                schema.property(name, member).required(name)
            });
            schema.into()
        }
    }
}
