//! `store-chunk` and `retrieve-chunk`.

use bytes::Bytes;

use crate::fields::{blob_id, bounded_text};
use crate::{
    BlobId, Frame, Locator, Malformed, Message, ProtocolSpec, RequestId, Rpc, Signature,
    SignedOrder, SignedReceipt, protocols, wire,
};

/// coordinator → node: keep this blob.
#[derive(Debug, Clone, Copy)]
pub struct Store;

impl Rpc for Store {
    const PROTOCOL: ProtocolSpec = protocols::STORE_CHUNK;
    type Request = StoreRequest;
    type Response = StoreAnswer;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRequest {
    pub blob_id: BlobId,
    pub locator: Locator,
    pub request_id: RequestId,
    /// Hashes to `blob_id`; whoever receives the message has to check that.
    pub data: Bytes,
}

impl Message for StoreRequest {
    fn into_frame(self) -> Frame {
        let header = wire::StoreChunkRequest {
            blob_id: Bytes::copy_from_slice(self.blob_id.as_bytes()),
            length: self.data.len() as u64,
            locator: Bytes::copy_from_slice(self.locator.as_bytes()),
            request_id: self.request_id.to_string(),
            data: Bytes::new(),
        };
        Frame::with_body(&header, self.data)
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::StoreChunkRequest as prost::Message>::decode(bytes)?;
        if message.data.is_empty() {
            return Err(Malformed("a blob cannot be empty"));
        }
        if message.length != message.data.len() as u64 {
            return Err(Malformed(
                "the blob does not have the length that is stated",
            ));
        }
        Ok(Self {
            blob_id: blob_id(&message.blob_id)?,
            locator: Locator::try_from(&message.locator[..])?,
            request_id: RequestId::new(&message.request_id),
            data: message.data,
        })
    }
}

/// node → coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAnswer {
    /// The blob is on disk for good. The signature is the sender's claim until it is verified.
    Stored(SignedReceipt),
    Refused(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    pub code: RefusalCode,
    /// For people.
    pub detail: String,
}

/// Why a node did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusalCode {
    #[error("full")]
    Full,
    #[error("draining")]
    Draining,
    #[error("hash mismatch")]
    HashMismatch,
    #[error("malformed")]
    Malformed,
    #[error("busy")]
    Busy,
    #[error("I/O error")]
    IoError,
    #[error("stopping")]
    Stopping,
}

impl Message for StoreAnswer {
    fn into_frame(self) -> Frame {
        use wire::store_chunk_response::Result as Answer;
        let result = match self {
            Self::Stored(receipt) => Answer::Receipt(wire::Receipt {
                stored_at_ms: receipt.stored_at_ms,
                signature: Bytes::copy_from_slice(receipt.signature.as_bytes()),
            }),
            Self::Refused(refusal) => Answer::Refusal(wire::Refusal {
                code: wire::refusal::Code::from(refusal.code) as i32,
                detail: bounded_text(refusal.detail),
            }),
        };
        Frame::whole(&wire::StoreChunkResponse {
            result: Some(result),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        use wire::store_chunk_response::Result as Answer;
        let message = <wire::StoreChunkResponse as prost::Message>::decode(bytes)?;
        match message.result {
            Some(Answer::Receipt(receipt)) => Ok(Self::Stored(SignedReceipt {
                stored_at_ms: receipt.stored_at_ms,
                signature: Signature::try_from(&receipt.signature[..])?,
            })),
            Some(Answer::Refusal(refusal)) => Ok(Self::Refused(Refusal {
                code: refusal.code().try_into()?,
                detail: bounded_text(refusal.detail),
            })),
            None => Err(Malformed("neither receipt nor refusal")),
        }
    }
}

impl From<RefusalCode> for wire::refusal::Code {
    fn from(code: RefusalCode) -> Self {
        match code {
            RefusalCode::Full => Self::Full,
            RefusalCode::Draining => Self::Draining,
            RefusalCode::HashMismatch => Self::HashMismatch,
            RefusalCode::Malformed => Self::Malformed,
            RefusalCode::Busy => Self::Busy,
            RefusalCode::IoError => Self::IoError,
            RefusalCode::Stopping => Self::Stopping,
        }
    }
}

impl TryFrom<wire::refusal::Code> for RefusalCode {
    type Error = Malformed;

    fn try_from(code: wire::refusal::Code) -> Result<Self, Malformed> {
        use wire::refusal::Code;
        Ok(match code {
            Code::Unspecified => return Err(Malformed("a refusal without a known code")),
            Code::Full => Self::Full,
            Code::Draining => Self::Draining,
            Code::HashMismatch => Self::HashMismatch,
            Code::Malformed => Self::Malformed,
            Code::Busy => Self::Busy,
            Code::IoError => Self::IoError,
            Code::Stopping => Self::Stopping,
        })
    }
}

/// coordinator → node: give this blob back.
#[derive(Debug, Clone, Copy)]
pub struct Retrieve;

impl Rpc for Retrieve {
    const PROTOCOL: ProtocolSpec = protocols::RETRIEVE_CHUNK;
    type Request = RetrieveRequest;
    type Response = RetrieveAnswer;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrieveRequest {
    pub blob_id: BlobId,
    pub request_id: RequestId,
}

impl Message for RetrieveRequest {
    fn into_frame(self) -> Frame {
        Frame::whole(&wire::RetrieveChunkRequest {
            blob_id: Bytes::copy_from_slice(self.blob_id.as_bytes()),
            request_id: self.request_id.to_string(),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::RetrieveChunkRequest as prost::Message>::decode(bytes)?;
        Ok(Self {
            blob_id: blob_id(&message.blob_id)?,
            request_id: RequestId::new(&message.request_id),
        })
    }
}

/// node → coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetrieveAnswer {
    /// Claimed to be the blob; whoever receives it has to check its hash.
    Found(Bytes),
    Missing,
    /// Missing, because a coordinator has ordered the node to delete it: a claim until it is verified.
    Ordered(Box<SignedOrder>),
    /// The node's own check failed: its bytes are not the blob any more.
    Corrupt,
    Busy(String),
    IoError(String),
}

impl Message for RetrieveAnswer {
    fn into_frame(self) -> Frame {
        use wire::retrieve_chunk_response::Status;
        let order = match &self {
            Self::Ordered(order) => Some(order.to_wire()),
            _ => None,
        };
        let (status, detail, data) = match self {
            Self::Found(data) => (Status::Found, String::new(), data),
            Self::Missing | Self::Ordered(_) => (Status::Missing, String::new(), Bytes::new()),
            Self::Corrupt => (Status::Corrupt, String::new(), Bytes::new()),
            Self::Busy(detail) => (Status::Busy, detail, Bytes::new()),
            Self::IoError(detail) => (Status::IoError, detail, Bytes::new()),
        };
        let header = wire::RetrieveChunkResponse {
            status: status as i32,
            detail: bounded_text(detail),
            order,
            data: Bytes::new(),
        };
        Frame::with_body(&header, data)
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        use wire::retrieve_chunk_response::Status;
        let message = <wire::RetrieveChunkResponse as prost::Message>::decode(bytes)?;
        match message.status() {
            Status::Found if message.data.is_empty() => Err(Malformed("a blob cannot be empty")),
            Status::Found => Ok(Self::Found(message.data)),
            Status::Missing => Ok(match &message.order {
                Some(order) => Self::Ordered(Box::new(SignedOrder::from_wire(order)?)),
                None => Self::Missing,
            }),
            Status::Corrupt => Ok(Self::Corrupt),
            Status::Busy => Ok(Self::Busy(bounded_text(message.detail))),
            Status::IoError => Ok(Self::IoError(bounded_text(message.detail))),
            Status::Unspecified => Err(Malformed("an answer without a known status")),
        }
    }
}
