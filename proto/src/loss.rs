//! `report-loss`: a node says by itself that it has lost blobs.
//!
//! A report may be sent again and again: what a coordinator has noted already it passes over. It
//! acknowledges only what it has committed, so that a node can keep a loss until somebody else has it.

use bytes::Bytes;

use crate::fields::{blob_id, bounded_text};
use crate::frame::at_most;
use crate::{BlobId, Frame, Malformed, Message, ProtocolSpec, Rpc, protocols, wire};

/// A `report-loss` message names no more than this.
pub const MAX_LOSSES_PER_MESSAGE: usize = 1000;

/// node → coordinator: these blobs are gone, or damaged.
#[derive(Debug, Clone, Copy)]
pub struct ReportLoss;

impl Rpc for ReportLoss {
    const PROTOCOL: ProtocolSpec = protocols::REPORT_LOSS;
    type Request = LossReport;
    type Response = LossNoted;
}

/// At most [`MAX_LOSSES_PER_MESSAGE`] blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    pub blob_ids: Vec<BlobId>,
    /// For people; the same for all of them.
    pub reason: String,
}

impl Message for LossReport {
    fn into_frame(self) -> Frame {
        let ids = self.blob_ids.iter();
        Frame::whole(&wire::ReportLossRequest {
            blob_ids: ids
                .map(|id| Bytes::copy_from_slice(id.as_bytes()))
                .collect(),
            reason: bounded_text(self.reason),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_LOSSES_PER_MESSAGE, 1, &bytes)?;
        let message = <wire::ReportLossRequest as prost::Message>::decode(bytes)?;
        let ids = message.blob_ids.iter().map(|id| blob_id(id));
        Ok(Self {
            blob_ids: ids.collect::<Result<_, _>>()?,
            reason: bounded_text(message.reason),
        })
    }
}

/// coordinator → node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossNoted {
    /// So many of the reported blobs, from the first one on, need not be reported again.
    pub acknowledged: u32,
}

impl Message for LossNoted {
    fn into_frame(self) -> Frame {
        Frame::whole(&wire::ReportLossResponse {
            acknowledged: self.acknowledged,
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        let message = <wire::ReportLossResponse as prost::Message>::decode(bytes)?;
        Ok(Self {
            acknowledged: message.acknowledged,
        })
    }
}
