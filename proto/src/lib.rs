//! What the processes of a network must agree on, byte for byte.
//!
//! Ids, amounts, the names of the peer protocols, their messages, and the statements that nodes and
//! coordinators sign. Pure: no I/O, no clock, no randomness. Everything that arrives from outside
//! passes through a `TryFrom` here that rejects what is malformed, with bounded allocation.

mod control;
mod data;
mod frame;
mod id;
mod inventory;
mod locator;
mod loss;
mod money;
mod network_document;
mod proof;
mod protocol;
mod signing;
mod statement;

pub use control::{
    Delete, Deletion, DeletionMode, DeletionOutcome, DeletionOutcomes, Deletions, Heartbeat,
    HeartbeatAnswer, HeartbeatReport, Hello, HelloAnswer, HelloReport, LedgerDay,
    MAX_DELETIONS_PER_MESSAGE, NodeActivity,
};
pub use data::{
    Refusal, RefusalCode, Retrieve, RetrieveAnswer, RetrieveRequest, Store, StoreAnswer,
    StoreRequest,
};
pub use frame::{Frame, Malformed, Message, Rpc};
pub use id::{
    BlobId, ChallengeHash, ChallengeId, FileId, ItemDigest, NetworkId, NodeId, ParseIdError,
    ProofHash, ProofSeed,
};
pub use inventory::{
    BlobRange, GroupDigest, IdsDigest, Inventory, InventoryAnswer, InventoryAsk, InventoryItem,
    InventoryRequest, MAX_GROUP_BLOBS, MAX_INVENTORY_GROUPS, MAX_INVENTORY_ITEMS,
    MAX_INVENTORY_RANGES,
};
pub use locator::Locator;
pub use loss::{LossNoted, LossReport, MAX_LOSSES_PER_MESSAGE, ReportLoss};
pub use money::MicroCredits;
pub use network_document::{CoordinatorEntry, NetworkDocument, NetworkDocumentError};
pub use proof::{
    AnswerStatement, BlobSource, Challenge, ChallengeItem, ChallengeRequest, Difficulty,
    InvalidStatement, ItemAnswer, ItemOutcome, Judgement, MAX_CHALLENGE_ITEMS,
    MAX_MESSAGE_BODY_BYTES, MAX_PIECE_BYTES, MAX_STATEMENT_BYTES, OutsideBlob, Parties, Proof,
    ProofAnswer, ProofError, ProofStatement, Prove, ProveError, Question, UnusableAnswer, Verdict,
    prove, verify,
};
pub use protocol::{Lane, Protocol, Side};
pub use signing::{InvalidSignature, Signature, VerifyingKey};
pub use statement::{NetworkContext, Receipt, Registration, RegistrationNonce, SignedReceipt};

pub use libp2p_identity::{Keypair, PeerId};

/// The messages as they stand in `proto/fsn/v1/*.proto`, generated at build time.
pub mod wire {
    #![allow(missing_docs, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/fsn.v1.rs"));
}
