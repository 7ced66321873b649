//! What the processes of a network must agree on, byte for byte.
//!
//! A coordinator, a storage node and a client that were built apart, perhaps in different languages, understand each
//! other through what is here: the ids and amounts, the [table of protocols](protocols) between peers with the messages
//! on them, the statements that nodes and coordinators sign, proofs that a node holds a blob, and how a set of such
//! proofs is checked by somebody who trusts nobody ([`evidence`]). `docs/protocols.md` tells the same in prose, and the
//! golden vectors in `proto/vectors/` were made by a second implementation.
//!
//! Pure: no I/O, no clock, no randomness. Everything that arrives from outside passes through a [`Message::from_bytes`]
//! or a `TryFrom` that refuses what is malformed, with bounded allocation.
//!
//! | | |
//! |---|---|
//! | messages | [`Rpc`] binds a request and a response to a [`ProtocolSpec`]; [`Frame`] is a message as bytes |
//! | who may ask whom | [`Roles`], named by each [`ProtocolSpec`] |
//! | names | [`BlobId`] is the hash of a blob's bytes, [`NetworkId`] that of a network's key |
//! | promises | [`Receipt`]: "I hold this blob, durably", signed by a node |
//! | what a blob is | [`ChunkStatement`]: "this blob is that chunk of that file", signed by a coordinator |
//! | orders | [`DeleteOrder`]: "delete these blobs", signed by a coordinator |
//! | proofs | [`Challenge`], [`prove`], [`verify`]; signed as a [`ProofStatement`] |
//!
//! ```
//! use proto::{BlobId, Message, RequestId, Retrieve, RetrieveRequest, Roles, Rpc};
//!
//! let request = RetrieveRequest {
//!     blob_id: BlobId::of(b"some bytes"),
//!     request_id: RequestId::default(),
//! };
//! let frame = request.into_frame();
//! let spec = Retrieve::PROTOCOL;
//! assert!(frame.len() <= spec.max_frame_bytes);
//! assert!(spec.initiator.intersects(Roles::COORDINATOR));
//! assert_eq!(RetrieveRequest::from_bytes(frame.to_bytes()), Ok(request));
//! ```
//!
//! With the feature `openapi` the types of [`evidence`], which are also bodies of the HTTP API, describe themselves to
//! utoipa.

mod chunk_statement;
mod control;
mod data;
mod deletion;
pub mod evidence;
mod fields;
mod frame;
mod id;
mod inventory;
mod ledger_day;
mod locator;
mod loss;
mod money;
mod network_document;
mod proof;
pub mod protocols;
mod request_id;
mod signing;
mod spec;
mod statement;

pub use chunk_statement::{ChunkOpening, ChunkStatement, Piece, Sealing};
pub use control::{
    DeferredPurges, Heartbeat, HeartbeatAnswer, HeartbeatReport, Hello, HelloAnswer, HelloReport,
    Instance, MAX_EARLIER_INSTANCES, NodeActivity,
};
pub use data::{
    Refusal, RefusalCode, Retrieve, RetrieveAnswer, RetrieveRequest, Store, StoreAnswer,
    StoreRequest,
};
pub use deletion::{
    Delete, DeleteOrder, DeleteRequest, Deletion, DeletionMode, DeletionOutcome, DeletionOutcomes,
    MAX_DELETIONS_PER_MESSAGE, OrderSeal, SignedOrder,
};
pub use frame::{Frame, Malformed, Message, Rpc};
pub use id::{
    BlobId, ChallengeHash, ChallengeId, ChunkSha256, FileId, InstanceId, ItemDigest, NetworkId,
    NodeId, ParseIdError, ProofHash, ProofSeed, UploadId,
};
pub use inventory::{
    BlobRange, GroupDigest, IdsDigest, Inventory, InventoryAnswer, InventoryAsk, InventoryItem,
    InventoryRequest, MAX_GROUP_BLOBS, MAX_INVENTORY_GROUPS, MAX_INVENTORY_ITEMS,
    MAX_INVENTORY_RANGES,
};
pub use ledger_day::LedgerDay;
pub use locator::Locator;
pub use loss::{LossNoted, LossReport, MAX_LOSSES_PER_MESSAGE, ReportLoss};
pub use money::{MicroCredits, NotCredits};
pub use network_document::{CoordinatorEntry, NetworkDocument, NetworkDocumentError};
pub use proof::{
    AnswerStatement, BlobSource, Challenge, ChallengeItem, ChallengeRequest, Difficulty,
    InvalidStatement, ItemAnswer, ItemOutcome, Judgement, MAX_CHALLENGE_ITEMS,
    MAX_MESSAGE_BODY_BYTES, MAX_PIECE_BYTES, MAX_STATEMENT_BYTES, OutsideBlob, Parties, Proof,
    ProofAnswer, ProofError, ProofStatement, Prove, ProveError, Question, UnusableAnswer, Verdict,
    prove, verify,
};
pub use request_id::RequestId;
pub use signing::{InvalidSignature, Signature, VerifyingKey};
pub use spec::{Lane, ProtocolSpec, Roles};
pub use statement::{
    NetworkContext, Receipt, Registration, RegistrationForm, RegistrationNonce, SignedReceipt,
};

pub use libp2p_identity::{Keypair, PeerId};

/// The messages as they stand in `proto/fsn/v1/*.proto`, generated at build time.
pub mod wire {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/fsn.v1.rs"));
}
